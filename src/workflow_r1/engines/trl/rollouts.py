"""Our rollouts as TRL's ``rollout_func``: the environment, the operators, the prompts and the sampler of every other engine."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset

from workflow_r1.config.training import TrainingConfig
from workflow_r1.environment import Environment
from workflow_r1.errors import ConfigError, ServiceUnavailableError
from workflow_r1.policy.packing import pack
from workflow_r1.rewards import Scorer
from workflow_r1.rollout import Policy, derive_seed, rollout
from workflow_r1.rollout.outage import OutageWatch, check_served
from workflow_r1.rollout.rollout import first_leaf, name_member
from workflow_r1.trajectory import Question, ScoredTrajectory, Trajectory

FIELDS = ("prompt_ids", "completion_ids", "logprobs", "env_mask", "total_reward")
"""Fields that a rollout function hands to TRL: the first three it requires, the mask is optional, the rest goes to the
rewards.
"""


def total_reward(completions: Sequence[Any], total_reward: Sequence[float | None], **_: Any) -> list[float | None]:
    """Return the rewards that the rollouts brought along: TRL's reward function. None where the infrastructure failed."""
    return list(total_reward)


def to_fields(trajectories: Sequence[Trajectory], *, pad_token_id: int) -> dict[str, list[Any]]:
    """Lay trajectories out as ``rollout_func`` returns them.

    Tokens are those that were sampled, in their order: turn, context, turn, ... The mask is 1 on the policy's; between
    two turns there is always a 0, which shows the turns. An infrastructure failure becomes one masked token (TRL cannot
    take none) and a reward of None: it enters no loss, no mean and no statistic of its group.

    Args:
        trajectories: scored trajectories; plain ones where the infrastructure failed.
        pad_token_id: token in place of those of a failure.
    """
    fields: dict[str, list[Any]] = {name: [] for name in FIELDS}
    for trajectory in trajectories:
        row: tuple[Any, ...]
        if not isinstance(trajectory, ScoredTrajectory):
            row = ([pad_token_id], [pad_token_id], [0.0], [0], None)
        elif not trajectory.turns:  # The prompt alone filled the context: TRL can take no empty completion.
            row = (list(trajectory.prompt_token_ids), [pad_token_id], [0.0], [0], trajectory.reward.total)
        else:
            batch, start = pack([trajectory]), len(trajectory.prompt_token_ids)
            row = (
                list(trajectory.prompt_token_ids),
                batch.input_ids[0, start:].tolist(),
                batch.sampler_logprobs[0, start:].tolist(),
                (batch.turn_ids[0, start:] > 0).int().tolist(),
                trajectory.reward.total,
            )
        for name, value in zip(FIELDS, row, strict=True):
            fields[name].append(value)
    return fields


