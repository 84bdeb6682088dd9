import math

import pytest
import torch

from workflow_r1.algorithms import matched_scale
from workflow_r1.config.training import LoraSettings, ObjectiveConfig
from workflow_r1.engines.native import update as update_module
from workflow_r1.engines.native.optimiser import build_optimiser
from workflow_r1.engines.native.update import (
    DEFAULT_CORRECTION_CAP,
    PolicyUpdate,
    resolve_objective,
    with_correction,
)
from workflow_r1.policy.model import load_policy_model
from workflow_r1.policy.prefix_trees import PrefixTree
from workflow_r1.trajectory import AnswerReward, ScoredTrajectory, StopReason

GROUP = 4


def score(trajectory, total):
    reward = AnswerReward(total=total, answer=total, format=0.0, exact_match=total, f1=total)
    return ScoredTrajectory(**dict(trajectory), reward=reward)


@pytest.fixture
def groups(trajectory_maker):
    """Six groups of four: rewards differ in the first four groups, are equal in the last two."""
    trajectories = trajectory_maker(6 * GROUP)
    rewards = [1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    scored = [score(trajectory, float(reward)) for trajectory, reward in zip(trajectories, rewards, strict=True)]
    return [scored[start : start + GROUP] for start in range(0, len(scored), GROUP)]


def configure(config, *, objective=None, optimiser=None, mini_batch_questions=8, epochs=1):
    return config.model_copy(
        update={
            "objective": config.objective.model_copy(update={"kl_coefficient": 0.0} | (objective or {})),
            "optimiser": config.optimiser.model_copy(update={"learning_rate": 1e-2} | (optimiser or {})),
            "training": config.training.model_copy(
                update={"mini_batch_questions": mini_batch_questions, "epochs": epochs}
            ),
        }
    )


def make_update(config, perturb=False, samples_as_trained=False):
    model, tokenizer = load_policy_model(config.policy, lora=config.optimiser.lora, seed=config.seed)
    if perturb:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    optimiser = build_optimiser(model, config.optimiser, learning_rate=config.optimiser.learning_rate)
    update = PolicyUpdate(
        model,
        optimiser,
        tokenizer.pad_token_id,
        objective=config.objective,
        settings=config.optimiser,
        temperature=config.sampling.temperature,
        mini_batch_questions=config.training.mini_batch_questions,
        epochs=config.training.epochs,
        samples_as_trained=samples_as_trained,
        max_response_tokens=20,
        num_think_tokens=lambda turn: len(turn.token_ids) // 3,
    )
    return update, model


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def gradient_of(update, model, mini_batch, **logprobs):
    model.zero_grad()
    result = update.accumulate_gradient(mini_batch, **logprobs)
    return result, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    "objective",
    [
        *(
            {"preset": preset, "weight": weight}
            for preset in ("gsspo", "gspo", "grpo")
            for weight in ("uniform", "length", "batch")
        ),
        {"preset": "dr_grpo", "weight_length": 30.0},
        {"preset": "sapo", "unit": "think_action", "sapo_temperature_positive": 4.0},
        {"preset": "cispo", "unit": "think_action", "weight": "batch", "clip_high": 0.1},
        {"preset": "gsspo", "clip": "none"},
        {"preset": "gsspo", "dual_clip": 1.05},
    ],
    ids=lambda objective: "-".join(map(str, objective.values())),
)
def test_micro_batches_do_not_change_gradient_or_metrics(run_config, groups, objective):
    objective = {**objective, "kl_coefficient": 0.1, "correction_cap": 1.5}
    results = []
    for tokens in (1, 120, 100_000):
        update, model = make_update(
            configure(run_config, objective=objective, optimiser={"micro_batch_tokens": tokens}), perturb=True
        )
        (mini_batch,) = update.mini_batches(groups)
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(mini_batch.batch.turn_ids.shape, generator=generator) * 0.3
        logprobs = update.logprobs(mini_batch.batch)
        results.append(
            gradient_of(update, model, mini_batch, old_logprobs=logprobs + noise, ref_logprobs=logprobs - noise)
        )
    (first, expected), *others = results
    assert first.metrics["ratio_max"] > 1.05
    for result, gradient in others:
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
        assert result.loss == pytest.approx(first.loss, abs=1e-6)
        assert result.kl_loss == pytest.approx(first.kl_loss, abs=1e-6)
        assert result.metrics.keys() == first.metrics.keys()
        for name, value in result.metrics.items():
            assert value == pytest.approx(first.metrics[name], abs=1e-5), name


