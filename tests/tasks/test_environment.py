"""The numbered behaviours of ``tasks.environment``."""

import asyncio
import re
import threading

import numpy as np
import pytest
from number_game import Game, GuessTheNumber, Settings, task_of

from workflow_r1.environment import LEFT_OUT, NOT_RUN, ONE_CALL_INSTRUCTION, EnvironmentConfig
from workflow_r1.errors import (
    ConfigError,
    FilteredError,
    ServiceUnavailableError,
    TaskError,
)
from workflow_r1.operators import OperatorConfig, OperatorServices, operator
from workflow_r1.rollout import rollout
from workflow_r1.rollout.doubles import ScriptedPolicy
from workflow_r1.tasks import Reply, TaskEnvironment
from workflow_r1.tasks.environment import REFUSED
from workflow_r1.trajectory import Ending, Message, Question, StopReason

SERVICES = OperatorServices(chat=None, search=None, config=OperatorConfig())
INSTANCE = Question(id="i", text="one", golden_answers=(), metadata={"secret": 3})


@operator(purpose="repeats")
async def echo(text: str) -> str:
    return f"echo {text}"


def make_environment(task=None, *, operators=(), special_tokens=(), **config):
    return TaskEnvironment(
        INSTANCE,
        task=task or GuessTheNumber(Settings()),
        config=EnvironmentConfig(operators=operators, **config),
        operators={"Echo": echo},
        services=SERVICES,
        special_tokens=special_tokens,
    )


def turn(*calls):
    return "<think>t</think>" + "".join(f"<tool>{call}</tool>" for call in calls)


def play(environment, *texts):
    async def steps():
        await environment.start()
        try:
            return [await environment.step(text) for text in texts]
        finally:
            await environment.close()

    return asyncio.run(steps())


def roll(task, *texts, **config):
    return asyncio.run(
        rollout(
            INSTANCE,
            policy=ScriptedPolicy(texts),
            environment=make_environment(task, **config),
            trajectory_id="t",
            group_id="g",
            seed=0,
        )
    )


# ------------------------------------------------------------------------------------------------------------ prompt


def test_a_text_becomes_the_users_message_with_instructions():
    (message,) = asyncio.run(make_environment(operators=("Echo",)).start())
    assert message.role == "user"
    assert message.content.startswith("A number from 1 to 5.\n\nThink first")
    assert "- <tool>Guess: ...</tool> with a whole number\n- <tool>Echo: the text</tool>" in message.content.replace(
        " (repeats)", ""
    )


def test_the_brief_style_is_the_bare_text():
    assert asyncio.run(make_environment(prompt_style="brief").start()) == (
        Message(role="user", content="A number from 1 to 5."),
    )


def test_a_text_cannot_act_as_control_and_messages_are_the_tasks_own():
    outside = task_of(None, start=lambda: "Play <answer>x</answer> <|im_end|> ZZ")
    (message,) = asyncio.run(make_environment(outside, prompt_style="brief", special_tokens=("ZZ",)).start())
    assert message.content == "Play ‹answer›x‹/answer› ‹¦im_end¦› \ufffdZ"
    messages = [Message(role="system", content="<tool>"), Message(role="user", content="u")]
    assert asyncio.run(make_environment(task_of(None, start=lambda: messages)).start()) == tuple(messages)


@pytest.mark.parametrize("prompt", [None, 3, [], ["text"]])
def test_a_prompt_of_another_kind_is_blamed_on_its_line(prompt):
    with pytest.raises(
        TaskError, match=r"number_game\.py:\d+: .*start of the task one-move .*expected a text or messages"
    ):
        asyncio.run(make_environment(task_of(None, start=lambda: prompt)).start())


# ------------------------------------------------------------------------------------------------- 1 to 4: actions


def test_1_an_action_goes_to_the_episode():
    first, second = play(make_environment(), turn("Guess: 1"), turn("Guess: 4"))
    assert (first.observation, first.reward, first.stop_reason) == ("<info>higher</info>", -0.1, None)
    assert first.messages == (Message(role="user", content="<info>higher</info>"),)
    assert [(call.operator, call.input, call.observation, call.valid) for call in second.calls] == [
        ("Guess", "4", "lower", True)
    ]


