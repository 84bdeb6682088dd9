"""The order of rollouts and updates: in turn, or a stream of rollouts that continues while the trainer updates.

Question, ids and seeds of every trajectory are functions of its step, whenever it is sampled. Staleness is bounded by
admission: the trajectories of step k may begin once step k - 1 - ``staleness`` is complete, and the steps are learned
from in their order. A finished trajectory is never discarded, however slow its group was, and none is more than
``staleness`` steps behind.

Trajectories that were sampled and not learned from yet stand in the checkpoints; a resume samples only the rest.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.native.batching import draw
from workflow_r1.engines.native.update import UpdateResult
from workflow_r1.environment import Environment
from workflow_r1.errors import ConfigError
from workflow_r1.policy.distributed import Ranks
from workflow_r1.recording.metrics import Metrics
from workflow_r1.rollout import Policy, derive_seed, rollout_groups
from workflow_r1.rollout.outage import OutageWatch
from workflow_r1.rollout.places import Places
from workflow_r1.trajectory import Question, ScoredTrajectory, Trajectory

Groups = list[list[Trajectory]]
"""The trajectories of one step, a list per question; of several processes each holds its share."""

Count = Callable[[int], Callable[[Trajectory], None]]
"""Makes, for so many trajectories, the callback that reports them one by one."""


class Weights(Protocol):
    """The policy's weights where they sample: in this process or at a server."""

    def sampler(self, temperature: float) -> Policy:
        """Return the policy at a temperature."""
        ...

    def publish(self, version: int, *, exactly: bool = False) -> None:
        """Let the trainer's weights of now, which have taken ``version`` optimiser steps, sample from the next turn on.

        Args:
            version: optimiser steps that the policy has taken.
            exactly: these and no older ones sample, also where a server's may be behind (``sampling.server.max_lag``).
        """
        ...

    def holding(self) -> AbstractAsyncContextManager[None]:
        """Let the trainer change its weights inside the context: no turn is sampled from them meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class StepRollouts:
    """Samples the trajectories of a step."""

    config: RunConfig
    """Configuration of the run."""
    questions: Sequence[Question]
    """All questions to train on."""
    make_environment: Callable[[Question], Environment]
    """Makes a fresh environment for each trajectory."""
    score: Callable[[Sequence[Trajectory]], list[Trajectory]]
    """Scores a group; only dynamic sampling asks it here."""
    ranks: Ranks
    """The processes that share the work."""

    @property
    def num_trajectories(self) -> int:
        """Size of this process's share of a step, further rounds left out."""
        training = self.config.training
        return len(self.ranks.share(range(training.questions_per_step))) * training.group_size

    async def __call__(
        self,
        step: int,
        *,
        policy: Policy,
        policy_version: Callable[[], int],
        places: Places,
        finished: Mapping[str, Trajectory],
        on_trajectory: Callable[[Trajectory], None],
    ) -> Groups:
        """Sample this process's share of a step, counted from 1; see :func:`~workflow_r1.rollout.rollout_groups`.

        With dynamic sampling, as many further questions are asked, round by round, as groups have no signal yet. Those of a
        round come from an order of their own, from a place that step and round alone decide, and its seeds from its number:
        a resume, or a stream that is steps ahead, asks the same ones again.
        """
        training, seed = self.config.training, self.config.seed

        async def ask(questions: Sequence[int], *name: int | str) -> Groups:
            return await rollout_groups(
                [self.questions[index] for index in questions],
                policy=policy,
                make_environment=self.make_environment,
                group_size=training.group_size,
                seed=derive_seed(seed, "training", step, *name),
                policy_version=policy_version,
                places=places,
                share=self.ranks.share(range(len(questions))),
                finished=finished,
                on_trajectory=on_trajectory,
            )

        count = training.questions_per_step
        groups = await ask(draw(len(self.questions), seed=seed, start=(step - 1) * count, count=count))
        newest = groups
        for round_number in range(1, training.dynamic_sampling + 1):
            num_missing = sum(not has_signal(self.score(group)) for group in newest)
            if not num_missing:
                break
            asked = draw(
                len(self.questions),
                seed=derive_seed(seed, "further questions"),
                start=((step - 1) * training.dynamic_sampling + round_number - 1) * count,
                count=num_missing,
            )
            newest = await ask(asked, "round", round_number)
            groups = groups + newest
        return groups


