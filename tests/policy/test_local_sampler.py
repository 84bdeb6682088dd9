"""The sampler against teacher-forced forward passes of the same tokens, and against itself in other company."""

import asyncio
import random
import weakref

import numpy as np
import pytest
import torch

from workflow_r1.errors import ServiceRejectedError, UserError
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.precision import CastWeights
from workflow_r1.rollout import SamplingConfig
from workflow_r1.trajectory import FinishReason, Message

WORDS = ["who", "why", "what", "river", "tower", "<info>", "year", "of", "the", "and"]


def user(text):
    return Message(role="user", content=text)


def make_plans(num, *, seed=0, num_turns=(1, 4)):
    """Sessions: a seed, a number of loop turns to idle, and texts with the longest turn after each."""
    generator = random.Random(seed)
    plans = []
    for index in range(num):
        steps = [
            (" ".join(generator.choices(WORDS, k=generator.randint(1, 12))), generator.randint(1, 20))
            for _ in range(generator.randint(*num_turns))
        ]
        plans.append((index * 7919, generator.choice([0, 0, 1, 30]), steps))
    return plans


async def play(sampler, plan, temperature=None):
    """Return the turns of one session, and the whole context with the columns that the policy wrote."""
    seed, idle, steps = plan
    turns, context, own = [], [], []
    policy = sampler if temperature is None else sampler.at_temperature(temperature)
    async with policy.session(seed=seed) as session:
        for text, max_tokens in steps:
            for _ in range(idle):
                await asyncio.sleep(0)
            context += session.extend([user(text)])
            turn = await session.sample(max_tokens=max_tokens)
            own += range(len(context), len(context) + len(turn.token_ids))
            context += turn.token_ids
            turns.append(turn)
    return turns, context, own


def play_all(sampler, plans):
    async def main():
        return await asyncio.gather(*(play(sampler, plan) for plan in plans))

    return asyncio.run(main())


def tokens_of(played):
    return [[turn.token_ids for turn in turns] for turns, _, _ in played]


def assert_logprobs_are_those_of_a_full_forward(model, played, *, temperature=1.0, atol=1e-4):
    num = 0
    for turns, context, own in played:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([context]), use_cache=False).logits[0].float()
        expected = (logits / temperature).log_softmax(-1)
        for column, logprob in zip(own, [lp for turn in turns for lp in turn.logprobs], strict=True):
            assert logprob == pytest.approx(expected[column - 1, context[column]].item(), abs=atol)
            num += 1
    assert num > 0


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("kind", "num_kv_heads"),
    [
        ("llama", 4),
        ("llama", 2),
        ("llama", 1),
        ("qwen3", 2),
        ("mistral", 2),
        ("gemma2", 2),
        ("gpt2", 4),
        ("mixtral", 2),
    ],
)
def test_logprobs_equal_a_full_forward(tokenizer_of, model_of, kind, num_kv_heads, compiled):
    model = model_of(kind, num_kv_heads=num_kv_heads)
    sampler = LocalSampler(model, tokenizer_of(), sampling=SamplingConfig(max_sessions=6, compiled=compiled))
    played = play_all(sampler, make_plans(14))
    assert_logprobs_are_those_of_a_full_forward(model, played)
    assert len({len(context) for _, context, _ in played}) > 5


def test_logprobs_are_of_the_distribution_sampled_from(tokenizer_of, model_of):
    model = model_of()
    sampler = LocalSampler(model, tokenizer_of(), sampling=SamplingConfig(temperature=0.7))
    assert_logprobs_are_those_of_a_full_forward(model, play_all(sampler, make_plans(5)), temperature=0.7)


def test_greedy_takes_the_most_likely_token_whatever_the_seed(tokenizer_of, model_of):
    model = model_of()
    sampler = LocalSampler(model, tokenizer_of(), sampling=SamplingConfig(temperature=0.0))
    plans = make_plans(5)
    played = play_all(sampler, plans)
    assert_logprobs_are_those_of_a_full_forward(model, played)
    for _, context, own in played:
        with torch.no_grad():
            best = model(input_ids=torch.tensor([context])).logits[0].argmax(-1).tolist()
        assert [context[column] for column in own] == [best[column - 1] for column in own]
    assert tokens_of(play_all(sampler, [(seed + 1, idle, steps) for seed, idle, steps in plans])) == tokens_of(played)


