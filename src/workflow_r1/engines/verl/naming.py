"""The ids, seeds and versions that the native engine would give the same trajectories."""

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.verl.rollout_files import Use
from workflow_r1.rollout.rollout import MemberName, name_member
from workflow_r1.rollout.seeding import derive_seed
from workflow_r1.trajectory import Question


def name_trajectory(config: RunConfig, question: Question, *, use: Use, step: int, member: int) -> MemberName:
    """Name a trajectory of a step; an evaluation has one for each question."""
    if use == "evaluation":
        name = f"evaluation-{question.id}"
        return MemberName(name, name, derive_seed(config.seed, "evaluation", question.id))
    return name_member(question, member, seed=derive_seed(config.seed, "training", step))


def policy_version(config: RunConfig, steps: int) -> int:
    """Return the optimiser steps that so many steps of training make."""
    return steps * -(-config.training.questions_per_step // config.training.mini_batch_questions)
