"""Eight operators that a policy can call, and the means to write another."""

from workflow_r1.operators.arguments import Argument
from workflow_r1.operators.asking import TaggedReply, ask_llm
from workflow_r1.operators.operator import Operator, operator
from workflow_r1.operators.plugins import FoundOperator, FoundOperators, find_operators
from workflow_r1.operators.pool import OPERATORS
from workflow_r1.operators.services import OperatorConfig, OperatorResult, OperatorServices

__all__ = [
    "OPERATORS",
    "Argument",
    "FoundOperator",
    "FoundOperators",
    "Operator",
    "OperatorConfig",
    "OperatorResult",
    "OperatorServices",
    "TaggedReply",
    "ask_llm",
    "find_operators",
    "operator",
]
