"""``serve`` with a real policy behind a real server, and operators by the same server. Minutes on two cores."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from workflow_r1.trajectory import load_trajectories

REPOSITORY = Path(__file__).parents[2]
PLACE = Path(os.environ.get("WORKFLOW_R1_MODELS", REPOSITORY))
"""Folder of ``models/`` and of the servers' virtual environments, as ``make real-input`` makes them."""
GGUF = PLACE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@contextmanager
def serving(*options: str) -> Iterator[openai.OpenAI]:
    """``workflow-r1 serve`` as a process of its own, and a client for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workflow_r1.cli", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OPENAI_API_KEY": "none"},
    )
    assert process.stdout is not None
    head = ""
    try:
        while "Ctrl-C" not in head:
            line = process.stdout.readline()
            assert line, head
            head += line
        assert "simulation" not in head
        address = re.search(r"at (http://\S+/v1)", head).group(1)  # type: ignore[union-attr]
        with openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=600) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.skipif(not GGUF.is_file(), reason=f"no model at {GGUF}: run `make real-input`, or set WORKFLOW_R1_MODELS")
def test_a_policy_and_operators_behind_a_real_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "scripts" / "real_input")
    import server as real

    kept = tmp_path / "t.jsonl"
    with real.serve(
        PLACE / "models" / "smollm2-135m-instruct", GGUF, environments=PLACE, log=tmp_path / "server.log"
    ) as running:
        overrides = (
            f"policy.base_url={running.base_url}", f"policy.model={real.MODEL_NAME}", "llm.kind=openai",
            f"llm.base_url={running.base_url}", f"llm.model={real.MODEL_NAME}", "llm.max_tokens=48", "search.kind=none",
            "environment.operators=['AnswerGenerate']", "environment.prompt_style=full", "environment.max_turns=3",
            "sampling.max_turn_tokens=64", "data.source=files", "name=real",
        )  # fmt: skip
        options = ["--save", str(kept), *(part for override in overrides for part in ("-o", override))]
        with serving(*options) as client:
            reply = client.chat.completions.create(model="real", messages=MESSAGES)
            chunks = list(client.chat.completions.create(model="real", messages=MESSAGES, stream=True, temperature=0.7))
        # The model does not speak the grammar, so it calls no operator; a fixed workflow does.
        with serving(*options, "--method", "cot") as client:
            by_operator = client.chat.completions.create(model="cot", messages=MESSAGES)
    trace = reply.workflow_r1
    assert 1 <= len(trace["turns"]) <= 3
    assert trace["policy_usage"]["llm_calls"] == len(trace["turns"])
    assert reply.usage.completion_tokens == trace["policy_usage"]["completion_tokens"] > 0
    assert trace["policy_usage"]["cost"] is None
    assert chunks[-1].workflow_r1["temperature"] == 0.7
    assert any(getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in chunks)
    (call,) = by_operator.workflow_r1["turns"][0]["calls"]
    assert call["operator"] == "AnswerGenerate"
    assert call["usage"]["completion_tokens"] > 0
    assert len(load_trajectories(kept)) == 3