def test_the_whole_step_is_unchanged_by_micro_batches(run_config, groups):
    ends = []
    for tokens in (1, 100_000):
        config = configure(run_config, optimiser={"micro_batch_tokens": tokens}, mini_batch_questions=2)
        update, model = make_update(config)
        result = update.step(groups, policy_version=0)
        ends.append((weights(model), result.metrics))
    torch.testing.assert_close(ends[0][0], ends[1][0], atol=2e-5, rtol=0)
    assert ends[0][1]["update/loss"] == pytest.approx(ends[1][1]["update/loss"], abs=1e-6)


def test_gradient_at_ratio_one_is_the_policy_gradient(run_config, groups):
    """Written out: -1/N sum_i 1/K_i sum_k 1/L_ik sum_t A_i grad log pi, over every token of the full vocabulary."""
    update, model = make_update(configure(run_config))
    (mini_batch,) = update.mini_batches(groups)
    _, gradient = gradient_of(update, model, mini_batch)
    model.zero_grad()
    loss = 0.0
    num = 6 * GROUP
    for group in groups:
        mean = sum(t.reward.total for t in group) / GROUP
        std = math.sqrt(sum((t.reward.total - mean) ** 2 for t in group) / (GROUP - 1))
        for trajectory in group:
            advantage = (trajectory.reward.total - mean) / std if std else 0.0
            context = list(trajectory.prompt_token_ids)
            for turn in trajectory.turns:
                logits = model(input_ids=torch.tensor([context + list(turn.token_ids)])).logits[0]
                table = torch.log_softmax(logits[len(context) - 1 : -1], dim=-1)
                logprobs = table[range(len(turn.token_ids)), list(turn.token_ids)]
                loss = loss - advantage * logprobs.mean() / len(trajectory.turns) / num
                context += [*turn.token_ids, *turn.context_token_ids]
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("weight", ["uniform", "length", "batch", "constant"])
def test_leaving_out_zero_advantages_changes_no_gradient(run_config, groups, weight):
    config = configure(run_config, objective={"weight": weight})
    update, model = make_update(config)
    (skipping,) = update.mini_batches(groups)
    assert skipping.num_zero_advantage == 2 * GROUP and skipping.batch.num_rows == 4 * GROUP
    assert skipping.num_trajectories == 6 * GROUP
    assert skipping.num_units == sum(len(t.turns) for group in groups for t in group)
    _, gradient = gradient_of(update, model, skipping)

    # An infinitesimal coefficient keeps every trajectory in the batch.
    whole_update, whole_model = make_update(
        configure(run_config, objective={"weight": weight, "kl_coefficient": 1e-30})
    )
    (whole,) = whole_update.mini_batches(groups)
    assert whole.num_zero_advantage == 0 and whole.batch.num_rows == 6 * GROUP
    _, expected = gradient_of(whole_update, whole_model, whole)
    torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-5)


def test_failures_enter_neither_group_statistics_nor_loss(run_config, groups, trajectory_maker):
    failed = trajectory_maker(1, seed=9)[0].model_copy(update={"stop_reason": StopReason.OPERATOR_FAILED})
    ends = []
    for extra in ([], [failed, failed]):
        update, model = make_update(configure(run_config))
        result = update.step([[*group, *extra] for group in groups], policy_version=0)
        ends.append((weights(model), result.metrics))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[1][1].pop("update/num_failed") == 12
    assert ends[0][1].pop("update/num_failed") == 0
    assert ends[0][1] == ends[1][1]


@pytest.mark.parametrize("kl_coefficient", [0.0, 1e-3])
def test_a_group_whose_prompt_fills_the_context_teaches_nothing(run_config, groups, trajectory_maker, kl_coefficient):
    made = trajectory_maker(GROUP, seed=9)
    full = [each.model_copy(update={"turns": (), "stop_reason": StopReason.CONTEXT_FULL}) for each in made]
    update, model = make_update(configure(run_config, objective={"kl_coefficient": kl_coefficient}))
    before = weights(model)
    update.step([[score(each, -1.5) for each in full]], policy_version=0)
    assert torch.equal(weights(model), before)
    result = update.step([*groups, [score(each, -1.5) for each in full]], policy_version=0)
    assert math.isfinite(result.metrics["update/loss"])


