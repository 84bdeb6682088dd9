"""Turns sampled on a server: tokens in, tokens out, and the server may go away and come back."""

import asyncio
import threading
from pathlib import Path

import pytest

from workflow_r1.accounting import Accounts, PricesConfig
from workflow_r1.accounting.budget import Budget, BudgetConfig
from workflow_r1.errors import ServiceRejectedError, ServiceUnavailableError
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.inference.loopback import Fault, LoopbackServer
from workflow_r1.rollout import Renderer, SamplingConfig
from workflow_r1.rollout.completions import Completion, max_length, read_completion
from workflow_r1.rollout.doubles import LoopbackPolicy
from workflow_r1.rollout.metered_server import MeteredServer
from workflow_r1.rollout.policy_server import PolicyServer, PolicyServerConfig, PublishedWeights
from workflow_r1.rollout.served_sampler import ServedSampler
from workflow_r1.trajectory import FinishReason, Message

END = 2


def draw(request, adapter):
    """Tokens and log-probabilities that tell the seed, the length of the prompt and the adapter."""
    first = 100 + int(adapter.name[-1]) if adapter else 99
    ids = [first, 10 + request["seed"] % 50, END][: request["max_tokens"]]
    return ids, [-len(request["prompt"]) / 1000] * len(ids)


def running(policy, **options):
    return LoopbackServer(ScriptedChatModel(lambda _: "."), routes=policy.routes, **options)


def connect(server, notes=None, **settings):
    settings = {"max_retries": 0, "backoff_seconds": 0.01, "wait_seconds": 5.0, **settings}
    notify = (lambda message: None) if notes is None else notes.append
    return PolicyServer(PolicyServerConfig(base_url=server.url, **settings), notify=notify)


def weights(tmp_path: Path, version: int) -> PublishedWeights:
    path = tmp_path / f"adapter-{version}"
    path.mkdir(exist_ok=True)
    return PublishedWeights("adapter", path, version)


async def complete(client, seed=7, prompt=(5, 6, 7), max_tokens=8):
    return await client.complete(
        prompt, max_tokens=max_tokens, temperature=1.0, top_p=1.0, seed=seed, stop_token_ids=(END,), stop=()
    )


def test_tokens_go_in_and_come_out_under_the_published_version(tmp_path):
    policy = LoopbackPolicy(draw)
    with running(policy) as server:

        async def main():
            client = connect(server)
            before = await complete(client)
            client.publish(weights(tmp_path, 3))
            after = await complete(client)
            await complete(client)
            await client.aclose()
            return before, after

        before, after = asyncio.run(main())
    assert (before.token_ids, before.version) == ((99, 17, END), None)
    assert (after.token_ids, after.version, after.is_stopped) == ((103, 17, END), 3, True)
    assert after.logprobs == (-0.003,) * 3
    assert [request["model"] for request in policy.requests] == ["policy", "workflow-r1", "workflow-r1"]
    assert policy.requests[0]["prompt"] == [5, 6, 7]
    # A model's own generation_config must not change the distribution.
    assert policy.requests[0]["top_k"] == 0 and policy.requests[0]["repetition_penalty"] == 1.0
    assert len(policy.loaded) == 1, "weights are loaded once, not with every turn"


def test_a_restarted_server_gets_the_current_weights_again(tmp_path):
    policy, notes = LoopbackPolicy(draw), []
    server = running(policy)
    server.start()

    async def main():
        client = connect(server, notes)
        client.publish(weights(tmp_path, 4))
        first = await complete(client)
        await asyncio.to_thread(server.stop)
        policy.forget()
        pending = [asyncio.create_task(complete(client, seed=seed)) for seed in range(6)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in pending)
        await asyncio.to_thread(server.start)
        replies = await asyncio.gather(*pending)
        await client.aclose()
        return client, first, replies

    try:
        client, first, replies = asyncio.run(main())
    finally:
        server.stop()
    assert first.token_ids[0] == 104
    assert [reply.token_ids for reply in replies] == [(104, 10 + seed, END) for seed in range(6)]
    assert client.num_outages == 1 and client.num_swaps == 2
    assert "is gone" in notes[0] and "is back" in notes[1] and len(notes) == 2


def test_a_restart_that_nobody_saw_is_noticed_by_the_unknown_adapter(tmp_path):
    policy = LoopbackPolicy(draw)
    with running(policy) as server:

        async def main():
            client = connect(server)
            client.publish(weights(tmp_path, 1))
            await complete(client)
            policy.forget()
            reply = await complete(client)
            await client.aclose()
            return reply

        assert asyncio.run(main()).token_ids[0] == 101
    assert len(policy.loaded) == 2


