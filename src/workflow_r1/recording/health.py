"""Watch a run: for late collapse, the known illness of GRPO on search tasks, and for processors that others use.

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
