"""Commands against an OpenAI-compatible server: a real one over HTTP on this machine, with a scripted reply."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import Answer, Request, Server, completion, serving

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.inference.loopback import Fault, LoopbackServer
from workflow_r1.trajectory import Message

REPLY = "<think>I know it.</think><answer>Paris</answer>"


def reply(request: Request) -> Answer:
    model = request.json["model"]
    if model not in ("policy", "expert"):
        return Answer({"error": {"message": f"no model {model}"}}, 404)
    return Answer(completion(REPLY) | {"model": model})


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(reply, at="/v1") as running:
        yield running


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.ERROR_503, Fault.RESET, Fault.INVALID_JSON])
def test_a_first_attempt_that_fails_does_not_end_the_run(call: Callable, questions: Path, fault: Fault) -> None:
    class FailsOnce(LoopbackServer):
        def _draw(self, body: bytes) -> Fault | None:
            self.num_seen = getattr(self, "num_seen", 0) + 1
            return fault if self.num_seen == 1 else None

    with FailsOnce(ScriptedChatModel(lambda _: REPLY)) as server:
        code, _, errors = call(
            "evaluate", "--questions", str(questions), "-o", f"policy.base_url={server.url}", "-o", "policy.model=policy",
            "-o", "llm.kind=openai", "-o", f"llm.base_url={server.url}", "-o", "llm.model=expert", "--output", "e",
        )  # fmt: skip
    assert code == 0, errors
    assert server.injected == {fault: 1}


def test_what_is_left_out_is_told_with_the_figure_if_it_were_wrong(call: Callable, tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "question": f"Question {number}: capital of France?", "golden_answers": ["Paris"]}
        for number in range(4)
    ]
    (tmp_path / "four.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def answer(messages: tuple[Message, ...]) -> str | Exception:
        return ServiceUnavailableError("down") if "Question 3:" in messages[-1].content else REPLY

    with LoopbackServer(ScriptedChatModel(answer)) as server:
        options = (
            "evaluate", "--questions", "four.jsonl", "-o", f"policy.base_url={server.url}", "-o", "policy.model=policy",
            "-o", "llm.max_retries=0", "-o", "environment.operators=['Search']", "--attempts", "1",
        )  # fmt: skip
        code, output, errors = call(*options, "--output", "e")
        assert code == 0, errors
        assert "left out" in output and "if wrong" in output and "0.750" in output
        summary = json.loads((tmp_path / "e" / "summary.json").read_text())
        assert summary["all"]["exact_match"]["rate"] == 1.0
        assert summary["all"]["exact_match_if_left_out_wrong"] == 0.75
        assert summary["figures"][0]["exact_match_if_left_out_wrong"] == 0.75
        call("report", "e")
        for name in ("report.md", "report.html"):
            assert "1 left out, 0.750 if wrong" in (tmp_path / "e" / "report" / name).read_text()
        assert "exact_match_if_left_out_wrong" in (tmp_path / "e" / "report" / "report.csv").read_text()


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {"id": "1", "question": "What is the capital of France?", "golden_answers": ["Paris"]},
        {"id": "2", "question": "What is the capital of Italy?", "golden_answers": ["Rome"]},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_policy_behind_a_server_is_evaluated(call: Callable, server: Server, questions: Path) -> None:
    options = ("-o", "data.source=files", "-o", f"data.evaluation={questions}", "-o", f"policy.base_url={server.url}")
    code, output, errors = call("evaluate", *options, "-o", "policy.model=policy", "--output", "e")
    assert code == 0, errors
    summary = json.loads(Path("e/summary.json").read_text())
    assert (summary["all"]["exact_match"]["successes"], summary["all"]["exact_match"]["total"]) == (1, 2)
    assert json.loads(Path("e/card.json").read_text())["methods"]["policy"]["policies"]["0"]["model"] == "policy"
    assert {request["temperature"] for request in server.bodies} == {0.0}
    # The expert behind the operators is still the embedded world's.
    assert "a simulation" in output


def test_operators_behind_a_server(call: Callable, server: Server, questions: Path) -> None:
    options = ("--questions", questions, "-o", "llm.kind=openai", "-o", f"llm.base_url={server.url}", "--output", "e")
    real = ("-o", "llm.model=expert", "-o", "search.kind=none", "-o", "name=real")
    code, output, errors = call("evaluate", "-m", "direct", *options, *real)
    assert code == 0, errors
    assert "simulation" not in output
    summary = json.loads(Path("e/summary.json").read_text())
    assert (summary["all"]["llm_calls"], summary["all"]["llm_prompt_tokens"]) == (1.0, 7.0)
    code, _, errors = call("evaluate", "-m", "direct", *options, "-o", "llm.model=exprt", "--limit", "1")
    assert code == 1
    assert "no model exprt" in errors
    assert "llm.model" in errors


def test_how_often_an_unusable_reply_is_asked_for(call: Callable, questions: Path) -> None:
    chat = ScriptedChatModel(lambda messages: "<reasoning>I do not know.</reasoning>")
    with LoopbackServer(chat) as loopback:
        options = ("--questions", questions, "-o", "llm.kind=openai", "-o", f"llm.base_url={loopback.url}")
        code, _, errors = call(
            "evaluate", "-m", "cot", *options, "-o", "llm.model=m", "-o", "llm.max_attempts=2", "--output", "e"
        )
    assert code == 0, errors
    # One before it starts, then two for each of the two questions.
    assert len(chat.requests) == 1 + 2 * 2
