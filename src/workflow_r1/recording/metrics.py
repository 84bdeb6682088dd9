"""Turns trajectories into the figures of a line of ``metrics.jsonl``: flat keys, plain numbers."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from workflow_r1.evaluation.evaluate import EvaluationResult
from workflow_r1.evaluation.figures import MEASURES, Figures, Measure, compute_figures
from workflow_r1.prompts import parse_turn
from workflow_r1.trajectory import ScoredTrajectory, StopReason, Trajectory
from workflow_r1.trajectory.outcome import operator_of

Metrics = dict[str, float | int | None]
"""Keys ``stage/quantity``; None where a quantity has no value in this step."""

_RARE_REASONS = (StopReason.CONTEXT_FULL, StopReason.CONTENT_REFUSED, StopReason.DONE, StopReason.TASK_FAILED)
"""Stop reasons whose share is written in the steps in which they occur."""

_REPEATED_WORDS = 4
"""Words of a sequence that counts as repeated: rep-4 of "Neural text generation with unlikelihood training" (Welleck et al.,
arXiv:1908.04319)."""

_LATER = (
    *("ratio_mean", "clip_fraction_low", "clip_fraction_high", "gradient_mass_removed", "approx_kl"),
    "right_logprob_change",
)
"""Figures of an update that say nothing in its first optimiser step, which begins at the old policy."""


_OF_TOKENS = ("entropy", "kl", "sampler_kl", "sampler_difference", "correction_mean", "correction_capped")
"""Figures of an update that are means over its tokens."""

WEIGHT = "weight/"
"""Beginning of a mini-batch's own weights for single figures; :func:`combine_mini_batches` uses them and leaves them out."""


def rollout_metrics(trajectories: Sequence[Trajectory], *, operators: Sequence[str]) -> Metrics:
    """Describe the rollouts of one step.

    Args:
        trajectories: all of the step: scored, or plain where the infrastructure failed (counted, and left out of
            everything else).
        operators: the pool; each name gets a key in every step, called or not.
    """
    figures = compute_figures(trajectories)
    scored = [trajectory for trajectory in trajectories if isinstance(trajectory, ScoredTrajectory)]
    turns = [turn for trajectory in scored for turn in trajectory.turns]
    thoughts = [[parse_turn(turn.text).think or "" for turn in trajectory.turns] for trajectory in scored]
    groups: dict[str, set[float]] = {}
    for trajectory in scored:
        groups.setdefault(trajectory.group_id, set()).add(trajectory.reward.total)
    calls = {name: figures.operator_calls.get(name, 0.0) for name in (*operators, "(invalid)")}
    return {
        "rollout/num_trajectories": len(trajectories),
        "rollout/num_failed": figures.num_failed,
        "rollout/reward": figures.reward,
        **({} if figures.headline is None else {f"rollout/{figures.measure}": figures.headline.rate}),
        **_if_left_out_wrong("rollout", figures),
        **_of_answers(figures, {"rollout/f1": figures.f1, "rollout/no_answer_rate": 1.0 - figures.answered.rate}),
        **{f"rollout/part/{name}": value for name, value in figures.parts.items()},
        "rollout/malformed_rate": 1.0 - figures.well_formed.rate,
        "rollout/turns": figures.turns,
        "rollout/policy_tokens": figures.policy_tokens,
        "rollout/think_chars": _mean([len(thought) for each in thoughts for thought in each]),
        "rollout/think_repetition": _mean_of_known(map(_repetition, thoughts)),
        "rollout/surprisal": -_mean([value for turn in turns for value in turn.logprobs]),
        **_of_right(figures, scored),
        "rollout/num_groups": len(groups),
        "rollout/num_groups_without_signal": sum(len(rewards) == 1 for rewards in groups.values()),
        "rollout/llm_calls": figures.llm_calls,
        "rollout/llm_prompt_tokens": figures.llm_prompt_tokens,
        "rollout/llm_completion_tokens": figures.llm_completion_tokens,
        "rollout/cost": figures.cost,
        **{f"rollout/calls/{name}": value for name, value in calls.items()},
        "rollout/operator_entropy": _entropy(calls.values()),
        "rollout/workflow_share": _share_of_most_frequent(scored),
        **{
            f"rollout/stop/{reason.value}": figures.stop_reasons.get(reason.value, 0) / max(1, len(trajectories))
            for reason in StopReason
            if reason not in _RARE_REASONS or reason.value in figures.stop_reasons
        },
    }


