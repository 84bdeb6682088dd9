"""Stage 4: the record of a rollout. Packing into tensors is in ``policy.packing`` (needs torch)."""

from workflow_r1.trajectory.records import (
    AnswerReward,
    Ending,
    FinishReason,
    Message,
    OperatorCall,
    Question,
    Reward,
    ScoredTrajectory,
    StopReason,
    TaskReward,
    Trajectory,
    Turn,
    Usage,
)
from workflow_r1.trajectory.storage import append_trajectories, load_trajectories

__all__ = [
    "AnswerReward",
    "Ending",
    "FinishReason",
    "Message",
    "OperatorCall",
    "Question",
    "Reward",
    "ScoredTrajectory",
    "StopReason",
    "TaskReward",
    "Trajectory",
    "Turn",
    "Usage",
    "append_trajectories",
    "load_trajectories",
]