def test_with_adapters_the_base_is_the_reference(run_config, groups):
    objective = {"kl_coefficient": 0.1}
    full, _ = make_update(configure(run_config, objective=objective), perturb=True)
    lora, _ = make_update(
        configure(run_config, objective=objective, optimiser={"lora": LoraSettings(rank=4)}), perturb=True
    )
    base, _ = make_update(configure(run_config, objective=objective))
    (mini_batch,) = base.mini_batches(groups)
    expected = base.logprobs(mini_batch.batch)
    assert not torch.allclose(lora.logprobs(mini_batch.batch), expected, atol=1e-3)
    assert torch.equal(lora._reference_logprobs(mini_batch.batch), expected)
    # Without adapters it is the model as it was when the update was made.
    assert torch.equal(full._reference_logprobs(mini_batch.batch), full.logprobs(mini_batch.batch))
    result = lora.step(groups, policy_version=0)
    assert result.metrics["update/kl"] > 0
    assert torch.equal(lora._reference_logprobs(mini_batch.batch), expected)


def test_a_frozen_copy_stays_when_the_policy_moves(run_config, groups):
    update, _ = make_update(configure(run_config, objective={"kl_coefficient": 0.1}))
    (mini_batch,) = update.mini_batches(groups)
    before = update._reference_logprobs(mini_batch.batch)
    first = update.step(groups, policy_version=0)
    second = update.step(groups, policy_version=1)
    assert torch.equal(update._reference_logprobs(mini_batch.batch), before)
    assert abs(first.metrics["update/kl"]) < 1e-6 < second.metrics["update/kl"]


def test_old_log_probabilities_are_those_before_the_first_optimiser_step(run_config, groups):
    """With one mini-batch the ratio is 1; with several it leaves 1 from the second on."""
    update, _ = make_update(configure(run_config))
    alone = update.step(groups, policy_version=0)
    assert alone.num_optimiser_steps == 1
    assert alone.metrics["update/ratio_min"] == alone.metrics["update/ratio_max"] == 1.0
    update, _ = make_update(configure(run_config, mini_batch_questions=2))
    several = update.step(groups, policy_version=0)
    assert several.num_optimiser_steps == 2  # The third mini-batch has no advantage: nothing to learn.
    assert several.metrics["update/ratio_max"] > 1.01 or several.metrics["update/ratio_min"] < 0.99


@pytest.mark.parametrize("samples_as_trained", [False, True])
@pytest.mark.parametrize("mini_batch_questions", [8, 2, 1])
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_epochs_pass_over_the_mini_batches_with_one_old_policy(
    run_config, groups, epochs, mini_batch_questions, samples_as_trained
):
    """Every dose equals a loop that computes the old log-probabilities once, before everything."""
    config = configure(
        run_config,
        objective={"clip_low": 0.02, "clip_high": 0.02},
        mini_batch_questions=mini_batch_questions,
        epochs=epochs,
    )
    by_hand, expected = make_update(config, perturb=True)
    if samples_as_trained:
        groups = [*sampled_by(by_hand, groups[:4]), *groups[4:]]
    mini_batches = [each for each in by_hand.mini_batches(groups) if each.batch.num_rows]
    old = [by_hand.logprobs(each.batch) for each in mini_batches]
    ratios = []
    for _ in range(epochs):
        for mini_batch, logprobs in zip(mini_batches, old, strict=True):
            by_hand._optimiser.zero_grad()
            ratios.append(by_hand.accumulate_gradient(mini_batch, old_logprobs=logprobs).metrics["ratio_max"])
            torch.nn.utils.clip_grad_norm_(expected.parameters(), config.optimiser.max_grad_norm)
            by_hand._optimiser.step()

    update, model = make_update(config, perturb=True, samples_as_trained=samples_as_trained)
    result = update.step(groups, policy_version=0)
    torch.testing.assert_close(weights(model), weights(expected), atol=1e-6 if samples_as_trained else 1e-7, rtol=0)
    assert result.num_optimiser_steps == epochs * len(mini_batches)
    assert result.metrics["update/num_rows_trained"] == sum(each.batch.num_rows for each in mini_batches)
    assert ratios[0] == pytest.approx(1.0, abs=1e-5)
    assert ratios[-1] > 1.01 or len(ratios) == 1
    assert result.metrics["update/ratio_max"] == pytest.approx(max(ratios), abs=1e-5)


