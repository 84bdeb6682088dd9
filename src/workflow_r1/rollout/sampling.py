"""Settings of the sampling of a policy's turns."""

from typing import Literal

from pydantic import Field

from workflow_r1.rollout.policy_server import PolicyServerConfig
from workflow_r1.trajectory.records import Record


class SamplingConfig(Record):
    """Sampling of the policy's turns; the defaults train on exactly the distribution that is sampled."""

    temperature: float = Field(default=1.0, ge=0.0)
    """0 takes the most likely token (evaluation)."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Nucleus sampling. Below 1, the sampler of this process still keeps the log-probabilities of the full
    distribution. A server reports those of a distribution of its own choice: before temperature and nucleus, or after
    both. Training stops where that is another distribution than the trainer's."""
    max_turn_tokens: int = Field(default=1024, ge=1)
    """Longest turn, in policy tokens."""
    turn_end: Literal["end_token", "action"] = "end_token"
    """``end_token``: a turn ends with the model's end-of-turn token (the paper's release).
    ``action``: it also ends right after the first closing ``</tool>`` or ``</answer>`` behind the thought."""
    max_sessions: int = Field(default=128, ge=1)
    """Trajectories that are live at once: rows of the sampler's batch."""
    schedule: Literal["continuous", "rounds"] = "continuous"
    """``continuous``: a trajectory continues as soon as its operator has answered. ``rounds``: all that are live take a turn
    together, once the slowest operator has answered; then not even a rounding depends on how long services take, and a
    recorded run replays to the last bit."""
    compiled: bool = True
    """Attention of decoding on a CPU is a function that a C compiler makes in a second, once, where one is at hand;
    ``false`` leaves it to torch. The results are the same but for rounding."""
    server: PolicyServerConfig | None = None
    """A vLLM server that samples the trajectories of a training run; None samples in the training process."""
