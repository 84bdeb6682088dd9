"""A training run whose LLM service goes away and comes back, over HTTP."""

import pytest
from run_rows import rows

from workflow_r1.environment import QuestionEnvironment
from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.inference import ChatRequest, OpenAIChatConfig, OpenAIChatModel, ScriptedChatModel
from workflow_r1.inference.loopback import Fault, LoopbackServer
from workflow_r1.operators import OperatorResult, OperatorServices, operator
from workflow_r1.recording.events import StepFinished, Warned
from workflow_r1.trajectory import Message, load_trajectories


@operator(purpose="Have the LLM repeat the input.")
async def Echo(text: str, *, services: OperatorServices) -> OperatorResult:
    messages = (Message(role="user", content=text[:4]),)
    reply = await services.require_chat()(ChatRequest(messages=messages, max_tokens=8))
    return OperatorResult(observation=reply.text, usage=reply.usage)


def same(one, other):
    """The last digits depend on which trajectories shared a forward pass, and that on who was answered when."""

    def known(row):
        return {key: value for key, value in row.items() if value is not None}

    def alike(a, b):
        # One token's rounding, the largest of all, undiluted by a mean.
        largest = "update/sampler_difference_max"
        return a.pop(largest, 0.0) == pytest.approx(b.pop(largest, 0.0), abs=1e-5) and a == pytest.approx(
            b, rel=1e-5, abs=1e-6
        )

    return all(alike(known(a), known(b)) for a, b in zip(one, other, strict=True))


def turns(directory):
    trajectories = load_trajectories(directory / "trajectories.jsonl")
    return [[(turn.token_ids, turn.observation) for turn in trajectory.turns] for trajectory in trajectories]


@pytest.fixture
def server():
    with LoopbackServer(ScriptedChatModel(lambda messages: messages[-1].content)) as running:
        yield running


def make_trainer(tiny_run, warm_directory, directory, server, on_event=lambda event: None, *, retries=2, **training):
    config = tiny_run.tiny_config(warm_directory, training={"evaluation_questions": 0, "steps": 4, **training})
    chat = OpenAIChatModel(
        OpenAIChatConfig(
            model="m", base_url=server.url, max_retries=retries, backoff_seconds=0.05, idle_timeout_seconds=2
        )
    )

    def make_environment(question):
        services = OperatorServices(chat=chat)
        return QuestionEnvironment(question, config=config.environment, operators={"Echo": Echo}, services=services)

    return tiny_run.make_trainer(config, directory, on_event, make_environment=make_environment), chat


def test_a_run_stops_itself_when_its_service_is_gone_and_goes_on_when_it_is_back(
    tiny_run, warm_directory, tmp_path, server
):
    def make(name, on_event=lambda event: None):
        return make_trainer(tiny_run, warm_directory, tmp_path / name, server, on_event)[0]

    make("whole").run()

    def stop_after_two(event):
        if isinstance(event, StepFinished) and event.step == 2:
            server.stop()

    message = r"a service failed .* no connection .* Step 2 and all before it are kept: repair the service and resume"
    with pytest.raises(ServiceUnavailableError, match=message):
        make("broken", stop_after_two).run()
    server.start()
    assert make("broken").run(resume=True).step == 4
    assert turns(tmp_path / "broken") == turns(tmp_path / "whole")
    assert same(rows(tmp_path / "broken"), rows(tmp_path / "whole"))


def test_a_long_step_stops_early(tiny_run, warm_directory, tmp_path, server):
    """Each trajectory that calls the operator costs a third of a second; not all 160 are waited for."""
    server.stop()
    trainer, chat = make_trainer(
        tiny_run,
        warm_directory,
        tmp_path,
        server,
        questions_per_step=40,
        mini_batch_questions=40,
        stop_after_failures=6,
    )
    with pytest.raises(ServiceUnavailableError, match="a service failed 6 trajectories in a row"):
        trainer.run()
    assert chat.failures.keys() == {"unreachable"}
    assert sum(chat.failures.values()) < 3 * 64


def test_faults_that_pass_change_nothing(tiny_run, warm_directory, tmp_path, server):
    """A third of all requests fail; the policy learns the same."""
    make_trainer(tiny_run, warm_directory, tmp_path / "sound", server)[0].run()
    server.fault_rate = 0.3
    server.faults = tuple(fault for fault in Fault if fault not in (Fault.HANG, Fault.DRIP))
    warnings = []
    trainer, chat = make_trainer(
        tiny_run,
        warm_directory,
        tmp_path / "faulty",
        server,
        lambda event: warnings.append(event) if isinstance(event, Warned) else None,
        retries=12,
    )
    trainer.run()
    assert turns(tmp_path / "faulty") == turns(tmp_path / "sound")
    assert same(rows(tmp_path / "faulty"), rows(tmp_path / "sound"))
    assert chat.failures == server.failures
    assert sum(chat.failures.values()) > 5
    assert not warnings
