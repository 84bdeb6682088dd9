"""Watch a run: for late collapse, the known illness of GRPO on search tasks, for steps that teach nothing, and for
processors that others use.

In a collapse the think text degenerates first and the final reward follows late (Search-R1 issues 88 and 89, verl-agent
188): a curve of rewards alone shows it when it is over. The watch compares smoothed quantities with their own past.
"""

import os
from collections.abc import Mapping

SMOOTHING = 0.7
"""Weight of the past in the moving average: about three steps of memory, so that one odd step raises no alarm."""

PATIENCE = 5
"""Steps before the first alarm: the averages need them, and a policy may well change its habits at first."""

MAX_REWARD_DROP = 0.3
"""Alarm when the smoothed reward (it spans -1.5 to 1) stands so far below its best."""

MIN_THINK_RATIO = 0.3
"""Alarm when the think text is shorter than this part of its length in the first steps."""

MAX_THINK_RATIO = 4.0
"""Alarm when the think text is longer than so many times its length in the first steps."""

MIN_SURPRISAL_RATIO = 0.05
"""Alarm when the sampled tokens surprise the policy (an estimate of its entropy) less than this part of the start."""

CONTENTION_RATIO = 2.0
"""Warn where work that waits for nothing else takes so many times its own CPU time: half of it was waiting."""

CONTENTION_SECONDS = 10.0
"""Wall time of one measurement, in seconds: a shorter one says little."""


class CollapseWatch:
    """Remembers the best and the first values of a run; warns once per illness until it is gone.

    Args:
        remembered: value of :attr:`remembered` at the checkpoint; empty for a new run.
    """

    def __init__(self, remembered: Mapping[str, float] | None = None) -> None:
        self._memory = dict(remembered or {})

    @property
    def remembered(self) -> dict[str, float]:
        """The watch's whole state, as plain numbers."""
        return dict(self._memory)

    def observe(self, metrics: Mapping[str, float | int | None]) -> list[str]:
        """Take in the metrics of a step.

        Returns:
            One message per illness that has just begun.
        """
        self._memory["steps"] = self._memory.get("steps", 0) + 1
        reward = self._smooth("reward", metrics.get("rollout/reward"))
        think = self._smooth("think", metrics.get("rollout/think_chars"))
        surprisal = self._smooth("surprisal", metrics.get("rollout/surprisal"))
        young = self._memory["steps"] < PATIENCE
        if young:
            self._memory |= {"first_think": think, "first_surprisal": surprisal}
        best = self._memory["best_reward"] = max(self._memory.get("best_reward", reward), reward)
        first_think, first_surprisal = self._memory["first_think"], self._memory["first_surprisal"]
        advice = "look at trajectories.jsonl; an earlier checkpoint may be the better policy"
        illnesses = {
            "reward": (
                reward < best - MAX_REWARD_DROP,
                f"the reward has fallen to {reward:.2f} from its best of {best:.2f}: {advice}",
            ),
            "short": (
                think < MIN_THINK_RATIO * first_think,
                f"the think text has shrunk to {think:.0f} characters from {first_think:.0f}: {advice}",
            ),
            "long": (
                think > MAX_THINK_RATIO * first_think,
                f"the think text has grown to {think:.0f} characters from {first_think:.0f}: {advice}",
            ),
            "entropy": (
                surprisal < MIN_SURPRISAL_RATIO * first_surprisal,
                f"the policy has almost stopped exploring: {surprisal:.4f} nats per token from {first_surprisal:.4f}; a "
                f"smaller learning rate, a KL coefficient or a wider clip keeps it open",
            ),
        }
        messages = []
        for name, (ill, message) in illnesses.items():
            if ill and not young and not self._memory.get(f"warned_{name}"):
                messages.append(message)
            self._memory[f"warned_{name}"] = float(ill and not young)
        return messages

    def _smooth(self, name: str, value: float | int | None) -> float:
        before = self._memory.get(name)
        if value is None:
            value = before if before is not None else 0.0
        now = float(value) if before is None else SMOOTHING * before + (1 - SMOOTHING) * float(value)
        self._memory[name] = now
        return now


