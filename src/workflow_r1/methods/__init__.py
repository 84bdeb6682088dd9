"""The methods that an evaluation compares with the trained policy: fixed workflows, loops, and workflows found by a search.

Each is a ``Policy`` that acts in an ``QuestionEnvironment`` like any other: same operators, same records, same scoring.
``METHODS`` names them; ``docs/reference/methods.md`` describes each, with its source.
"""

from workflow_r1.methods.catalogue import METHODS, find_method
from workflow_r1.methods.fixed import StartWorkflow, fixed_method, fixed_methods
from workflow_r1.methods.method import Method, MethodContext
from workflow_r1.methods.workflow import NO_ANSWER, FixedWorkflow, Workflow
from workflow_r1.operators.results import read_answer, read_answers

__all__ = [
    "METHODS",
    "NO_ANSWER",
    "FixedWorkflow",
    "Method",
    "MethodContext",
    "StartWorkflow",
    "Workflow",
    "find_method",
    "fixed_method",
    "fixed_methods",
    "read_answer",
    "read_answers",
]