def test_sessions_of_several_temperatures_share_a_batch(tokenizer_of, model_of):
    model, tokenizer, plans = model_of(), tokenizer_of(), make_plans(6)
    temperatures = [(0.0, 0.7, None)[index % 3] for index in range(len(plans))]

    def alone(temperature):
        return play_all(LocalSampler(model, tokenizer, sampling=SamplingConfig(temperature=temperature)), plans)

    async def together():
        sampler = LocalSampler(model, tokenizer, sampling=SamplingConfig(max_sessions=4))
        return await asyncio.gather(*(play(sampler, *each) for each in zip(plans, temperatures, strict=True)))

    mixed = tokens_of(asyncio.run(together()))
    expected = {
        temperature: tokens_of(alone(1.0 if temperature is None else temperature)) for temperature in temperatures
    }
    assert mixed == [expected[temperature][index] for index, temperature in enumerate(temperatures)]
    assert expected[0.0] != expected[None]


def test_two_runs_are_identical(tokenizer_of, model_of):
    model, tokenizer, plans = model_of(), tokenizer_of(), make_plans(20)

    def run():
        return play_all(LocalSampler(model, tokenizer, sampling=SamplingConfig(max_sessions=7)), plans)

    assert run() == run()


def play_with_latency(sampler, plans, seed):
    """Play with operators that take as long as a seed says, and with sessions that stay a while after their last turn."""
    generator = random.Random(seed)

    async def play_one(seed, steps):
        turns = []
        async with sampler.session(seed=seed) as session:
            for text, max_tokens in steps:
                session.extend([user(text)])
                turns.append(await session.sample(max_tokens=max_tokens))
                await asyncio.sleep(generator.choice([0.0, 0.001, 0.004]))
        return turns

    async def main():
        return await asyncio.gather(*(play_one(seed, steps) for seed, _, steps in plans))

    return asyncio.run(asyncio.wait_for(main(), timeout=120))


def test_in_rounds_not_a_bit_depends_on_latency(tokenizer_of, model_of):
    model, tokenizer, plans = model_of(), tokenizer_of(), make_plans(12)
    sampling = SamplingConfig(max_sessions=5, schedule="rounds")
    first, *others = (play_with_latency(LocalSampler(model, tokenizer, sampling=sampling), plans, n) for n in range(3))
    assert all(other == first for other in others)
    assert first == [turns for turns, _, _ in play_all(LocalSampler(model, tokenizer, sampling=sampling), plans)]


def test_in_rounds_a_sampler_is_used_again_and_a_session_may_give_up(tokenizer_of, model_of):
    sampler = LocalSampler(model_of(), tokenizer_of(), sampling=SamplingConfig(max_sessions=3, schedule="rounds"))

    async def main():
        async def give_up():
            async with sampler.session(seed=1) as session:
                session.extend([user("why")])
                await asyncio.wait_for(session.sample(max_tokens=500), timeout=0.02)

        plans = make_plans(4)
        outcome = await asyncio.gather(give_up(), *(play(sampler, plan) for plan in plans), return_exceptions=True)
        assert isinstance(outcome[0], TimeoutError)
        return outcome[1:]

    for _ in range(2):
        assert all(turns for turns, _, _ in asyncio.run(asyncio.wait_for(main(), timeout=60)))
        assert sampler.num_open_sessions == 0


def test_a_sampler_used_again_gives_the_same(tokenizer_of, model_of):
    sampler = LocalSampler(model_of(), tokenizer_of(), sampling=SamplingConfig(max_sessions=7))
    plans = make_plans(12)
    first = play_all(sampler, plans)
    play_all(sampler, make_plans(12, seed=1))
    assert tokens_of(play_all(sampler, plans)) == tokens_of(first)


