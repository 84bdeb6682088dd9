import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.config.methods import MethodsConfig
from workflow_r1.environment import Environment, QuestionEnvironment
from workflow_r1.errors import FilteredError, ServiceUnavailableError, TooLongError
from workflow_r1.evaluation.harness import EvaluationLog, ask, draws_of, make_row
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, iterate_rows
from workflow_r1.inference import ChatModel, FailingChatModel, ScriptedChatModel
from workflow_r1.methods import METHODS, MethodContext
from workflow_r1.methods.method import method_environment
from workflow_r1.operators import OperatorServices
from workflow_r1.rollout.doubles import ScriptedPolicy
from workflow_r1.trajectory import (
    Message,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    TaskReward,
    Trajectory,
    Turn,
    Usage,
)

PARIS = Question(id="1", text="What is the capital of France?", golden_answers=("Paris",))
ROME = Question(id="2", text="What is the capital of Italy?", golden_answers=("Rome",))


def know(messages: tuple[Message, ...]) -> str:
    answer = "Paris" if "France" in messages[0].content else "Lyon"
    return f"<reasoning>r</reasoning><answer>{answer}</answer>"


def run(
    log: EvaluationLog,
    *chats: ChatModel,
    method: str = "cot",
    benchmarks: dict[str, list[Question]] | None = None,
    attempts: int = 2,
    on_answer: Callable[[EvaluationRow, Trajectory], None] = lambda row, trajectory: None,
    concurrency: int = 32,
) -> list[EvaluationRow]:
    """Ask with one chat model for each repeat."""
    chosen = METHODS[method]
    operators = chosen.pool({})

    def make_environments(chat: ChatModel) -> Callable[[Question], Environment]:
        services = OperatorServices(chat=chat)
        return lambda question: QuestionEnvironment(
            question, config=method_environment(operators), operators=operators, services=services
        )

    context = MethodContext(
        services=OperatorServices(chat=chats[0]),
        operators=operators,
        make_environment=make_environments(chats[0]),
        settings=MethodsConfig(),
    )
    asyncio.run(
        ask(
            method,
            benchmarks or {"capitals": [PARIS, ROME]},
            policy=chosen.make_policy(context),
            make_environments=[make_environments(chat) for chat in chats],
            seed=0,
            log=log,
            done=log.done(),
            attempts=attempts,
            on_answer=on_answer,
            concurrency=concurrency,
        )
    )
    return list(iterate_rows(log.directory / "rows.jsonl"))


@pytest.mark.parametrize("method", ["direct", "cot", "ensemble", "react", "self-consistency"])
@pytest.mark.parametrize("refusal", [TooLongError("l"), FilteredError("f")])
def test_a_method_whose_call_is_refused_has_not_answered(tmp_path: Path, method: str, refusal: Exception) -> None:
    rows = run(EvaluationLog(tmp_path), ScriptedChatModel(lambda _: refusal), method=method)
    assert {row.exact_match for row in rows} == {0.0 if (method, type(refusal)) != ("react", FilteredError) else None}
    # The prompt of ReAct's first step is not its own, which a filter stops here.
    assert all(row.status is not EvaluationStatus.ANSWERED for row in rows)


def test_each_answer_has_a_row_and_a_trajectory(tmp_path: Path) -> None:
    log = EvaluationLog(tmp_path)
    rows = run(log, ScriptedChatModel(know), benchmarks={"a": [PARIS, ROME], "b/c": [PARIS]})
    told = {(row.benchmark, row.question_id): (row.status, row.exact_match, row.llm_calls) for row in rows}
    assert told == {
        ("a", "1"): (EvaluationStatus.ANSWERED, 1.0, 1),
        ("a", "2"): (EvaluationStatus.ANSWERED, 0.0, 1),
        ("b/c", "1"): (EvaluationStatus.ANSWERED, 1.0, 1),
    }
    assert [each.id for each in log.trajectories("cot", "a")] == ["cot-a-1-s0-r0", "cot-a-2-s0-r0"]
    assert [each.id for each in log.trajectories("cot", "b/c")] == ["cot-b/c-1-s0-r0"]
    assert (tmp_path / "trajectories" / "cot" / "b_c.jsonl").is_file()


def test_what_has_an_answer_is_not_asked_again(tmp_path: Path) -> None:
    log = EvaluationLog(tmp_path)
    run(log, ScriptedChatModel(know), benchmarks={"capitals": [PARIS]})
    # A crash cut the next row off.
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"schema_version":1,"method":"cot","benchm')
    chat = ScriptedChatModel(know)
    rows = run(log, chat)
    assert [row.question_id for row in rows] == ["1", "2"]
    assert len(chat.requests) == 1


