"""The embedded policy (a simulation) behind the endpoint: many requests at once get what each would get alone."""

import asyncio
import json

import openai
import pytest
from typer.testing import CliRunner

from workflow_r1.cli import app
from workflow_r1.serving.app import Served, make_app


@pytest.fixture(scope="module")
def parts():
    from workflow_r1.config import load_run_config
    from workflow_r1.running.parts import held_out_questions
    from workflow_r1.running.policies import open_method

    config = load_run_config("embedded", ["policy.threads=1", "sampling.max_sessions=32"])
    return config, open_method(config, "policy", temperature=0.0), held_out_questions(config, 4)


def test_32_requests_at_once_are_answered_as_ask_answers(parts, run_server) -> None:
    config, opened, questions = parts
    served = Served(
        model="embedded",
        policy=opened.policy,
        make_environment=opened.make_environment,
        temperature=0.0,
        simulation=config.is_simulation,
    )

    async def ask_all(address: str):
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:

            async def ask(index: int):
                message = {"role": "user", "content": questions[index % len(questions)].text}
                return await client.chat.completions.create(model="embedded", messages=[message])

            return await asyncio.gather(*map(ask, range(32)))

    with run_server(make_app(served)) as address:
        replies = asyncio.run(ask_all(address))
    told = [[turn["text"] for turn in reply.workflow_r1["turns"]] for reply in replies]
    assert all(told[index] == told[index % len(questions)] for index in range(32))
    assert all(reply.choices[0].message.content for reply in replies)
    for index in range(2):
        arguments = ["ask", questions[index].text, "--json", "--no-save", "-o", "policy.threads=1"]
        trajectory = json.loads(CliRunner().invoke(app, arguments).stdout)
        assert [turn["text"] for turn in trajectory["turns"]] == told[index]
        assert replies[index].choices[0].message.content == trajectory["answer"]
        assert replies[index].usage.completion_tokens == sum(len(turn["token_ids"]) for turn in trajectory["turns"])