@pytest.mark.parametrize("settings", [{"max_sessions": 1}, {"max_sessions": 3}, {"max_sessions": 64}])
@pytest.mark.parametrize("max_prefill_tokens", [5, 8192])
def test_company_changes_no_token(tokenizer_of, model_of, settings, max_prefill_tokens):
    model, tokenizer, plans = model_of(), tokenizer_of(), make_plans(16)
    alone = []
    for plan in plans:
        sampler = LocalSampler(model, tokenizer, sampling=SamplingConfig())
        alone += tokens_of(play_all(sampler, [plan]))
    sampler = LocalSampler(model, tokenizer, sampling=SamplingConfig(**settings), max_prefill_tokens=max_prefill_tokens)
    assert tokens_of(play_all(sampler, plans)) == alone
    order = random.Random(0).sample(range(len(plans)), len(plans))
    shuffled = tokens_of(play_all(sampler, [plans[index] for index in order]))
    assert shuffled == [alone[index] for index in order]


def test_prompts_that_begin_alike_are_computed_once_and_change_no_token(monkeypatch, tokenizer_of, model_of):
    model, tokenizer = model_of(), tokenizer_of()
    menu = "The operators are these. " * 4
    plans = [(seed, 0, [(menu + f"Question {seed // 4}", 8), ("and", 5)]) for seed in range(12)]
    fed = []
    alone = [tokens_of(play_all(LocalSampler(model, tokenizer), [plan]))[0] for plan in plans]
    sampler = LocalSampler(model, tokenizer)
    real = sampler._forward
    monkeypatch.setattr(sampler, "_forward", lambda ids, *others: fed.append(len(ids)) or real(ids, *others))
    played = play_all(sampler, plans)
    assert tokens_of(played) == alone
    assert_logprobs_are_those_of_a_full_forward(model, played)
    prompts = sum(own[0] for _, _, own in played)
    others = sum(len(context) - own[0] for _, context, own in played)
    assert sum(fed) < 0.2 * prompts + others


def test_compiled_decoding_is_as_near_to_double_precision_as_torch(tokenizer_of, model_of):
    model, tokenizer, plans = model_of(), tokenizer_of(), make_plans(10)
    exact = model_of().double()
    errors, tokens = [], []
    for compiled in (False, True):
        played = play_all(LocalSampler(model, tokenizer, sampling=SamplingConfig(compiled=compiled)), plans)
        tokens.append(tokens_of(played))
        differences = []
        for turns, context, own in played:
            with torch.no_grad():
                expected = exact(input_ids=torch.tensor([context]), use_cache=False).logits[0].log_softmax(-1)
            found = [logprob for turn in turns for logprob in turn.logprobs]
            differences += [abs(expected[c - 1, context[c]].item() - lp) for c, lp in zip(own, found, strict=True)]
        errors.append(np.mean(differences))
    assert tokens[0] == tokens[1]
    assert errors[1] < 2 * errors[0] < 1e-5


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_a_long_prompt_among_short_ones_changes_nothing(monkeypatch, tokenizer_of, model_of, kind, compiled):
    monkeypatch.setattr("workflow_r1.policy.ragged_attention.UNCUT_PAIRS", 0)
    monkeypatch.setattr("workflow_r1.policy.ragged_attention.CALL_PAIRS", 64)
    monkeypatch.setattr("workflow_r1.policy.local_sampler.FEW_TOKENS", 8)
    model = model_of(kind)
    plans = make_plans(8)
    plans[3] = (3, 0, [("river " * 100, 4), ("tower " * 60, 4)])
    sampler = LocalSampler(model, tokenizer_of(), sampling=SamplingConfig(compiled=compiled))
    assert_logprobs_are_those_of_a_full_forward(model, play_all(sampler, plans))


def test_slots_are_reused_and_waited_for_in_order(tokenizer_of, model_of):
    opened = []
    sampler = LocalSampler(model_of(), tokenizer_of(), sampling=SamplingConfig(max_sessions=2))

    async def one(index):
        async with sampler.session(seed=index) as session:
            opened.append(index)
            assert sampler.num_open_sessions <= 2
            session.extend([user("who")])
            await session.sample(max_tokens=3 + index % 4)

    async def main():
        await asyncio.gather(*(one(index) for index in range(9)))

    asyncio.run(main())
    assert opened == list(range(9))
    assert sampler.num_open_sessions == 0