@pytest.mark.parametrize("start", [1.0, 1e-5])
def test_a_matched_range_comes_to_remove_the_share_of_the_mass(run_config, groups, monkeypatch, start):
    """One step again and again, with the range of the one before: from far too wide and from far too narrow."""
    removed = []

    def watch(scale, *, excess, mass, share):
        removed.append((mass[excess > 1].sum() / mass.sum()).item())
        return matched_scale(scale, excess=excess, mass=mass, share=share)

    monkeypatch.setattr(update_module, "matched_scale", watch)
    objective = {"preset": "grpo", "clip": "matched", "clip_share": 0.1, "clip_low": start, "clip_high": start}
    config = configure(run_config, objective=objective, optimiser={"learning_rate": 1e-3}, mini_batch_questions=2)
    scale = 1.0
    for _ in range(12):
        update, _ = make_update(config)
        result = update.step(groups, policy_version=0, clip_scale=scale)
        assert result.metrics["update/clip_scale"] == scale
        scale = result.clip_scale
    assert removed[0] == 0.0 if start == 1.0 else removed[0] > 0.13
    assert removed[-1] == pytest.approx(0.1, abs=0.02)
    assert result.metrics["update/gradient_mass_removed"] == pytest.approx(removed[-1], rel=1e-5)


def test_mini_batches_do_not_change_means_over_tokens(run_config, groups):
    """Turns differ in length, and mini-batches in their right trajectories; the learning rate leaves the policy as it is."""
    objective = {"kl_coefficient": 0.1, "correction_cap": 1.5, "trust_region": "sampler"}
    found = []
    for size in (8, 1):
        config = configure(
            run_config, objective=objective, optimiser={"learning_rate": 1e-12}, mini_batch_questions=size
        )
        found.append(make_update(config, perturb=True)[0].step(groups, policy_version=0).metrics)
    whole, cut = found
    assert cut["update/num_optimiser_steps"] > whole["update/num_optimiser_steps"] == 1
    for name in ("entropy", "right_logprob_change", "sampler_kl", "correction_mean", "correction_capped", "kl"):
        assert cut[f"update/{name}"] == pytest.approx(whole[f"update/{name}"], rel=1e-5), name


def test_a_range_that_stands_still_has_no_scale(run_config, groups):
    update, _ = make_update(configure(run_config))
    result = update.step(groups, policy_version=0, clip_scale=1.0)
    assert result.clip_scale == 1.0 and "update/clip_scale" not in result.metrics


def test_how_the_likelihood_of_right_trajectories_changes(run_config, groups):
    """The second optimiser step's groups have been sampled, not learned from: the first moves their likelihood."""
    config = configure(run_config, mini_batch_questions=2)
    by_hand, _ = make_update(config)
    mini_batches = [each for each in by_hand.mini_batches(groups) if each.batch.num_rows]
    second = mini_batches[1]
    assert second.is_right.tolist() == [each.reward.success for group in groups[2:4] for each in group]
    before = by_hand.logprobs(second.batch)
    by_hand._optimiser.zero_grad()
    by_hand.accumulate_gradient(mini_batches[0])
    torch.nn.utils.clip_grad_norm_(by_hand._trainable(), config.optimiser.max_grad_norm)
    by_hand._optimiser.step()
    right = (second.batch.turn_ids > 0) & second.is_right[:, None]
    expected = (by_hand.logprobs(second.batch) - before)[right].mean().item()

    update, _ = make_update(config)
    metrics = update.step(groups, policy_version=0).metrics
    assert metrics["update/later/right_logprob_change"] == pytest.approx(expected, rel=1e-3)
    assert abs(expected) > 1e-3
    assert abs(metrics["update/right_logprob_change"]) < abs(expected)  # The first optimiser step adds 0.
    alone = make_update(configure(run_config))[0].step(groups, policy_version=0).metrics
    assert not [key for key in alone if key.startswith("update/later/")]


