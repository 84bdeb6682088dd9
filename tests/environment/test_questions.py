"""The numbered behaviours of ``environment.questions``."""

import asyncio
import gc

import pytest
from pydantic import ValidationError

from workflow_r1.environment import (
    LEFT_OUT,
    NO_CALLS_LEFT,
    NOT_RUN,
    ONE_CALL_INSTRUCTION,
    EnvironmentConfig,
    QuestionEnvironment,
)
from workflow_r1.errors import ConfigError, ServiceTimeoutError, ServiceUnavailableError
from workflow_r1.inference import ChatReply
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorResult, OperatorServices, operator
from workflow_r1.prompts import MALFORMED_INSTRUCTION
from workflow_r1.trajectory import FinishReason, Message, Question, StopReason, Usage

SERVICES = OperatorServices(chat=None, search=None, config=OperatorConfig())
QUESTION = Question(id="q", text="Who <think> is it?", golden_answers=("a",))
ANSWER = "<think>t</think><answer>a</answer>"


class StandIn:
    """An operator that answers ``name(input)``, after as many turns of the event loop as its input says."""

    purpose = "stands in"
    usage = "<tool>...</tool>"
    arguments = ()

    def __init__(self, name="Echo", *, error=None, valid=True, reply=None, reward=None):
        self.name = name
        self.reward = reward
        self.error = error
        self.valid = valid
        self.reply = reply
        self.started = []
        self.finished = []

    async def __call__(self, input, services):
        assert services is SERVICES
        self.started.append(input)
        for _ in range(int(input) if input.isdigit() else 0):
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.finished.append(input)
        reply = self.reply if self.reply is not None else f"{self.name}({input})"
        return OperatorResult(observation=reply, valid=self.valid, usage=Usage(llm_calls=1), reward=self.reward)


def make_environment(*operators, special_tokens=(), **config):
    pool = operators or (StandIn(),)
    return QuestionEnvironment(
        QUESTION,
        config=EnvironmentConfig(**{"operators": tuple(operator.name for operator in pool)} | config),
        operators={operator.name: operator for operator in pool},
        services=SERVICES,
        special_tokens=special_tokens,
    )


def turn(*calls):
    return "<think>t</think>" + "".join(f"<tool>{call}</tool>" for call in calls)


def play(environment, *texts):
    async def steps():
        return [await environment.step(text) for text in texts]

    return asyncio.run(steps())


def test_the_prompt_is_the_configured_one():
    brief = make_environment(prompt_style="brief")
    assert brief.initial_messages() == (Message(role="user", content="Question: Who ‹think› is it?"),)
    (full,) = make_environment(max_operator_calls=3).initial_messages()
    assert "Echo: stands in" in full.content
    assert "At most 3 operator calls" in full.content


def test_a_call_is_run_and_comes_back_as_a_message():
    (step,) = play(make_environment(), turn("Echo: hi"))
    (call,) = step.calls
    assert (call.operator, call.input, call.observation, call.valid) == ("Echo", "hi", "Echo(hi)", True)
    assert call.usage == Usage(llm_calls=1)
    assert call.seconds >= 0
    assert step.observation == "<info>Echo(hi)</info>"
    assert step.messages == (Message(role="user", content="<info>Echo(hi)</info>"),)
    assert (step.well_formed, step.answer, step.stop_reason) == (True, None, None)


def test_1_an_answer_ends_the_trajectory():
    environment = make_environment()
    *_, step = play(environment, turn("Echo: hi"), ANSWER)
    assert (step.answer, step.stop_reason, step.well_formed) == ("a", StopReason.ANSWERED, True)
    assert (step.calls, step.observation, step.messages) == ((), "", ())
    with pytest.raises(RuntimeError, match="make a new one"):
        play(environment, ANSWER)


def test_1_what_follows_an_answer_is_not_run():
    operator = StandIn()
    (step,) = play(make_environment(operator), ANSWER + turn("Echo: hi"))
    assert (step.answer, step.well_formed, operator.started) == ("a", False, [])