def test_repeats_are_rows_of_their_own(tmp_path: Path) -> None:
    first, second = ScriptedChatModel(know), ScriptedChatModel(know)
    rows = run(EvaluationLog(tmp_path), first, second, benchmarks={"capitals": [PARIS]})
    assert sorted(row.repeat for row in rows) == [0, 1]
    assert (len(first.requests), len(second.requests)) == (1, 1)


def test_only_the_infrastructures_failures_are_tried_again(tmp_path: Path) -> None:
    class FailsOnce:
        def __init__(self) -> None:
            self.num_calls = 0

        async def __call__(self, request):  # type: ignore[no-untyped-def]
            self.num_calls += 1
            if self.num_calls == 1:
                raise ServiceUnavailableError("down")
            return await ScriptedChatModel(know)(request)

    chat = FailsOnce()
    rows = run(EvaluationLog(tmp_path), chat, benchmarks={"capitals": [ROME]})
    assert [row.status for row in rows] == [EvaluationStatus.ANSWERED]  # Wrong, and that is that.
    assert chat.num_calls == 2


def test_a_failure_is_a_row_without_a_score_and_asked_again_by_the_next_run(tmp_path: Path) -> None:
    log = EvaluationLog(tmp_path)
    told: list[EvaluationStatus] = []
    rows = run(log, FailingChatModel(), attempts=1, on_answer=lambda row, _: told.append(row.status))
    assert told == [EvaluationStatus.FAILED] * 2
    assert [row.exact_match for row in rows] == [None, None]
    assert log.done() == set()
    rows = run(log, ScriptedChatModel(know))
    assert [row.status for row in rows[2:]] == [EvaluationStatus.ANSWERED] * 2
    assert [each.stop_reason for each in log.trajectories("cot", "capitals")] == [StopReason.ANSWERED] * 2


def test_services_that_are_down_stop_it_and_what_is_done_is_kept(tmp_path: Path) -> None:
    questions = [Question(id=str(n), text=f"q{n}", golden_answers=("x",)) for n in range(200)]
    log = EvaluationLog(tmp_path)
    with pytest.raises(ServiceUnavailableError, match="20 trajectories in a row"):
        run(log, FailingChatModel(), benchmarks={"b": questions}, attempts=1, concurrency=4)
    assert len(list(iterate_rows(tmp_path / "rows.jsonl"))) < 40