class Rollouts:
    """A ``rollout_func``: each process samples its own part of every group, with services of its own.

    Ids and seeds are those of the native engine: its first step and TRL's sample the same trajectories, and the number
    of processes changes none.

    Args:
        training: questions of a step, members of a group, and how many failures in a row end it.
        seed: seed of the run.
        max_sessions: trajectories at once.
        make_sampler: the policy that samples, from the trainer's model as it is now.
        questions: questions of all steps, ``training.questions_per_step`` for each, in the order in which they are asked.
        make_environment: makes a fresh environment for each trajectory.
        runner: runner whose event loop owns the services' connections.
        score: scores the trajectories of a group.
        on_trajectory: receives each trajectory of this process when it ends.
    """

    def __init__(
        self,
        *,
        training: TrainingConfig,
        seed: int,
        max_sessions: int,
        make_sampler: Callable[[Any], Policy],
        questions: Sequence[Question],
        make_environment: Callable[[Question], Environment],
        runner: asyncio.Runner,
        score: Scorer,
        on_trajectory: Callable[[Trajectory], None] = lambda trajectory: None,
    ) -> None:
        self._training = training
        self._seed = seed
        self._max_sessions = max_sessions
        self._make_sampler = make_sampler
        self._questions = questions
        self._make_environment = make_environment
        self._runner = runner
        self._score = score
        self._on_trajectory = on_trajectory
        self.trajectories: list[Trajectory] = []
        """All processes' trajectories of the last step, in the order of the groups: scored, or plain where the
        infrastructure failed.
        """

    def dataset(self) -> Dataset:
        """Return the prompts as TRL wants them; it shall not shuffle them."""
        return Dataset.from_list([{"prompt": question.text} for question in self._questions])

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """Sample this process' trajectories of the step.

        Args:
            prompts: this process' slice of the step's prompts, each as often as its group has members.
            trainer: TRL's trainer.

        Raises:
            ServiceUnavailableError: services failed every trajectory, or served no call.
            ConfigError: the model is in parts: the sampler needs all of it in this process.
            RuntimeError: TRL asks for other prompts than those of this step.
        """
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ConfigError(
                "expected the whole model in each process (torchrun alone), since the rollouts sample from it there; for a model "
                "that must be sharded use the native engine or verl"
            )
        training = self._training
        steps = trainer.args.steps_per_generation // trainer.args.gradient_accumulation_steps
        step = trainer.state.global_step // steps + 1
        first = trainer.accelerator.process_index * len(prompts)
        asked = self._questions[(step - 1) * training.questions_per_step : step * training.questions_per_step]
        members = [divmod(first + place, training.group_size) for place in range(len(prompts))]
        if [asked[group].text for group, _ in members] != list(prompts):
            raise RuntimeError(
                f"expected the prompts of step {step} in order, each {training.group_size} times, received others: this "
                "version of TRL deals them out differently; use a tested minor"
            )
        trajectories = self._runner.run(self._sample(trainer, asked, members, step))
        gathered = gather_object(trajectories)
        # Scored once all are here: a group may be spread over processes.
        groups = [
            gathered[start : start + training.group_size] for start in range(0, len(gathered), training.group_size)
        ]
        self.trajectories = [trajectory for group in groups for trajectory in self._score(group)]
        _refuse_an_outage(self.trajectories, step)
        own = self.trajectories[first : first + len(prompts)]
        return to_fields(own, pad_token_id=trainer.processing_class.pad_token_id)

    async def _sample(
        self, trainer: Any, asked: Sequence[Question], members: Sequence[tuple[int, int]], step: int
    ) -> list[Trajectory]:
        sampler = self._make_sampler(trainer.model)
        seed = derive_seed(self._seed, "training", step)
        ids = [question.id for question in asked]
        outage = OutageWatch(self._training.stop_after_failures)
        slots = asyncio.Semaphore(self._max_sessions)

        async def run(group: int, member: int) -> Trajectory:
            question = asked[group]
            name = name_member(question, member, seed=seed, occurrence=ids[:group].count(question.id))
            async with slots:
                trajectory = await rollout(
                    question,
                    policy=sampler,
                    environment=self._make_environment(question),
                    trajectory_id=name.trajectory_id,
                    group_id=name.group_id,
                    seed=name.seed,
                    policy_version=trainer.state.global_step,
                )
            outage.observe(trajectory)
            self._on_trajectory(trajectory)
            return trajectory

        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(run(*member)) for member in members]
        except BaseExceptionGroup as failures:
            raise first_leaf(failures) from failures
        return [task.result() for task in running]


def _refuse_an_outage(trajectories: Sequence[Trajectory], step: int) -> None:
    failed = [trajectory for trajectory in trajectories if trajectory.stop_reason.is_infrastructure]
    if failed and len(failed) == len(trajectories):
        example = failed[0].error or failed[0].stop_reason.value
        raise ServiceUnavailableError(
            f"all {len(failed)} trajectories of step {step} failed, the first with: {example}"
        )
    check_served(trajectories)