def evaluation_metrics(result: EvaluationResult) -> Metrics:
    """Describe a greedy evaluation, over all questions and for each class; intervals are 95% (Wilson).

    Where the infrastructure failed every question there are no figures, and None stands in their place.
    """
    figures = result.figures
    means: Metrics = {
        **_of_answers(figures, {"evaluation/f1": figures.f1}),
        "evaluation/reward": figures.reward,
        **_of_answers(figures, {"evaluation/answered": figures.answered.rate}),
        **{f"evaluation/part/{name}": value for name, value in figures.parts.items()},
        "evaluation/well_formed": figures.well_formed.rate,
        "evaluation/turns": figures.turns,
        "evaluation/policy_tokens": figures.policy_tokens,
        "evaluation/llm_calls": figures.llm_calls,
        "evaluation/cost": figures.cost,
        **{f"evaluation/calls/{name}": value for name, value in figures.operator_calls.items()},
    }
    return {
        "evaluation/num_questions": len(result.trajectories),
        "evaluation/num_failed": figures.num_failed,
        **_success("evaluation", figures),
        **_if_scored(figures, means),
        **{
            key: value
            for name, of_class in result.by_class.items()
            for key, value in (
                *_success(f"evaluation/class/{name}", of_class).items(),
                *([(f"evaluation/class/{name}/num_failed", of_class.num_failed)] if of_class.num_failed else []),
            )
        },
    }


def sampled_metrics(results: Sequence[EvaluationResult]) -> Metrics:
    r"""Describe the sampled answers to held-out questions; no figures without any.

    Of n answers to a question, s succeed. Over the questions that have all n:

    .. math:: \text{pass\_all} = \text{mean of } 1[s = n], \qquad
              \text{flip\_rate} = \text{mean of } \frac{2\, s\, (n - s)}{n\, (n - 1)}

    ``pass_all`` is the share of questions of which every answer succeeds (pass^k of tau-bench, arXiv:2406.12045, with
    k = n), ``flip_rate`` the probability that one of two answers to a question succeeds and the other does not.

    Args:
        results: evaluations of the same questions, each under a seed of its own.
    """
    if not results:
        return {}
    figures = compute_figures([trajectory for result in results for trajectory in result.trajectories])
    metrics = {"evaluation/sampled/num_failed": figures.num_failed, **_success("evaluation/sampled", figures)}
    metrics |= _if_scored(figures, {"evaluation/sampled/reward": figures.reward})
    answers = [
        [each.reward.success is True for each in of_question if isinstance(each, ScoredTrajectory)]
        for of_question in zip(*(result.trajectories for result in results), strict=True)
    ]
    num = len(results)
    successes = [sum(each) for each in answers if len(each) == num]
    if figures.headline is None or num < 2 or not successes:
        return metrics
    return {
        **metrics,
        "evaluation/sampled/pass_all": _mean([float(each == num) for each in successes]),
        "evaluation/sampled/flip_rate": _mean([2 * each * (num - each) / (num * (num - 1)) for each in successes]),
    }