class SignalWatch:
    """Says at once, and again at the end, where a run has nothing to learn from.

    The advantage of a group whose rewards are all equal is 0 (GRPO's normalisation): a step of such groups alone changes
    nothing. One such step may be chance; said are the first step, a tenth in a row, and a run without any other.

    Args:
        remembered: value of :attr:`remembered` at the checkpoint; empty for a new run.
    """

    def __init__(self, remembered: Mapping[str, float] | None = None) -> None:
        given = remembered or {}
        self._memory = {name: given.get(name, 0.0) for name in ("signal_steps", "silent_steps", "silent_in_a_row")}

    @property
    def remembered(self) -> dict[str, float]:
        """The watch's whole state, as plain numbers."""
        return dict(self._memory)

    def observe(self, metrics: Mapping[str, float | int | None], *, is_last: bool) -> str | None:
        """Take in the metrics of a step.

        Args:
            metrics: the line of the step.
            is_last: True for the run's last step.

        Returns:
            The warning, where one is due.
        """
        memory = self._memory
        num_groups = metrics.get("rollout/num_groups") or 0
        is_silent = num_groups > 0 and metrics.get("rollout/num_groups_without_signal") == num_groups
        memory["signal_steps"] += num_groups > 0 and not is_silent
        memory["silent_steps"] += is_silent
        memory["silent_in_a_row"] = memory["silent_in_a_row"] + 1 if is_silent else 0
        if not is_silent:
            return None
        num_steps = int(memory["silent_steps"])
        remedy = _signal_remedy(metrics)
        if is_last and not memory["signal_steps"]:
            steps = "its only step" if num_steps == 1 else f"all {num_steps} steps"
            return f"this run could not learn: in {steps} the rewards of every group were equal. {remedy}"
        if memory["silent_in_a_row"] == 10:
            return f"nothing was learned in the last 10 steps: the rewards of every group were equal. {remedy}"
        if num_steps == 1 and not memory["signal_steps"]:
            return (
                f"the rewards of all {num_groups:g} groups are equal within the group, so that this step teaches nothing, "
                f"and a run of such steps cannot learn. {remedy}"
            )
        return None


def _signal_remedy(metrics: Mapping[str, float | int | None]) -> str:
    success = metrics.get("rollout/exact_match", metrics.get("rollout/success"))
    if success == 1.0:
        return "Every trajectory is right: train on harder tasks"
    malformed, unanswered = metrics.get("rollout/malformed_rate"), metrics.get("rollout/no_answer_rate")
    if malformed == 1.0:
        return "No trajectory follows the grammar: begin with a warm start (`workflow-r1 warmstart`)"
    if unanswered == 1.0:
        return (
            "No trajectory gives an answer: begin with a warm start (`workflow-r1 warmstart`), or raise the limits in "
            "[environment]"
        )
    return (
        "Raise training.group_size or sampling.temperature, train on easier tasks, begin with a warm start (`workflow-r1 "
        "warmstart`), or give a reward that also tells wrong trajectories apart"
    )


class ContentionWatch:
    """Compares the wall time of work on this CPU with the CPU time that it used; warns once.

    With one thread the two are equal on a free machine; with more the CPU time is larger.
    """

    def __init__(self) -> None:
        self._wall = self._cpu = 0.0
        self._warned = False

    def observe(self, *, wall_seconds: float, cpu_seconds: float) -> str | None:
        """Take in a piece of work.

        Returns:
            The warning, the first time that it is due.
        """
        self._wall += wall_seconds
        self._cpu += cpu_seconds
        if self._warned or self._wall < CONTENTION_SECONDS:
            return None
        wall, cpu = self._wall, self._cpu
        self._wall = self._cpu = 0.0
        if wall < CONTENTION_RATIO * cpu:
            return None
        self._warned = True
        load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
        advice = "" if _has_one_thread() else "; with OMP_NUM_THREADS=1 a run suffers least from the others"
        return (
            f"updates took {wall:.0f} s for {cpu:.0f} s of this process' own CPU time: other programs use the processors "
            f"({load}). End them, or start fewer at once{advice}"
        )


def _has_one_thread() -> bool:
    return os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip() == "1"
