"""Minors of TRL with which the engine was tested."""

from importlib.metadata import PackageNotFoundError, version

from workflow_r1.errors import MissingExtraError
from workflow_r1.installation import install_command

TESTED_MINORS = ("1.8", "1.9", "1.10", "1.11", "1.12", "1.13", "1.14", "1.16")
"""Tested minors; ``docs/how-to/trl.md`` lists the runs on each. The hooks that the engine overrides are private to
TRL and move between minors."""

INSTALL = f"pip install torch==2.13.0 && {install_command('trl')}"


def require_tested_trl() -> str:
    """Return the version of the installed TRL.

    Raises:
        MissingExtraError: TRL is not installed, or its minor is untested.
    """
    tested = ", ".join(TESTED_MINORS)
    try:
        found = version("trl")
    except PackageNotFoundError:
        raise MissingExtraError(
            f"this engine needs TRL (tested: {tested}), which is not installed; run: {INSTALL}"
        ) from None
    if ".".join(found.split(".")[:2]) not in TESTED_MINORS:
        raise MissingExtraError(
            f"expected a tested minor of TRL ({tested}), found {found}: its trainer has hooks that move between "
            f"minors, and a silently wrong loss is worse than no loss; run: {INSTALL}"
        )
    return found
