"""The loss inside a real trainer: whole runs of one step, against the same step by hand; and the seam to TRL."""

import inspect

import pytest
import torch
from trl import GRPOTrainer

from workflow_r1.algorithms import policy_loss, unit_ids
from workflow_r1.errors import ConfigError

PROMPT = [5, 6, 7]
# Turn ids of the completions of a group: ragged turns, one turn, a failure, a turn of one token.
TURNS = [[1, 1, 0, 2, 2, 2], [1, 1, 1], [0], [1, 0, 0, 2, 2, 0, 3]]
REWARDS = [1.0, 0.0, None, 0.5]


def completions():
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(2, 64, (len(turns),), generator=generator).tolist() for turns in TURNS]


def rollout(prompts, trainer):
    rows = [index % 4 for index in range(len(prompts))]
    ids = completions()
    return {
        "prompt_ids": [PROMPT for _ in rows],
        "completion_ids": [ids[row] for row in rows],
        "logprobs": [[-1.0] * len(ids[row]) for row in rows],
        "env_mask": [[int(turn > 0) for turn in TURNS[row]] for row in rows],
        "score": [REWARDS[row] for row in rows],
    }


def score(completions, score, **_):
    return score


def gradient_by_hand(model, *, unit, weight):
    """Two groups alike: the gradient of one, by the package's mathematics on a plain forward pass per row."""
    rewards = torch.tensor([reward for reward in REWARDS if reward is not None])
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    width = max(map(len, TURNS))
    logprobs, turn_ids = [], torch.zeros(3, width, dtype=torch.long)
    kept = [(turns, ids) for turns, ids, r in zip(TURNS, completions(), REWARDS, strict=True) if r is not None]
    for row, (turns, ids) in enumerate(kept):
        found = model(torch.tensor([PROMPT + ids])).logits[0, len(PROMPT) - 1 : -1].log_softmax(-1)
        values = found.gather(1, torch.tensor(ids)[:, None])[:, 0]
        logprobs.append(torch.nn.functional.pad(values, (0, width - len(ids))))
        turn_ids[row, : len(turns)] = torch.tensor(turns)
    stacked = torch.stack(logprobs)
    policy_loss(
        logprobs=stacked,
        old_logprobs=stacked.detach(),
        advantages=advantages,
        unit_ids=unit_ids(turn_ids, unit),
        clip_low=0.2,
        clip_high=0.2,
        weight=weight,
    ).loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(
    ("unit", "weight", "rows"),
    [("turn", "uniform", 8), ("turn", "uniform", 2), ("token", "batch", 1), ("sequence", "length", 4)],
)
def test_a_step_has_the_gradient_of_the_objective_however_it_is_cut(
    tiny_trl, make_trainer, tmp_path, unit, weight, rows
):
    trainer = make_trainer(
        tmp_path,
        rollout_func=rollout,
        rewards=score,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=8 // rows,
        unit=unit,
        weight=weight,
        max_grad_norm=1e9,
    )
    gradients = []
    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(
        lambda *_: gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]).clone())
    )
    trainer.train()
    expected = gradient_by_hand(tiny_trl.make_model(tmp_path / "model"), unit=unit, weight=weight)
    torch.testing.assert_close(gradients[0], expected, rtol=1e-5, atol=1e-6)
    [logged] = [row for row in trainer.state.log_history if "loss" in row]
    assert logged["update/num_trajectories"] == 6
    assert logged["update/ratio_mean"] == pytest.approx(1.0, abs=1e-5)