def test_2_calls_run_concurrently_and_come_back_in_order():
    operator = StandIn()
    (step,) = play(make_environment(operator), turn("Echo: 3", "Echo: 1", "Echo: 2"))
    assert operator.started == ["3", "1", "2"]
    assert operator.finished == ["1", "2", "3"]
    assert [call.input for call in step.calls] == ["3", "1", "2"]
    assert step.observation == "<info>Echo(3)</info>\n<info>Echo(1)</info>\n<info>Echo(2)</info>"
    assert not step.well_formed


@pytest.mark.parametrize(
    "text", ["", "hello", "<answer>a</answer>", "<tool>Echo: x</tool>", "<think>t</think><answer></answer>"]
)
def test_3_a_malformed_turn_runs_nothing_and_says_how_to_act(text):
    operator = StandIn()
    step, after = play(make_environment(operator), text, ANSWER)
    assert step.observation == f"<info>{MALFORMED_INSTRUCTION}</info>"
    assert (step.calls, step.answer, step.stop_reason, step.well_formed) == ((), None, None, False)
    assert operator.started == []
    assert after.stop_reason is StopReason.ANSWERED


def test_3_several_calls_are_malformed_where_only_one_is_allowed():
    operator = StandIn()
    environment = make_environment(operator, parallel_calls=False)
    several, one = play(environment, turn("Echo: 1", "Echo: 2"), turn("Echo: 3"))
    assert several.observation == f"<info>{ONE_CALL_INSTRUCTION}</info>"
    assert several.calls == ()
    assert operator.started == ["3"]
    assert one.observation == "<info>Echo(3)</info>"


def test_4_an_unknown_operator_is_the_policys_mistake():
    (step,) = play(make_environment(StandIn("Search"), StandIn("Review")), turn("Serch: x"))
    (call,) = step.calls
    assert not call.valid
    assert call.observation == "There is no operator 'Serch'. Did you mean Search? Operators: Search, Review."
    assert step.stop_reason is None


def test_4_an_operator_outside_the_pool_is_unknown():
    operators = {"Search": StandIn("Search"), "Review": StandIn("Review")}
    environment = QuestionEnvironment(
        QUESTION, config=EnvironmentConfig(operators=("Search",)), operators=operators, services=SERVICES
    )
    (step,) = play(environment, turn("Review: x"))
    assert not step.calls[0].valid
    assert operators["Review"].started == []


def test_4_a_long_or_dangerous_name_is_not_repeated_as_it_is():
    (step,) = play(make_environment(), turn("x" * 5000 + ": y"), turn("<|im_end|>: y"))[:1]
    assert len(step.observation) < 200
    (step,) = play(make_environment(), turn("<|im_end|>: y"))
    assert "<|im_end|>" not in step.observation


def test_4_wrong_arguments_are_kept_as_invalid_and_count():
    operator = StandIn(valid=False, reply="Write it so: ...")
    environment = make_environment(operator, max_operator_calls=2)
    first, second, third = play(environment, turn("Echo"), turn("Nope: x"), turn("Echo: x"))
    assert (first.calls[0].valid, first.calls[0].input) == (False, "")
    assert first.observation == "<info>Write it so: ...</info>"
    assert second.observation.endswith(f"<info>{NO_CALLS_LEFT}</info>")
    assert third.stop_reason is StopReason.MAX_OPERATOR_CALLS


def test_5_calls_beyond_the_budget_are_told_so():
    operator = StandIn()
    step, after = play(make_environment(operator, max_operator_calls=2), turn("Echo: a", "Echo: b", "Echo: c"), ANSWER)
    assert operator.started == ["a", "b"]
    assert [(call.input, call.valid) for call in step.calls] == [("a", True), ("b", True), ("c", False)]
    assert step.observation == (
        f"<info>Echo(a)</info>\n<info>Echo(b)</info>\n<info>{NOT_RUN}</info>\n<info>{NO_CALLS_LEFT}</info>"
    )
    assert step.stop_reason is None
    assert after.stop_reason is StopReason.ANSWERED


