"""Searches and effects, slice by slice; rows as columns."""

from pathlib import Path

from viewed_runs import make_evaluation, make_run, make_trajectory, trajectories_of

from workflow_r1.trajectory import append_trajectories
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.search import list_effects, search_texts
from workflow_r1.viewing.source import Source


def all_slices(ask, seconds: float) -> tuple[list, int]:
    found, at, num = [], [0, 0], 0
    while at is not None:
        reply = ask(*at, seconds=seconds)
        found += reply["found"]
        at = reply["next"]
        num += 1
    return found, num


def test_slices_find_what_one_search_finds(tmp_path: Path) -> None:
    make_run(tmp_path / "run", steps=3)
    source = Source(tmp_path / "run")
    whole, num = all_slices(lambda *at, seconds: search_texts(source, "CINCINNATI", *at, seconds=seconds), 60.0)
    assert num == 1
    assert len(whole) == 24  # All observations name it.
    sliced, num = all_slices(lambda *at, seconds: search_texts(source, "CINCINNATI", *at, seconds=seconds), 0.0)
    assert sliced == whole
    assert num > 3


def test_a_search_reads_texts_and_not_the_names_of_fields(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl.gz"
    append_trajectories(path, [make_trajectory(step=None, number=n, observation=text) for n, text in
                               enumerate(['He said "stop".\nThen he left.', "Ein Ä", "token_ids"])])  # fmt: skip
    source = Source(path)
    places = {words: search_texts(source, words, 0, 0)["found"] for words in
              ('said "stop"', "ein ä", "token_ids", "schema_version", "stop_reason", "nothing of the kind", "  ")}  # fmt: skip
    assert places == {
        'said "stop"': [[0, 0]], "ein ä": [[0, 1]], "token_ids": [[0, 2]],
        "schema_version": [], "stop_reason": [], "nothing of the kind": [], "  ": [],
    }  # fmt: skip


def test_a_search_looks_through_all_that_was_said(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl.gz"
    append_trajectories(path, [next(trajectories_of(1))])
    source = Source(path)
    for words in ("q0-1-0", "Where was the director", "Who directed it?", "Steven Spielberg", "Settled."):
        assert search_texts(source, words, 0, 0)["found"] == [[0, 0]], words


def test_all_files_of_an_evaluation_are_searched(tmp_path: Path) -> None:
    make_evaluation(tmp_path / "evaluation", right={"direct": 1, "policy": 3})
    source = Source(tmp_path / "evaluation")
    found, _ = all_slices(lambda *at, seconds: search_texts(source, "Los Angeles", *at, seconds=seconds), 60.0)
    assert found == [[0, 1], [0, 2], [0, 3], [1, 3]]


def test_effects_are_those_of_each_trajectory(tmp_path: Path) -> None:
    make_run(tmp_path / "run", steps=1, questions=1)
    found, _ = all_slices(lambda *at, seconds: list_effects(Source(tmp_path / "run"), *at, seconds=seconds), 60.0)
    assert [place for _, place, _ in found] == [0, 1, 2, 3]
    assert {(operator, kind) for _, _, calls in found for operator, kind, _ in calls} == {("Search", "unknown")}


def test_rows_come_as_columns_with_each_text_once(tmp_path: Path) -> None:
    files = make_run(tmp_path / "run", steps=1)
    reading = Reading([Source(tmp_path / "run")])
    reply = reading.rows(0, [])
    (part,) = reply["parts"]
    text = reply["strings"]
    assert len(set(text)) == len(text)
    assert [text[at] for at in part["outcome"][:4]] == ["right", "wrong", "failed", "malformed"]
    assert part["reward"][:4] == [1.0, -0.5, None, -1.5]
    assert part["answer"][2] == -1
    assert [text[at] for at in part["operators"][:2]] == ["Search", "Search\t(invalid)"]
    assert reading.rows(0, [8])["parts"] == []
    (later,) = reading.rows(0, [6])["parts"]
    assert (later["start"], later["id"]) == (6, ["q1-1-2", "q1-1-3"])
    assert files.lengths()["metrics.jsonl"] > 0