@pytest.mark.parametrize("schedule", ["rounds", "continuous"])
def test_the_last_session_frees_keys_and_values_at_once(tokenizer_of, model_of, schedule):
    """A scheduler that sleeps keeps the sampler itself until the event loop runs again."""
    sampler = LocalSampler(model_of(), tokenizer_of(), sampling=SamplingConfig(schedule=schedule))

    async def one(index):
        async with sampler.session(seed=index) as session:
            session.extend([user("who")])
            await session.sample(max_tokens=3)
            return [weakref.ref(keys) for keys in sampler._cache._keys]

    async def main():
        return await asyncio.gather(*(one(index) for index in range(3)))

    with asyncio.Runner() as runner:
        layers = runner.run(main())[0]
        assert layers and not any(keys() is not None for keys in layers)


def test_a_cancelled_session_frees_its_slot_and_harms_no_other(tokenizer_of, model_of):
    model, tokenizer = model_of(), tokenizer_of()
    plans = make_plans(6, num_turns=(2, 3))
    sampler = LocalSampler(model, tokenizer, sampling=SamplingConfig(max_sessions=3))
    expected = tokens_of(play_all(sampler, plans))

    async def main():
        tasks = [asyncio.create_task(play(sampler, plan)) for plan in plans]
        for _ in range(60):
            await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[4].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert sampler.num_open_sessions == 0
    for index, result in enumerate(results):
        if index in (1, 4):
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert [turn.token_ids for turn in result[0]] == expected[index]


# --------------------------------------------------------------------------------------------------------- ends of turns


def test_a_session_that_leaves_makes_room_for_one_that_has_not_begun(tokenizer_of, model_of):
    tokenizer = tokenizer_of()
    plans = make_plans(40)
    alone = play_all(LocalSampler(model_of(), tokenizer, sampling=SamplingConfig(max_sessions=64)), plans[1:])
    sampler = LocalSampler(model_of(), tokenizer, sampling=SamplingConfig(max_sessions=64))

    async def first_and_gone(opened):
        async with sampler.session(seed=1) as session:
            session.extend([user("who")])
            await session.sample(max_tokens=1)
            await opened.wait()

    async def main():
        opened = asyncio.Event()
        leaver = asyncio.create_task(first_and_gone(opened))
        await asyncio.sleep(0.05)
        players = [asyncio.create_task(play(sampler, (seed, 200, steps))) for seed, _, steps in plans[1:]]
        await asyncio.sleep(0)
        opened.set()
        await leaver
        return await asyncio.gather(*players)

    assert tokens_of(asyncio.run(main())) == tokens_of(alone)


def force(monkeypatch, sampler, text, tokenizer):
    """Let the model want the tokens of a text, whatever it reads."""
    ids = [*tokenizer.encode(text, add_special_tokens=False)] if isinstance(text, str) else text
    real = sampler._forward
    count = 0

    def forward(*arguments):
        nonlocal count
        logits = torch.full_like(real(*arguments), -100.0)
        logits[:, ids[min(count, len(ids) - 1)]] = 100.0
        count += 1
        return logits

    monkeypatch.setattr(sampler, "_forward", forward)


def one_turn(sampler, max_tokens=60):
    async def main():
        async with sampler.session(seed=0) as session:
            session.extend([user("who")])
            turn = await session.sample(max_tokens=max_tokens)
            return turn, session.extend([user("and")])

    return asyncio.run(main())


