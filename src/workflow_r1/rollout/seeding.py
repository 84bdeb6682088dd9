"""Seeds that depend on names, never on the order in which things happen."""

import hashlib
import json


def derive_seed(*parts: str | int) -> int:
    """Return a seed for the thing that ``parts`` name, e.g. ``derive_seed(run_seed, question.id, member)``.

    Type and position distinguish the parts (``derive_seed("1", 2)`` is not ``derive_seed(12)``), and the result
    is the same on every machine and in every process.

    Returns:
        An integer in ``[0, 2**63)``.
    """
    name = json.dumps(parts, ensure_ascii=True).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1
