"""Our client against servers made with the real package, and its client against ours. `make test-openenv` runs it."""

import asyncio
import json
import os
import signal
import sys

import pytest
from environment_servers import free_port, halve, make_environments, observed, play, running

from workflow_r1.tasks.openenv import OpenEnv, OpenEnvSettings
from workflow_r1.trajectory import StopReason

pytest.importorskip("openenv.core")


def open_task(address, **settings):
    return OpenEnv(OpenEnvSettings(address=address, **settings))


def test_what_the_policy_reads_is_what_the_server_logged(guess_server, player, tmp_path):
    log = tmp_path / "log.jsonl"
    with guess_server(log=log) as (address, _):
        task = open_task(address)
        trajectories = play(task, player, task.instances("train", 5))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [trajectory.stop_reason for trajectory in trajectories] == [StopReason.DONE] * 5
    for trajectory in trajectories:
        logged = [row["text"] for row in rows if row["episode"] == trajectory.question.id]
        assert [*observed(trajectory)] == logged[1:-1]
        assert logged[0] in trajectory.prompt[0].content
        assert [turn.reward for turn in trajectory.turns] == [*[0.0] * (len(trajectory.turns) - 1), 1.0]
        assert task.score(trajectory).success is True


def test_the_servers_own_tasks_are_instances(guess_server, player):
    with guess_server() as (address, _):
        task = open_task(address, environment="guess")
        train, held_out = task.instances("train", None), task.instances("evaluation", 2)
        assert [instance.id for instance in train] == [f"guess/train/{index}" for index in range(5)]
        assert [instance.id for instance in held_out] == ["guess/test/0", "guess/test/1"]
        assert all(each.stop_reason is StopReason.DONE for each in play(task, player, train))


def test_sixty_four_sessions_at_once_play_as_one_alone(guess_server, player):
    with guess_server() as (address, _):
        task = open_task(address)
        instances = task.instances("train", 64)
        together = play(task, player, instances, max_concurrency=64)
        alone = play(task, player, instances, max_concurrency=1)
    assert [observed(each) for each in together] == [observed(each) for each in alone]
    assert all(each.stop_reason is StopReason.DONE for each in together)


def test_a_server_that_errs_is_never_scored_and_a_refused_action_is_the_policys(guess_server):
    from workflow_r1.inference import ScriptedChatModel
    from workflow_r1.rollout import ChatPolicy

    def write(messages):
        said = [m.content for m in messages if m.role == "user"]
        return f"<think>t</think><tool>Act: {(99, 'x', 13)[min(len(said), 3) - 1]}</tool>"

    with guess_server(kind="errs") as (address, _):
        task = open_task(address)
        (trajectory,) = play(task, ChatPolicy(ScriptedChatModel(write), name="p"), task.instances("train", 1))
        lenient = open_task(address, errors_are_mistakes=True)
        (spared,) = play(
            lenient, ChatPolicy(ScriptedChatModel(write), name="p"), lenient.instances("train", 1), max_turns=5
        )
    assert "less than or equal to 20" in observed(trajectory)[0]
    assert "Write number (integer" in observed(trajectory)[1]
    assert trajectory.stop_reason is StopReason.TASK_FAILED and "thirteen is unlucky" in trajectory.error
    assert trajectory.stop_reason.is_infrastructure
    assert spared.stop_reason is StopReason.MAX_TURNS


def test_a_slow_server_is_waited_for_and_a_too_slow_one_is_a_failure(guess_server, player):
    with guess_server(kind="slow") as (address, _):
        patient, hasty = open_task(address), open_task(address, reply_seconds=0.3)
        (played,) = play(patient, player, patient.instances("train", 1))
        (failed,) = play(hasty, player, hasty.instances("train", 1))
    assert played.stop_reason is StopReason.DONE
    assert failed.stop_reason is StopReason.TASK_FAILED and "within 0.3 s" in failed.error


