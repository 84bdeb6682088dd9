"""The embedded world that the parts of a run share: one for equal dials, another for others."""

import asyncio

from workflow_r1.assembly.questions import build_evaluation_questions, build_train_questions
from workflow_r1.assembly.services import build_services
from workflow_r1.assembly.world import embedded_world
from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.embedded import EmbeddedConfig


def test_equal_dials_share_a_world_and_others_have_another() -> None:
    one = embedded_world(EmbeddedConfig(missing={"spouse": 0.5}))
    assert embedded_world(EmbeddedConfig(missing={"spouse": 0.5})) is one
    assert embedded_world(EmbeddedConfig(missing={"spouse": 0.6})) is not one


def test_questions_search_and_expert_of_a_run_are_those_of_its_dials() -> None:
    config = load_run_config("embedded-hard")
    world = embedded_world(config.embedded)
    assert build_train_questions(config.data, world=config.embedded)[:3] == world.questions("train", 3)
    assert build_evaluation_questions(config.data, 3, world=config.embedded) == world.questions("evaluation", 3)
    services = build_services(config.services, config.pool)
    name, noun = next(iter(world.outdated))
    (found,) = asyncio.run(services.require_search()(f"last year {noun} of {name}", k=1))
    assert found.title == "Last year"


def test_the_warm_start_shows_the_configured_world_within_its_limits() -> None:
    from workflow_r1.running.engines import _demonstrations

    overrides = ["warmstart.num_demonstrations=20", "environment.max_operator_calls=4", "environment.max_turns=5"]

    def kinds(config: RunConfig) -> set[str]:
        made = _demonstrations(config, lambda event: None)
        assert max(len(trajectory.turns) for trajectory in made) <= 5
        return {trajectory.question.metadata["kind"].partition(",")[0] for trajectory in made}

    assert kinds(load_run_config("embedded-hard", overrides)) <= {
        f"{n}-hop" for n in ("four", "five", "six", "seven", "eight")
    }
    assert "comparison" in kinds(load_run_config("embedded", overrides))