def test_new_weights_wait_for_the_turns_under_way(tmp_path):
    """A server finishes a turn with the weights that it has then: each turn is of the version that it records."""
    policy = LoopbackPolicy(draw)
    answer = policy.routes["/v1/completions"]

    begun = threading.Semaphore(0)

    async def slow(request):
        begun.release()
        await asyncio.sleep(0.05)
        return await answer(request)

    policy.routes["/v1/completions"] = slow
    with running(policy) as server:

        async def main():
            client = connect(server)
            client.publish(weights(tmp_path, 1))
            early = [asyncio.create_task(complete(client, seed=seed)) for seed in range(3)]
            for _ in early:
                await asyncio.to_thread(begun.acquire)
            client.publish(weights(tmp_path, 2))
            late = [asyncio.create_task(complete(client, seed=seed)) for seed in range(3)]
            completions = [await each for each in (*early, *late)]
            await client.aclose()
            return completions

        completions = asyncio.run(main())
    assert [each.version for each in completions] == [1, 1, 1, 2, 2, 2]
    assert [each.token_ids[0] for each in completions] == [101, 101, 101, 102, 102, 102]


def test_a_server_that_stays_away_fails_the_turn():
    policy = LoopbackPolicy(draw)
    server = running(policy)
    server.start()
    server.stop()

    async def main():
        client = connect(server, wait_seconds=0.2)
        for _ in range(2):
            with pytest.raises(ServiceUnavailableError, match=r"policy server at .* no connection"):
                await complete(client)
        await client.aclose()

    asyncio.run(main())


def test_weights_that_the_server_refuses_fail_the_turn_at_once(tmp_path):
    with running(LoopbackPolicy(draw)) as server:

        async def main():
            client = connect(server)
            client.publish(PublishedWeights("adapter", tmp_path / "absent", 1))
            with pytest.raises(ServiceRejectedError, match="no adapter found"):
                await complete(client)
            await client.aclose()

        asyncio.run(main())


def test_faults_that_pass_change_nothing():
    def sample(server):
        async def main():
            client = connect(server, max_retries=30)
            replies = [await complete(client, seed=seed) for seed in range(30)]
            await client.aclose()
            return [reply.token_ids for reply in replies]

        return asyncio.run(main())

    faults = [fault for fault in Fault if fault not in (Fault.HANG, Fault.DRIP, Fault.WRONG_MODEL)]
    with running(LoopbackPolicy(draw)) as sound, running(LoopbackPolicy(draw), fault_rate=0.3, faults=faults) as faulty:
        assert sample(sound) == sample(faulty)
        assert sum(faulty.injected.values()) > 3


def test_no_more_tokens_are_asked_for_than_the_server_takes():
    policy = LoopbackPolicy(draw, max_model_len=5)
    with running(policy) as server:

        async def main():
            client = connect(server)
            reply = await complete(client)
            with pytest.raises(ServiceRejectedError, match="--max-model-len"):
                await complete(client, prompt=(1, 2, 3, 4, 5))
            await client.aclose()
            return reply

        reply = asyncio.run(main())
    assert policy.requests[0]["max_tokens"] == 2
    assert not reply.is_stopped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": None}, "token_ids and logprobs"),
        ({"prompt_token_ids": [1]}, "another prompt"),
        ({"logprobs": {"token_logprobs": [-1.0]}}, "1 for 2"),
        ({"token_ids": [], "logprobs": {"token_logprobs": []}}, "0 for 0"),
        ({"logprobs": {"token_logprobs": [-1.0, float("nan")]}}, "finite log-probabilities of at most 0, received nan"),
        ({"logprobs": {"token_logprobs": [float("-inf"), -1.0]}}, "received -inf"),
        ({"logprobs": {"token_logprobs": [0.7, -1.0]}}, r"received 0\.7"),
    ],
)
def test_a_reply_that_is_not_what_was_asked_for_is_refused(changes, message):
    choice = {"token_ids": [3, END], "prompt_token_ids": [7], "logprobs": {"token_logprobs": [-1.0, -2.0]}, **changes}
    with pytest.raises(ValueError, match=message):
        read_completion({"choices": [choice]}, [7], None)


def test_rounding_above_0_is_no_fault():
    choice = {"token_ids": [3], "logprobs": {"token_logprobs": [1e-6]}}
    assert read_completion({"choices": [choice]}, [7], None).logprobs == (1e-6,)


def test_length_of_a_server_that_does_not_say():
    assert max_length([{"id": "m"}]) is None
    assert max_length([{"id": "m", "max_model_len": 9}]) == 9
    assert max_length([{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 7, "n_ctx_train": 70}}]) == 7


