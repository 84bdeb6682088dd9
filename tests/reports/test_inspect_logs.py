"""An evaluation as logs of Inspect AI, read with Inspect's own reader."""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from number_game import GuessTheNumber, Settings

from workflow_r1.assembly.tasks import build_score
from workflow_r1.environment import Environment, EnvironmentConfig, QuestionEnvironment
from workflow_r1.errors import DataError, ServiceUnavailableError
from workflow_r1.evaluation.answers import read_answers
from workflow_r1.evaluation.card import EvaluationCard
from workflow_r1.evaluation.comparison import compare_methods
from workflow_r1.evaluation.harness import EvaluationLog, ask
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.operators import OPERATORS, OperatorServices
from workflow_r1.rollout.doubles import ScriptedPolicy
from workflow_r1.tasks import TaskEnvironment
from workflow_r1.tasks.instances import task_instances
from workflow_r1.trajectory import Message, Question

pytest.importorskip("inspect_ai")

from inspect_ai.log import EvalLog, EvalSample, list_eval_logs, read_eval_log, recompute_metrics
from inspect_ai.scorer import CORRECT, INCORRECT

from workflow_r1.reports.inspect_logs import export_inspect_logs

QUESTIONS = [
    Question(id="answer-1", text="Capital of France?", golden_answers=("Paris", "Paname"), metadata={"hops": 1}),
    Question(id="answer-9", text="Capital of Peru?", golden_answers=("Lima",), dataset="capitals", split="dev"),
    Question(id="answer-10", text="Capital of Chad <think>?", golden_answers=("N'Djamena",)),
    Question(id="endless", text="Capital of Cuba?", golden_answers=("Havana",)),
    Question(id="outage", text="Capital of Mali?", golden_answers=("Bamako",)),
]


def act(messages: Sequence[Message]) -> str:
    """One script for each question; turns are numbered by the messages so far."""
    question, turn = messages[0].content, len(messages) // 2
    if "Peru" in question:
        return ["Let me see.", "<think>two ways</think><tool>Nobody: x</tool><tool>AnswerGenerate: Peru?</tool>"][turn] \
            if turn < 2 else "<think>so</think><answer>the Cusco</answer>"  # fmt: skip
    if "Chad" in question:
        return "I do not know."
    if "France" in question and turn == 1:
        return "<think>clear</think><answer>Paris.</answer>"
    return "<think>ask</think><tool>AnswerGenerate: " + question.removeprefix("Question: ") + "</tool>"