def test_old_log_probabilities_and_the_clip_bite_in_later_optimiser_steps(make_trainer, tmp_path):
    trainer = make_trainer(
        tmp_path,
        rollout_func=rollout,
        rewards=score,
        per_device_train_batch_size=8,
        steps_per_generation=1,
        num_iterations=2,
        max_steps=2,
        learning_rate=0.05,
        clip_low=1e-4,
        clip_high=1e-4,
    )
    trainer.train()
    first, second = [row for row in trainer.state.log_history if "loss" in row]
    assert first["update/ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert second["update/ratio_max"] > 1.01
    assert second["update/clip_fraction_high"] > 0.1


def test_kl_to_the_reference_is_trls(make_trainer, tmp_path):
    options = {
        "rollout_func": rollout,
        "rewards": score,
        "steps_per_generation": 1,
        "num_iterations": 2,
        "max_steps": 2,
    }
    trainer = make_trainer(tmp_path, beta=0.1, learning_rate=0.05, **options)
    trainer.train()
    first, second = [row for row in trainer.state.log_history if "loss" in row]
    assert first["update/kl"] == pytest.approx(0.0, abs=1e-6)
    assert second["update/kl"] > 1e-3


def test_the_correction_needs_and_takes_the_samplers_log_probabilities(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, rollout_func=rollout, rewards=score, correction_cap=2.0)
    trainer.train()
    [logged] = [row for row in trainer.state.log_history if "loss" in row]
    assert 0 < logged["update/correction_mean"] <= 2.0
    assert logged["update/sampler_difference"] > 0.1


@pytest.mark.parametrize(
    ("option", "value"),
    [("loss_type", "grpo"), ("epsilon", 0.1), ("importance_sampling_level", "sequence"), ("delta", 1.5)],
)
def test_options_that_would_do_nothing_are_refused(make_trainer, tmp_path, option, value):
    with pytest.raises(ConfigError, match=f"GRPOConfig.{option}: expected its default"):
        make_trainer(tmp_path, **{option: value})


@pytest.mark.parametrize(("switch", "value"), [("unit", "think_action"), ("clip", "matched")])
def test_switches_that_trl_has_no_place_for_are_refused(make_trainer, tmp_path, switch, value):
    with pytest.raises(ConfigError, match=f"objective.{switch}: expected another than"):
        make_trainer(tmp_path, switches={switch: value})


def test_further_switches_reach_the_loss(make_trainer, tmp_path):
    """SAPO's gate removes some of every gradient where the ratio has moved, and no unit's altogether."""
    trainer = make_trainer(
        tmp_path,
        rollout_func=rollout,
        rewards=score,
        per_device_train_batch_size=8,
        steps_per_generation=1,
        num_iterations=2,
        max_steps=2,
        learning_rate=0.05,
        preset="sapo",
        switches={"sapo_temperature_positive": 9.0, "weight": "constant", "weight_length": 20.0},
    )
    trainer.train()
    first, second = [row for row in trainer.state.log_history if "loss" in row]
    assert first["update/gradient_mass_removed"] == pytest.approx(0.0, abs=1e-5)
    assert second["update/gradient_mass_removed"] > 0.01
    assert second["update/clip_fraction_low"] == second["update/clip_fraction_high"] == 0.0
    assert second["update/token_move_max"] > 0.1


def test_dr_grpo_divides_by_the_budget_of_a_completion(make_trainer, tmp_path):
    """The loss of a unit of L tokens at ratio 1 is -A L / C; gradients are 1/C of a plain sum over tokens."""
    norms = {}
    for name, options in (
        ("preset", {"preset": "dr_grpo", "max_completion_length": 20}),
        ("sum", {"switches": {"weight": "constant", "weight_length": 1.0}, "unit": "token"}),
    ):
        trainer = make_trainer(tmp_path / name, rollout_func=rollout, rewards=score, max_grad_norm=1e9, **options)
        trainer.train()
        norms[name] = next(row["grad_norm"] for row in trainer.state.log_history if "loss" in row)
    assert norms["preset"] == pytest.approx(norms["sum"] / 20, rel=1e-5)


def test_an_optimiser_step_learns_from_one_generation(make_trainer, tmp_path):
    trainer = make_trainer(
        tmp_path,
        rollout_func=rollout,
        rewards=score,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        steps_per_generation=1,
    )
    with pytest.raises(ConfigError, match="gradient_accumulation_steps"):
        trainer.train()


def test_what_the_engine_takes_from_trl_is_still_there():
    """The hooks that ``engines/trl`` overrides, calls or reads. Where TRL moves, the message names the hook."""
    loss = inspect.signature(GRPOTrainer._compute_loss).parameters
    assert list(loss) == ["self", "model", "inputs"], "_compute_loss: the one method that is overridden"
    scores = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies)
    assert scores.bind(None, "model", "input_ids", "attention_mask", 5, compute_entropy=True), "log-probabilities"
    assert list(inspect.signature(GRPOTrainer.log).parameters) == ["self", "logs", "start_time"], "log"
    assert "rollout_func" in inspect.signature(GRPOTrainer.__init__).parameters, "rollout_func"
    batches = inspect.getsource(GRPOTrainer._prepare_inputs)
    assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in batches, (
        "_buffered_inputs: its batches"
    )
    called = inspect.getsource(GRPOTrainer._generate)
    assert "self.rollout_func(prompts, self)" in called, "rollout_func: how it is called"
    assert 'extra_fields.pop("env_mask", None)' in called, "env_mask: the policy's tokens"
    made = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    for name in ("tool_mask", "advantages", "old_per_token_logps", "ref_per_token_logps", "sampling_per_token_logps"):
        assert f'output["{name}"]' in made or f'"{name}": ' in made, f"inputs[{name!r}]"
    assert "unscorable_mask" in made, "a reward of None: left out of the group's statistics"