@pytest.mark.parametrize("action", ["<tool>Echo: x</tool>", "<answer>a > b</answer>"])
def test_action_ends_the_turn(monkeypatch, tokenizer_of, model_of, action):
    tokenizer = tokenizer_of()
    sampler = LocalSampler(model_of(), tokenizer, sampling=SamplingConfig(turn_end="action"))
    force(monkeypatch, sampler, f"<think>a</think>{action} never written", tokenizer)
    turn, context = one_turn(sampler)
    assert (turn.text, turn.finish_reason) == (f"<think>a</think>{action}", FinishReason.STOP)
    assert context[0] == sampler.renderer.end_of_turn_id


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("<think>an </answer> ends, so <tool>x</tool></think><tool>Echo: x</tool>", None),
        ("<think>never closed <tool>x</tool> and </answer>", None),
        ("no thought <tool>Echo: x</tool>", "no thought <tool>Echo: x</tool>"),
    ],
)
def test_a_closing_tag_that_the_thought_names_ends_no_turn(monkeypatch, tokenizer_of, model_of, written, text):
    tokenizer = tokenizer_of()
    sampler = LocalSampler(model_of(), tokenizer, sampling=SamplingConfig(turn_end="action"))
    end = sampler.renderer.end_of_turn_id
    force(monkeypatch, sampler, [*tokenizer.encode(written, add_special_tokens=False), end], tokenizer)
    turn, _ = one_turn(sampler, max_tokens=100)
    assert turn.text == written
    assert (turn.token_ids[-1] == end) is (text is None and not written.endswith("x</tool>"))


@pytest.mark.parametrize("turn_end", ["action", "end_token"])
def test_a_thought_that_the_template_opened_belongs_to_the_text_and_not_to_the_tokens(
    monkeypatch, tokenizer_of, model_of, turn_end
):
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>{{ '<think>\n' }}"
    tokenizer = tokenizer_of(chat_template=template)
    sampler = LocalSampler(model_of(), tokenizer, sampling=SamplingConfig(turn_end=turn_end))
    written = "a </tool> ends it</think><tool>Echo: x</tool>"
    ids = tokenizer.encode(written, add_special_tokens=False)
    force(monkeypatch, sampler, [*ids, sampler.renderer.end_of_turn_id], tokenizer)
    turn, _ = one_turn(sampler, max_tokens=80)
    assert turn.text == f"<think>\n{written}"
    assert list(turn.token_ids[: len(ids)]) == ids
    assert len(turn.token_ids) == len(ids) + (turn_end == "end_token")


def test_action_goes_on_to_the_end_token_by_default(monkeypatch, tokenizer_of, model_of):
    tokenizer = tokenizer_of()
    sampler = LocalSampler(model_of(), tokenizer)
    text = "<tool>a</tool> and"
    force(monkeypatch, sampler, [*tokenizer.encode(text), sampler.renderer.end_of_turn_id], tokenizer)
    turn, context = one_turn(sampler)
    assert (turn.text, turn.finish_reason) == (text, FinishReason.STOP)
    assert turn.token_ids[-1] == sampler.renderer.end_of_turn_id
    assert context[0] != sampler.renderer.end_of_turn_id


def test_another_end_token_of_the_model_ends_the_turn_and_is_closed(monkeypatch, tokenizer_of, model_of):
    tokenizer, model = tokenizer_of(), model_of()
    other = tokenizer.convert_tokens_to_ids("<|pad|>")
    model.generation_config.eos_token_id = [1, other]
    sampler = LocalSampler(model, tokenizer)
    force(monkeypatch, sampler, [*tokenizer.encode("a"), other], tokenizer)
    turn, context = one_turn(sampler)
    assert (turn.text, turn.token_ids[-1], turn.finish_reason) == ("a", other, FinishReason.STOP)
    assert context[0] == sampler.renderer.end_of_turn_id


def test_length_ends_the_turn(monkeypatch, tokenizer_of, model_of):
    tokenizer = tokenizer_of()
    sampler = LocalSampler(model_of(), tokenizer, sampling=SamplingConfig(max_turn_tokens=9))
    force(monkeypatch, sampler, "a" * 50, tokenizer)
    turn, context = one_turn(sampler)
    assert (turn.text, turn.finish_reason) == ("a" * 9, FinishReason.LENGTH)
    assert context[0] == sampler.renderer.end_of_turn_id
    assert one_turn(sampler, max_tokens=4)[0].text == "a" * 4


def test_the_models_context_bounds_the_turn_and_then_the_session(tokenizer_of, model_of):
    model = model_of(max_length=40)
    model.generation_config.eos_token_id = None
    sampler = LocalSampler(model, tokenizer_of())
    sampler._is_end[:] = False

    async def main():
        async with sampler.session(seed=0) as session:
            prompt = session.extend([user("who")])
            turn = await session.sample(max_tokens=100)
            assert len(prompt) + len(turn.token_ids) == 40
            assert turn.finish_reason is FinishReason.LENGTH
            session.extend([user("more")])
            with pytest.raises(ServiceRejectedError, match="max_response_tokens"):
                await session.sample(max_tokens=100)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------------- the model


