"""The one way to read a service's key: from the environment variable that the configuration names."""

import os

from workflow_r1.errors import ConfigError


def read_key(variable: str, *, purpose: str, required: bool = True) -> str:
    """Read a service's key from its environment variable.

    Args:
        variable: its name.
        purpose: owner of the key, for the message.
        required: True makes a missing key an error; otherwise it is the empty string.

    Raises:
        ConfigError: it is needed and not set, or cannot be a key.
    """
    key = os.environ.get(variable, "").strip()
    if not key and required:
        raise ConfigError(f"expected {purpose} in the environment variable {variable}, found none; set it")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"expected plain ASCII in the environment variable {variable}, found other characters; copy the key again"
        )
    return key