def test_the_trust_region_of_the_sampler_is_measured_by_its_own_log_probabilities(run_config, groups):
    config = configure(run_config, objective={"trust_region": "sampler"})
    update, model = make_update(config)
    (mini_batch,) = update.mini_batches(groups)
    expected, gradient = gradient_of(update, model, mini_batch, old_logprobs=mini_batch.batch.sampler_logprobs)
    model.zero_grad()
    steps = []
    update._optimiser.step = lambda: steps.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    norm = gradient.norm()
    result = update.step(groups, policy_version=0)
    torch.testing.assert_close(steps[0], gradient / norm.clamp(min=1.0), atol=1e-6, rtol=1e-4)
    assert result.metrics["update/ratio_max"] == pytest.approx(expected.metrics["ratio_max"])
    assert abs(result.metrics["update/ratio_mean"] - 1) > 0.2, "the fixture's log-probabilities are another policy's"
    current, _ = make_update(configure(run_config))
    assert result.metrics["update/sampler_difference"] == pytest.approx(
        current.step(groups, policy_version=0).metrics["update/sampler_difference"], abs=1e-6
    )


def test_what_other_weights_sampled_is_corrected_unless_the_trust_region_is_theirs():
    plain = ObjectiveConfig()
    assert with_correction(plain, is_off_policy=False).correction_cap is None
    assert with_correction(plain, is_off_policy=True).correction_cap == DEFAULT_CORRECTION_CAP
    own = ObjectiveConfig(correction_cap=5.0)
    assert with_correction(own, is_off_policy=True) == own
    theirs = ObjectiveConfig(trust_region="sampler")
    assert with_correction(theirs, is_off_policy=True) == theirs


def test_a_step_without_signal_leaves_the_policy_alone(run_config, groups):
    update, model = make_update(configure(run_config))
    update.step(groups[:4], policy_version=0)
    before = weights(model)
    result = update.step(groups[4:], policy_version=1)
    assert torch.equal(weights(model), before)
    assert result.num_optimiser_steps == 0 and result.metrics["update/loss"] is None


def test_a_gradient_that_is_not_finite_takes_no_step(run_config, groups):
    update, model = make_update(configure(run_config))
    parameter = next(model.parameters())
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    before = weights(model)
    result = update.step(groups, policy_version=0)
    assert torch.equal(weights(model), before)
    assert result.num_optimiser_steps == 0 and "norm is nan" in result.warnings[0]


def test_the_sampler_is_compared_with_the_trainer(run_config, groups):
    update, _ = make_update(configure(run_config))
    (mini_batch,) = update.mini_batches(groups)
    exact = update.logprobs(mini_batch.batch)
    difference = (mini_batch.batch.sampler_logprobs - exact)[mini_batch.batch.turn_ids > 0].abs().mean()
    metrics = update.step(groups, policy_version=0).metrics
    assert metrics["update/sampler_difference"] == pytest.approx(difference.item(), rel=1e-4)
    assert metrics["update/sampler_kl"] > 0


def test_the_warm_up_counts_optimiser_steps(run_config, groups):
    config = configure(run_config, optimiser={"warmup_steps": 3})
    update, _ = make_update(config)
    rates = [update.step(groups, policy_version=version).metrics["update/learning_rate"] for version in range(5)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])


def test_the_configuration_overrides_the_preset_field_by_field():
    preset = resolve_objective(ObjectiveConfig(preset="gspo"))
    assert (preset.unit, preset.clip_low, preset.clip_high) == ("sequence", 3e-4, 4e-4)
    changed = resolve_objective(ObjectiveConfig(preset="gspo", unit="turn", clip_low=0.0))
    assert (changed.unit, changed.clip_low, changed.clip_high) == ("turn", 0.0, 4e-4)


@pytest.fixture
def groups_alike(groups):
    """Groups in which a trajectory occurs twice, with another reward, and another begins as the first does."""
    made = []
    for group in groups[:4]:
        first, second, third, _ = group
        short = third.model_copy(update={"turns": first.turns[:1], "prompt_token_ids": first.prompt_token_ids})
        other = first.reward.model_copy(update={"total": 1.0 - first.reward.total})
        made.append([first, second, short, first.model_copy(update={"reward": other})])
    return made


def one_tree_a_row(rows, *, hidden_size):
    return [
        PrefixTree(row, [*range(-1, len(row) - 1)], [*range(len(row))], {index: [*range(len(row))]})
        for index, row in enumerate(rows)
    ]