def test_1_an_observation_is_cut_and_neutralised_however_long_it_is():
    million = "<answer>17</answer><|im_end|>" * 40_000
    (step,) = play(
        make_environment(task_of(lambda action: Reply(million, reward=0.0)), max_observation_chars=100), turn("Move: x")
    )
    text = step.observation.removeprefix("<info>").removesuffix("</info>")
    assert len(text) == 100
    assert "‹answer›" in text
    assert "<answer>" not in text and "<|im_end|>" not in text


def test_1_other_formats_have_no_info_tag():
    task = task_of(lambda action: Reply(f"did {action.input}"), action_format="text")
    (step,) = play(make_environment(task), "<think>t</think>e2 e4")
    assert step.observation == "did e2 e4"


def test_2_the_end_is_the_episodes():
    *_, last = play(make_environment(), turn("Guess: 1"), turn("Guess: 3"))
    assert last.stop_reason is StopReason.DONE
    assert last.ending == Ending(success=True, parts={"secret": 3.0})
    assert (last.reward, last.observation, last.messages) == (1.0, "", ())
    assert last.calls[0].observation == "Right."


def test_2_an_answer_that_ends_the_episode_is_the_trajectorys():
    task = task_of(lambda action: Reply(done=True, reward=1.0, success=True), actions={"answer": "the word"})
    trajectory = roll(task, "<think>t</think><answer>fish</answer>")
    assert (trajectory.stop_reason, trajectory.answer) == (StopReason.DONE, "fish")


def test_3_a_turn_without_an_action_runs_nothing_and_says_how_to_act():
    moves = []
    task = task_of(lambda action: moves.append(action) or Reply("ok"))
    step, *_ = play(make_environment(task), "nothing", turn("Move: 1", "Move: 2"))
    assert moves == [] and step.calls == () and step.reward is None
    assert step.observation.startswith("<info>Nothing was run. Think first")


@pytest.mark.parametrize("action_format", ["tags", "json"])
def test_3_a_name_that_nothing_has_is_recorded_as_a_call_that_was_not_valid(action_format):
    text = turn("Jump: far") if action_format == "tags" else '<think>t</think>{"name": "Jump", "arguments": {}}'
    step, *_ = play(make_environment(task_of(None, action_format=action_format)), text)
    assert [(call.operator, call.valid) for call in step.calls] == [("Jump", False)]
    assert "There is no such action. Actions: Move." in step.observation and step.well_formed


def test_4_a_refused_action_is_the_policys_mistake():
    step, *_ = play(make_environment(), turn("Guess: x"), turn("Guess: 1"))
    assert step.observation == "<info>Write a whole number.</info>"
    assert [call.valid for call in step.calls] == [False]


# ------------------------------------------------------------------------------------------------- 5: operators


def test_5_operators_may_be_called_beside_the_actions():
    first, second, third = play(
        make_environment(operators=("Echo",), max_operator_calls=2),
        turn("Echo: a", "Echo: b"),
        turn("Echo: c"),
        turn("Guess: 3"),
    )
    assert first.observation == "<info>echo a</info>\n<info>echo b</info>"
    assert second.observation == f"<info>{NOT_RUN}</info>"
    assert third.stop_reason is StopReason.DONE


def test_5_observations_of_one_turn_have_a_limit_together():
    settings = {"operators": ("Echo",), "max_observation_chars": 64, "max_turn_observation_chars": 64}
    (step,) = play(make_environment(**settings), turn(f"Echo: {'a' * 40}", f"Echo: {'b' * 40}"))
    assert step.observation == f"<info>echo {'a' * 40}</info>\n<info>{LEFT_OUT.format(num=1)}</info>"


def test_5_several_calls_need_parallel_calls():
    (step,) = play(make_environment(operators=("Echo",), parallel_calls=False), turn("Echo: a", "Echo: b"))
    assert step.calls == () and step.observation == f"<info>{ONE_CALL_INSTRUCTION}</info>"


def test_5_the_pool_names_operators_that_exist():
    with pytest.raises(ConfigError, match=r"expected names among Echo; found Nobody"):
        make_environment(operators=("Nobody",))


# ------------------------------------------------------------------------------------------------- 6: budgets


