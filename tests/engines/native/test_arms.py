"""Arms of a study in the native engine: the matched range, think and action apart, dynamic sampling."""

import gzip
import json
from types import SimpleNamespace

import pytest
import torch
from run_rows import rows

from workflow_r1.algorithms import matched_scale, unit_ids
from workflow_r1.engines.native.batching import draw
from workflow_r1.engines.native.rollouts import has_signal, refuse_impossible
from workflow_r1.errors import ConfigError
from workflow_r1.policy.packing import pack
from workflow_r1.recording.events import StepStarted
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import load_trajectories


def run(tiny_run, settings, directory, on_event=lambda event: None, **options):
    return tiny_run.make_trainer(settings, directory, on_event).run(**options)


def test_the_units_of_a_run_are_the_thinks_and_actions_of_its_turns(tiny_run, warm_directory, tmp_path):
    """Counted from the turns' texts, by the tokenizer of one byte a token; the thought ends with its closing tag."""
    settings = tiny_run.tiny_config(
        warm_directory,
        objective={"unit": "think_action", "clip_low": 0.05, "clip_high": 0.05},
        training={"steps": 2, "evaluation_questions": 0},
    )
    trainer = tiny_run.make_trainer(settings, tmp_path)
    trainer.run()
    renderer = Renderer(trainer._tokenizer)
    trajectories = load_trajectories(tmp_path / "trajectories.jsonl")
    for turn in (turn for trajectory in trajectories for turn in trajectory.turns):
        thought, tag, _ = turn.text.partition("</think>")
        expected = len((thought + tag).encode()) if tag else len(turn.token_ids)
        expected = expected if turn.text.lstrip().startswith("<think>") else 0
        if "�" not in turn.text:  # Elsewhere a token is no character.
            assert renderer.num_think_tokens(turn.token_ids) == expected
    batch = pack(trajectories, num_think_tokens=lambda turn: renderer.num_think_tokens(turn.token_ids))
    ids = unit_ids(batch.turn_ids, "think_action", is_think=batch.is_think)
    assert torch.equal((ids + 1) // 2, batch.turn_ids), "the units of turn k are 2k - 1 and 2k"
    assert {len(row.unique()) - 1 for row in ids} != {1}
    assert all(row["update/num_units"] > row["update/num_trajectories"] for row in rows(tmp_path))


def test_the_next_range_is_matched_to_all_mini_batches_of_a_step(monkeypatch, tiny_run, warm_directory, tmp_path):
    seen = []

    def watch(scale, *, excess, mass, share):
        seen.append((scale, len(excess), len(mass), share))
        return matched_scale(scale, excess=excess, mass=mass, share=share)

    monkeypatch.setattr("workflow_r1.engines.native.update.matched_scale", watch)
    settings = tiny_run.tiny_config(
        warm_directory, objective={"clip": "matched"}, training={"steps": 2, "epochs": 2, "evaluation_questions": 0}
    )
    run(tiny_run, settings, tmp_path)
    steps = rows(tmp_path)
    assert [each[:2] for each in seen] == [(row["update/clip_scale"], row["update/num_units"]) for row in steps]
    assert {share for *_, share in seen} == {0.05}


# --- Dynamic sampling -------------------------------------------------------------------------------------------------


def dynamic(tiny_run, warm_directory, **training):
    """Groups of two: about half of them have equal rewards."""
    settings = {"steps": 4, "group_size": 2, "dynamic_sampling": 3, "checkpoint_every": 8, "evaluation_questions": 0}
    return tiny_run.tiny_config(warm_directory, training={**settings, **training})


def groups_of(directory, step):
    groups = {}
    with gzip.open(directory / "trajectories.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            if row["step"] == step:
                groups.setdefault(row["group_id"], []).append(row["reward"]["total"])
    return groups


@pytest.fixture(scope="module")
def resampled(tiny_run, warm_directory, tmp_path_factory):
    directory = tmp_path_factory.mktemp("dynamic") / "run"
    run(tiny_run, dynamic(tiny_run, warm_directory), directory)
    return directory


def test_further_questions_stand_in_for_groups_without_signal(resampled):
    steps = rows(resampled)
    for step, row in enumerate(steps, start=1):
        groups = groups_of(resampled, step)
        signals = [len(set(rewards)) > 1 for rewards in groups.values()]
        assert row["rollout/num_groups"] == len(groups)
        assert row["rollout/num_groups_without_signal"] == signals.count(False)
        assert row["rollout/num_groups_learned"] == signals.count(True) <= 3
        assert row["update/num_rows_trained"] == 2 * signals.count(True)
        assert row["update/num_zero_advantage"] == 0
        if signals.count(True) < 3:  # Three rounds did not fill the step.
            assert len(groups) > 3
        elif all(signals[:3]):
            assert len(groups) == 3
    assert any(row["rollout/num_groups"] > 3 for row in steps), "no step had a group without signal: nothing was tested"
    assert any(row["rollout/num_groups_learned"] == 3 for row in steps)


def test_the_first_questions_of_a_step_are_those_without_dynamic_sampling(
    tiny_run, resampled, warm_directory, tmp_path
):
    """Until the policies part, in the first step: the same groups, and the further ones come after them."""
    run(tiny_run, dynamic(tiny_run, warm_directory, dynamic_sampling=0, steps=1), tmp_path)
    first, more = groups_of(tmp_path, 1), groups_of(resampled, 1)
    assert list(more.items())[: len(first)] == list(first.items())


@pytest.mark.parametrize("doses", [{}, {"epochs": 2, "staleness": 1, "overlap": False}])
def test_dynamic_sampling_resumes_exactly(tiny_run, warm_directory, tmp_path, doses):
    def stop(event):
        if isinstance(event, StepStarted) and event.step == 2:
            trainer.request_stop()

    settings = dynamic(tiny_run, warm_directory, **doses)
    run(tiny_run, settings, tmp_path / "whole")
    trainer = tiny_run.make_trainer(settings, tmp_path / "run", stop)
    assert trainer.run().cause == "interrupted"
    assert run(tiny_run, settings, tmp_path / "run", resume=True).cause == "finished"
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert any(row["rollout/num_groups"] > 3 for row in rows(tmp_path / "whole"))


def test_a_stream_fills_its_steps_too(tiny_run, warm_directory, tmp_path):
    settings = dynamic(tiny_run, warm_directory, staleness=1)
    run(tiny_run, settings, tmp_path)
    trajectories = load_trajectories(tmp_path / "trajectories.jsonl")
    assert len({trajectory.id for trajectory in trajectories}) == len(trajectories) > 4 * 3 * 2
    assert all(row["rollout/num_groups_learned"] <= 3 for row in rows(tmp_path))


def test_several_processes_do_not_sample_dynamically(tiny_run, warm_directory):
    with pytest.raises(ConfigError, match=r"training\.dynamic_sampling: expected 0 where several processes"):
        refuse_impossible(dynamic(tiny_run, warm_directory), SimpleNamespace(size=2))


def test_a_group_has_a_signal_where_rewards_differ(trajectories):
    assert not has_signal(trajectories), "trajectories that were not scored have none"


def test_places_of_further_questions_do_not_overlap():
    """Step and round decide the place: no two of them draw the same stretch, so a pass asks each question once."""
    count, rounds, num = 3, 2, 18
    drawn = [
        index
        for step in range(1, 4)
        for number in range(1, rounds + 1)
        for index in draw(num, seed=5, start=((step - 1) * rounds + number - 1) * count, count=count)
    ]
    assert sorted(drawn) == list(range(num))
