"""Stage 3: the environment that a rollout drives. A question's behaviours are numbered in ``environment.questions``."""

from workflow_r1.environment.config import EnvironmentConfig
from workflow_r1.environment.environment import Environment, Reading, Step
from workflow_r1.environment.pool import LEFT_OUT, NOT_RUN, OperatorPool
from workflow_r1.environment.questions import NO_CALLS_LEFT, ONE_CALL_INSTRUCTION, QuestionEnvironment

__all__ = [
    "LEFT_OUT",
    "NOT_RUN",
    "NO_CALLS_LEFT",
    "ONE_CALL_INSTRUCTION",
    "Environment",
    "EnvironmentConfig",
    "OperatorPool",
    "QuestionEnvironment",
    "Reading",
    "Step",
]