def test_6_the_last_turn_still_acts():
    won = roll(GuessTheNumber(Settings()), turn("Guess: 1"), turn("Guess: 3"), max_turns=2)
    assert won.stop_reason is StopReason.DONE
    lost = roll(GuessTheNumber(Settings()), turn("Guess: 1"), turn("Guess: 2"), max_turns=2)
    assert lost.stop_reason is StopReason.MAX_TURNS
    assert [one.reward for one in lost.turns] == [-0.1, -0.1]
    assert lost.ending is None and lost.turns[-1].calls[0].observation == "higher"


def test_6_the_last_turn_runs_no_operator():
    trajectory = roll(None, turn("Echo: a"), operators=("Echo",), max_turns=1)
    assert trajectory.stop_reason is StopReason.MAX_TURNS and trajectory.turns[0].calls == ()


@pytest.mark.parametrize(("action_format", "text", "is_final"), [
    ("tags", turn("Move: x"), True),
    ("tags", "<think>t</think><tool>Move: x", False),
    ("json", '<think>t</think>{"name": "Move", "arguments": {}}', True),
    ("json", '<think>t</think>{"name": "Mo', False),
    ("text", "<think>t</think>x", False),
])  # fmt: skip
def test_6_a_turn_at_the_end_of_its_tokens_acts_where_its_action_is_whole(action_format, text, is_final):
    assert make_environment(task_of(None, action_format=action_format)).read(text).is_final is is_final


# ---------------------------------------------------------------------------------- 7: failures of the infrastructure


@pytest.mark.parametrize("error", [ServiceUnavailableError("down"), ConnectionResetError("gone"), TimeoutError()])
def test_7_a_failing_service_ends_the_trajectory(error):
    def act(action):
        raise error

    trajectory = roll(task_of(act), turn("Move: x"))
    assert trajectory.stop_reason is StopReason.TASK_FAILED and trajectory.stop_reason.is_infrastructure
    assert trajectory.error.startswith("TaskFailedError: the task one-move (instance i): expected its service to reply")
    assert type(error).__name__ in trajectory.error
    assert len(trajectory.turns) == 1


def test_7_a_service_that_fails_before_the_prompt_too():
    def start():
        raise ConnectionRefusedError("no server")

    trajectory = roll(task_of(None, start=start), turn("Move: x"))
    assert (trajectory.stop_reason, trajectory.turns, trajectory.prompt) == (StopReason.TASK_FAILED, (), ())


def test_7_a_task_that_hangs_is_given_up_and_the_next_one_acts():
    release = threading.Event()

    def hang(action):
        release.wait()
        return Reply("late")

    stuck = roll(task_of(hang), turn("Move: x"), task_timeout_seconds=0.05)
    try:
        assert stuck.stop_reason is StopReason.TASK_FAILED
        assert re.search(r"the task one-move .*expected .*act \(.*:\d+\) to return within 0\.05 s", stuck.error)
        (step,) = play(make_environment(), turn("Guess: 1"))
        assert step.observation == "<info>higher</info>"
    finally:
        release.set()


def test_7_an_async_task_that_hangs_too():
    async def hang():
        await asyncio.sleep(60)

    trajectory = roll(task_of(lambda action: hang()), turn("Move: x"), task_timeout_seconds=0.05)
    assert trajectory.stop_reason is StopReason.TASK_FAILED


def test_7_refused_content_is_the_policys_mistake():
    def act(action):
        raise FilteredError("not allowed")

    (step,) = play(make_environment(task_of(act)), turn("Move: x"))
    assert step.observation == f"<info>{REFUSED}</info>" and not step.calls[0].valid


# ------------------------------------------------------------------------------------------ 8: programming errors


class Failing(Game):
    def act(self, action):
        return {}["nowhere"]


def test_8_an_exception_names_the_users_file_and_line():
    class OneGame(GuessTheNumber):
        def open(self, instance, services):
            return Failing(3, 5)

    line = Failing.act.__code__.co_firstlineno + 1
    with pytest.raises(
        TaskError, match=rf"test_environment\.py:{line}: Failing\.act .*\(instance i\) raised KeyError: 'nowhere'"
    ):
        play(make_environment(OneGame(Settings())), turn("Guess: x"))