@pytest.mark.parametrize("objective", [{"preset": "gsspo"}, {"preset": "grpo", "weight": "batch"}])
def test_shared_beginnings_change_no_gradient(run_config, groups_alike, monkeypatch, objective):
    """Rows keep their own advantage, old log-probabilities and reference: only the model's work is shared."""
    config = configure(run_config, objective=objective | {"kl_coefficient": 0.1, "clip_low": 0.1, "clip_high": 0.1})
    results, tokens = [], []
    for alone in (True, False):
        update, model = make_update(config, perturb=True)
        if alone:
            monkeypatch.setattr(update_module, "prefix_trees", one_tree_a_row)
        else:
            monkeypatch.undo()
        seen = []
        model.model.register_forward_pre_hook(
            lambda module, arguments, given, seen=seen: seen.append(given["input_ids"].numel()), with_kwargs=True
        )
        (mini_batch,) = update.mini_batches(groups_alike)
        generator = torch.Generator().manual_seed(1)
        logprobs = update.logprobs(mini_batch.batch)
        old, ref = (logprobs + 0.3 * torch.randn(logprobs.shape, generator=generator) for _ in range(2))
        results.append(gradient_of(update, model, mini_batch, old_logprobs=old, ref_logprobs=ref))
        tokens.append(sum(seen))
    (expected, expected_gradient), (result, gradient) = results
    assert tokens[1] < 0.7 * tokens[0]
    assert 0 < result.metrics["clip_fraction_low"] < 1 and 0 < result.metrics["clip_fraction_high"] < 1
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-6, rtol=0)
    assert result.metrics == pytest.approx(expected.metrics, abs=1e-5)
    assert result.loss == pytest.approx(expected.loss, abs=1e-6)


def sampled_by(update, groups, error=0.0):
    """The groups with the policy's own log-probabilities, one of them off by so much."""
    made = []
    for group in groups:
        (mini_batch,) = update.mini_batches([group])
        logprobs = update.logprobs(mini_batch.batch)
        rows = []
        for trajectory, values, turn_ids in zip(group, logprobs, mini_batch.batch.turn_ids, strict=True):
            turns = [
                turn.model_copy(update={"logprobs": tuple(values[turn_ids == turn.index].tolist())})
                for turn in trajectory.turns
            ]
            rows.append(trajectory.model_copy(update={"turns": tuple(turns)}))
        made.append(rows)
    first = made[0][0].turns[0]
    first = first.model_copy(update={"logprobs": (first.logprobs[0] + error, *first.logprobs[1:])})
    made[0][0] = made[0][0].model_copy(update={"turns": (first, *made[0][0].turns[1:])})
    return made


def test_the_trust_region_of_the_sampler_is_that_of_every_mini_batch(run_config, groups):
    """However far the sampler's log-probabilities are from the trainer's, as with dropout: no mini-batch changes its region."""
    config = configure(run_config, objective={"trust_region": "sampler"}, mini_batch_questions=2)
    ends = []
    for alike in (False, True):
        update, model = make_update(config, samples_as_trained=alike)
        sampled = [*sampled_by(update, groups[:2], 0.3), *sampled_by(update, groups[2:4], 0.3)]
        result = update.step(sampled, policy_version=0)
        ends.append((weights(model), result.metrics))
    assert torch.equal(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]


@pytest.mark.parametrize("error", [0.0, 3e-6, 1e-3])
def test_the_samplers_log_probabilities_are_the_old_ones_where_the_first_mini_batch_shows_that_they_are(
    run_config, groups, error
):
    config = configure(run_config, mini_batch_questions=2)
    ends, passes = [], []
    for alike in (False, True):
        update, model = make_update(config, samples_as_trained=alike)
        sampled = sampled_by(update, groups[:4], error)
        own = []
        recompute = update.logprobs
        update.logprobs = lambda batch, own=own, recompute=recompute: own.append(batch) or recompute(batch)
        result = update.step(sampled, policy_version=0)
        ends.append((weights(model), result.metrics))
        passes.append(len(own))
    assert passes == [1, 1 if error == 1e-3 else 0]
    if error == 1e-3:
        assert torch.equal(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]
    else:
        torch.testing.assert_close(ends[1][0], ends[0][0], atol=1e-6, rtol=0)
        assert ends[1][1]["update/sampler_difference_max"] == pytest.approx(error, abs=2e-6)
        assert ends[1][1]["update/ratio_max"] > 1.01, "the second mini-batch still has a ratio"
