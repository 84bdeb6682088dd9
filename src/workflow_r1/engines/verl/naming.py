"""The ids, seeds and versions that the native engine would give the same trajectories."""

from workflow_r1.config.training import TrainingConfig
from workflow_r1.engines.verl.rollout_files import Use
from workflow_r1.rollout.rollout import MemberName, name_member
from workflow_r1.rollout.seeding import derive_seed
from workflow_r1.trajectory import Question


def name_trajectory(question: Question, *, seed: int, use: Use, step: int, member: int) -> MemberName:
    """Name a trajectory of a step of the run with that seed; an evaluation has one for each question."""
    if use == "evaluation":
        name = f"evaluation-{question.id}"
        return MemberName(name, name, derive_seed(seed, "evaluation", question.id))
    return name_member(question, member, seed=derive_seed(seed, "training", step))


def policy_version(training: TrainingConfig, steps: int) -> int:
    """Return the optimiser steps that so many steps of training make."""
    return steps * -(-training.questions_per_step // training.mini_batch_questions)
