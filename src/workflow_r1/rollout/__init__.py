"""Stage 3: question to trajectory. The behaviours are numbered in ``rollout.rollout``.

The sampler of a model in this process is ``policy.local_sampler`` (needs torch), imported from there.
"""

from workflow_r1.rollout.chat_policy import ChatPolicy
from workflow_r1.rollout.doubles import ScriptedPolicy
from workflow_r1.rollout.events import OnRolloutEvent, RolloutEvent, TurnFinished, TurnSampled, TurnStarted
from workflow_r1.rollout.policy import Policy, PolicySession, SampledPolicy, SampledTurn
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.rollout.rollout import rollout, rollout_groups
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.rollout.seeding import derive_seed

__all__ = [
    "ChatPolicy",
    "OnRolloutEvent",
    "Policy",
    "PolicySession",
    "Renderer",
    "RolloutEvent",
    "SampledPolicy",
    "SampledTurn",
    "SamplingConfig",
    "ScriptedPolicy",
    "TurnFinished",
    "TurnSampled",
    "TurnStarted",
    "derive_seed",
    "rollout",
    "rollout_groups",
]