def test_the_model_is_left_as_it_was(tokenizer_of, model_of):
    model = model_of().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    play_all(LocalSampler(model, tokenizer_of()), make_plans(3))
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_dropout_is_off(tokenizer_of, model_of):
    model = model_of()
    model.config.attention_dropout = 0.5
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    played = play_all(LocalSampler(model.train(), tokenizer_of()), make_plans(3))
    assert_logprobs_are_those_of_a_full_forward(model.eval(), played)


def test_new_weights_between_rollouts_are_sampled_from(tokenizer_of, model_of):
    model = model_of()
    sampler = LocalSampler(model, tokenizer_of())
    plans = make_plans(4)
    before = tokens_of(play_all(sampler, plans))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    played = play_all(sampler, plans)
    assert tokens_of(played) != before
    assert_logprobs_are_those_of_a_full_forward(model, played)


def test_new_weights_while_sessions_are_open_are_an_error(tokenizer_of, model_of):
    model = model_of()
    sampler = LocalSampler(model, tokenizer_of())

    async def main():
        async with sampler.session(seed=0) as session:
            session.extend([user("who")])
            await session.sample(max_tokens=3)
            with torch.no_grad():
                next(model.parameters()).mul_(1.1)
            session.extend([user("and")])
            await session.sample(max_tokens=3)

    with pytest.raises(RuntimeError, match="stale"):
        asyncio.run(main())
    assert sampler.num_open_sessions == 0


@pytest.mark.parametrize("max_prefill_tokens", [8192, 7])
def test_weights_change_between_turns_and_every_turn_and_its_reading_are_of_one_policy(
    tokenizer_of, model_of, max_prefill_tokens
):
    """Two versions, three turns each: the turns' log-probabilities are those of a full forward pass of their version."""
    old, new, trained = model_of(), model_of(), model_of()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    sampler = LocalSampler(
        trained, tokenizer_of(), sampling=SamplingConfig(max_sessions=4), max_prefill_tokens=max_prefill_tokens
    )
    sampler.policy_version = 7
    some_wait, swapped = asyncio.Event(), asyncio.Event()

    async def session(seed):
        turns, context, own = [], [], []
        async with sampler.session(seed=seed) as open_session:
            for index in range(3):
                context += open_session.extend([user(f"{WORDS[seed % 4]} {index}")])
                if index == 2:
                    some_wait.set()
                    await swapped.wait()
                turn = await open_session.sample(max_tokens=4 + seed)
                own.append(range(len(context), len(context) + len(turn.token_ids)))
                context += turn.token_ids
                turns.append(turn)
        return turns, context, own

    async def main():
        sessions = [asyncio.create_task(session(seed)) for seed in range(6)]
        await some_wait.wait()
        # One session waits between two turns, others are in the middle of one, two have not begun.
        async with sampler.holding():
            with torch.no_grad():
                for parameter, value in zip(trained.parameters(), new.parameters(), strict=True):
                    parameter.copy_(value)
            sampler.policy_version = 8
            swapped.set()
            await asyncio.sleep(0.01)
            assert not sampler._slots.decoding[: sampler.num_open_sessions].any(), "no turn begins meanwhile"
        return await asyncio.gather(*sessions)

    seen = set()
    for turns, context, own in asyncio.run(main()):
        for turn, columns in zip(turns, own, strict=True):
            model = {7: old, 8: new}[turn.policy_version]
            seen.add(turn.policy_version)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([context[: columns.stop]])).logits[0].float().log_softmax(-1)
            for column, logprob in zip(columns, turn.logprobs, strict=True):
                assert logprob == pytest.approx(logits[column - 1, context[column]].item(), abs=1e-4)
        assert [turn.policy_version for turn in turns] == sorted(turn.policy_version for turn in turns)
    assert seen == {7, 8}


