import errno
import json
import logging
import math
import os

import pytest

from workflow_r1.errors import DataError
from workflow_r1.trajectory import (
    AnswerReward,
    Message,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    append_trajectories,
    load_trajectories,
)
from workflow_r1.trajectory.storage import iterate_trajectories, write_atomically


def make_trajectory(name="t", text="<think>é</think>\u2028\0<answer>שלום</answer>", **changes):
    turn = Turn(
        index=1,
        text=text,
        token_ids=(5, 6),
        logprobs=(-0.1 - 0.2, -1e-300),
        well_formed=True,
        calls=(OperatorCall(operator="Search", input="x", observation="line\nline\x85", valid=True, seconds=0.25),),
    )
    question = Question(id="q", text="?", golden_answers=("a", "b"), metadata={"hops": 2, "path": ["x", None]})
    fields = {
        "id": name,
        "group_id": "g",
        "question": question,
        "prompt": (Message(role="user", content="?"),),
        "turns": (turn,),
        "stop_reason": StopReason.ANSWERED,
        "answer": "שלום",
    }
    return Trajectory(**(fields | changes))


def scored(trajectory):
    reward = AnswerReward(total=0.5, answer=1.0, format=-0.5, exact_match=1.0, f1=1.0)
    return ScoredTrajectory(**dict(trajectory), reward=reward)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "trajectories.jsonl"
    rows = [make_trajectory("a"), scored(make_trajectory("b")), make_trajectory("c", turns=())]
    append_trajectories(path, rows[:2])
    append_trajectories(path, rows[2:])
    append_trajectories(path, [])
    found = load_trajectories(path)
    assert found == rows
    assert [type(row) for row in found] == [Trajectory, ScoredTrajectory, Trajectory]
    assert path.read_bytes().count(b"\n") == 3


def test_lone_surrogates_and_infinities_survive(tmp_path):
    path = tmp_path / "t.jsonl"
    turn = Turn(index=1, text="a\ud800", logprobs=(-math.inf,), token_ids=(1,), well_formed=False)
    row = make_trajectory(turns=(turn,))
    append_trajectories(path, [row, make_trajectory(turns=(turn.model_copy(update={"text": "a"}),))])
    path.read_text(encoding="utf-8")
    first, second = load_trajectories(path)
    assert first == row
    assert second.turns[0].logprobs == (-math.inf,)


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_last_line_that_was_cut_off_is_left_out_and_then_replaced(tmp_path, caplog, kept):
    path = tmp_path / "t.jsonl"
    rows = [make_trajectory("a"), make_trajectory("b")]
    append_trajectories(path, rows[:1])
    whole = path.stat().st_size
    append_trajectories(path, rows[1:])
    content = path.read_bytes()
    path.write_bytes(content[: whole + kept] if kept > 0 else content[:kept])
    with caplog.at_level(logging.WARNING):
        assert load_trajectories(path) == rows[:1]
    assert f"{path}:2" in caplog.text
    append_trajectories(path, rows[1:])
    assert path.read_bytes() == content


def test_a_long_cut_off_line_is_found(tmp_path):
    path = tmp_path / "t.jsonl"
    append_trajectories(path, [make_trajectory("a")])
    content = path.read_bytes()
    path.write_bytes(content + b'{"id": "' + b"x" * 200_000)
    append_trajectories(path, [make_trajectory("b")])
    assert [row.id for row in load_trajectories(path)] == ["a", "b"]
    assert path.read_bytes().startswith(content)


def test_a_whole_last_row_without_its_line_end_is_kept(tmp_path):
    path = tmp_path / "t.jsonl"
    append_trajectories(path, [make_trajectory("a")])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert [row.id for row in load_trajectories(path)] == ["a"]
    append_trajectories(path, [make_trajectory("b")])
    assert [row.id for row in load_trajectories(path)] == ["a", "b"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    append_trajectories(path, [make_trajectory("a")])
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as raised:
        append_trajectories(path, [make_trajectory("b"), make_trajectory("c")])
    assert raised.value.errno == errno.ENOSPC
    assert path.read_bytes() == before


def row_with(**changes):
    row = json.loads(make_trajectory().model_dump_json())
    row.update(changes)
    return json.dumps(row)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object, found a list"),
        (row_with(schema_version=99), "expected schema_version 1, found 99"),
        ('{"id": "x"}', "expected schema_version 1, found None: each line is to be a trajectory, an object with"),
        (
            '{"messages": [{"role": "user", "content": "Q?"}]}',
            "found None and a conversation under 'messages': each line is to be a trajectory, an object with schema_version, id, "
            "group_id, question, prompt, turns and stop_reason, as `workflow-r1 rollout` writes it",
        ),
        (row_with(stop_reason="bored"), "stop_reason"),
        (row_with(surprise=1), "surprise"),
        (row_with(turns=[{"index": 1}]), r"turns\.0\.text"),
    ],
)
def test_a_bad_row_names_its_line_and_field(tmp_path, line, message):
    path = tmp_path / "t.jsonl"
    path.write_text(row_with() + "\n\n" + line + "\n" + row_with() + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as raised:
        load_trajectories(path)
    assert f"{path}:3" in str(raised.value)


def test_bytes_that_are_not_utf8_name_their_line(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(row_with().encode() + b'\n{"id": "\xff\xfe"}\n')
    with pytest.raises(DataError, match=r":2: expected UTF-8 text, found byte 0xff"):
        load_trajectories(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing at .*absent\.jsonl"):
        load_trajectories(tmp_path / "absent.jsonl")


def test_rows_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(row_with(id="a") + "\nbroken\n", encoding="utf-8")
    rows = iterate_trajectories(path)
    assert next(rows).id == "a"
    with pytest.raises(DataError, match=":2"):
        next(rows)


@pytest.mark.parametrize("data", ["né\n", b"\0\xff"])
def test_write_atomically(tmp_path, data):
    path = tmp_path / "f"
    path.write_text("old", encoding="utf-8")
    write_atomically(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert [child.name for child in tmp_path.iterdir()] == ["f"]


def test_a_failed_atomic_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("old", encoding="utf-8")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["f"]


def test_a_folder_in_place_of_a_file_is_called_a_folder(tmp_path):
    with pytest.raises(DataError, match="found a folder at"):
        list(iterate_trajectories(tmp_path))
