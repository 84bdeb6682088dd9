import gzip
import io
import logging
import random
import subprocess
import zlib
from itertools import pairwise

import pytest

from workflow_r1.errors import DataError
from workflow_r1.trajectory.blocks import BLOCK_BYTES, Boundary, Damage, Line, read_pieces, read_text
from workflow_r1.trajectory.storage import append_lines, iterate_lines

LONG = BLOCK_BYTES * 2 + 17


def line(number, *, size=20, seed=0):
    """A line of JSON that hardly compresses, of about ``size`` bytes."""
    text = random.Random(f"{seed}-{number}").randbytes(size // 2).hex()
    return f'{{"number": {number}, "text": "{text}"}}\n'


def read(path):
    return [text.decode() for _, text in iterate_lines(path, of="rows")]


def pieces(path):
    with path.open("rb") as file:
        return list(read_pieces(file, compressed=path.name.endswith(".gz")))


@pytest.fixture(params=["t.jsonl", "t.jsonl.gz"])
def path(request, tmp_path):
    return tmp_path / request.param


SIZES = (20, BLOCK_BYTES - 60, LONG, 20, 3 * BLOCK_BYTES, 20)


def test_lines_of_any_length_are_read_back_from_any_place(path):
    lines = [line(number, size=size) for number, size in enumerate(SIZES)]
    spans = append_lines(path, lines[:4]) + append_lines(path, lines[4:])
    assert read(path) == lines
    found = pieces(path)
    assert [piece.text.decode() for piece in found if isinstance(piece, Line)] == lines
    ends = [piece.end for piece in found if isinstance(piece, Boundary)]
    assert ends[-1] == spans[-1].end == path.stat().st_size
    assert [span.start for span in spans] == [0, *(span.end for span in spans[:-1])]
    with path.open("rb") as file:
        for piece in found:
            if isinstance(piece, Line):
                place = {"block": piece.block, "skip": piece.skip, "size": len(piece.text)}
                assert read_text(file, compressed=path.name.endswith(".gz"), **place) == piece.text
        for span in spans:
            skip = 0
            for size in span.sizes:
                text = read_text(file, compressed=path.name.endswith(".gz"), block=span.start, skip=skip, size=size)
                assert text.decode() in lines
                skip += size
        # Reading may begin at every boundary.
        for end in ends:
            rest = [
                p.text.decode()
                for p in read_pieces(file, compressed=path.name.endswith(".gz"), start=end)
                if isinstance(p, Line)
            ]
            assert rest == lines[len(lines) - len(rest) :]


def test_compressed_lines_are_plain_gzip_for_everyone_else(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    lines = [line(number, size=size) for number, size in enumerate(SIZES)]
    append_lines(path, lines)
    append_lines(path, lines)
    assert gzip.decompress(path.read_bytes()).decode() == "".join(lines * 2)
    shown = subprocess.run(["gzip", "-dc", path], capture_output=True, check=True)
    assert shown.stdout.decode() == "".join(lines * 2)


def test_members_follow_the_layout_of_bgzf(tmp_path):
    """Each member names its own length less one in the extra field BC (SAM specification, 4.1)."""
    path = tmp_path / "t.jsonl.gz"
    append_lines(path, [line(number, size=size) for number, size in enumerate(SIZES)])
    data, position, text = path.read_bytes(), 0, b""
    while position < len(data):
        assert data[position : position + 4] == b"\x1f\x8b\x08\x04"
        assert data[position + 10 : position + 16] == b"\x06\0BC\x02\0"
        size = int.from_bytes(data[position + 16 : position + 18], "little") + 1
        part = zlib.decompress(data[position : position + size], wbits=31)
        assert 0 < len(part) <= 0xFF00
        text += part
        position += size
    assert position == len(data)
    assert text.count(b"\n") == len(SIZES)


def test_text_that_does_not_compress_fits_its_member(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    noise = random.Random(0).randbytes(3 * BLOCK_BYTES).decode("latin-1").replace("\n", "")
    append_lines(path, [noise + "\n"])
    assert gzip.decompress(path.read_bytes()).decode() == noise + "\n"


@pytest.mark.parametrize("sizes", [(20, 20), (20, LONG), (LONG, LONG)])
def test_an_append_that_was_cut_off_loses_no_earlier_line(path, sizes, caplog):
    lines = [line(number, size=size) for number, size in enumerate(sizes)]
    append_lines(path, lines[:1])
    whole = path.stat().st_size
    append_lines(path, lines[1:])
    content = path.read_bytes()
    step = max(1, (len(content) - whole) // 40)
    for length in [*range(whole + 1, len(content) - 2, step), len(content) - 2]:
        path.write_bytes(content[:length])
        with caplog.at_level(logging.WARNING):
            assert read(path)[:1] == lines[:1]
        assert len(read(path)) <= 2
        append_lines(path, lines[1:])
        assert path.read_bytes() == content, f"cut at {length} of {len(content)}"
    assert "cut off" in caplog.text


def test_the_whole_lines_of_a_block_that_was_cut_off_are_read(tmp_path, caplog):
    path = tmp_path / "t.jsonl.gz"
    lines = [line(number, size=2000) for number in range(25)]
    append_lines(path, lines[:1])
    append_lines(path, lines[1:])
    path.write_bytes(path.read_bytes()[:-3000])
    with caplog.at_level(logging.WARNING):
        found = read(path)
    assert found == lines[: len(found)]
    assert 15 < len(found) < 25
    assert f"{path}:{len(found) + 1}: left out the last rows, which are cut off" in caplog.text


def test_zeros_after_a_power_failure_are_removed(path):
    lines = [line(number) for number in range(3)]
    append_lines(path, lines[:2])
    content = path.read_bytes()
    path.write_bytes(content + bytes(9000))
    assert read(path) == lines[:2]
    append_lines(path, lines[2:])
    assert read(path) == lines
    assert path.read_bytes().startswith(content)


def test_a_damaged_block_is_named_and_what_follows_can_be_read(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    lines = [line(number, size=3000) for number in range(3)]
    spans = [append_lines(path, [each])[0] for each in lines]
    data = bytearray(path.read_bytes())
    data[spans[1].start + 700] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(
        DataError,
        match=rf"t\.jsonl\.gz:2: expected whole rows, but a compressed block is damaged .* at byte {spans[1].start}",
    ):
        read(path)
    found = pieces(path)
    assert [piece.text.decode() for piece in found if isinstance(piece, Line)] == [lines[0], lines[2]]
    (damage,) = (piece for piece in found if isinstance(piece, Damage))
    assert (damage.start, damage.end, damage.is_cut) == (spans[1].start, spans[2].start, False)
    # A damaged last block is no cut-off one: it stays, since a part of it may be saved by hand.
    path.write_bytes(data[: spans[1].end])
    append_lines(path, lines[2:])
    assert path.read_bytes()[: spans[1].end] == data[: spans[1].end]
    assert [piece.text.decode() for piece in pieces(path) if isinstance(piece, Line)] == [lines[0], lines[2]]


def test_files_of_the_gzip_program_are_read_and_appended_to(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    lines = [line(number, size=50_000) for number in range(8)]
    path.write_bytes(gzip.compress("".join(lines[:6]).encode().rstrip(b"\n")))
    assert "".join(read(path)) == "".join(lines[:6]).rstrip("\n")
    append_lines(path, lines[6:])
    assert [text.strip() for text in read(path)] == [text.strip() for text in lines]


def test_a_line_that_unpacks_beyond_all_bounds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow_r1.trajectory.blocks.MAX_LINE_BYTES", 1 << 20)
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * (4 << 20)))
    with pytest.raises(DataError, match="a line is longer than"):
        read(path)


def test_a_failed_write_leaves_the_file_as_it_was(path, monkeypatch):
    append_lines(path, [line(0)])
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        append_lines(path, (line(number, size=LONG) if number < 3 else str(1 / 0) for number in range(5)))
    assert path.read_bytes() == before


def test_lines_are_written_as_they_come(path):
    """A step's trajectories may be more than the memory holds twice."""
    sizes = []

    def lines():
        for number in range(40):
            sizes.append(path.stat().st_size)
            yield line(number, size=BLOCK_BYTES)

    append_lines(path, lines())
    assert all(after - before > 10_000 for before, after in pairwise(sizes[1:]))


def test_reading_keeps_one_line_in_memory(path):
    append_lines(path, (line(number, size=BLOCK_BYTES) for number in range(50)))
    with path.open("rb") as file:
        counted = io.BufferedReader(file.raw, buffer_size=1024)
        found = read_pieces(counted, compressed=path.name.endswith(".gz"))
        next(found)
        assert counted.tell() < path.stat().st_size / 4