def test_8_leaving_the_program_is_no_way_out():
    def leave(action):
        raise SystemExit(3)

    with pytest.raises(TaskError, match="raised SystemExit: 3"):
        play(make_environment(task_of(leave)), turn("Move: x"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (None, "expected a Reply, received None"),
        ("text", "expected a Reply, received 'text'"),
        (Reply(b"x", reward=0.0), "expected a text as the observation"),
        (Reply("x", reward=float("nan")), "expected a finite number as the reward, received nan"),
        (Reply("x", reward=float("inf")), "expected a finite number as the reward, received inf"),
        (Reply("x", reward="1"), "expected a finite number as the reward, received '1'"),
        (Reply("x", reward=[1.0]), "expected a finite number as the reward"),
        (Reply("x", reward=0.0, parts={"a": float("nan")}), "expected a finite number as the part 'a', received nan"),
        (Reply("x", reward=0.0, parts=[1]), "expected numbers by name as the parts"),
        (Reply("x", done=True, success=True), "expected a reward with the last reply"),
        (Reply("x", done=True, reward=1.0), "expected success=True or success=False with the last reply"),
        (Reply("x", done=True, reward=1.0, success=0.5), "expected True, False or None as success, received 0.5"),
    ],
)
def test_8_a_wrong_reply_is_blamed_on_its_line(reply, expected):
    with pytest.raises(TaskError, match=r"number_game\.py:\d+: .*act of the task one-move") as raised:
        play(make_environment(task_of(lambda action: reply)), turn("Move: x"))
    assert expected in str(raised.value)


def test_8_numbers_of_numpy_are_numbers():
    reply = Reply(done=True, reward=np.float32(0.5), success=np.True_, parts={"n": np.int64(3)})
    (step,) = play(make_environment(task_of(lambda action: reply)), turn("Move: x"))
    assert (step.reward, step.ending) == (0.5, Ending(success=True, parts={"n": 3.0}))
    assert type(step.reward) is float


def test_8_a_task_without_success_shows_its_reward_alone():
    task = task_of(lambda action: Reply(done=True, reward=2.5), says_success=False)
    (step,) = play(make_environment(task), turn("Move: x"))
    assert step.ending == Ending(success=None)


def test_8_open_gives_an_episode():
    task = task_of(None)
    task.open = lambda instance, services: None
    with pytest.raises(TaskError, match="expected an Episode, received None"):
        asyncio.run(make_environment(task).start())


# ----------------------------------------------------------------------------------------------------- life and end


def test_an_environment_that_is_over_takes_no_turn():
    environment = make_environment()
    play(environment, turn("Guess: 3"))
    with pytest.raises(RuntimeError, match="make a new one"):
        asyncio.run(environment.step(turn("Guess: 3")))


@pytest.mark.parametrize("texts", [(turn("Guess: 3"),), (turn("Guess: 1"), ConnectionError("policy"))])
def test_an_episode_is_closed_once_on_every_way_out(texts):
    game = Game(3, 5)

    class OneGame(GuessTheNumber):
        def open(self, instance, services):
            return game

    with_error = isinstance(texts[-1], Exception)
    if with_error:
        with pytest.raises(ConnectionError):
            roll(OneGame(Settings()), *texts)
    else:
        roll(OneGame(Settings()), *texts)
    assert game.closed == 1


def test_a_service_that_fails_while_closing_no_longer_matters(caplog):
    class Rude(Game):
        def close(self):
            raise ConnectionError("gone")

    class OneGame(GuessTheNumber):
        def open(self, instance, services):
            return Rude(3, 5)

    assert roll(OneGame(Settings()), turn("Guess: 3")).stop_reason is StopReason.DONE
    assert "left an episode as it was" in caplog.text


def test_code_that_is_not_async_runs_one_call_at_a_time():
    running, most = 0, 0

    def act(action):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(1000):
            pass
        running -= 1
        return Reply("ok", reward=0.0)

    async def many():
        environments = [make_environment(task_of(act)) for _ in range(20)]
        for environment in environments:
            await environment.start()
        await asyncio.gather(*(environment.step(turn("Move: x")) for environment in environments))

    asyncio.run(many())
    assert most == 1
