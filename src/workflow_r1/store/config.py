"""Settings of the store: whether the calls of services are kept, and in which file."""

from pathlib import Path
from typing import Literal

from workflow_r1.trajectory.records import Record

StoreMode = Literal["off", "use", "record", "replay"]
"""Use of the store of calls; see :class:`StoreConfig`."""

DEFAULT_PATH = Path("store/calls.sqlite3")
"""Default path, outside every run directory: all runs share it."""


class StoreConfig(Record):
    """The store of calls: answers of LLM and search services, kept in one file that any number of runs share."""

    mode: StoreMode = "off"
    """``off``: every call goes to its service. ``use``: a call that is stored is answered from the store, any other is
    made and stored. ``record``: every call is made once again and stored in place of the old answer. ``replay``: no
    call is made; one that is not stored stops the run."""
    path: Path = DEFAULT_PATH
    """The file, on a local disk. Made where absent, ``replay`` aside."""
    by_address: bool = True
    """True where the address of an endpoint identifies its calls. False where one server moves from address to address:
    a call is then known by its model, its messages and its parameters."""
