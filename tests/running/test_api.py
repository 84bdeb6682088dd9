"""The functions that ``workflow_r1`` exports: the same in a script and in a running event loop."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import pytest

import workflow_r1
from workflow_r1 import ask, evaluate, load_config, open_policy, roll_out, train, warm_start
from workflow_r1.config import RunConfig
from workflow_r1.errors import CheckpointError, ConfigError, DataError, UserError
from workflow_r1.recording.events import Event, RunOpened, StepFinished
from workflow_r1.running.interrupts import Stop, run_anywhere, run_loop
from workflow_r1.running.training import TrainResult
from workflow_r1.trajectory import Question

TINY = {
    "training.steps": 1, "training.questions_per_step": 2, "training.mini_batch_questions": 1, "training.group_size": 2,
    "training.evaluation_questions": 2, "environment.max_response_tokens": 64, "environment.max_turns": 2,
    "sampling.max_turn_tokens": 24, "policy.threads": 1,
}  # fmt: skip


def test_the_exported_names() -> None:
    assert workflow_r1.__all__ == [
        "__version__", "ask", "evaluate", "load_config", "open_policy", "roll_out", "train", "warm_start",
    ]  # fmt: skip
    assert all(hasattr(workflow_r1, name) for name in workflow_r1.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        workflow_r1.trian  # noqa: B018


def test_a_configuration_is_named_read_or_given(tmp_path: Path) -> None:
    named = load_config("embedded", ["training.steps=3", "directory=there"])
    assert named == load_config(None, {"training.steps": 3, "directory": Path("there")})
    assert named == load_config(load_config(), {"training.steps": 3, "directory": "there"})
    assert load_config(named) is named
    assert load_config(named, {"training.steps": None}).training.steps == RunConfig().training.steps
    assert load_config(overrides="seed=7").seed == 7
    assert load_config(overrides={"environment.operators": ("Search",)}).environment.operators == ("Search",)
    with pytest.raises(ConfigError, match=r"training\.steps"):
        load_config(named, {"training.stepz": 3})
    with pytest.raises(ConfigError, match="expected a number, a text"):
        load_config(named, {"training.steps": object()})


def test_a_question_is_asked_in_a_script_and_in_a_running_loop(capsys: pytest.CaptureFixture[str]) -> None:
    def answer() -> tuple[str, str | None]:
        held_out = ask(method="cot", seed=3)
        return held_out.question.id, held_out.answer

    async def notebook() -> tuple[str, str | None]:
        return answer()

    assert answer() == asyncio.run(notebook())
    assert ask("Who directed Jaws?", method="cot").question.text == "Who directed Jaws?"
    assert ask("embedded", "Who directed Jaws?", method="cot").question.text == "Who directed Jaws?"
    assert capsys.readouterr().out == ""
    ask("Who directed Jaws?", method="cot", progress=True)
    assert "Who directed Jaws?" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="where nothing lies"):
        ask("runs/none")


def test_an_evaluation_returns_figures_rows_and_its_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def notebook() -> None:
        done = evaluate(methods=["direct", "cot"], limit=4, output=tmp_path / "e")
        assert [row.method for row in done.figures] == ["cot", "direct"]
        assert done.comparison.reference == "direct"
        assert len(list(done.rows())) == 8
        assert len(done.trajectories("cot")) == 4
        assert done.directory == tmp_path / "e"
        assert done.report is not None and (done.report.place / "report.md").is_file()
        assert (done.num_failed, done.first_failure()) == (0, None)

    asyncio.run(notebook())
    assert capsys.readouterr().out == ""
    one = evaluate(methods="direct", limit=4, output=tmp_path / "one", progress=True)
    assert one.classes["all"].exact_match.total == 4
    assert one.report is None
    assert "direct: 4/4" in capsys.readouterr().out
    with pytest.raises(UserError, match="reference: expected"):
        evaluate(methods="direct", reference="cot", limit=1)
    with pytest.raises(UserError, match="every seed once"):
        evaluate(methods="direct", seeds=(1, 1), limit=1)


def test_trajectories_are_sampled_into_a_file(tmp_path: Path) -> None:
    done = roll_out(output=tmp_path / "t.jsonl", method="cot", limit=2, group_size=2)
    assert len(list(done.trajectories())) == 4
    with pytest.raises(UserError, match="exists"):
        roll_out(output=tmp_path / "t.jsonl", method="cot", limit=2)


def test_a_policy_is_opened_for_a_loop_of_ones_own() -> None:
    from workflow_r1.rollout import rollout

    async def loop() -> str:
        async with open_policy(method="cot") as opened:
            question = Question(id="q", text="Who directed Jaws?", golden_answers=())
            environment = opened.make_environment(question)
            sampled = await rollout(
                question, policy=opened.policy, environment=environment, trajectory_id="t", group_id="g", seed=0
            )
            return sampled.id

    assert asyncio.run(loop()) == "t"


def test_a_run_is_trained_in_a_running_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    events: list[Event] = []

    async def notebook() -> TrainResult:
        return train("embedded", TINY, output=tmp_path / "r", on_event=events.append)

    result = asyncio.run(notebook())
    assert capsys.readouterr().out == ""
    assert (result.cause, result.step, result.directory) == ("finished", 1, tmp_path / "r")
    assert [row["step"] for row in result.metrics()] == [0, 1]
    assert len(list(result.trajectories())) == 4
    assert result.policy_directory == tmp_path / "r" / "policy"
    assert "evaluation/exact_match" in result.evaluation
    assert isinstance(events[0], RunOpened)
    assert sum(isinstance(event, StepFinished) for event in events) == 1
    assert (tmp_path / "r" / "report.md").is_file()
    again = train(resume=tmp_path / "r")
    assert (again.cause, again.step, again.evaluation) == ("finished", 1, result.evaluation)
    resumed = train(resume=tmp_path / "r", overrides={"training.steps": 2}, progress=True)
    assert [row["step"] for row in resumed.metrics()] == [0, 1, 2]
    assert "step 2/2" in capsys.readouterr().out
    assert load_config(resumed.directory).policy.model == str(result.policy_directory)


def test_a_last_row_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    """As it is of trajectories: a killed run leaves such a row."""
    result = TrainResult(tmp_path, "interrupted", 1, {})
    assert result.metrics() == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1, "note": "a\u2028b"}\n\n{"step": 2, "rol', "utf-8")
    assert [row["step"] for row in result.metrics()] == [0, 1]
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, \n{"step": 1}\n', "utf-8")
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        result.metrics()


def test_mistakes_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.toml"):
        train(resume=tmp_path)
    with pytest.raises(ConfigError, match="alone"):
        train("embedded", resume=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="does not allow it"):
        evaluate(methods="direct", limit=1, output=tmp_path / "file" / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_warm_start_wants_demonstrations(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"warmstart\.demonstrations"):
        warm_start("embedded", {"data.source": "files"}, output=tmp_path / "w")
    assert not (tmp_path / "w").exists()


def interrupt_soon() -> None:
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()


def test_an_interrupt_of_a_notebook_asks_the_work_to_stop() -> None:
    async def notebook() -> str:
        def work(stop: Stop) -> str:
            asked = threading.Event()
            stop.attach(asked.set)
            assert asked.wait(20)
            return "stopped"

        interrupt_soon()
        return run_anywhere(work)

    assert asyncio.run(_unhandled(notebook)) == "stopped"


def test_an_interrupt_of_a_notebook_ends_what_waits_in_a_loop() -> None:
    async def notebook() -> None:
        interrupt_soon()
        run_anywhere(lambda stop: run_loop(lambda: asyncio.sleep(20), stop))

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(_unhandled(notebook))
    assert time.monotonic() - started < 15


async def _unhandled(notebook):  # type: ignore[no-untyped-def]
    """Act as a notebook's kernel: Ctrl-C raises in the main thread, even where the loop has set another handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return await notebook()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ({"limit": 0}, "limit: expected at least 1, received 0"),
        ({"repeats": 0}, "repeats: expected at least 1, received 0"),
        ({"attempts": 0}, "attempts: expected at least 1, received 0"),
        ({"temperature": -1.0}, "temperature: expected at least 0, received -1.0"),
        ({"temperature": float("nan")}, "temperature: expected at least 0, received nan"),
        ({"methods": []}, "method: expected at least one, received none"),
        ({"methods": "cott"}, r"^method: expected one of .* did you mean 'cot'"),
    ],
)
def test_a_wrong_argument_of_an_evaluation_is_named_and_leaves_nothing_behind(
    argument: dict, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        evaluate(overrides={"directory": tmp_path}, **{"methods": "cot", "limit": 1} | argument)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["limit", "group_size"])
def test_a_wrong_argument_of_a_rollout_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name}: expected at least 1, received 0"):
        roll_out(output=tmp_path / "rollouts.jsonl", method="cot", **{name: 0})
