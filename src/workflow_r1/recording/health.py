"""Watch a run: for the ways in which training goes wrong, and for processors that others use.

In a collapse, the known illness of GRPO on search tasks, the think text degenerates first and the final reward follows late
(Search-R1 issues 88 and 89, verl-agent 188); the likelihood of right trajectories falls before it (arXiv:2512.04220). A
curve of rewards alone shows it when it is over. The watch compares smoothed quantities with their own past.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workflow_r1.recording.alarms import Alarm, AlarmEnded, AlarmKind

SMOOTHING = 0.7
"""Weight of the past in the moving average: about three steps of memory, so that one odd step raises no alarm."""

PATIENCE = 5
"""Steps before a quantity raises its first alarm: its average needs them, and a policy may well change its habits at first."""

MAX_REWARD_DROP = 0.3
"""Alarm when the smoothed reward (it spans -1.5 to 1) stands so far below its best."""

MIN_THINK_RATIO = 0.3
"""Alarm when the think text is shorter than this part of its length in the first steps."""

MAX_THINK_RATIO = 4.0
"""Alarm when the think text is longer than so many times its length in the first steps."""

LONG_THINK_CHARS = 400.0
"""A mean thought of fewer characters (about 100 tokens) is short, however short it was before: a policy that learns to
think raises no alarm."""

MAX_REPETITION_RISE = 0.3
"""Alarm when the share of repeated word sequences has risen by so much. Measured: 0.00 to 0.02 in the quickstart, 0.16 in
a game whose thoughts follow a pattern."""

MIN_SURPRISAL_RATIO = 0.05
"""Alarm when the sampled tokens surprise the policy (an estimate of its entropy) less than this part of the start."""

MAX_SURPRISAL_RATIO = 3.0
"""Alarm when the sampled tokens surprise the policy so many times as much as at the start. Measured: up to 1.2 times in the
quickstart, 1.9 in word problems that were learned."""

MAX_MALFORMED_RISE = 0.25
"""Alarm when the share of malformed trajectories stands so far above its best. Measured: up to 0.17 in single steps of games that were
learned, above 0.7 in those that collapsed."""

MAX_RIGHT_DROP = 0.01
"""Alarm when the tokens of right trajectories lose so many nats each while a step learns: a right trajectory of 100 tokens is
then a third as likely. Measured: gains of 0.0002 in the quickstart."""

MAX_RIGHT_SURPRISAL_RATIO = 2.0
"""Alarm when right trajectories surprise the policy so many times as much as at the start."""

MIN_RATIO = 0.97
"""Alarm when the mean importance ratio stands below: the update makes what the policy sampled less likely, whatever its reward.
Measured: 0.998 and more in runs that learned."""

MAX_UNCLIPPED_KL = 0.02
"""Alarm when a policy moves by so many nats a token within a step, and the clip stops nothing. Spinning Up ends an update of PPO
at 0.015; the quickstart moves by 0.00001."""

MIN_CLIPPED = 0.001
"""A clip that removes the gradient of a smaller share of units stops nothing."""

MAX_CLIPPED = 0.95
"""Alarm when the clip removes the gradient of a larger share of units. GSPO's own narrow range clips about half by design, and
0.8 in games that were learned with it."""

MIN_WORKFLOW_SHARE, MAX_FIRST_WORKFLOW_SHARE = 0.95, 0.8
"""Alarm when the most frequent workflow has become the workflow of so large a share of trajectories, from at most the second share
in the first steps: where a task has one workflow from the start, nothing has collapsed."""

MIN_TRAJECTORIES = 16
"""The most frequent workflow of fewer trajectories says little: of 4 it is all of them by chance."""

GOOD_SUCCESS = 0.8
"""A policy that succeeds this often may well have found the one workflow that its task needs."""

SILENT_STEPS = 10
"""Alarm when so many steps in a row teach nothing; fewer may be chance where a step has few groups."""

CONTENTION_RATIO = 2.0
"""Warn where work that waits for nothing else takes so many times its own CPU time: half of it was waiting."""

CONTENTION_SECONDS = 10.0
"""Wall time of one measurement, in seconds: a shorter one says little."""

_BASELINES = ("think", "repetition", "surprisal", "right_surprisal", "workflow")
"""Quantities that are compared with their first values."""

_STEADY = (
    "lower optimiser.learning_rate, take fewer optimiser steps on one batch (training.epochs, "
    "training.mini_batch_questions), or "
)
_NARROWER, _SOME_CLIP = "narrow the clip (objective.clip_low, objective.clip_high)", 'set objective.clip = "fixed"'
_LOOK = "look at the last trajectories; an earlier checkpoint may be the better policy"


@dataclass(frozen=True, slots=True)
class _Finding:
    """One way in which training goes wrong, and whether it does."""

    kind: AlarmKind
    is_present: bool
    message: str
    remedy: str
    says_more: bool = False
    """True where the message is worth saying though the alarm lasts already."""


class RunWatch:
    """Remembers the best and the first values of a run; raises each alarm once until it is over.

    Args:
        remembered: value of :attr:`remembered` at the checkpoint; empty for a new run.
        has_clip: True where the objective clips to a range; a run without one raises no ``clip_inactive``.
    """

    def __init__(self, remembered: Mapping[str, float] | None = None, *, has_clip: bool = True) -> None:
        self._memory = dict(remembered or {})
        self._has_clip = has_clip
        self._steady = _STEADY + (_NARROWER if has_clip else _SOME_CLIP)

    @property
    def remembered(self) -> dict[str, float]:
        """The watch's whole state, as plain numbers."""
        return dict(self._memory)

    def observe(self, metrics: Mapping[str, float | int | None], *, is_last: bool = False) -> list[Alarm | AlarmEnded]:
        """Take in the metrics of a step.

        Args:
            metrics: the line of the step.
            is_last: True for the run's last step.

        Returns:
            The alarms that begin or end with it.
        """
        step = int(metrics.get("step") or 0)
        for name, value in _quantities(metrics).items():
            self._take_in(name, value)
        changes: list[Alarm | AlarmEnded] = []
        for found in (*self._findings(), self._find_silence(metrics, is_last=is_last)):
            was_raised = bool(self._memory.get(f"raised_{found.kind}"))
            if found.is_present and (not was_raised or found.says_more):
                changes.append(Alarm(found.kind, step, found.message, found.remedy))
            elif was_raised and not found.is_present:
                changes.append(AlarmEnded(found.kind, step))
            self._memory[f"raised_{found.kind}"] = float(found.is_present)
        return changes

    def _take_in(self, name: str, value: float | int | None) -> None:
        """Move the average of a quantity, and its first value while it is young."""
        if value is None:
            return
        memory = self._memory
        before = memory.get(name, float(value))
        memory[name] = SMOOTHING * before + (1 - SMOOTHING) * float(value) if name in memory else float(value)
        memory[f"num_{name}"] = memory.get(f"num_{name}", 0.0) + 1.0
        if name in _BASELINES and self._is_young(name):
            memory[f"first_{name}"] = memory[name]

    def _is_young(self, name: str) -> bool:
        return self._memory.get(f"num_{name}", 0.0) < PATIENCE

    # ---------------------------------------------------------------------------------------------- what may go wrong

    def _findings(self) -> Iterator[_Finding]:
        yield from self._find_collapse()
        yield from self._find_drift()
        yield from self._find_useless_clip()

    def _find_collapse(self) -> Iterator[_Finding]:
        """Compare the trajectories with those of the first steps."""
        memory = self._memory
        reward = memory.get("reward", 0.0)
        if "reward" in memory:
            memory["best_reward"] = max(memory.get("best_reward", reward), reward)
        best = memory.get("best_reward", reward)
        yield _Finding(
            "reward_fallen",
            not self._is_young("reward") and reward < best - MAX_REWARD_DROP,
            f"the reward has fallen to {reward:.2f} from its best of {best:.2f}",
            _LOOK,
        )
        think, first = self._grown("think")
        yield _Finding(
            "thoughts_shrunk",
            think < MIN_THINK_RATIO * first,
            f"the think text has shrunk to {think:.0f} characters from {first:.0f}",
            _LOOK,
        )
        yield _Finding(
            "thoughts_grown",
            think > max(MAX_THINK_RATIO * first, LONG_THINK_CHARS),
            f"the think text has grown to {think:.0f} characters from {first:.0f}",
            _LOOK,
        )
        repetition, first = self._grown("repetition")
        yield _Finding(
            "thoughts_repeated",
            repetition > first + MAX_REPETITION_RISE,
            f"the thoughts repeat themselves: {repetition:.0%} of their word sequences have occurred before, from {first:.0%}",
            _LOOK,
        )
        malformed, is_known = self._settled("malformed")
        if is_known:
            memory["least_malformed"] = min(memory.get("least_malformed", malformed), malformed)
        least = memory.get("least_malformed", malformed)
        yield _Finding(
            "malformed",
            not self._is_young("malformed") and malformed > least + MAX_MALFORMED_RISE,
            f"{malformed:.0%} of the trajectories are malformed, {least:.0%} at best",
            f"{_LOOK}, and a lower optimiser.learning_rate keeps it",
        )
        surprisal, first = self._grown("surprisal")
        yield _Finding(
            "surprisal_fallen",
            surprisal < MIN_SURPRISAL_RATIO * first,
            f"the policy has almost stopped exploring: {surprisal:.4f} nats per token from {first:.4f}",
            "a smaller learning rate, a KL coefficient or a wider clip keeps it open"
            if self._has_clip
            else "a smaller learning rate or a KL coefficient keeps it open",
        )
        yield _Finding(
            "surprisal_risen",
            surprisal > MAX_SURPRISAL_RATIO * first,
            f"the policy has become erratic: {surprisal:.3f} nats per token from {first:.3f}",
            self._steady,
        )
        share, first = self._grown("workflow")
        success = memory.get("success", 1.0)
        yield _Finding(
            "one_workflow",
            share > MIN_WORKFLOW_SHARE and first < MAX_FIRST_WORKFLOW_SHARE and success < GOOD_SUCCESS,
            f"{share:.0%} of the trajectories follow one workflow, from {first:.0%}, and {success:.0%} succeed",
            "raise sampling.temperature, set objective.kl_coefficient, or lower optimiser.learning_rate, so that others are tried",
        )

    def _find_drift(self) -> Iterator[_Finding]:
        """Ask whether the update makes what was sampled less likely."""
        change, is_known = self._settled("right_change")
        surprisal, first = self._grown("right_surprisal")
        falls = is_known and change < -MAX_RIGHT_DROP
        yield _Finding(
            "right_less_likely",
            falls or surprisal > MAX_RIGHT_SURPRISAL_RATIO * first,
            f"right trajectories become less likely: {-change:.3f} nats per token while a step learns"
            if falls
            else f"right trajectories become less likely: {surprisal:.3f} nats per token from {first:.3f}",
            self._steady,
        )
        ratio, is_known = self._settled("ratio")
        yield _Finding(
            "ratio_below_1",
            is_known and ratio < MIN_RATIO,
            f"the mean importance ratio has drifted to {ratio:.3f}: what was sampled becomes less likely, right or wrong",
            self._steady,
        )

    def _find_useless_clip(self) -> Iterator[_Finding]:
        """Ask whether the clip does anything that it is meant to do."""
        moved, is_known = self._settled("approx_kl")
        clipped, _ = self._settled("clipped")
        yield _Finding(
            "clip_inactive",
            self._has_clip and is_known and clipped < MIN_CLIPPED and moved > MAX_UNCLIPPED_KL,
            f"the clip stops nothing, though the policy moves by {moved:.3f} nats per token within a step",
            "narrow objective.clip_low and objective.clip_high, set objective.clip_reference_length, or lower "
            "optimiser.learning_rate",
        )
        yield _Finding(
            "clip_everywhere",
            is_known and clipped > MAX_CLIPPED,
            f"the clip removes the gradient of {clipped:.0%} of the units after a step's first optimiser step",
            "widen objective.clip_low and objective.clip_high, or take fewer optimiser steps on one batch "
            "(training.epochs, training.mini_batch_questions)",
        )

    def _grown(self, name: str) -> tuple[float, float]:
        """Return a quantity's average and its first value; the average for both while it is too young to be compared."""
        now = self._memory.get(name, 0.0)
        return now, now if self._is_young(name) else self._memory[f"first_{name}"]

    def _settled(self, name: str) -> tuple[float, bool]:
        """Return a quantity's average, and whether more than one step has given it."""
        return self._memory.get(name, 0.0), self._memory.get(f"num_{name}", 0.0) > 1

    def _find_silence(self, metrics: Mapping[str, float | int | None], *, is_last: bool) -> _Finding:
        """Ask whether the run has anything to learn from.

        The advantage of a group whose rewards are all equal is 0 (GRPO's normalisation): a step of such groups alone
        changes nothing. One such step may be chance; said are the first step, a tenth in a row, and a run without any
        other.
        """
        memory = self._memory
        num_groups = metrics.get("rollout/num_groups") or 0
        is_silent = num_groups > 0 and metrics.get("rollout/num_groups_without_signal") == num_groups
        for name, counts in (("signal_steps", num_groups > 0 and not is_silent), ("silent_steps", is_silent)):
            memory[name] = memory.get(name, 0.0) + counts
        memory["silent_in_a_row"] = memory.get("silent_in_a_row", 0.0) + 1 if is_silent else 0.0
        num_steps, has_learned = int(memory["silent_steps"]), memory["signal_steps"] > 0
        could_not_learn = is_last and not has_learned
        if could_not_learn:
            steps = "its only step" if num_steps == 1 else f"all {num_steps} steps"
            message = f"this run could not learn: in {steps} the rewards of every group were equal"
        elif has_learned:
            message = f"nothing was learned in the last {SILENT_STEPS} steps: the rewards of every group were equal"
        else:
            groups = "the only group" if num_groups == 1 else f"all {num_groups:g} groups"
            message = (
                f"the rewards of {groups} are equal within the group, so that this step teaches nothing, and a run of such "
                "steps cannot learn"
            )
        lasts = is_silent and (not has_learned or memory["silent_in_a_row"] >= SILENT_STEPS)
        if num_groups == 0:  # Every trajectory failed: the step says nothing about rewards.
            lasts = bool(memory.get("raised_no_signal"))
        return _Finding("no_signal", lasts, message, _signal_remedy(metrics), says_more=could_not_learn)


