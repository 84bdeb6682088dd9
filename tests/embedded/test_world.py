"""The embedded world: equal seeds make equal worlds, evaluation meets nothing of training, questions can be read back."""

import asyncio

import pytest

from workflow_r1.embedded import EmbeddedWorld
from workflow_r1.embedded.config import KIND_SHARES, MISSING_SHARE
from workflow_r1.embedded.language import RELATIONS, Chain, Comparison, read_question, read_statements, write_chain
from workflow_r1.embedded.names import is_evaluation_name


@pytest.fixture(scope="module")
def world() -> EmbeddedWorld:
    return EmbeddedWorld(3)


def test_equal_seeds_make_equal_worlds_and_others_do_not(world: EmbeddedWorld) -> None:
    again, other = EmbeddedWorld(3), EmbeddedWorld(4)
    assert again.passages == world.passages
    assert again.questions("train", 50) == world.questions("train", 50)
    assert {passage.text for passage in other.passages} != {passage.text for passage in world.passages}
    assert world.questions("train", 50, seed=1) != world.questions("train", 50)


def test_splits_share_no_entity_and_no_name(world: EmbeddedWorld) -> None:
    names = {split: set() for split in ("train", "evaluation")}
    for entity in world.entities.values():
        names[entity.split].add(entity.name)
        for noun, value in entity.facts.items():
            if RELATIONS[noun].object != "year":
                assert world.entities[value].split == entity.split
    assert not names["train"] & names["evaluation"]
    assert all(is_evaluation_name(word) for word in names["evaluation"])
    assert not any(is_evaluation_name(word) for word in names["train"])


def test_the_evaluation_names_of_one_world_are_in_no_training_split_of_another(world: EmbeddedWorld) -> None:
    evaluation = {e.name for e in world.entities.values() if e.split == "evaluation"}
    for seed in (0, 1000, 1001):
        training = {e.name for e in EmbeddedWorld(seed).entities.values() if e.split == "train"}
        assert not evaluation & training


def test_every_question_reads_back_to_a_query_with_its_golden_answer(world: EmbeddedWorld) -> None:
    for question in world.questions("evaluation", 300):
        query = read_question(question.text)
        assert query is not None, question.text
        assert (world.answer(query),) == question.golden_answers


def test_the_classes_are_mixed_as_documented(world: EmbeddedWorld) -> None:
    questions = world.questions("train", 1000)
    for kind, share in KIND_SHARES.items():
        measured = sum(question.metadata["kind"] == kind for question in questions) / len(questions)
        assert measured == pytest.approx(share, abs=0.05)
    assert len({question.text for question in questions}) == len({question.id for question in questions}) == 1000


def test_a_world_that_is_too_small_for_the_questions_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"country": 2, "city": 2, "person": 6, "film": 2, "book": 2, "company": 2}
    monkeypatch.setattr("workflow_r1.embedded.world.ENTITIES_PER_SPLIT", sizes)
    with pytest.raises(ValueError, match="different questions"):
        EmbeddedWorld(0).questions("train", 3000)


def test_passages_state_what_is_not_missing_and_nothing_else(world: EmbeddedWorld) -> None:
    by_title = {passage.title: passage.text for passage in world.passages}
    num_missing = num_facts = 0
    for entity in world.entities.values():
        stated = read_statements(by_title[entity.name])
        assert stated == {
            (entity.name, noun): value for noun, value in entity.facts.items() if noun not in entity.missing
        }
        num_missing += len(entity.missing)
        num_facts += len(entity.facts)
    assert num_missing / num_facts == pytest.approx(MISSING_SHARE, abs=0.02)


def test_search_finds_the_passage_of_an_entity_first(world: EmbeddedWorld) -> None:
    names = [entity.name for entity in world.entities.values() if entity.kind in ("film", "person")][::20]
    for name in names:
        found = asyncio.run(world.search(f"{name} year", k=2))
        assert found[0].title == name


@pytest.mark.parametrize("phrasing", [0, 1])
def test_a_chain_is_written_and_read(phrasing: int) -> None:
    chain = Chain("Bolari", ("director", "birthplace", "country"))
    assert read_question(write_chain(chain, phrasing=phrasing)) == chain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Which film was released last, Bolari or Sutemi?", Comparison(("Bolari", "Sutemi"), "release year", True)),
        ("Who was born first, Tonuda or Karimo?", Comparison(("Tonuda", "Karimo"), "birth year", False)),
        ("Who directed Bolari", None),
        ("What is the meaning of Bolari?", None),
        ("", None),
        ("Who directed " + "the director of " * 1000 + "Bolari?", None),
    ],
)
def test_only_the_worlds_own_questions_are_read(text: str, expected: Comparison | None) -> None:
    assert read_question(text) == expected


def test_statements_are_read_with_their_subject() -> None:
    text = "Bolari is a film with star Karimo, release year 1951. Karimo is a person. It has end Tonuda."
    assert read_statements(text) == {("Bolari", "star"): "Karimo", ("Bolari", "release year"): "1951"}
