import gzip
import json
import logging
from itertools import pairwise

import pytest

from workflow_r1.errors import DataError
from workflow_r1.trajectory import (
    AnswerReward,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    Usage,
    append_trajectories,
    load_trajectories,
    storage,
)
from workflow_r1.trajectory.index import TrajectoryIndex, append_indexed, index_path
from workflow_r1.trajectory.outcome import Outcome


def call(operator, *, valid=True, cost=0.0):
    return OperatorCall(
        operator=operator, input="x", observation="y", valid=valid, usage=Usage(llm_calls=valid, cost=cost)
    )


def trajectory(name, *, text="think", exact_match=1.0, step=1, **changes):
    turns = (
        Turn(index=1, text=text, token_ids=(1, 2, 3), logprobs=(-0.1, -0.2, -0.3), well_formed=True,
             calls=(call("Search", cost=0.5), call("Serch", valid=False))),
        Turn(index=2, text="done", token_ids=(4,), logprobs=(-0.5,), well_formed=True, calls=()),
    )  # fmt: skip
    fields = {
        "id": name,
        "group_id": "g",
        "step": step,
        "policy_version": 2 * step,
        "question": Question(id="q", text="Who?", golden_answers=("Ann",), metadata={"hops": 2}),
        "turns": turns,
        "stop_reason": StopReason.ANSWERED,
        "answer": "Ann",
        "seconds": 1.5,
        "reward": AnswerReward(
            total=exact_match - 0.5, answer=exact_match, format=-0.5, exact_match=exact_match, f1=0.75
        ),
    } | changes
    if fields["reward"] is None:
        del fields["reward"]
        return Trajectory(**fields)
    return ScoredTrajectory(**fields)


@pytest.fixture(params=["trajectories.jsonl", "trajectories.jsonl.gz"])
def path(request, tmp_path):
    return tmp_path / request.param


def names(index):
    return [row.id for row in index.rows]


@pytest.fixture
def parsed(monkeypatch):
    """The places of the trajectories that were parsed in full."""
    places = []
    original = storage.parse_trajectory

    def parse(line, place):
        places.append(place)
        return original(line, place)

    monkeypatch.setattr("workflow_r1.trajectory.index.parse_trajectory", parse)
    return places


def test_a_row_says_what_lists_show(path):
    append_indexed(path, [trajectory("a", step=3)])
    (row,) = TrajectoryIndex(path).rows
    assert (row.id, row.group_id, row.question_id, row.question, row.question_class) == (
        "a",
        "g",
        "q",
        "Who?",
        "2 hops",
    )
    assert (row.step, row.policy_version, row.num_turns, row.num_policy_tokens, row.seconds) == (3, 6, 2, 4, 1.5)
    assert (row.outcome, row.stop_reason, row.answer) == (Outcome.RIGHT, StopReason.ANSWERED, "Ann")
    assert row.reward == AnswerReward(total=0.5, answer=1.0, format=-0.5, exact_match=1.0, f1=0.75)
    assert (row.operators, row.cost) == (("Search", "(invalid)"), 0.5)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.RIGHT),
        ({"exact_match": 0.0}, Outcome.WRONG),
        ({"reward": None}, None),
        ({"answer": "\u2205"}, Outcome.NO_ANSWER),
        ({"answer": None, "stop_reason": StopReason.MAX_TURNS}, Outcome.OUT_OF_BUDGET),
        ({"answer": None, "stop_reason": StopReason.CONTENT_REFUSED}, Outcome.NO_ANSWER),
        (
            {
                "answer": None,
                "stop_reason": StopReason.MAX_TURNS,
                "turns": (Turn(index=1, text="", well_formed=False),),
            },
            Outcome.MALFORMED,
        ),
        ({"answer": None, "stop_reason": StopReason.OPERATOR_FAILED, "reward": None}, Outcome.FAILED),
    ],
)
def test_outcomes(path, changes, outcome):
    append_indexed(path, [trajectory("a", **changes)])
    assert [row.outcome for row in TrajectoryIndex(path).rows] == [outcome]