class RolloutsInTurn:
    """Rollouts and updates alternate. With a staleness, the trajectories of a step wait for so many updates.

    Args:
        runner: its event loop runs the rollouts.
        sample: samples a step.
        weights: sample.
        staleness: steps between sampling and learning.
        count: reports the trajectories.
    """

    def __init__(
        self, runner: asyncio.Runner, sample: StepRollouts, weights: Weights, *, staleness: int, count: Count
    ) -> None:
        self._runner = runner
        self._sample = sample
        self._weights = weights
        self._staleness = staleness
        self._count = count
        self._waiting: deque[Groups] = deque()
        self._restored: dict[str, Trajectory] = {}
        self._version = 0
        self._next = 1

    def start(self, step: int, *, version: int, pending: Sequence[Trajectory]) -> None:
        """Begin behind a step, with the trajectories that were sampled before for later ones."""
        self._next, self._version = step + 1, version
        self._restored = {trajectory.id: trajectory for trajectory in pending}

    def take(self, step: int) -> Groups:
        """Return the trajectories of a step.

        Raises:
            ServiceError: the services are down.
        """
        while self._next <= max(step, min(step + self._staleness, self._sample.config.training.steps)):
            self._waiting.append(self._runner.run(self._roll_out(self._next)))
            self._next += 1
        return self._waiting.popleft()

    async def _roll_out(self, step: int) -> Groups:
        config = self._sample.config
        self._weights.publish(self._version)
        count, outage = self._count(self._sample.num_trajectories), OutageWatch(config.training.stop_after_failures)

        def receive(trajectory: Trajectory) -> None:
            count(trajectory)
            outage.observe(trajectory)

        groups = await self._sample(
            step,
            policy=self._weights.sampler(config.sampling.temperature),
            policy_version=lambda: self._version,
            places=Places(config.sampling.max_sessions),
            finished=self._restored,
            on_trajectory=receive,
        )
        _take_out(self._restored, groups)
        return groups

    def update(self, step: int, learn: Callable[[], UpdateResult]) -> UpdateResult:
        """Let the policy learn from a step."""
        result = learn()
        self._version += result.num_optimiser_steps
        return result

    def pending(self) -> list[Trajectory]:
        """Return what was sampled and not learned from yet."""
        waiting = [trajectory for groups in self._waiting for group in groups for trajectory in group]
        return [*waiting, *self._restored.values()]

    def close(self) -> None:
        """Do nothing: nothing is under way between two calls."""


