"""Ask a running ``workflow-r1 serve`` by the client libraries that people use, and print what each of them gets.

    workflow-r1 serve --port 8080 &
    python scripts/serve_clients.py http://127.0.0.1:8080/v1

Each trial needs its library in the Python that runs this file, which needs nothing else (``pip install openai
langchain-openai litellm "pydantic-ai-slim[openai]" llm inspect_ai``); one whose library is absent is skipped. The table in
``docs/how-to/serve.md`` is the output of a run.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

QUESTION = "Who directed Jaws?"
FOLLOW_UP = [("user", QUESTION), ("assistant", "Steven Spielberg"), ("user", "Where was he born?")]


class Skipped(Exception):
    """The library is not installed."""


def need(module: str) -> Any:
    """Import a library, or skip its trial."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Skipped(str(error)) from None


def openai_chat(url: str, model: str) -> str:
    """Whole, then as a stream."""
    client = need("openai").OpenAI(base_url=url, api_key="none", max_retries=0)
    messages: Any = [{"role": role, "content": text} for role, text in FOLLOW_UP]
    whole = client.chat.completions.create(model=model, messages=messages, top_p=0.9)
    stream = client.chat.completions.create(model=model, messages=messages, stream=True)
    streamed = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert whole.choices[0].message.content == streamed
    assert whole.choices[0].message.reasoning_content
    assert whole.warnings[0].startswith("top_p")
    return streamed


def openai_responses(url: str, model: str) -> str:
    """Whole, then as a stream."""
    client = need("openai").OpenAI(base_url=url, api_key="none", max_retries=0)
    items: Any = [{"role": role, "content": text} for role, text in FOLLOW_UP]
    whole = client.responses.create(model=model, input=items)
    with client.responses.stream(model=model, input=items) as stream:
        streamed = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == streamed == whole.output_text
    return streamed


def openai_structured(url: str, model: str) -> str:
    """A pydantic model with one text field."""
    pydantic, client = need("pydantic"), need("openai").OpenAI(base_url=url, api_key="none", max_retries=0)
    answer = pydantic.create_model("Answer", answer=(str, ...))
    reply = client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": QUESTION}], response_format=answer
    )
    return str(reply.choices[0].message.parsed.answer)


def langchain(url: str, model: str, **options: Any) -> str:
    """Invoke, stream, and with a tool bound that need not be called."""
    chat = need("langchain_openai").ChatOpenAI(base_url=url, api_key="none", model=model, max_retries=0, **options)
    whole = chat.invoke(FOLLOW_UP).text
    streamed = "".join(chunk.text for chunk in chat.stream(FOLLOW_UP))
    tool = {
        "type": "function",
        "function": {"name": "add", "description": "d", "parameters": {"type": "object", "properties": {}}},
    }
    assert chat.bind_tools([tool]).invoke(FOLLOW_UP).text == whole == streamed
    return str(whole)


def langchain_responses(url: str, model: str) -> str:
    """The same over responses."""
    return langchain(url, model, use_responses_api=True)


def langchain_structured(url: str, model: str) -> str:
    """``with_structured_output`` of one text field."""
    pydantic, openai = need("pydantic"), need("langchain_openai")
    answer = pydantic.create_model("Answer", answer=(str, ...))
    chat = openai.ChatOpenAI(base_url=url, api_key="none", model=model, max_retries=0)
    return str(chat.with_structured_output(answer, method="json_schema").invoke(QUESTION).answer)


def litellm_chat(url: str, model: str) -> str:
    """Whole, then as a stream."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = need("litellm")
    messages = [{"role": role, "content": text} for role, text in FOLLOW_UP]
    asked: dict[str, Any] = {"model": f"openai/{model}", "api_base": url, "api_key": "none", "num_retries": 0}
    whole = litellm.completion(**asked, messages=messages).choices[0].message
    stream = litellm.completion(**asked, messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole.content
    assert whole.reasoning_content
    return str(whole.content)


def litellm_responses(url: str, model: str) -> str:
    """Whole, then as a stream."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = need("litellm")
    asked: dict[str, Any] = {"model": f"openai/{model}", "api_base": url, "api_key": "none", "input": QUESTION}
    whole = litellm.responses(**asked).output[-1].content[0].text
    kinds = [event.type for event in litellm.responses(**asked, stream=True)]
    assert str(getattr(kinds[-1], "value", kinds[-1])) == "response.completed"
    return str(whole)


