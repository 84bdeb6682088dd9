"""Stage 4: the record of a rollout. Packing into tensors is in ``policy.packing`` (needs torch)."""

from workflow_r1.trajectory.records import (
    FinishReason,
    Message,
    OperatorCall,
    Question,
    Reward,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    Usage,
)
from workflow_r1.trajectory.storage import append_trajectories, load_trajectories

__all__ = [
    "FinishReason",
    "Message",
    "OperatorCall",
    "Question",
    "Reward",
    "ScoredTrajectory",
    "StopReason",
    "Trajectory",
    "Turn",
    "Usage",
    "append_trajectories",
    "load_trajectories",
]