def test_a_programming_error_is_raised_as_it_is(tmp_path: Path) -> None:
    def fail(messages: tuple[Message, ...]) -> str:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        run(EvaluationLog(tmp_path), ScriptedChatModel(fail))


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EvaluationLog(tmp_path)
    run(log, ScriptedChatModel(know), benchmarks={"capitals": [PARIS]})

    def refuse(path: Path, rows: object, *, flush: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workflow_r1.evaluation.harness.append_rows", refuse)
    with pytest.raises(OSError, match="No space left"):
        run(log, ScriptedChatModel(know))
    monkeypatch.undo()
    assert len(run(log, ScriptedChatModel(know))) == 2


@pytest.mark.parametrize(
    ("turns", "status"),
    [
        (["<think>a</think><answer>Paris</answer>"], EvaluationStatus.ANSWERED),
        (["<think>a</think><answer>\u2205</answer>"], EvaluationStatus.NO_ANSWER),
        (["<think>a</think>"] * 3, EvaluationStatus.MALFORMED),
        (["<think>a</think><tool>Search: x</tool>"] * 3, EvaluationStatus.OUT_OF_BUDGET),
    ],
)
def test_how_an_answer_came_about(tmp_path: Path, turns: list[str], status: EvaluationStatus) -> None:
    from workflow_r1.evaluation.evaluate import answer_question
    from workflow_r1.operators import OPERATORS
    from workflow_r1.retrieval.doubles import ScriptedSearch

    pool = {"Search": OPERATORS["Search"]}
    limits = method_environment(pool).model_copy(update={"max_turns": 3})
    environment = QuestionEnvironment(
        PARIS, config=limits, operators=pool, services=OperatorServices(search=ScriptedSearch({}))
    )
    trajectory = asyncio.run(
        answer_question(PARIS, policy=ScriptedPolicy(turns), environment=environment, trajectory_id="t", seed=0)
    )
    assert make_row(trajectory, method="m", benchmark="b", seed=0, repeat=0).status is status


def test_what_a_row_counts() -> None:
    call = OperatorCall(
        operator="Echo", input="i", observation="o", valid=True,
        usage=Usage(llm_calls=1, prompt_tokens=10, completion_tokens=5, cost=0.5),
    )  # fmt: skip
    turns = (
        Turn(
            index=1, text="x", token_ids=(1, 2), logprobs=(0.0, 0.0), well_formed=True, context_token_ids=(3,), calls=(call,)
        ),
        Turn(index=2, text="y", token_ids=(4,), logprobs=(0.0,), well_formed=True),
    )  # fmt: skip
    trajectory = Trajectory(
        id="t", group_id="t", question=PARIS, prompt_token_ids=(7, 8, 9), turns=turns,
        stop_reason=StopReason.OPERATOR_FAILED, seconds=2.0,
    )  # fmt: skip
    row = make_row(trajectory, method="m", benchmark="b", seed=3, repeat=1)
    # Two turns of a policy in this process, and one reply of a server; 3 + 2 + 1 + 1 tokens of the context, 15 of the reply.
    assert (row.llm_calls, row.tokens, row.cost, row.seconds, row.turns) == (3, 22, 0.5, 2.0, 2)
    assert (row.seed, row.repeat, row.status, row.exact_match) == (3, 1, EvaluationStatus.FAILED, None)
    assert not isinstance(trajectory, ScoredTrajectory)


def test_a_row_has_no_tokens_where_a_service_did_not_count_them() -> None:
    turns = (
        Turn(index=1, text="x", well_formed=True, usage=Usage(llm_calls=1, prompt_tokens=3, completion_tokens=2)),
        Turn(index=2, text="y", well_formed=True, usage=Usage(llm_calls=1)),
    )
    trajectory = Trajectory(
        id="t", group_id="t", question=PARIS, prompt_token_ids=(), turns=turns, stop_reason=StopReason.OPERATOR_FAILED
    )
    row = make_row(trajectory, method="m", benchmark="b", seed=0, repeat=0)
    assert (row.llm_calls, row.tokens) == (2, None)


def test_calls_and_tokens_of_a_policy_behind_a_server_of_tokens_count_once() -> None:
    """A server that samples by tokens counts its calls itself, and the records hold its tokens, too."""
    told = [
        Usage(llm_calls=1, prompt_tokens=3, completion_tokens=2),
        Usage(llm_calls=1, prompt_tokens=6, completion_tokens=1),
    ]
    turns = (
        Turn(index=1, text="x", token_ids=(1, 2), logprobs=(0.0, 0.0), well_formed=True, context_token_ids=(3,), usage=told[0]),
        Turn(index=2, text="y", token_ids=(4,), logprobs=(0.0,), well_formed=True, usage=told[1]),
    )  # fmt: skip
    trajectory = Trajectory(
        id="t", group_id="t", question=PARIS, prompt_token_ids=(7, 8, 9), turns=turns,
        stop_reason=StopReason.OPERATOR_FAILED,
    )  # fmt: skip
    row = make_row(trajectory, method="m", benchmark="b", seed=0, repeat=0)
    assert (row.llm_calls, row.tokens) == (2, 3 + 2 + 6 + 1)


@pytest.mark.parametrize(
    ("reward", "figures"),
    [
        (TaskReward(total=2.5, success=True, parts={"moves": 3}), (None, None, 1.0, 2.5)),
        (TaskReward(total=-1.0, success=None), (None, None, None, -1.0)),
        # Another total for an answer that was compared with golden ones.
        (
            TaskReward(total=0.4, success=True, parts={"exact_match": 1.0, "f1": 1.0, "cost": 0.6}),
            (1.0, 1.0, None, None),
        ),
    ],
)
def test_a_row_holds_the_figures_of_its_kind_of_task(reward: TaskReward, figures: tuple[float | None, ...]) -> None:
    played = Trajectory(id="t", group_id="t", question=PARIS, stop_reason=StopReason.DONE)
    row = make_row(ScoredTrajectory.of(played, reward), method="m", benchmark="b", seed=0, repeat=0)
    assert (row.exact_match, row.f1, row.success, row.reward) == figures
    assert row.status is EvaluationStatus.ANSWERED


def test_seeds_and_repeats_draw_apart() -> None:
    draws = {draws_of(seed, repeat) for seed in range(30) for repeat in range(10)}
    assert draws_of(0, 0) == 0
    assert len(draws) == 300
    assert max(draws) < 2**30
    apart = sorted(draws)
    assert min(b - a for a, b in itertools.pairwise(apart)) > 20