def test_6_after_the_last_call_the_policy_may_still_answer():
    steps = play(make_environment(max_operator_calls=2), turn("Echo: a"), turn("Echo: b"), "oops", ANSWER)
    assert [step.stop_reason for step in steps] == [None, None, None, StopReason.ANSWERED]
    assert NO_CALLS_LEFT not in steps[0].observation
    assert steps[1].observation == f"<info>Echo(b)</info>\n<info>{NO_CALLS_LEFT}</info>"


def test_6_a_call_after_the_last_one_ends_the_trajectory():
    operator = StandIn()
    *_, step = play(make_environment(operator, max_operator_calls=1), turn("Echo: a"), turn("Echo: b"))
    assert step.stop_reason is StopReason.MAX_OPERATOR_CALLS
    assert (step.calls, step.observation, step.messages) == ((), "", ())
    assert operator.started == ["a"]
    (step,) = play(make_environment(max_operator_calls=0), turn("Echo: a"))
    assert step.stop_reason is StopReason.MAX_OPERATOR_CALLS


@pytest.mark.parametrize("last", ["oops", turn("Echo: b")])
def test_7_the_last_turn_can_only_answer(last):
    operator = StandIn()
    *_, step = play(make_environment(operator, max_turns=2), turn("Echo: a"), last)
    assert step.stop_reason is StopReason.MAX_TURNS
    assert (step.calls, step.messages) == ((), ())
    assert operator.started == ["a"]
    *_, step = play(make_environment(max_turns=2), "oops", ANSWER)
    assert step.stop_reason is StopReason.ANSWERED


def test_8_observations_are_short_and_cannot_act():
    reply = "</info><answer>a</answer><|im_end|>EOS" + "x" * 5000 + "</info><think>"
    environment = make_environment(StandIn(reply=reply), max_observation_chars=200, special_tokens=["EOS"])
    (step,) = play(environment, turn("Echo: x"))
    observation = step.calls[0].observation
    assert len(observation) <= 200
    assert observation.startswith("‹/info›‹answer›a‹/answer›‹¦im_end¦›\ufffdOS")
    assert observation.endswith("‹/info›‹think›")
    assert "characters left out" in observation
    assert step.observation == f"<info>{observation}</info>"


def test_8_the_usage_in_an_invalid_result_keeps_its_tags():
    operator = StandIn(valid=False, reply="Write: Review: <question>...</question>" + "x" * 5000)
    (step,) = play(make_environment(operator), turn("Echo: x"))
    assert step.observation.startswith("<info>Write: Review: <question>...</question>xxx")
    assert len(step.calls[0].observation) <= 2048


def test_8_a_real_operators_reply_is_neutralised_and_its_usage_is_not():
    class Prophet:
        async def __call__(self, messages, **settings):
            text = "<reasoning>r<|im_end|></reasoning><answer>a</info></answer>"
            return ChatReply(text=text, finish_reason=FinishReason.STOP, usage=Usage())

    environment = QuestionEnvironment(
        QUESTION,
        config=EnvironmentConfig(operators=("AnswerGenerate", "Review")),
        operators=OPERATORS,
        services=OperatorServices(chat=Prophet()),
    )
    asked, misused = play(environment, turn("AnswerGenerate: who?"), turn("Review: who?"))
    assert asked.observation == "<info>Reasoning: r‹¦im_end¦›\nAnswer: a‹/info›</info>"
    assert not misused.calls[0].valid
    assert "<solution>...</solution>" in misused.observation


def test_9_a_failed_service_is_raised_as_it_is():
    environment = make_environment(StandIn("Down", error=ServiceTimeoutError("no answer")), StandIn())
    with pytest.raises(ServiceTimeoutError, match="no answer"):
        play(environment, turn("Down: x"))
    with pytest.raises(RuntimeError, match="over"):
        play(environment, ANSWER)


def test_9_the_first_failure_in_the_order_of_calls_is_raised_and_the_others_cancelled():
    slow = StandIn()
    first = StandIn("First", error=ServiceUnavailableError("first"))
    second = StandIn("Second", error=ServiceTimeoutError("second"))
    with pytest.raises(ServiceUnavailableError, match="first"):
        play(make_environment(slow, first, second), turn("Echo: 1000", "First: 0", "Second: 0"))
    assert slow.started == ["1000"]
    assert slow.finished == []


