import asyncio

import pytest

from workflow_r1.inference import ChatReply, ScriptedChatModel
from workflow_r1.rollout import ChatPolicy, SamplingConfig
from workflow_r1.rollout.chat_policy import restore_closing_tag
from workflow_r1.trajectory import FinishReason, Message, Usage


def converse(chat, *, seed=7, other_temperature=None, **sampling):
    async def main():
        policy = ChatPolicy(chat, name="m", sampling=SamplingConfig(**sampling))
        if other_temperature is not None:
            policy = policy.at_temperature(other_temperature)
        async with policy.session(seed=seed) as session:
            assert session.extend([Message(role="user", content="q")]) == ()
            first = await session.sample(max_tokens=100)
            session.extend([Message(role="user", content="o")])
            return first, await session.sample(max_tokens=30)

    return asyncio.run(main())


def test_the_conversation_grows():
    chat = ScriptedChatModel(["<think>a</think><tool>Echo: x</tool>", "<answer>b</answer>"])
    first, _second = converse(chat, max_turn_tokens=50, temperature=0.5)
    assert (first.text, first.token_ids, first.logprobs) == ("<think>a</think><tool>Echo: x</tool>", (), ())
    assert [(m.role, m.content) for m in chat.requests[1].messages] == [
        ("user", "q"),
        ("assistant", first.text),
        ("user", "o"),
    ]
    assert [request.max_tokens for request in chat.requests] == [50, 30]
    assert [request.temperature for request in chat.requests] == [0.5, 0.5]
    assert [request.stop for request in chat.requests] == [(), ()]


def test_the_same_policy_at_another_temperature_and_what_a_turn_took():
    chat = ScriptedChatModel(["a", "b"])
    first, _ = converse(chat, temperature=0.5, other_temperature=0.0)
    assert [request.temperature for request in chat.requests] == [0.0, 0.0]
    assert first.usage.llm_calls == 1


def test_members_of_a_group_are_other_draws_and_greedy_is_one():
    def indices(**arguments):
        chat = ScriptedChatModel(["a", "b"])
        converse(chat, **arguments)
        return [request.sample_index for request in chat.requests]

    assert indices(seed=1) != indices(seed=2)
    assert indices(seed=1, temperature=0.0) == indices(seed=2, temperature=0.0) == [0, 0]
    assert all(0 <= index < 2**31 for index in indices(seed=2**63 - 1))


def test_stop_strings_end_a_turn_at_its_action():
    chat = ScriptedChatModel(["<think>a</think><tool>Echo: x", "<think>b</think><answer>c"])
    first, second = converse(chat, turn_end="action")
    assert chat.requests[0].stop == ("</tool>", "</answer>")
    assert first.text == "<think>a</think><tool>Echo: x</tool>"
    assert second.text == "<think>b</think><answer>c</answer>"
    assert chat.requests[1].messages[1].content == first.text


def test_a_thought_that_the_server_moved_is_put_back_into_turn_and_conversation():
    reply = ChatReply("<tool>Echo: x", FinishReason.STOP, Usage(), reasoning="a <tool> is due")
    chat = ScriptedChatModel([reply, "<think>c</think><answer>b"])
    first, _ = converse(chat, turn_end="action")
    assert first.text == "<think>a <tool> is due</think><tool>Echo: x</tool>"
    assert chat.requests[1].messages[1].content == first.text


def test_a_turn_cut_off_is_left_open():
    reply = ChatReply(text="<tool>Echo: x", finish_reason=FinishReason.LENGTH, usage=Usage())
    first, _ = converse(ScriptedChatModel([reply, "<think>b</think>"]), turn_end="action")
    assert (first.text, first.finish_reason) == ("<tool>Echo: x", FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("reply", "restored"),
    [
        ("<tool>a", "<tool>a</tool>"),
        ("<answer>a", "<answer>a</answer>"),
        ("<tool>a</tool>", "<tool>a</tool>"),
        ("<tool>a</tool><answer>b", "<tool>a</tool><answer>b</answer>"),
        ("no action", "no action"),
        ("<think>a <tool> is</think>", "<think>a <tool> is</think>"),
        ("<think>a <tool> is</think><answer>b", "<think>a <tool> is</think><answer>b</answer>"),
        ("", ""),
    ],
)
def test_restoring_the_closing_tag(reply, restored):
    assert restore_closing_tag(reply) == restored


@pytest.mark.parametrize(
    "stopped",
    [
        ChatReply(text="<think>an <answer>x", finish_reason=FinishReason.STOP, usage=Usage(llm_calls=1)),
        ChatReply(text="write ", finish_reason=FinishReason.STOP, usage=Usage(llm_calls=1)),
        ChatReply(text="", reasoning="an <answer>x", finish_reason=FinishReason.STOP, usage=Usage(llm_calls=1)),
    ],
    ids=["own thought", "thought that the template opened", "thought that the server moved"],
)
def test_a_turn_that_the_server_stopped_in_its_thought_is_asked_for_whole(stopped):
    whole = "<think>an <answer>x</answer> ends it</think><tool>Echo: y</tool> and more"
    chat = ScriptedChatModel([stopped, whole, "<think>b</think>"])
    first, _ = converse(chat, turn_end="action")
    assert first.text == "<think>an <answer>x</answer> ends it</think><tool>Echo: y</tool>"
    assert [request.stop for request in chat.requests[:2]] == [("</tool>", "</answer>"), ()]
    assert first.usage.llm_calls == 2


def test_what_the_servers_template_opened_belongs_to_the_turn():
    chat = ScriptedChatModel(["why</think><tool>Echo: x</tool>", "</think><answer>b</answer>"])
    first, second = converse(chat)
    assert first.text == "<think>why</think><tool>Echo: x</tool>"
    assert second.text == "<think></think><answer>b</answer>"
    assert chat.requests[1].messages[1].content == first.text