def test_a_session_keeps_its_context_as_tokens(tokenizer_of):
    """P prompt, a turn, C observation: the second request is their concatenation, and each turn has a seed of its own."""
    tokenizer = tokenizer_of("embedded")
    renderer = Renderer(tokenizer)
    end = renderer.end_of_turn_id
    said = tokenizer.encode("<think>t</think>", add_special_tokens=False)

    def say(request, adapter):
        ids = [*said, end]
        return ids, [-0.5] * len(ids)

    policy = LoopbackPolicy(say)
    with running(policy) as server:

        async def main():
            client = connect(server)
            sampler = ServedSampler(
                client, renderer, sampling=SamplingConfig(max_turn_tokens=40), end_ids=(), name="served"
            )
            async with sampler.at_temperature(0.5).session(seed=11) as session:
                prompt = session.extend([Message(role="user", content="q")])
                first = await session.sample(max_tokens=100)
                context = session.extend([Message(role="user", content="o")])
                await session.sample(max_tokens=30)
            await client.aclose()
            return prompt, first, context

        prompt, first, context = asyncio.run(main())
    one, two = policy.requests
    assert tuple(one["prompt"]) == prompt
    assert tuple(two["prompt"]) == (*prompt, *first.token_ids, *context)
    assert first.text == "<think>t</think>" and first.finish_reason is FinishReason.STOP
    assert (one["max_tokens"], two["max_tokens"]) == (40, 30)
    assert one["temperature"] == 0.5 and one["seed"] != two["seed"]


def sample_turn(routes, renderer, *, accounts=None, max_tokens=200, **sampling):
    """One turn of a session behind a server that answers at these routes."""
    with LoopbackServer(ScriptedChatModel(lambda _: "."), routes=routes) as server:

        async def main():
            client = connect(server, wait_seconds=0.0)
            asked = client if accounts is None else MeteredServer(client, accounts, endpoint="policy", model="policy")
            sampler = ServedSampler(asked, renderer, sampling=SamplingConfig(**sampling), end_ids=(), name="served")
            try:
                async with sampler.session(seed=11) as session:
                    session.extend([Message(role="user", content="q")])
                    turn = await session.sample(max_tokens=max_tokens)
                    return turn, session.extend([Message(role="user", content="o")])
            finally:
                await client.aclose()

        return asyncio.run(main())


@pytest.mark.parametrize("end", ["abort", "error"])
def test_a_turn_that_the_server_broke_off_is_sampled_again(end):
    """vLLM returns what it has of a turn that it aborts, with status 200."""

    class Aborting(LoopbackPolicy):
        async def _complete(self, request):
            status, reply = await super()._complete(request)
            if len(self.requests) == 1:
                reply["choices"][0] |= {"finish_reason": end, "token_ids": [99], "logprobs": {"token_logprobs": [-0.1]}}
            return status, reply

    policy = Aborting(draw)
    with running(policy) as server:

        async def main():
            client = connect(server, max_retries=1)
            try:
                return await complete(client)
            finally:
                await client.aclose()

        completion = asyncio.run(main())
    assert (completion.token_ids, completion.is_stopped) == ((99, 17, END), True)
    assert len(policy.requests) == 2


def test_a_budget_of_calls_counts_turns_and_no_looks_at_the_server():
    """Every session that begins at once looks how long a context the server takes."""
    policy, budget = LoopbackPolicy(draw), Budget(BudgetConfig(calls=8))
    with running(policy) as server:

        async def main():
            client = connect(server)
            metered = MeteredServer(client, Accounts(budget=budget), endpoint="policy", model="policy")
            try:
                return await asyncio.gather(*(complete(metered, seed=seed) for seed in range(8)))
            finally:
                await client.aclose()

        assert len(asyncio.run(main())) == 8
    assert budget.spent.calls == len(policy.requests) == 8


def saying(tokenizer, texts):
    """Draw the texts in order, as a server that stops at the closing tags does; each continues the one before."""
    texts = list(texts)

    def say(request, adapter):
        ids = tokenizer.encode(texts.pop(0), add_special_tokens=False)[: request["max_tokens"]]
        return ids, [-0.5] * len(ids)

    return say


class StoppingPolicy(LoopbackPolicy):
    """Says that it stopped, as a server does at a stop string."""

    async def _complete(self, request):
        status, reply = await super()._complete(request)
        reply["choices"][0]["finish_reason"] = "stop"
        return status, reply


