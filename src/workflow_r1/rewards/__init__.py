"""Stage 5: the reward of a trajectory, with its breakdown."""

from workflow_r1.rewards.answer import exact_match, f1_score, normalize_answer
from workflow_r1.rewards.score import Score, format_score, score_trajectory

__all__ = ["Score", "exact_match", "f1_score", "format_score", "normalize_answer", "score_trajectory"]
