"""Workflow-R1: a policy that builds its workflow turn by turn, trained with GSsPO (arXiv:2602.01202).

The commands as functions::

    from workflow_r1 import ask, evaluate, train

    run = train("embedded", {"training.steps": 2}, progress=True)
    print(ask(run.directory, "Who directed Jaws?").answer)
    print(evaluate(run.directory, methods=["policy", "cot"], limit=60).figures)

They are read when they are first used: to import the package takes no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from workflow_r1.version import __version__

if TYPE_CHECKING:
    from workflow_r1.running.api import ask, evaluate, load_config, open_policy, roll_out, train, warm_start

__all__ = ["__version__", "ask", "evaluate", "load_config", "open_policy", "roll_out", "train", "warm_start"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("workflow_r1.running.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
