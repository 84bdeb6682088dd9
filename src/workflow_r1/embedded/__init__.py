"""The embedded tier: a generated world with a search and a simulated expert, and the small policy that ships with it."""

from workflow_r1.embedded.config import EmbeddedConfig
from workflow_r1.embedded.demonstrators import Demonstrator
from workflow_r1.embedded.expert import ExpertRates, SimulatedExpert
from workflow_r1.embedded.strategy import STRATEGIES, WARM_START, Strategy
from workflow_r1.embedded.world import EmbeddedWorld, policy_directory

__all__ = [
    "STRATEGIES",
    "WARM_START",
    "Demonstrator",
    "EmbeddedConfig",
    "EmbeddedWorld",
    "ExpertRates",
    "SimulatedExpert",
    "Strategy",
    "policy_directory",
]