def pydantic_ai(url: str, model: str, *, kind: str = "OpenAIChatModel", output: Any = str) -> str:
    """An agent with a tool of its own and a system prompt; whole, then as a stream."""
    library, openai = need("pydantic_ai"), need("pydantic_ai.models.openai")
    provider = need("pydantic_ai.providers.openai").OpenAIProvider(base_url=url, api_key="none")
    agent = library.Agent(
        getattr(openai, kind)(model, provider=provider), system_prompt="Be brief.", output_type=output
    )

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    async def ask() -> str:
        whole = (await agent.run(QUESTION)).output
        async with agent.run_stream(QUESTION) as result:
            assert await result.get_output() == whole
        return str(whole)

    return asyncio.run(ask())


def pydantic_ai_responses(url: str, model: str) -> str:
    """The same over responses."""
    return pydantic_ai(url, model, kind="OpenAIResponsesModel")


def pydantic_ai_structured(url: str, model: str) -> str:
    """``NativeOutput`` of one text field."""
    pydantic, library = need("pydantic"), need("pydantic_ai")
    return pydantic_ai(url, model, output=library.NativeOutput(pydantic.create_model("Answer", answer=(str, ...))))


def llm_command(url: str, model: str) -> str:
    """Simon Willison's ``llm``: a prompt with a system prompt, streamed as it does by default, and without."""
    need("llm")
    with tempfile.TemporaryDirectory() as home:
        row = [{"model_id": "served", "model_name": model, "api_base": url}]
        (Path(home) / "extra-openai-models.yaml").write_text(json.dumps(row))
        environment = os.environ | {"LLM_USER_PATH": home, "OPENAI_API_KEY": "none"}
        command = [sys.executable, "-m", "llm", "-m", "served", "-s", "Be brief.", QUESTION]

        def run(*options: str) -> str:
            done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        streamed = run()
        assert run("--no-stream") == streamed
        return streamed


def inspect(url: str, model: str, **options: Any) -> str:
    """An Inspect model, asked once."""
    library = need("inspect_ai.model")
    asked = library.get_model(f"openai-api/served/{model}", base_url=url, api_key="none", **options)

    async def ask() -> str:
        messages = [
            library.ChatMessageSystem(content="Be brief."),
            library.ChatMessageUser(content=QUESTION),
        ]
        return str(
            (await asked.generate(messages, config=library.GenerateConfig(max_retries=0, temperature=0))).completion
        )

    return asyncio.run(ask())


def inspect_responses(url: str, model: str) -> str:
    """The same over responses."""
    return inspect(url, model, responses_api=True)


TRIALS: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "openai: chat, whole and streamed": ("openai", openai_chat),
    "openai: responses, whole and streamed": ("openai", openai_responses),
    "openai: `parse` into one text field": ("openai", openai_structured),
    "langchain-openai: invoke, stream, a tool bound": ("langchain-openai", langchain),
    "langchain-openai: the same over responses": ("langchain-openai", langchain_responses),
    "langchain-openai: structured output": ("langchain-openai", langchain_structured),
    "litellm: completion, whole and streamed": ("litellm", litellm_chat),
    "litellm: responses, whole and streamed": ("litellm", litellm_responses),
    "pydantic-ai: an agent with a tool": ("pydantic-ai-slim", pydantic_ai),
    "pydantic-ai: the same over responses": ("pydantic-ai-slim", pydantic_ai_responses),
    "pydantic-ai: `NativeOutput`": ("pydantic-ai-slim", pydantic_ai_structured),
    "llm: streamed and not": ("llm", llm_command),
    "inspect_ai: chat": ("inspect_ai", inspect),
    "inspect_ai: responses": ("inspect_ai", inspect_responses),
}
"""Trials, and the distribution that each needs."""


def main() -> int:
    """Try all, print a table in Markdown, and return the number of trials that failed."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
    chosen = sys.argv[2] if len(sys.argv) > 2 else ""
    with urllib.request.urlopen(f"{url}/models", timeout=10) as reply:
        model = json.load(reply)["data"][0]["id"]
    failed = 0
    print("| client | version | outcome |\n|---|---|---|")
    for name, (distribution, trial) in TRIALS.items():
        if chosen not in name:
            continue
        started = time.monotonic()
        try:
            version = metadata.version(distribution)
            told = f"answered in {time.monotonic() - started:.1f} s" if trial(url, model) else "an empty answer"
        except (Skipped, metadata.PackageNotFoundError) as error:
            version, told = "-", f"skipped: {error}"
        except Exception as error:
            failed += 1
            told = f"**failed**: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(f"| {name} | {version} | {told} |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
