"""Stage 3: the environment that a rollout drives. Its behaviours are numbered in ``environment.environment``."""

from workflow_r1.environment.config import EnvironmentConfig
from workflow_r1.environment.environment import (
    LEFT_OUT,
    NO_CALLS_LEFT,
    NOT_RUN,
    ONE_CALL_INSTRUCTION,
    Environment,
    Step,
)

__all__ = ["LEFT_OUT", "NOT_RUN", "NO_CALLS_LEFT", "ONE_CALL_INSTRUCTION", "Environment", "EnvironmentConfig", "Step"]
