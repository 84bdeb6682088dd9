"""One trajectory as the page shows it."""

import math
import tomllib

import pytest
from viewed_runs import make_trajectory

from workflow_r1.config import dump_toml
from workflow_r1.config.training import PRESET_SWITCHES, ObjectiveConfig
from workflow_r1.trajectory import StopReason
from workflow_r1.viewing.summary import advantage_of
from workflow_r1.viewing.trajectory import describe


def test_a_turn_has_its_figures_and_its_calls_their_own() -> None:
    shown = describe(make_trajectory(number=1))
    first, last = shown["turns"]
    assert (first["tokens"], first["context_tokens"], first["seconds"]) == (3, 1, 0.25)
    assert math.isclose(first["logprob"], -2.6 / 3, rel_tol=1e-6)
    assert first["logprobs"] == [-0.5, -0.1, -2.0]
    assert [call["operator"] for call in first["calls"]] == ["Search", "Serch"]
    assert [call["valid"] for call in first["calls"]] == [True, False]
    assert first["calls"][0]["usage"] == {"searches": 1, "cost": 0.002, "paid": 0.002}
    assert first["calls"][1]["effect"] is None
    assert (last["think"], last["answer"]) == ("Settled.", "Cincinnati")
    assert shown["usage"]["cost"] == 0.002
    assert shown["seed"] == "1152921504606846977"


def test_answers_stand_beside_the_golden_ones_in_the_form_in_which_they_are_compared() -> None:
    shown = describe(make_trajectory(answer="The Cincinnati!"))
    assert (shown["answer"], shown["normalised"]) == ("The Cincinnati!", "cincinnati")
    assert shown["question"]["golden"] == [{"text": "Cincinnati", "normalised": "cincinnati"}]
    assert shown["outcome"] == "right"


def test_the_graph_leads_from_the_question_to_the_answer() -> None:
    flow = describe(make_trajectory())["flow"]
    assert [(node["kind"], node["state"]) for node in flow["nodes"]] == [
        ("question", ""), ("call", "valid"), ("answer", "right"),
    ]  # fmt: skip
    assert {(edge["source"], edge["target"]) for edge in flow["edges"]} == {
        ("question", "call-1-1"), ("call-1-1", "answer"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["group_normalised", "group_centred", "leave_one_out", "reward"])
@pytest.mark.parametrize("rewards", [[1.0, 0.0, 0.0, -1.5], [1.0, 1.0], [0.5]])
def test_the_advantage_is_that_of_training(kind: str, rewards: list[float]) -> None:
    torch = pytest.importorskip("torch")
    from workflow_r1.algorithms.advantage import advantages

    wanted = advantages(
        torch.tensor(rewards, dtype=torch.float64), torch.zeros(len(rewards), dtype=torch.long), kind=kind
    )
    right = make_trajectory()
    own = [describe(right, group_rewards=[right.reward.total, *rewards], advantage=kind)["advantage"]]
    with_own = torch.tensor([right.reward.total, *rewards], dtype=torch.float64)
    expected = advantages(with_own, torch.zeros(len(with_own), dtype=torch.long), kind=kind)
    assert own == pytest.approx([expected[0].item()], abs=1e-12)
    assert len(wanted) == len(rewards)


@pytest.mark.parametrize("preset", PRESET_SWITCHES)
def test_the_kind_of_advantage_is_the_presets_where_the_configuration_names_none(preset: str) -> None:
    config = tomllib.loads(dump_toml(ObjectiveConfig(preset=preset)))
    assert advantage_of({"objective": config}) == ObjectiveConfig(preset=preset).in_effect("advantage")
    assert advantage_of({"objective": config | {"advantage": "group_centred"}}) == "group_centred"


def test_turns_with_advantages_of_their_own_show_none_of_the_trajectory() -> None:
    assert advantage_of({"objective": {"credit": "return_to_go"}}) == advantage_of({}) == ""


def test_a_failure_has_neither_reward_nor_advantage() -> None:
    failed = make_trajectory(answer=None, stop=StopReason.OPERATOR_FAILED)
    shown = describe(failed, group_rewards=[1.0, 0.0], advantage="group_normalised")
    assert (shown["reward"], shown["advantage"], shown["outcome"]) == (None, None, "failed")
    assert shown["error"] == "the server is gone"


def test_an_unknown_kind_of_advantage_is_left_out() -> None:
    assert describe(make_trajectory(), group_rewards=[1.0, 0.0], advantage="of tomorrow")["advantage"] is None