def test_a_sampler_that_is_held_with_nobody_in_it_takes_the_new_weights(tokenizer_of, model_of):
    sampler = LocalSampler(model_of(), tokenizer_of())

    async def main():
        async with sampler.holding():
            pass
        return await play(sampler, make_plans(1)[0])

    turns, _, _ = asyncio.run(main())
    assert turns and all(turn.policy_version is None for turn in turns)


def test_diverged_weights_are_a_clear_error_for_every_session(tokenizer_of, model_of):
    model = model_of()
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(float("nan"))
    sampler = LocalSampler(model, tokenizer_of())

    async def main():
        return await asyncio.gather(*(play(sampler, plan) for plan in make_plans(3)), return_exceptions=True)

    results = asyncio.run(main())
    assert all(isinstance(result, UserError) and "diverged" in str(result) for result in results)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft reads transformers' old name.
@pytest.mark.filterwarnings("ignore:The following .* keys did not match:RuntimeWarning")  # Patterns of peft's own.
@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_peft_adapters(tokenizer_of, model_of, kind):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(
        model_of(kind), peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    )
    played = play_all(LocalSampler(model, tokenizer_of()), make_plans(4))
    assert_logprobs_are_those_of_a_full_forward(model.eval(), played)


def test_bfloat16_is_close(tokenizer_of, model_of):
    model = model_of()
    played = play_all(LocalSampler(model, tokenizer_of(), autocast=torch.bfloat16), make_plans(6))
    differences = []
    for turns, context, own in played:
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([context])).logits[0].log_softmax(-1)
        logprobs = [logprob for turn in turns for logprob in turn.logprobs]
        differences += [abs(expected[c - 1, context[c]].item() - lp) for c, lp in zip(own, logprobs, strict=True)]
    assert 1e-4 < np.mean(differences) < 0.2


def test_weights_cast_once_a_rollout_are_the_current_ones_to_the_last_bit(tokenizer_of, model_of):
    model, plans = model_of(), make_plans(6)
    sampler = LocalSampler(model, tokenizer_of(), autocast=torch.bfloat16)
    plain = LocalSampler(model, tokenizer_of(), autocast=torch.bfloat16)
    plain._cast = CastWeights(model, None)
    first = play_all(sampler, plans)
    assert first == play_all(plain, plans)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    second = play_all(sampler, plans)
    assert second == play_all(plain, plans)
    assert tokens_of(second) != tokens_of(first)


def test_a_model_with_attention_of_its_own_is_refused(tokenizer_of, model_of):
    model = model_of()
    model._supports_attention_backend = False
    with pytest.raises(UserError, match="attention"):
        LocalSampler(model, tokenizer_of())


# --------------------------------------------------------------------------------------------------------------- drawing


def test_tokens_are_drawn_as_often_as_they_are_likely(tokenizer_of, model_of):
    model, num = model_of(), 400
    sampler = LocalSampler(model, tokenizer_of(), sampling=SamplingConfig(temperature=3.0))
    played = play_all(sampler, [(seed, 0, [("who", 1)]) for seed in range(num)])
    counts = np.bincount([turns[0].token_ids[0] for turns, _, _ in played], minlength=261)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([played[0][1][:-1]])).logits[0, -1]
    expected = (logits / 3.0).softmax(-1).numpy() * num
    likely = expected > 5
    chi_squared = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    assert chi_squared < likely.sum() + 4 * np.sqrt(2 * likely.sum())


def test_every_position_of_a_session_has_a_number_of_its_own(monkeypatch, tokenizer_of, model_of):
    sampler = LocalSampler(model_of(), tokenizer_of())
    sampler._is_end[:] = False
    real = sampler._forward
    monkeypatch.setattr(sampler, "_forward", lambda *arguments: torch.zeros_like(real(*arguments)))
    played = play_all(sampler, [(seed, 0, [("who", 12), ("why", 12), ("what", 12)]) for seed in range(3)])
    turns = [ids for session in tokens_of(played) for ids in session]
    assert len(set(turns)) == 9
    assert len({index for ids in turns for index in ids}) > 60  # 108 draws from 261 equally likely tokens: 88 expected.
