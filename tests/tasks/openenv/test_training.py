"""A training run whose OpenEnv server, made with the real package, dies in the middle and comes back."""

import contextlib

import pytest
from environment_servers import free_port
from small_policies import make_model, make_tokenizer

from workflow_r1 import train
from workflow_r1.errors import ServiceError
from workflow_r1.recording.events import StepFinished
from workflow_r1.trajectory import load_trajectories

pytest.importorskip("openenv.core")

CONFIG = """
task = "openenv"

[tasks.openenv]
address = "{address}"

[policy]
model = "{policy}"
device = "cpu"
threads = 1

[environment]
prompt_style = "brief"
max_turns = 3
max_prompt_tokens = 600
max_response_tokens = 600

[sampling]
max_turn_tokens = 8

[objective]
kl_coefficient = 0.0

[training]
steps = 4
questions_per_step = 2
group_size = 4
checkpoint_every = 1
evaluate_every = 0
"""


@pytest.fixture
def policy(tmp_path):
    """A random policy on disk."""
    tokenizer = make_tokenizer()
    make_model(vocab_size=len(tokenizer), max_length=2048).save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def write_config(tmp_path, address, policy):
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(address=address, policy=policy))
    return path


def stored(directory):
    trajectories = load_trajectories(directory / "trajectories.jsonl.gz")
    return [(each.id, each.stop_reason, [turn.text for turn in each.turns]) for each in trajectories]


def test_a_run_whose_server_dies_stops_and_continues_where_it_was_after_the_restart(guess_server, policy, tmp_path):
    port = free_port()
    with guess_server(port=port) as (address, _):
        config = write_config(tmp_path, address, policy)
        whole = train(config, output=tmp_path / "whole")

    with contextlib.ExitStack() as servers:
        _, process = servers.enter_context(guess_server(port=port))

        def kill_in_the_second_step(event):
            if isinstance(event, StepFinished) and event.step == 1:
                process.kill()
                process.wait()

        with pytest.raises(ServiceError, match=r"check that it runs.*resume"):
            train(config, output=tmp_path / "cut", on_event=kill_in_the_second_step)
    with guess_server(port=port):
        resumed = train(resume=tmp_path / "cut")
    assert resumed.step == whole.step == 4
    assert stored(tmp_path / "cut") == stored(tmp_path / "whole")