def test_an_index_grows_with_its_file_and_opens_without_reading_it(path, parsed):
    rows = [trajectory(str(number), text="long " * 3000, step=number // 10) for number in range(40)]
    for first in range(0, 40, 10):
        append_indexed(path, rows[first : first + 10])
    assert parsed == []
    index = TrajectoryIndex(path)
    # The first and the last stand where the index says: it belongs to this file.
    assert len(parsed) == 2
    assert names(index) == [row.id for row in rows]
    assert index.problem is None
    assert list(index.read_all(index.rows[-3:])) == rows[-3:]
    assert index.read(index.rows[17]) == rows[17]
    assert len(parsed) == 6
    assert index.length == path.stat().st_size


@pytest.mark.parametrize("damage", ["absent", "cut", "other version", "a gap", "rubbish", "a folder"])
def test_an_index_that_is_missing_or_stale_is_made_again(path, damage):
    rows = [trajectory(str(number), text="long " * 5000) for number in range(12)]
    for row in rows:
        append_indexed(path, [row])
    file = index_path(path)
    whole = file.read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    if damage in ("absent", "a folder"):
        file.unlink()
        if damage == "a folder":
            file.mkdir()
    elif damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    else:
        damaged = {
            "other version": b'{"index_version": 0}\n' + b"".join(lines[1:]),
            "a gap": b"".join(lines[:3] + lines[5:]),
            "rubbish": b"".join(lines[:3]) + b"\xff\x00{\n" + b"".join(lines[3:]),
        }
        file.write_bytes(gzip.compress(damaged[damage]))
    assert names(TrajectoryIndex(path)) == [row.id for row in rows]
    if damage != "a folder":
        before = {row.id: (row.block, row.skip, row.size) for row in TrajectoryIndex(path, save=False).rows}
        again = TrajectoryIndex(path)
        assert {row.id: (row.block, row.skip, row.size) for row in again.rows} == before
        assert list(again.read_all(again.rows)) == rows
    append_indexed(path, [trajectory("last")])
    assert names(TrajectoryIndex(path)) == [*(row.id for row in rows), "last"]


def test_a_file_that_was_cut_back_and_grew_again_has_the_rows_of_its_own(path):
    """A resumed run: the index still holds rows of what was cut away, at places that exist again."""
    append_indexed(path, [trajectory("a"), trajectory("b")])
    length = path.stat().st_size
    append_indexed(path, [trajectory("c", text="old " * 40)])
    live, late = TrajectoryIndex(path, save=False), TrajectoryIndex(path, save=False)
    with path.open("r+b") as file:
        file.truncate(length)
    assert names(TrajectoryIndex(path, save=False)) == ["a", "b"]
    live.refresh()
    assert names(live) == ["a", "b"]
    append_indexed(path, [trajectory("d", text="new " * 40), trajectory("e")])
    assert names(TrajectoryIndex(path)) == ["a", "b", "d", "e"]
    live.refresh()
    assert names(live) == ["a", "b", "d", "e"]
    late.refresh()  # It never saw the file shorter than it knew it.
    assert names(late) == ["a", "b", "d", "e"]


def test_a_file_that_another_took_the_place_of_is_read_anew(path):
    append_indexed(path, [trajectory("a"), trajectory("b")])
    index = index_path(path).read_bytes()
    path.unlink()
    append_trajectories(path, [trajectory("c"), trajectory("d"), trajectory("e")])
    index_path(path).write_bytes(index)
    assert names(TrajectoryIndex(path)) == ["c", "d", "e"]
    assert names(TrajectoryIndex(path)) == ["c", "d", "e"]


def test_an_old_file_without_index_gets_one(path, parsed):
    rows = [trajectory(str(number), step=1) for number in range(5)]
    append_trajectories(path, rows)
    assert names(TrajectoryIndex(path)) == [row.id for row in rows]
    parsed.clear()
    assert names(TrajectoryIndex(path)) == [row.id for row in rows]
    assert len(parsed) == 2


def test_a_live_file_is_followed(path):
    append_indexed(path, [trajectory("a")])
    index = TrajectoryIndex(path)
    append_indexed(path, [trajectory("b")])
    index.refresh()
    assert names(index) == ["a", "b"]
    whole = path.read_bytes()
    append_indexed(path, [trajectory("c"), trajectory("d", text="long " * 9000)])
    grown = path.read_bytes()
    path.write_bytes(grown[: len(whole) + (len(grown) - len(whole)) // 2])
    index.refresh()
    assert names(index)[:2] == ["a", "b"]
    assert "cut off" in index.problem
    path.write_bytes(grown)
    index.refresh()
    assert names(index) == ["a", "b", "c", "d"]
    assert index.problem is None
    assert names(TrajectoryIndex(path)) == ["a", "b", "c", "d"]


def test_what_can_be_read_is_shown_and_one_line_says_what_is_missing(tmp_path, caplog):
    path = tmp_path / "t.jsonl"
    rows = [json.loads(trajectory(name).model_dump_json()) for name in "abc"]
    lines = [json.dumps(row) for row in rows]
    other = json.dumps(rows[1] | {"schema_version": 7})
    path.write_text("\n".join([lines[0], "{broken", other, "", lines[2], lines[1][:50]]), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        index = TrajectoryIndex(path)
    assert names(index) == ["a", "c"]
    assert index.problem.startswith(f"{path}: 2 parts cannot be read, the first: t.jsonl, byte 0+{len(lines[0]) + 1}: ")
    assert index.problem.endswith("; the last row is cut off")
    assert "\n" not in index.problem
    assert [each.id for each in index.read_all(index.rows)] == ["a", "c"]
    # The index keeps what it found: nothing is read again.
    assert TrajectoryIndex(path).problem == index.problem


def test_a_damaged_block_costs_its_own_rows_only(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    for name in "abc":
        append_indexed(path, [trajectory(name)])
    ends = [json.loads(line)["end"] for line in gzip.decompress(index_path(path).read_bytes()).splitlines()[1:]]
    data = bytearray(path.read_bytes())
    data[(ends[0] + ends[1]) // 2] ^= 0xFF
    path.write_bytes(data)
    index_path(path).unlink()
    index = TrajectoryIndex(path)
    assert names(index) == ["a", "c"]
    assert "1 part cannot be read, the first: a compressed block is damaged" in index.problem
    assert TrajectoryIndex(path).problem == index.problem


def test_an_index_that_cannot_be_written_stops_nothing(path, caplog):
    index_path(path).mkdir()
    append_indexed(path, [trajectory("a")])
    append_indexed(path, [trajectory("b")])
    assert [each.id for each in load_trajectories(path)] == ["a", "b"]
    assert names(TrajectoryIndex(path)) == ["a", "b"]
    assert "it is made again when it is needed" in caplog.text


def test_text_that_utf8_cannot_hold_is_indexed(path):
    odd = trajectory("a\ud800", answer="b\ud800", question=Question(id="\ud800", text="?\ud800", golden_answers=()))
    append_indexed(path, [odd, trajectory("b")])
    append_indexed(path, [trajectory("c")])
    index = TrajectoryIndex(path)
    assert names(index) == ["a\ud800", "b", "c"]
    assert index.read(index.rows[0]) == odd


def test_a_plain_name_stands_for_the_compressed_file(tmp_path):
    append_indexed(tmp_path / "t.jsonl.gz", [trajectory("a")])
    append_trajectories(tmp_path / "t.jsonl", [trajectory("b")])
    assert [each.id for each in load_trajectories(tmp_path / "t.jsonl")] == ["a", "b"]
    assert names(TrajectoryIndex(tmp_path / "t.jsonl")) == ["a", "b"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["t.index.jsonl.gz", "t.jsonl.gz"]


def test_an_index_whose_lines_are_longer_than_a_block_grows(path, parsed):
    # Six bytes of the index for two of the file: it is written in ASCII.
    question = Question(id="q", text="\u00e9" * 120, golden_answers=("Ann",))
    short = {"turns": (), "answer": None, "stop_reason": StopReason.MAX_TURNS, "reward": None, "question": question}
    for step in range(3):
        append_indexed(path, [trajectory(f"{step}-{number}", **short) for number in range(200)])
    assert len(parsed) == 4  # The first and the last of the index, twice: nothing else is read again.
    assert len(gzip.decompress(index_path(path).read_bytes()).splitlines()[-1]) > 1 << 16
    index = TrajectoryIndex(path)
    assert len(index.rows) == 600
    assert [row.id for row in index.rows[-2:]] == ["2-198", "2-199"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing at .*t\.jsonl"):
        TrajectoryIndex(tmp_path / "t.jsonl")


def test_a_file_that_vanishes_is_named(path):
    append_indexed(path, [trajectory("a")])
    index = TrajectoryIndex(path)
    path.unlink()
    with pytest.raises(DataError, match="nothing at"):
        index.refresh()


def test_the_lines_of_an_index_follow_one_another(path):
    for number in range(3):
        append_indexed(path, [trajectory(f"{number}-{other}", text="x" * 30_000) for other in range(5)])
    header, *lines = map(json.loads, gzip.decompress(index_path(path).read_bytes()).splitlines())
    assert header == {"index_version": 1}
    assert all(one["end"] == other["start"] for one, other in pairwise(lines))
    assert (lines[0]["start"], lines[-1]["end"]) == (0, path.stat().st_size)