class RolloutStream:
    """Rollouts that continue while the trainer updates, evaluates, or waits for the last trajectory of a step.

    One event loop drives all of it; between two calls it rests. An update runs in a thread, so that the replies of
    services are read meanwhile.

    Args:
        runner: its event loop runs the rollouts.
        sample: samples a step.
        weights: sample all along, and are exchanged after each update.
        staleness: most steps by which a trajectory may be behind.
        count: reports the trajectories.
    """

    def __init__(
        self, runner: asyncio.Runner, sample: StepRollouts, weights: Weights, *, staleness: int, count: Count
    ) -> None:
        config = sample.config
        self._runner = runner
        self._sample = sample
        self._weights = weights
        self._staleness = staleness
        self._count = count
        self._places = Places(config.sampling.max_sessions)
        self._outage = OutageWatch(config.training.stop_after_failures)
        self._tasks: dict[int, asyncio.Task[Groups]] = {}
        self._finished: dict[int, list[Trajectory]] = {}
        self._reported: dict[int, Callable[[Trajectory], None]] = {}
        self._restored: dict[str, Trajectory] = {}
        self._version = 0
        self._next = 1

    def start(self, step: int, *, version: int, pending: Sequence[Trajectory]) -> None:
        """Begin behind a step, with the trajectories that were sampled before for later ones."""
        self._next, self._version = step + 1, version
        self._restored = {trajectory.id: trajectory for trajectory in pending}
        self._weights.publish(version)

    def take(self, step: int) -> Groups:
        """Return the trajectories of a step, as soon as the last of them is finished.

        Raises:
            ServiceError: the services are down.
        """
        return self._runner.run(self._take(step))

    async def _take(self, step: int) -> Groups:
        self._admit(step)
        # Only the step that is waited for is reported, so that a display counts one thing at a time.
        report = self._reported[step] = self._count(self._sample.num_trajectories)
        for trajectory in self._finished[step]:
            report(trajectory)
        groups = await self._tasks[step]
        del self._tasks[step], self._finished[step], self._reported[step]
        _take_out(self._restored, groups)
        return groups

    def update(self, step: int, learn: Callable[[], UpdateResult]) -> UpdateResult:
        """Let the policy learn from a step; then its new weights sample, and what may begin next does."""
        return self._runner.run(self._update(step, learn))

    async def _update(self, step: int, learn: Callable[[], UpdateResult]) -> UpdateResult:
        async with self._weights.holding():
            result = await asyncio.to_thread(learn)
            version = self._version + result.num_optimiser_steps
            await asyncio.to_thread(self._weights.publish, version)
            self._version = version
        self._admit(step + 1)
        return result

    def _admit(self, step: int) -> None:
        """Let everything begin that may before a step is learned from."""
        while self._next <= min(step + self._staleness, self._sample.config.training.steps):
            self._finished[self._next] = []
            self._tasks[self._next] = asyncio.create_task(self._roll_out(self._next))
            self._next += 1

    async def _roll_out(self, step: int) -> Groups:
        def receive(trajectory: Trajectory) -> None:
            self._finished[step].append(trajectory)
            if step in self._reported:
                self._reported[step](trajectory)
            self._outage.observe(trajectory)

        return await self._sample(
            step,
            policy=self._weights.sampler(self._sample.config.sampling.temperature),
            policy_version=lambda: self._version,
            places=self._places,
            finished=self._restored,
            on_trajectory=receive,
        )

    def pending(self) -> list[Trajectory]:
        """Return what is finished and not learned from yet. One that a service failed is asked again after a resume."""
        finished = {each.id: each for group in self._finished.values() for each in group}
        return [each for each in {**self._restored, **finished}.values() if not each.stop_reason.is_infrastructure]

    def close(self) -> None:
        """Give up what is under way."""
        self._runner.run(self._close())

    async def _close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def has_signal(group: Sequence[Trajectory]) -> bool:
    """Return True where the rewards of a scored group differ: where they are all equal no trajectory has an advantage."""
    return len({trajectory.reward.total for trajectory in group if isinstance(trajectory, ScoredTrajectory)}) > 1


def lag_metrics(trajectories: Sequence[Trajectory], version: int) -> Metrics:
    """Describe how far the weights that wrote each turn are behind those that learn from it, in optimiser steps.

    Args:
        trajectories: those of a step.
        version: optimiser steps that the policy has taken before it learns from them.
    """
    lags = [version - sampled for trajectory in trajectories for sampled in trajectory.turn_versions]
    return {
        "rollout/lag_mean": sum(lags) / len(lags) if lags else None,
        "rollout/lag_max": max(lags, default=None),
    }


def refuse_impossible(config: RunConfig, ranks: Ranks) -> None:
    """Refuse settings that this order of rollouts and updates cannot follow.

    Raises:
        ConfigError: names the key to change.
    """
    training = config.training
    if training.dynamic_sampling and ranks.size > 1:
        raise ConfigError(
            f"training.dynamic_sampling: expected 0 where several processes train together, received "
            f"{training.dynamic_sampling}: leave it out, or train in one process"
        )
    if not training.staleness:
        return
    if ranks.size > 1:
        raise ConfigError(
            f"training.staleness: expected 0 where several processes train together, received {training.staleness}: leave it "
            "out, or train in one process"
        )
    if not training.overlap:
        return
    if config.sampling.schedule != "continuous":
        raise ConfigError(
            'sampling.schedule: expected "continuous" where rollouts and updates overlap (training.staleness), since rounds wait '
            "for the slowest operator; change it, or set training.overlap = false"
        )
    if config.sampling.server is not None and config.sampling.server.max_lag:
        raise ConfigError(
            "sampling.server.max_lag: expected 0 where rollouts and updates overlap, since training.staleness bounds how far "
            "weights may be behind; leave it out"
        )


def _take_out(restored: dict[str, Trajectory], groups: Groups) -> None:
    for group in groups:
        for trajectory in group:
            restored.pop(trajectory.id, None)
