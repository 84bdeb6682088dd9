from typing import Any

import pytest

from workflow_r1.config.resuming import differing_keys
from workflow_r1.config.run import RunConfig


def dump(**sections: Any) -> dict[str, Any]:
    return RunConfig.model_validate(sections).model_dump(mode="json")


def test_equal_configurations_differ_in_no_key() -> None:
    assert differing_keys(dump(seed=3), dump(seed=3)) == {}


def test_values_that_differ_are_named_with_both() -> None:
    before, now = dump(), dump(seed=3, objective={"kl_coefficient": 0.5})

    assert differing_keys(before, now) == {
        "objective.kl_coefficient": (before["objective"]["kl_coefficient"], 0.5),
        "seed": (0, 3),
    }


def test_free_keys_and_those_below_them_may_differ() -> None:
    now = dump(training={"steps": 7}, logging={"tensorboard": True})

    assert differing_keys(dump(), now, free=("training.steps", "logging")) == {}
    assert differing_keys(dump(), now, free=("training.step", "logging")).keys() == {"training.steps"}


@pytest.mark.parametrize(
    ("section", "key", "other"),
    [("training", "epochs", 2), ("embedded", "restating", True), ("sampling", "temperature", 0.5)],
)
def test_a_key_that_the_checkpoint_does_not_know_counts_as_its_default(section: str, key: str, other: object) -> None:
    older = dump()
    default = older[section].pop(key)

    assert differing_keys(older, dump()) == {}
    assert differing_keys(older, dump(**{section: {key: other}})) == {f"{section}.{key}": (default, other)}


def test_a_new_key_of_a_section_that_is_there_only_at_times_counts_as_its_default() -> None:
    lora = {"optimiser": {"lora": {"rank": 8}}}
    older = dump(**lora)
    del older["optimiser"]["lora"]["base_precision"]

    assert differing_keys(older, dump(**lora)) == {}


def test_a_key_that_is_no_longer_known_is_named() -> None:
    older = dump()
    older["objective"]["forgotten"] = 1.0

    assert differing_keys(older, dump()) == {"objective.forgotten": (1.0, "absent")}


def test_what_else_was_kept_with_the_configuration_is_compared_too() -> None:
    assert differing_keys({**dump(), "train_questions": "a"}, {**dump(), "train_questions": "b"}) == {
        "train_questions": ("a", "b")
    }