def reply(messages: Sequence[Message]) -> str | Exception:
    if "Mali" in messages[0].content:
        return ServiceUnavailableError("expected a reply, received none")
    return "<reasoning>From memory.</reasoning><answer>Paris</answer>"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An evaluation of one policy on two benchmarks, two answers to each question under each of two seeds."""
    services = OperatorServices(chat=ScriptedChatModel(reply))
    config = EnvironmentConfig(prompt_style="brief", max_turns=3, operators=("AnswerGenerate",))

    def make_environment(question: Question) -> Environment:
        return QuestionEnvironment(question, config=config, operators=OPERATORS, services=services)

    directory = tmp_path / "evaluation"
    directory.mkdir()
    EvaluationCard(
        title="capitals",
        is_simulation=True,
        methods={"policy": {"method": "policy", "model": "scripted", "temperature": 0.0}},
        benchmarks={"capitals": {"file": "capitals.jsonl", "num_questions": 5}, "a/b": {"file": None}},
        seeds=(0, 3),
        repeats=2,
        llm={"kind": "openai", "model": "smollm2"},
        search={},
        scoring={},
        prompts="0" * 64,
        runs=({"started": "2026-11-22T23:30:00+01:00", "packages": {"numpy": "2.4.6", "torch": None}},),
    ).write(directory)
    for seed in (0, 3):
        asked = ask(
            "policy",
            {"capitals": QUESTIONS, "a/b": QUESTIONS[:2]},
            policy=ScriptedPolicy(act),
            make_environments=[make_environment] * 2,
            seed=seed,
            log=EvaluationLog(directory),
            attempts=1,
        )
        asyncio.run(asked)
    return directory


def read(directory: Path, tmp_path: Path, name: str = "policy_capitals.eval") -> EvalLog:
    export_inspect_logs(directory, tmp_path / "logs")
    return read_eval_log(str(tmp_path / "logs" / name), resolve_attachments=True)


def sample_of(log: EvalLog, id: str) -> EvalSample:
    return next(sample for sample in log.samples or [] if (sample.id, sample.epoch) == (id, 1))


def test_a_log_for_each_method_and_benchmark(directory: Path, tmp_path: Path) -> None:
    written: list[str] = []
    started: list[tuple[str, int]] = []
    paths = export_inspect_logs(
        directory,
        tmp_path / "logs",
        on_start=lambda path, number: started.append((path.name, number)),
        on_log=lambda path, log: written.append(log.eval.task),
    )
    assert started == [("policy_a_b.eval", 8), ("policy_capitals.eval", 20)]
    assert [path.name for path in paths] == ["policy_a_b.eval", "policy_capitals.eval"]
    assert written == ["policy on a/b", "policy on capitals"]
    listed = list_eval_logs(str(tmp_path / "logs"))
    assert sorted(each.task for each in listed) == written
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [path.name for path in paths]


def test_what_was_evaluated_and_how(directory: Path, tmp_path: Path) -> None:
    log = read(directory, tmp_path)
    assert (log.status, log.eval.created) == ("success", "2026-11-22T22:30:00+00:00")
    assert (log.eval.solver, log.eval.model, log.eval.tags) == ("policy", "scripted", ["simulation"])
    assert (log.eval.dataset.name, log.eval.dataset.location, log.eval.dataset.samples) == (
        "capitals",
        "capitals.jsonl",
        5,
    )
    assert log.eval.dataset.sample_ids == ["answer-1", "answer-9", "answer-10", "endless", "outage"]
    assert log.eval.config.epochs == 4
    assert log.eval.packages == {"numpy": "2.4.6"}
    assert log.metadata["evaluation card"] == json.loads((directory / "card.json").read_text())
    draws = [
        (sample.epoch, sample.metadata["seed"], sample.metadata["repeat"])
        for sample in log.samples or []
        if sample.id == "answer-1"
    ]
    assert draws == [(1, 0, 0), (2, 0, 1), (3, 3, 0), (4, 3, 1)]
    assert len({sample.uuid for sample in log.samples or []}) == 20


def test_a_right_answer(directory: Path, tmp_path: Path) -> None:
    sample = sample_of(read(directory, tmp_path), "answer-1")
    assert (sample.input, sample.target) == ("Capital of France?", ["Paris", "Paname"])
    assert [message.role for message in sample.messages] == ["user", "assistant", "tool", "assistant"]
    asked, observed, answered = sample.messages[1:]
    assert (asked.content[0].type, asked.content[0].reasoning) == ("reasoning", "ask")
    (call,) = asked.tool_calls
    assert (call.function, call.arguments) == ("AnswerGenerate", {"input": "Capital of France?"})
    assert (observed.tool_call_id, observed.error) == (call.id, None)
    assert "Paris" in observed.text
    assert observed.metadata["llm_calls"] == 1
    assert answered.text == sample.output.completion == "Paris."
    match, f1 = sample.scores["exact_match"], sample.scores["f1"]
    assert (match.value, match.answer, f1.value) == ("C", "Paris.", 1.0)
    assert match.explanation == "Read as 'paris', which is a golden answer: Paris; Paname"
    assert match.metadata["total"] == 1.0
    assert sample.error is sample.limit is None
    assert (sample.turn_count, sample.metadata["operator_calls"], sample.metadata["question"]) == (2, 1, {"hops": 1})
    usage = sample.model_usage["smollm2"]
    assert usage == sample.role_usage["operators"]
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens == sample.metadata["tokens"] > 0
    assert sample.total_time is not None


def test_a_wrong_answer_after_mistakes(directory: Path, tmp_path: Path) -> None:
    sample = sample_of(read(directory, tmp_path), "answer-9")
    assert [message.role for message in sample.messages] == [
        "user", "assistant", "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    _, malformed, told, several, refused, observed, _ = sample.messages
    assert malformed.text == "Let me see."
    assert "<think>" in told.text
    # What breaks the grammar stands as it was written.
    assert several.text.startswith("<think>two ways</think><tool>Nobody: x</tool>")
    assert [call.function for call in several.tool_calls] == ["Nobody", "AnswerGenerate"]
    assert refused.error is not None
    assert "Nobody" in refused.error.message
    assert observed.error is None
    match = sample.scores["exact_match"]
    assert (match.value, match.answer, sample.scores["f1"].value) == ("I", "the Cusco", 0.0)
    assert match.explanation == "Read as 'cusco'; expected: Lima"
    assert (sample.metadata["dataset"], sample.metadata["split"]) == ("capitals", "dev")


def test_no_answer_has_a_reason(directory: Path, tmp_path: Path) -> None:
    log = read(directory, tmp_path)
    sample = sample_of(log, "answer-10")
    assert (sample.scores["exact_match"].value, sample.scores["f1"].value) == ("N", 0.0)
    assert sample.scores["exact_match"].explanation == "No answer: malformed (max_turns). Expected: N'Djamena"
    assert sample.input == "Capital of Chad <think>?"
    endless = sample_of(log, "endless")
    assert endless.scores["exact_match"].explanation == "No answer: out of budget (max_turns). Expected: Havana"
    assert (endless.limit.type, endless.limit.limit) == ("turn", 3)


def test_a_failure_is_an_error_and_no_score(directory: Path, tmp_path: Path) -> None:
    log = read(directory, tmp_path)
    sample = sample_of(log, "outage")
    assert not sample.scores
    assert [call.function for call in sample.messages[-1].tool_calls] == ["AnswerGenerate"]
    assert sample.error.message == "operator_failed: ServiceUnavailableError: expected a reply, received none"
    assert (log.results.total_samples, log.results.completed_samples) == (20, 16)
    match, _ = log.results.scores
    assert (match.scored_samples, match.unscored_samples) == (4, 1)


def test_the_figures_are_those_of_the_report(directory: Path, tmp_path: Path) -> None:
    log = read(directory, tmp_path)
    (figures,) = (
        each
        for each in compare_methods(read_answers([directory / "rows.jsonl"])).figures
        if each.benchmark == "capitals"
    )
    match, f1 = log.results.scores
    assert {name: metric.value for name, metric in match.metrics.items()} == {
        "accuracy": figures.exact_match.estimate, "low": figures.exact_match.low, "high": figures.exact_match.high,
    }  # fmt: skip
    assert f1.metrics["mean"].value == figures.f1.estimate
    assert match.metrics["accuracy"].value == 0.25
    # Inspect comes to the same from the samples' scores.
    recompute_metrics(log)
    assert log.results.scores[0].metrics["accuracy"].value == 0.25
    assert log.results.scores[0].scored_samples == 4
    total = sum(sample.model_usage["smollm2"].total_tokens for sample in log.samples if sample.model_usage)
    assert log.stats.model_usage["smollm2"].total_tokens == total


def test_a_policy_in_this_process_is_counted_by_its_tokens(directory: Path, tmp_path: Path) -> None:
    path = directory / "trajectories" / "policy" / "capitals.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["prompt_token_ids"] = [1, 2, 3]
        for turn in row["turns"]:
            turn |= {"token_ids": [4, 5], "logprobs": [0.0, 0.0], "context_token_ids": [6]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sample = sample_of(read(directory, tmp_path), "answer-1")
    usage = sample.role_usage["policy"]
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (5, 4, 9)
    assert sample.model_usage["scripted"] == usage


def test_a_second_export_says_the_same(directory: Path, tmp_path: Path) -> None:
    first = read(directory, tmp_path)
    assert read(directory, tmp_path) == first
    # An answer that replaces a failure is the one that counts.
    rows = [json.loads(line) for line in (directory / "rows.jsonl").read_text().splitlines()]
    failed = next(row for row in rows if (row["question_id"], row["seed"], row["repeat"]) == ("outage", 0, 0))
    answered = failed | {"status": "answered", "exact_match": 1.0, "f1": 1.0}
    with (directory / "rows.jsonl").open("a") as file:
        file.write(json.dumps(answered) + "\n")
    log = read(directory, tmp_path)
    assert (log.results.total_samples, log.results.completed_samples) == (20, 17)
    assert sample_of(log, "outage").scores["exact_match"].value == "C"


def test_what_is_no_evaluation_is_refused(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the directory of an evaluation, found no card\.json"):
        export_inspect_logs(tmp_path, tmp_path / "logs")
    (directory / "trajectories" / "policy" / "a_b.jsonl").unlink()
    with pytest.raises(DataError, match="expected the trajectory policy-a/b-answer-1-s0-r0"):
        export_inspect_logs(directory, tmp_path / "logs")
    (directory / "rows.jsonl").unlink()
    with pytest.raises(DataError, match=r"expected answers in .*found none: evaluate a method first"):
        export_inspect_logs(directory, tmp_path / "logs")


def test_a_task_is_scored_by_success_and_reward(directory: Path, tmp_path: Path) -> None:
    task = GuessTheNumber(Settings())
    limits = EnvironmentConfig(operators=(), prompt_style="brief", max_turns=2)
    turns = [f"<think>t</think><tool>Guess: {number}</tool>" for number in (1, 3)]
    asked = ask(
        "policy",
        {"guess": task_instances(task, "evaluation", 4)},
        policy=ScriptedPolicy(turns),
        make_environments=[
            partial(TaskEnvironment, task=task, config=limits, operators={}, services=OperatorServices())
        ],
        seed=0,
        log=EvaluationLog(directory),
        score=build_score(task),
    )
    asyncio.run(asked)
    log = read(directory, tmp_path, "policy_guess.eval")
    assert log.results is not None and [score.name for score in log.results.scores] == ["success", "reward"]
    assert log.results.scores[0].metrics["accuracy"].value == 0.5
    # Secrets 1, 2, 3 and 4; the policy says 1 and 3.
    values = {sample.id: (sample.scores["success"].value, sample.scores["reward"].value) for sample in log.samples}
    assert values == {
        "evaluation-0": (CORRECT, 1.0), "evaluation-1": (INCORRECT, -0.2),
        "evaluation-2": (CORRECT, 0.9), "evaluation-3": (INCORRECT, -0.2),
    }  # fmt: skip
