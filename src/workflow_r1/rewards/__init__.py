"""Stage 5: the reward of a trajectory, with its breakdown."""

from workflow_r1.rewards.answer import exact_match, f1_score, normalize_answer
from workflow_r1.rewards.config import CostConfig, RewardConfig
from workflow_r1.rewards.cost import cost_of, cost_reductions
from workflow_r1.rewards.score import Score, format_score, score_trajectory
from workflow_r1.rewards.scoring import Scorer

__all__ = [
    "CostConfig",
    "RewardConfig",
    "Score",
    "Scorer",
    "cost_of",
    "cost_reductions",
    "exact_match",
    "f1_score",
    "format_score",
    "normalize_answer",
    "score_trajectory",
]