def _quantities(metrics: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    """Return what the watch smooths, by its own names; None where a step does not say it."""
    update = "update/later/" if "update/later/ratio_mean" in metrics else "update/"
    has_enough = (metrics.get("rollout/num_trajectories") or 0) >= MIN_TRAJECTORIES
    low, high = (metrics.get(f"{update}clip_fraction_{side}") for side in ("low", "high"))
    return {
        "reward": metrics.get("rollout/reward"),
        "success": metrics.get("rollout/exact_match", metrics.get("rollout/success")),
        "think": metrics.get("rollout/think_chars"),
        "repetition": metrics.get("rollout/think_repetition"),
        "malformed": metrics.get("rollout/malformed_rate"),
        "surprisal": metrics.get("rollout/surprisal"),
        "right_surprisal": metrics.get("rollout/surprisal_right"),
        "workflow": metrics.get("rollout/workflow_share") if has_enough else None,
        "right_change": metrics.get("update/later/right_logprob_change"),
        "ratio": metrics.get(f"{update}ratio_mean"),
        "approx_kl": metrics.get(f"{update}approx_kl"),
        "clipped": None if low is None or high is None else low + high,
    }


def _signal_remedy(metrics: Mapping[str, float | int | None]) -> str:
    success = metrics.get("rollout/exact_match", metrics.get("rollout/success"))
    if success == 1.0:
        return "every trajectory is right: train on harder tasks"
    malformed, unanswered = metrics.get("rollout/malformed_rate"), metrics.get("rollout/no_answer_rate")
    if malformed == 1.0:
        return "no trajectory follows the grammar: begin with a warm start (`workflow-r1 warmstart`)"
    if unanswered == 1.0:
        return (
            "no trajectory gives an answer: begin with a warm start (`workflow-r1 warmstart`), or raise the limits in "
            "[environment]"
        )
    return (
        "raise training.group_size or sampling.temperature, train on easier tasks, begin with a warm start (`workflow-r1 "
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