def test_a_server_that_is_killed_fails_what_was_live_and_serves_again_after_its_restart(guess_server, player):
    port = free_port()
    with guess_server(kind="slow", port=port) as (address, process):
        task = open_task(address)

        async def play_and_kill():
            from workflow_r1.rollout import rollout_groups

            async def kill():
                await asyncio.sleep(1.5)
                os.kill(process.pid, signal.SIGKILL)

            killing = asyncio.create_task(kill())
            groups = await rollout_groups(
                task.instances("train", 4),
                policy=player,
                make_environment=make_environments(task),
                group_size=1,
                seed=0,
                max_concurrency=4,
            )
            await killing
            return [trajectory for group in groups for trajectory in group]

        lost = asyncio.run(play_and_kill())
    assert {each.stop_reason for each in lost} == {StopReason.TASK_FAILED}
    assert all("connection was lost" in each.error or "check that it runs" in each.error for each in lost)
    with guess_server(port=port) as (address, _):
        again = play(task, player, task.instances("train", 4))
    assert {each.stop_reason for each in again} == {StopReason.DONE}


def test_too_few_sessions_are_waited_for(guess_server, player):
    with guess_server(sessions=2) as (address, _):
        task = open_task(address)
        trajectories = play(task, player, task.instances("train", 8), max_concurrency=8)
    assert {each.stop_reason for each in trajectories} == {StopReason.DONE}, trajectories[0].error


# ------------------------------------------------------------------------------------------- the real client and our server


@pytest.fixture
def our_server(tmp_path):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "workflow_r1.cli", "serve-env", "embedded", "--port", str(port)]
    with running(command, address):
        yield address


def turn(action):
    return {"text": f"<think>I know.</think>{action}"}


def test_the_real_client_plays_our_questions(our_server):
    from openenv.core.generic_client import GenericEnvClient

    async def play_one():
        client = GenericEnvClient(our_server)
        first = await client.reset(split="evaluation", index=3, episode_id="mine")
        assert first.reward is None and not first.done
        question = first.observation["text"]
        searched = await client.step(turn(f"<tool>Search: {question}</tool>"))
        assert searched.observation["text"].startswith("<info>") and searched.reward is None
        state = await client.state()
        assert (state["episode_id"], state["step_count"]) == ("mine", 1)
        wrong = await client.step(turn("<answer>nobody</answer>"))
        assert wrong.done and wrong.reward == 0.0
        assert wrong.observation["parts"]["exact_match"] == 0.0
        assert wrong.observation["stop_reason"] == "answered"
        with pytest.raises(RuntimeError, match="the episode is over"):
            await client.step(turn("<answer>again</answer>"))
        with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
            await client.step({"txt": "x"})
        again = await client.reset(split="evaluation", index=3)
        assert again.observation["text"] == question
        await client.close()

    asyncio.run(play_one())


def test_sixty_four_real_clients_at_once_get_the_rewards_of_our_own_environment(our_server):
    from openenv.core.generic_client import GenericEnvClient

    from workflow_r1.config import load_run_config
    from workflow_r1.running.parts import held_out_questions

    questions = held_out_questions(load_run_config("embedded"), 64)

    async def play_one(index):
        client = GenericEnvClient(our_server)
        await client.reset(split="evaluation", index=index)
        answer = questions[index].golden_answers[0] if index % 2 else "nobody"
        end = await client.step(turn(f"<answer>{answer}</answer>"))
        await client.close()
        return end.reward

    async def play_all():
        return await asyncio.gather(*(play_one(index) for index in range(64)))

    assert asyncio.run(play_all()) == [float(index % 2) for index in range(64)]


def test_our_client_plays_our_server_too(our_server, player):
    task = OpenEnv(OpenEnvSettings(address=our_server, environment="embedded", evaluation_split="evaluation"))
    from workflow_r1.inference import ScriptedChatModel
    from workflow_r1.rollout import ChatPolicy

    # A whole turn of the inner policy stands in the action of the outer one, as JSON.
    inner = json.dumps({"text": "<think>t</think><answer>nobody</answer>"}).replace("<", "\\u003c")
    policy = ChatPolicy(ScriptedChatModel(lambda messages: f"<think>t</think><tool>Act: {inner}</tool>"), name="p")
    (trajectory,) = play(task, policy, task.instances("evaluation", 1))
    assert (trajectory.stop_reason, task.score(trajectory).total) == (StopReason.DONE, 0.0)


def test_halving_is_right():
    assert [halve(["start"]), halve(["start", "Higher"]), halve(["start", "Higher", "Lower"])] == [10, 15, 12]