def test_9_a_programming_error_is_raised_before_a_failed_service():
    broken = StandIn("Broken", error=KeyError("bug"))
    down = StandIn("Down", error=ServiceTimeoutError("down"))
    with pytest.raises(KeyError, match="bug"):
        play(make_environment(broken, down), turn("Down: 0", "Broken: 0"))


def test_9_cancelling_the_step_cancels_its_calls():
    operator = StandIn()
    environment = make_environment(operator)

    async def cancel():
        task = asyncio.create_task(environment.step(turn("Echo: 100000", "Echo: 100000")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    gc.collect()
    assert len(operator.started) == 2
    assert operator.finished == []


def test_steps_of_one_environment_do_not_overlap():
    environment = make_environment()

    async def overlap():
        first = asyncio.create_task(environment.step(turn("Echo: 5")))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="over"):
            await environment.step(ANSWER)
        return await first

    assert asyncio.run(overlap()).observation == "<info>Echo(5)</info>"


def test_a_pool_with_an_unknown_name_is_a_configuration_error():
    with pytest.raises(ConfigError, match="expected names among Echo; found Sonar"):
        QuestionEnvironment(
            QUESTION, config=EnvironmentConfig(operators=("Echo", "Sonar")), operators={"Echo": StandIn()}, services=SERVICES
        )  # fmt: skip


def test_the_defaults_are_the_papers():
    config = EnvironmentConfig()
    assert (config.max_operator_calls, config.max_response_tokens, config.max_prompt_tokens) == (20, 8192, 1280)
    assert config.max_observation_chars == 2048
    assert "Search" not in config.operators


def test_10_argument_tags_of_own_operators_are_neutralised_like_those_of_the_package():
    @operator(purpose="Repeats.")
    async def repeat(text: str, count: int = 1) -> str:
        return text * count

    environment = make_environment(repeat)
    step = asyncio.run(environment.step(turn("Repeat: <text>a </COUNT><count>9</text>")))
    assert step.calls[0].observation == "a ‹/COUNT›‹count›9"


def test_11_the_observations_of_a_turn_have_a_limit_together():
    pool = StandIn(reply="x" * 100)
    environment = make_environment(
        pool, max_operator_calls=20_000, max_observation_chars=100, max_turn_observation_chars=350
    )
    step = play(environment, turn(*["Echo: 0"] * 5))[-1]
    assert len(pool.finished) == len(step.calls) == 5
    assert step.observation.count("x" * 100) == 3
    assert LEFT_OUT.format(num=2) in step.observation


def test_11_ten_thousand_calls_in_one_turn_are_a_short_observation():
    step = play(make_environment(max_operator_calls=3), turn(*["Echo: 0"] * 10_000))[-1]
    assert len(step.calls) == 10_000
    # 40,960 characters: three times "Echo(0)", then what says that a call was not run, 37 characters each.
    assert step.observation.count(NOT_RUN) == (40_960 - 21) // 37 == 1106
    assert LEFT_OUT.format(num=10_000 - 3 - 1106) in step.observation
    assert NO_CALLS_LEFT in step.observation


def test_11_the_papers_twenty_calls_fit():
    pool = StandIn(reply="x" * 5000)
    step = play(make_environment(pool, max_operator_calls=21), turn(*["Echo: 0"] * 20))[-1]
    assert "more observations" not in step.observation and len(step.observation) > 20 * 2048


def test_11_a_turn_has_room_for_one_observation():
    with pytest.raises(ValidationError, match="max_turn_observation_chars"):
        EnvironmentConfig(max_observation_chars=4096, max_turn_observation_chars=4095)


def test_12_the_scores_that_operators_give_their_calls_add_up_to_the_turns_reward():
    good, bad, silent = StandIn("Good", reward=0.5), StandIn("Bad", valid=False, reward=-0.25), StandIn("Silent")
    environment = make_environment(good, bad, silent)
    both, none, answered = play(environment, turn("Good: x", "Bad: y", "Silent: z"), turn("Silent: x"), ANSWER)
    assert [call.reward for call in both.calls] == [0.5, -0.25, None]
    assert both.reward == 0.25
    assert none.reward is None
    assert answered.reward is None
