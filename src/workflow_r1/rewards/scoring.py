"""The configured reward of a group: the task's own, its parts and functions of the user's own by weight, less its cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workflow_r1.errors import ConfigError
from workflow_r1.rewards.config import CostConfig, RewardConfig
from workflow_r1.rewards.cost import cost_of, cost_reductions
from workflow_r1.rewards.functions import RewardFunction, load_function
from workflow_r1.rewards.score import Score, score_trajectory
from workflow_r1.trajectory import ScoredTrajectory, TaskReward, Trajectory

COST = "cost"
"""Part of the reward that the cost takes away, at most 0."""

Values = Callable[[Sequence[ScoredTrajectory]], list[float]]


@dataclass(frozen=True, slots=True)
class _Part:
    """One weighted part of the reward."""

    name: str
    weight: float
    values: Values

    @property
    def is_function(self) -> bool:
        """True where a function of the user's own gives it."""
        return isinstance(self.values, RewardFunction)


class Scorer:
    """Scores trajectories, a group at a time.

    Args:
        config: the reward; the default is the task's own, unchanged.
        own: the task's own reward of one trajectory.
        counts_turn_rewards: True where that contains the turn rewards.

    Raises:
        ConfigError: a function cannot be used, or two parts have one name.
    """

    def __init__(
        self,
        config: RewardConfig | None = None,
        *,
        own: Score = score_trajectory,
        counts_turn_rewards: bool = False,
    ) -> None:
        config = config or RewardConfig()
        self._own = own
        self._counts_turn_rewards = counts_turn_rewards
        self._cost: CostConfig = config.cost
        self._parts = tuple(_read_part(name, weight) for name, weight in config.weights.items())
        names = [part.name for part in self._parts]
        for name in names:
            if name == COST or names.count(name) > 1:
                raise ConfigError(f"reward.weights: expected parts of different names, received {name!r}; rename one")

    @property
    def is_relative(self) -> bool:
        """True where a trajectory's reward depends on the others of its group."""
        functions = (part.values for part in self._parts)
        return self._cost.dial > 0 or any(isinstance(each, RewardFunction) and each.takes_group for each in functions)

    @property
    def turn_weight(self) -> float:
        """Weight of the turn rewards in the reward; 0 where they are no part of it."""
        weights = {part.name: part.weight for part in self._parts} or {"task": 1.0}
        return weights.get("turn_rewards", 0.0) + (weights.get("task", 0.0) if self._counts_turn_rewards else 0.0)

    def __call__(self, group: Sequence[Trajectory]) -> list[Trajectory]:
        """Score the trajectories of one group, or one trajectory by itself.

        Args:
            group: trajectories of one question. Those that the infrastructure ended enter nothing and stay as they are.

        Returns:
            The same trajectories in the same order, each with its reward.

        Raises:
            RewardError: a function of the user's own raised an error, or returned no finite number.
            ConfigError: a part does not exist, the task does not say whether a trajectory succeeded, or a price is unknown.
            ValueError: a question has no golden answer.
        """
        owned = [self._own(each) for each in group if not each.stop_reason.is_infrastructure]
        scored = iter(self._scored(owned))
        return [each if each.stop_reason.is_infrastructure else next(scored) for each in group]

    def one(self, trajectory: Trajectory) -> ScoredTrajectory:
        """Score a trajectory as a group of its own: its cost is then compared with nothing.

        Raises:
            ValueError: the infrastructure ended it, or its question has no golden answer.
        """
        return self._scored([self._own(trajectory)])[0]

    def _scored(self, group: list[ScoredTrajectory]) -> list[ScoredTrajectory]:
        if not group or not (self._parts or self._cost.dial):
            return group
        own = group[0].reward.parts
        for part in self._parts:
            if part.is_function and part.name in own:
                raise ConfigError(
                    f"reward.weights: expected a function of another name than {', '.join(own)}, received {part.name}; rename it"
                )
        values = {part.name: part.values(group) for part in self._parts}
        totals = [each.reward.total for each in group]
        if self._parts:
            totals = [
                sum(part.weight * values[part.name][index] for part in self._parts) for index in range(len(group))
            ]
        if self._cost.dial:
            values[COST] = [0.0 - lost for lost in self._reductions(group, totals)]
            totals = [total + cost for total, cost in zip(totals, values[COST], strict=True)]
        return [
            ScoredTrajectory.of(
                each,
                TaskReward(
                    total=total,
                    success=each.reward.success,
                    parts={**each.reward.parts, **{name: of_part[index] for name, of_part in values.items()}},
                ),
            )
            for index, (each, total) in enumerate(zip(group, totals, strict=True))
        ]

    def _reductions(self, group: Sequence[ScoredTrajectory], totals: Sequence[float]) -> list[float]:
        costs = [cost_of(each, self._cost.kind) for each in group]
        if None in costs and self._cost.kind == "tokens":
            raise ConfigError(
                'reward.cost.kind: expected token figures with every reply of a service, but one gives none; weigh "calls" '
                'or "turns"'
            )
        if None in costs:
            raise ConfigError(
                "reward.cost.kind: expected the price of every service, but one is unknown; set it in [prices] (0 where it "
                'costs nothing), or weigh "tokens" or "calls"'
            )
        return cost_reductions(
            rewards=totals,
            successes=[_succeeded(each) for each in group],
            costs=[cost for cost in costs if cost is not None],
            dial=self._cost.dial,
        )


def _read_part(name: str, weight: float) -> _Part:
    if ":" in name:
        function = load_function(name)
        return _Part(function.name, weight, function)
    match name:
        case "task":
            return _Part(name, weight, lambda group: [each.reward.total for each in group])
        case "success":
            return _Part(name, weight, lambda group: [float(_succeeded(each)) for each in group])
        case "turn_rewards":
            return _Part(name, weight, lambda group: [each.turn_rewards for each in group])
    return _Part(name, weight, lambda group: [_figure(each, name) for each in group])


def _figure(trajectory: ScoredTrajectory, name: str) -> float:
    """Return a figure of the task's own reward."""
    parts = trajectory.reward.parts
    if name in parts:
        return parts[name]
    known = ", ".join((*parts, "task", "success", "turn_rewards"))
    raise ConfigError(
        f'reward.weights: expected parts among {known}, or a function ("path/file.py:function"), received {name!r}'
    )


def _succeeded(trajectory: ScoredTrajectory) -> bool:
    if trajectory.reward.success is None:
        raise ConfigError(
            f"reward: expected the task to say whether trajectory {trajectory.id!r} succeeded, but it does not; let its episode "
            'say `success`, or leave out reward.cost and the part "success"'
        )
    return trajectory.reward.success