def combine_mini_batches(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Join the metrics of a step's mini-batches.

    Counts (``num_...``) are added up, ``..._min`` and ``..._max`` reduced so. Everything else is a mean, and is weighted
    by its own ``weight/...`` where the mini-batch has one, a mean over tokens by ``num_tokens``, any other by the
    ``num_units`` that stands beside it, under the same ``turn_k/`` or at the top. Keys may be missing where a mini-batch
    has no turn of that index.
    """
    combined: dict[str, float] = {}
    for key in sorted({key for part in parts for key in part if not key.startswith(WEIGHT)}):
        prefix, _, name = key.rpartition("/")
        count = "num_tokens" if key in _OF_TOKENS else f"{prefix}/num_units" if prefix else "num_units"
        own = f"{WEIGHT}{key}"
        values = [(part[key], part[own if own in part else count]) for part in parts if key in part]
        if name.startswith("num_"):
            combined[key] = sum(value for value, _ in values)
        elif name.endswith("_min"):
            combined[key] = min(value for value, _ in values)
        elif name.endswith("_max"):
            combined[key] = max(value for value, _ in values)
        else:
            total = sum(weight for _, weight in values)
            # Without any weight there is nothing that a share could be of.
            combined[key] = sum(value * weight for value, weight in values) / total if total else 0.0
    return combined


def combine_later_mini_batches(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Join the metrics of the mini-batches after the first, as :func:`combine_mini_batches` does.

    In the first, the policy is still the old one: its ratio is 1 and nothing is clipped, which hides the others.

    Returns:
        Keys ``later/...``; empty where there is only one.
    """
    names = (*_LATER, *(f"{WEIGHT}{key}" for key in _LATER), "num_units")
    kept = [{key: part[key] for key in names if key in part} for part in parts[1:]]
    return {f"later/{key}": value for key, value in combine_mini_batches(kept).items() if key != "num_units"}


def merge(*parts: Mapping[str, float | int | None]) -> Metrics:
    """Join metrics of several stages.

    Raises:
        ValueError: two of them share a key.
    """
    joined: Metrics = {}
    for part in parts:
        shared = joined.keys() & part.keys()
        if shared:
            raise ValueError(f"expected every metric once, but {sorted(shared)} come from two stages")
        joined |= part
    return joined


def tell_left_out(row: Mapping[str, float | int | None], prefix: str) -> str:
    """Return a note on the success in a row of metrics that left something out; empty where it left out nothing.

    Args:
        row: a row of ``metrics.jsonl`` or ``evaluations.jsonl``.
        prefix: ``rollout``, ``evaluation`` or ``evaluation/class/NAME``.
    """
    at_least = row.get(f"{prefix}/{headline_of(row, prefix)}_if_left_out_wrong")
    if at_least is None:
        return ""
    return f"; {row.get(f'{prefix}/num_failed')} left out, {at_least:.3f} if wrong"


def headline_of(row: Mapping[str, float | int | None], prefix: str) -> Measure:
    """Return the quantity that says how good a policy is, by a row of metrics: ``exact_match`` for questions, ``success``
    for other tasks, ``reward`` where a task does not say success.

    Args:
        row: a row of ``metrics.jsonl`` or ``evaluations.jsonl``.
        prefix: ``rollout``, ``evaluation`` or ``evaluation/class/NAME``.
    """
    return next((name for name in MEASURES if f"{prefix}/{name}" in row), "reward")


def _if_left_out_wrong(prefix: str, figures: Figures) -> Metrics:
    """Return the success if everything left out had failed; nothing where nothing was left out."""
    if not figures.num_failed or figures.headline is None:
        return {}
    return {f"{prefix}/{figures.measure}_if_left_out_wrong": figures.headline_if_left_out_wrong}


def _success(prefix: str, figures: Figures) -> Metrics:
    success = figures.headline
    if success is None:
        return {f"{prefix}/num_scored": figures.well_formed.total}
    rate = {"": success.rate, "_low": success.low, "_high": success.high}
    return {
        **_if_scored(figures, {f"{prefix}/{figures.measure}{end}": value for end, value in rate.items()}),
        f"{prefix}/num_scored": success.total,
        **_if_left_out_wrong(prefix, figures),
    }


def _if_scored(figures: Figures, metrics: Metrics) -> Metrics:
    """Return the metrics, or None in place of each where nothing was scored: a failure is no rate of 0."""
    return metrics if figures.well_formed.total else dict.fromkeys(metrics)


def _of_answers(figures: Figures, metrics: Metrics) -> Metrics:
    return metrics if figures.measure == "exact_match" else {}


def _of_right(figures: Figures, scored: Sequence[ScoredTrajectory]) -> Metrics:
    """Return the surprisal of right trajectories, where the task says which ones are."""
    if figures.headline is None:
        return {}
    right = [trajectory for trajectory in scored if trajectory.reward.success is True]
    logprobs = [value for trajectory in right for turn in trajectory.turns for value in turn.logprobs]
    return {"rollout/surprisal_right": -_mean(logprobs) if logprobs else None}


def _repetition(thoughts: Sequence[str]) -> float | None:
    """Return the share of word sequences in a trajectory's thoughts that have occurred in them before."""
    seen: set[tuple[str, ...]] = set()
    num = 0
    for thought in thoughts:
        words = thought.split()
        sequences = [*zip(*(words[start:] for start in range(_REPEATED_WORDS)), strict=False)]
        seen.update(sequences)
        num += len(sequences)
    return 1.0 - len(seen) / num if num else None


def _entropy(amounts: Iterable[float]) -> float:
    """Return the entropy of shares, in nats."""
    present = [amount for amount in amounts if amount]
    return math.fsum(amount / sum(present) * math.log(sum(present) / amount) for amount in present)


def _share_of_most_frequent(scored: Sequence[ScoredTrajectory]) -> float | None:
    """Return the share of trajectories whose workflow, the operators in the order of their calls, is the most frequent."""
    workflows = Counter(tuple(operator_of(call) for turn in each.turns for call in turn.calls) for each in scored)
    return max(workflows.values()) / len(scored) if scored else None


def _mean_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