def test_a_turn_that_the_server_stopped_in_its_thought_is_continued(tokenizer_of):
    tokenizer = tokenizer_of("embedded")
    renderer = Renderer(tokenizer)
    parts = ["<think>an <answer>x</answer>", " or </tool>", " ends it</think><tool>Echo: y</tool>"]
    policy = StoppingPolicy(saying(tokenizer, parts))
    turn, context = sample_turn(policy.routes, renderer, turn_end="action")
    assert turn.text == "".join(parts) and turn.finish_reason is FinishReason.STOP
    assert len(turn.token_ids) == len(turn.logprobs) and tokenizer.decode(turn.token_ids) == turn.text
    assert context[0] == renderer.end_of_turn_id
    first, second, third = policy.requests
    said = tokenizer.encode(parts[0], add_special_tokens=False)
    assert second["prompt"] == [*first["prompt"], *said]
    assert [request["max_tokens"] for request in (first, second)] == [200, 200 - len(said)]
    assert len({request["seed"] for request in policy.requests}) == 3
    assert all(request["stop"] == ["</tool>", "</answer>"] for request in (first, second, third))


def test_a_turn_whose_weights_were_swapped_in_the_middle_is_sampled_anew(tokenizer_of):
    """A turn is of one policy, also where it takes several requests."""
    tokenizer = tokenizer_of("embedded")
    parts = ["<think>an <answer>x</answer>", "never kept", "<think>n</think><answer>y</answer>"]
    versions = [4, 5, 5]

    class Server:
        async def complete(self, prompt, **options):
            prompts.append(list(prompt))
            ids = tokenizer.encode(parts[len(prompts) - 1], add_special_tokens=False)
            return Completion(tuple(ids), (-0.5,) * len(ids), True, versions[len(prompts) - 1])

    async def main():
        sampler = ServedSampler(
            Server(), Renderer(tokenizer), sampling=SamplingConfig(turn_end="action"), end_ids=(), name="served"
        )
        async with sampler.session(seed=1) as session:
            session.extend([Message(role="user", content="q")])
            return await session.sample(max_tokens=200)

    prompts: list[list[int]] = []
    turn = asyncio.run(main())
    assert (turn.text, turn.policy_version) == (parts[2], 5)
    assert len(turn.token_ids) == len(turn.logprobs)
    assert prompts[2] == prompts[0] and len(prompts[1]) > len(prompts[0])


def test_a_thought_that_goes_on_until_the_budget_ends_is_cut_off(tokenizer_of):
    tokenizer = tokenizer_of("embedded")
    policy = StoppingPolicy(saying(tokenizer, ["<think>a </tool>", " b </tool>"]))
    turn, _ = sample_turn(policy.routes, Renderer(tokenizer), turn_end="action", max_tokens=20)
    assert turn.text == "<think>a </tool> b <"[:20] and turn.finish_reason is FinishReason.LENGTH


def test_llama_cpps_server_gets_tokens_at_its_own_address_and_is_cut_at_our_end_token(tokenizer_of):
    tokenizer = tokenizer_of("embedded")
    renderer = Renderer(tokenizer)
    said = tokenizer.encode("<think>t</think><answer>a</answer>", add_special_tokens=False)
    asked = []

    async def models(request):
        return 200, {"data": [{"id": "policy", "owned_by": "llamacpp", "meta": {"n_ctx": 64}}]}

    async def complete(request):
        asked.append(request)
        return 200, {"tokens": [*said, renderer.end_of_turn_id, 9], "stop_type": "limit"}

    accounts = Accounts(
        prices=PricesConfig(models={"policy": {"prompt_per_million": 1.0, "completion_per_million": 2.0}})
    )
    routes = {"/v1/models": models, "/completion": complete}
    turn, context = sample_turn(routes, renderer, accounts=accounts)
    assert turn.text == "<think>t</think><answer>a</answer>" and turn.finish_reason is FinishReason.STOP
    assert turn.token_ids == (*said, renderer.end_of_turn_id) and turn.logprobs == ()
    assert context[0] != renderer.end_of_turn_id
    request = asked[0]
    assert request["return_tokens"] is True and request["top_k"] == 0 and request["min_p"] == 0.0
    assert request["n_predict"] == 64 - len(request["prompt"]) and request["seed"] < 2**32
    usage = turn.usage
    assert (usage.llm_calls, usage.prompt_tokens, usage.completion_tokens) == (1, len(request["prompt"]), len(said) + 1)
    assert usage.cost == pytest.approx((usage.prompt_tokens + 2 * usage.completion_tokens) / 1e6)


def test_a_server_that_answers_in_text_alone_is_told_from_one_of_tokens(tokenizer_of):
    async def models(request):
        return 200, {"data": [{"id": "policy"}]}

    async def complete(request):
        return 200, {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": None}]}

    with pytest.raises(ServiceUnavailableError, match=r'policy\.exchange = "chat"'):
        sample_turn({"/v1/models": models, "/v1/completions": complete}, Renderer(tokenizer_of("embedded")))
