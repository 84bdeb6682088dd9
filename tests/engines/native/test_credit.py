"""Advantages by turn in the update: from the records to the gradient."""

import itertools

import pytest
import torch

from workflow_r1.engines.native.optimiser import build_optimiser
from workflow_r1.engines.native.update import PolicyUpdate, returns_to_go
from workflow_r1.policy.model import load_policy_model
from workflow_r1.trajectory import ScoredTrajectory, TaskReward

GROUP = 4
TURN_REWARDS = (0.5, -0.25, 0.125)


def score(trajectory, total, turn_rewards=TURN_REWARDS, observation=None):
    turns = tuple(
        turn.model_copy(
            update={"reward": reward, "observation": turn.observation if observation is None else observation}
        )
        for turn, reward in zip(trajectory.turns, itertools.cycle(turn_rewards))
    )
    changed = trajectory.model_copy(update={"turns": turns})
    return ScoredTrajectory.of(changed, TaskReward(total=total, success=total > 0))


@pytest.fixture
def groups(trajectory_maker):
    made = trajectory_maker(3 * GROUP)
    rewards = [1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    scored = [score(each, reward) for each, reward in zip(made, rewards, strict=True)]
    assert {len(each.turns) for each in scored} > {1, 2}
    return [scored[start : start + GROUP] for start in range(0, len(scored), GROUP)]


def make_update(config, *, turn_weight=1.0, micro_batch_tokens=None, **objective):
    config = config.model_copy(
        update={
            "objective": config.objective.model_copy(update={"kl_coefficient": 0.0, **objective}),
            "optimiser": config.optimiser.model_copy(update={"micro_batch_tokens": micro_batch_tokens}),
        }
    )
    model, tokenizer = load_policy_model(config.policy, seed=config.seed)
    update = PolicyUpdate(
        model,
        build_optimiser(model, config.optimiser, learning_rate=1e-3),
        tokenizer.pad_token_id,
        objective=config.objective,
        settings=config.optimiser,
        temperature=1.0,
        mini_batch_questions=8,
        turn_weight=turn_weight,
    )
    return update, model


def gradient_of(update, model, mini_batch):
    model.zero_grad()
    result = update.accumulate_gradient(mini_batch)
    return result, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_returns_to_go_by_hand(trajectory_maker):
    """Rewards 1/2, -1/4, 1/8 at a weight of 2, and a reward of 3: 3, 3 - 1, 3 - 1 + 1/2; the last turn's is still to come."""
    trajectory = next(each for each in trajectory_maker(20) if len(each.turns) == 3)
    assert returns_to_go(score(trajectory, 3.0), 2.0) == [3.0, 2.0, 2.5]
    assert returns_to_go(score(trajectory, 3.0, (None,)), 2.0) == [3.0, 3.0, 3.0]
    assert returns_to_go(score(trajectory.model_copy(update={"turns": ()}), -1.5), 2.0) == [-1.5]


def test_the_gradient_weighs_each_turn_by_its_own_advantage(run_config, groups):
    """Written out: -1/N sum_i 1/K_i sum_k A_ik 1/L_ik sum_t grad log pi, A_ik from the returns of the others."""
    update, model = make_update(run_config, credit="return_to_go", advantage="leave_one_out")
    (mini_batch,) = update.mini_batches(groups)
    _, gradient = gradient_of(update, model, mini_batch)
    model.zero_grad()
    loss = 0.0
    for group in groups:
        to_go = [returns_to_go(each, 1.0) for each in group]
        for index, trajectory in enumerate(group):
            context = list(trajectory.prompt_token_ids)
            for k, turn in enumerate(trajectory.turns):
                others = [each[min(k, len(each) - 1)] for j, each in enumerate(to_go) if j != index]
                advantage = to_go[index][k] - sum(others) / len(others)
                logits = model(input_ids=torch.tensor([context + list(turn.token_ids)])).logits[0]
                table = torch.log_softmax(logits[len(context) - 1 : -1], dim=-1)
                logprobs = table[range(len(turn.token_ids)), list(turn.token_ids)]
                loss = loss - advantage * logprobs.mean() / len(trajectory.turns) / (3 * GROUP)
                context += [*turn.token_ids, *turn.context_token_ids]
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("credit", ["return_to_go", "anchor_state"])
@pytest.mark.parametrize("preset", ["gsspo", "gspo", "grpo"])
def test_micro_batches_change_neither_gradient_nor_metrics(run_config, groups, credit, preset):
    results = []
    for tokens in (1, 100_000):
        update, model = make_update(run_config, credit=credit, preset=preset, micro_batch_tokens=tokens)
        (mini_batch,) = update.mini_batches(groups)
        results.append(gradient_of(update, model, mini_batch))
    (first, expected), (second, gradient) = results
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
    assert second.metrics == pytest.approx(first.metrics, abs=1e-5)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize("advantage", ["group_normalised", "group_centred", "leave_one_out"])
@pytest.mark.parametrize("credit", ["return_to_go", "anchor_state"])
def test_turn_rewards_that_are_no_part_of_the_reward_change_nothing(run_config, groups, credit, advantage):
    """Without them the return to go is the outcome; where no two turns share a state, so is the anchor's."""
    if credit == "anchor_state":
        groups = [
            [
                each.model_copy(
                    update={
                        "turns": tuple(t.model_copy(update={"observation": f"{each.id}/{t.index}"}) for t in each.turns)
                    }
                )
                for each in group
            ]
            for group in groups
        ]
    gradients = []
    for kind in ("outcome", credit):
        update, model = make_update(run_config, credit=kind, advantage=advantage, turn_weight=0.0)
        (mini_batch,) = update.mini_batches(groups)
        gradients.append(gradient_of(update, model, mini_batch)[1])
    if (credit, advantage) == ("anchor_state", "group_normalised"):  # Its spread is that of the advantages themselves.
        gradients = [each / each.norm() for each in gradients]
        assert torch.dot(*gradients) > 0.9
    else:
        torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-4)


def test_turns_that_begin_after_the_same_observation_are_compared(run_config, trajectory_maker):
    """Two turns each; the second turns begin in one state or in two. Then only the others there are the baseline."""
    made = [each for each in trajectory_maker(40) if len(each.turns) == 2][:3]
    update, _ = make_update(run_config, credit="anchor_state", advantage="leave_one_out")
    seen = ("one", "one", "other")
    group = [score(each, total, (0.0,), text) for each, total, text in zip(made, (1.0, 0.0, 3.0), seen, strict=True)]
    (mini_batch,) = update.mini_batches([group])
    assert mini_batch.advantages.tolist() == [[1 - 1.5, 1 - 0], [0 - 2, 0 - 1], [3 - 0.5, 3 - 0.5]]
