"""verl's metrics by our names. The rest of them stays in ``verl/metrics-1.jsonl``."""

from collections.abc import Mapping

from workflow_r1.recording.metrics import Metrics

UPDATE = {
    "actor/loss": "update/loss",
    "actor/kl_loss": "update/kl_loss",
    "actor/grad_norm": "update/grad_norm",
    "actor/lr": "update/learning_rate",
    "actor/entropy": "update/entropy",
    "actor/ratio_mean": "update/ratio_mean",
    "actor/clip_fraction_low": "update/clip_fraction_low",
    "actor/clip_fraction_high": "update/clip_fraction_high",
    "actor/gradient_mass_removed": "update/gradient_mass_removed",
    "actor/approx_kl": "update/approx_kl",
    "rollout_corr/k3_kl": "update/sampler_kl",
    "actor/perf/max_memory_allocated_gb": "update/max_memory_gb",
}
"""Metrics of an update by verl's names, and ours; verl averages over micro-batches, we over units."""

UPDATE_TIMES = ("old_log_prob", "ref", "adv", "update_actor", "update_weights")
"""Parts of a step of verl's that follow the rollouts."""


def update_metrics(metrics: Mapping[str, float]) -> Metrics:
    """Return verl's metrics of an update, under our names."""
    return {ours: metrics[theirs] for theirs, ours in UPDATE.items() if theirs in metrics}


def time_metrics(metrics: Mapping[str, float], *, num_sampled_tokens: int) -> Metrics:
    """Return the times of a step's parts, under our names."""
    rollout = metrics.get("timing_s/gen", 0.0)
    update = sum(metrics.get(f"timing_s/{part}", 0.0) for part in UPDATE_TIMES)
    tokens = metrics.get("perf/total_num_tokens", 0.0)
    return {
        "time/rollout_seconds": rollout,
        "time/update_seconds": update,
        "time/step_seconds": metrics.get("timing_s/step"),
        "time/sampled_tokens_per_second": num_sampled_tokens / rollout if rollout else None,
        "time/update_tokens_per_second": tokens / update if update else None,
    }
