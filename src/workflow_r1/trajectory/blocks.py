"""Lines in blocks: a file that grows by whole lines, is read from any block on, and may be compressed.

A compressed file (its name ends in ``.gz``) is a series of gzip members, each of at most 64 KiB, in the BGZF layout of the
SAM specification (samtools.github.io/hts-specs, section 4.1): every gzip reader reads it as one text, and each member
names its own length, so that a member can be found without unpacking those before it. Lines are not split over members,
except a line that is longer than one. A plain file has no members; its lines are grouped into blocks of the same size.
"""

import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

COMPRESSED = ".gz"
"""Ending of the names of compressed files."""

BLOCK_BYTES = 0xFF00
"""Most bytes of text in a block, as in BGZF: text that does not compress then still fits into the 64 KiB of a member."""

MAX_LINE_BYTES = 1 << 28
"""Longest line that is unpacked: a small file can unpack to more than the memory holds."""

_LEVEL = 6
"""Level of compression; 9 takes as long again and saves two hundredths."""

# ID1 ID2 CM FLG.FEXTRA, no time, no hints, system unknown, 6 bytes of extra field: "BC", of 2 bytes.
_SIGNATURE = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"
_HEADER_BYTES = len(_SIGNATURE) + 2
_MEMBER_BYTES = 1 << 16
_READ = 1 << 16


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file that holds whole lines, and can be read by itself."""

    start: int
    """First byte in the file."""
    end: int
    """Byte after the last one."""
    sizes: list[int] = field(default_factory=list)
    """Bytes of each line as text, its line end included."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line, and its place."""

    text: bytes
    """The line with its line end, which only the last one of a file may lack."""
    block: int
    """Byte of the file at which reading must begin."""
    skip: int
    """Bytes of text from there to the line."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place in a file at which no line is open: everything up to it is whole."""

    end: int
    """Byte of the file."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a file that cannot be read."""

    start: int
    """First byte in the file."""
    end: int
    """Byte at which reading continues."""
    reason: str
    """The reason, in words."""
    is_cut: bool
    """True where the file merely ends too early: it is still being written, or a crash cut it off."""


Piece = Line | Boundary | Damage
"""Content of a file, in order."""


def is_compressed(path: str | os.PathLike[str]) -> bool:
    """Return True where a file of this name holds compressed lines."""
    return os.fspath(path).endswith(COMPRESSED)


def write_lines(file: io.FileIO | io.BytesIO, lines: Iterable[str], *, compressed: bool) -> list[Span]:
    """Write lines at the end of a file, one block in memory at a time; return the blocks.

    Args:
        file: opened without a buffer, standing at its end.
        lines: lines with their line ends.
        compressed: True where the file holds members.

    Raises:
        OSError: the file cannot be written; a part of the lines may stand in it.
    """
    spans: list[Span] = []
    start, pending, sizes = file.tell(), bytearray(), list[int]()

    def write() -> None:
        nonlocal start, pending, sizes
        for first in range(0, len(pending), BLOCK_BYTES):
            part = bytes(pending[first : first + BLOCK_BYTES])
            _write_all(file, _pack(part) if compressed else part)
        spans.append(Span(start, file.tell(), sizes))
        start, pending, sizes = file.tell(), bytearray(), []

    for line in lines:
        data = line.encode("utf-8")
        if pending and len(pending) + len(data) > BLOCK_BYTES:
            write()
        pending += data
        sizes.append(len(data))
    if pending:
        write()
    return spans


def read_pieces(file: io.BufferedIOBase, *, compressed: bool, start: int = 0) -> Iterator[Piece]:
    """Read a file of lines piece by piece, past what is damaged.

    Args:
        file: opened for reading.
        compressed: True where the file holds gzip members, those of other programs included.
        start: byte at which to begin, a boundary.

    Yields:
        Each line, each boundary after it, and each part that cannot be read. The last line may lack its line end; the
        lines of a member that is cut off or damaged are read as far as they are whole.
    """
    file.seek(start)
    return _read_members(file, start) if compressed else _read_plain(file, start)


def read_text(file: io.BufferedIOBase, *, compressed: bool, block: int, skip: int, size: int) -> bytes:
    """Read a piece of text at a known place: fewer bytes where the file ends before.

    Args:
        file: opened for reading.
        compressed: True where the file holds members.
        block: byte of the file at which reading begins.
        skip: bytes of text from there to the piece.
        size: bytes of text in it.
    """
    if not compressed:
        file.seek(block + skip)
        return file.read(size)
    file.seek(block)
    text = bytearray()
    left = skip
    decompressor = zlib.decompressobj(wbits=31)
    raw = b""
    while len(text) < size:
        raw = raw or file.read(_READ)
        if not raw:
            break
        try:
            part = decompressor.decompress(raw, _READ)
        except zlib.error:
            break
        raw = decompressor.unconsumed_tail
        if decompressor.eof:
            raw, decompressor = decompressor.unused_data, zlib.decompressobj(wbits=31)
        text += part[left:]
        left = max(0, left - len(part))
    return bytes(text[:size])


def last_line(file: io.BufferedIOBase) -> bytes:
    """Return the last line of a compressed file of ours, as far as it stands in the last block; nothing where that is cut off."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 2 * _MEMBER_BYTES))
    window = file.read()
    try:
        text = zlib.decompress(window[max(0, window.rfind(_SIGNATURE)) :], wbits=31)
    except zlib.error:
        return b""
    return text[text.rfind(b"\n", 0, -1) + 1 :]


def length_of_whole_lines(file: io.FileIO, *, compressed: bool) -> tuple[int, bool]:
    """Return the length of a file without a last line, or a last member, that was cut off.

    Returns:
        The length in bytes, and True where the last line is whole and lacks nothing but its line end.
    """
    return _length_of_whole_members(file) if compressed else _length_of_whole_lines(file)


def is_json(line: bytes) -> bool:
    """Return True where a line is JSON of any kind."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _write_all(file: io.FileIO | io.BytesIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _pack(text: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, wbits=-15)
    packed = compressor.compress(text) + compressor.flush()
    length = _HEADER_BYTES + len(packed) + 8
    return b"".join(
        (
            _SIGNATURE,
            (length - 1).to_bytes(2, "little"),
            packed,
            zlib.crc32(text).to_bytes(4, "little"),
            len(text).to_bytes(4, "little"),
        )
    )


# ---------------------------------------------------------------------------------------------------------------- read


def _read_plain(file: io.BufferedIOBase, start: int) -> Iterator[Piece]:
    block = position = start
    while line := file.readline():
        if position - block >= BLOCK_BYTES or (position > block and not line.endswith(b"\n")):
            block = position
            yield Boundary(block)
        yield Line(line, block, position - block)
        position += len(line)
        if not line.endswith(b"\n"):
            return
    if position > block:
        yield Boundary(position)


class _OpenLine:
    """Takes text as it is unpacked, and gives the lines that are whole."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.block = self.skip = 0

    def take(self, text: bytes, member: int, offset: int) -> Iterator[Line]:
        """Add the text that stands ``offset`` bytes into a member."""
        if not self.pending:
            self.block, self.skip = member, offset
        first = 0
        while (end := text.find(b"\n", first) + 1) > 0:
            if self.pending:
                line = bytes(self.pending) + text[first:end]
                self.pending.clear()
            else:
                line = text[first:end]
            yield Line(line, self.block, self.skip)
            self.block, self.skip = member, offset + end
            first = end
        self.pending += text[first:]


def _read_members(file: io.BufferedIOBase, start: int) -> Iterator[Piece]:
    raw, position = b"", start  # Bytes that were read and not unpacked yet, and the place of the first of them.
    open_line = _OpenLine()
    while raw := raw or file.read(_READ):
        member, offset = position, 0
        decompressor = zlib.decompressobj(wbits=31)
        damage: Damage | None = None
        while not decompressor.eof:
            raw = raw or file.read(_READ)
            if not raw:
                damage = Damage(member, position, "the file ends within a compressed block", is_cut=True)
                break
            try:
                text = decompressor.decompress(raw, _READ)
            except zlib.error as error:
                damage = Damage(member, position, f"a compressed block is damaged ({error})", is_cut=False)
                break
            left = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
            position += len(raw) - len(left)
            raw = left
            yield from open_line.take(text, member, offset)
            offset += len(text)
            if len(open_line.pending) > MAX_LINE_BYTES:
                damage = Damage(member, position, f"a line is longer than {MAX_LINE_BYTES} bytes", is_cut=False)
                break
        if damage is not None:
            lost = open_line.block if open_line.pending else member
            open_line.pending.clear()
            found = _find_member(file, member + 1)
            end = file.seek(0, os.SEEK_END) if found is None else found
            is_cut = found is None and (damage.is_cut or _is_zeros(file, member))
            yield Damage(lost, end, damage.reason, is_cut)
            if found is None:
                return
            position, raw = found, b""
            file.seek(found)
        elif not open_line.pending:
            yield Boundary(position)
    if open_line.pending:
        yield Line(bytes(open_line.pending), open_line.block, open_line.skip)


def _find_member(file: io.BufferedIOBase, start: int) -> int | None:
    """Return the place of the first member of ours from a byte on."""
    file.seek(start)
    position, window = start, b""
    while part := file.read(_READ):
        window += part
        if (found := window.find(_SIGNATURE)) >= 0:
            return position + found
        keep = len(_SIGNATURE) - 1
        position += max(0, len(window) - keep)
        window = window[-keep:]
    return None


def _is_zeros(file: io.BufferedIOBase, start: int) -> bool:
    """Return True where nothing but zero bytes follows, which a power failure may leave."""
    file.seek(start)
    return all(not part.strip(b"\0") for part in iter(lambda: file.read(_READ), b""))


# -------------------------------------------------------------------------------------------------------------- append


def _length_of_whole_lines(file: io.FileIO) -> tuple[int, bool]:
    length = file.seek(0, os.SEEK_END)
    tail = b""
    start = length
    while start > 0 and b"\n" not in tail:
        step = min(_READ, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    return (length, True) if last and is_json(last) else (length - len(last), False)


def _length_of_whole_members(file: io.FileIO) -> tuple[int, bool]:
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - 2 * _MEMBER_BYTES)
    file.seek(start)
    window = file.read(end - start)
    while (found := window.rfind(_SIGNATURE)) >= 0:
        size = int.from_bytes(window[found + len(_SIGNATURE) : found + _HEADER_BYTES], "little") + 1
        member = window[found : found + size]
        if len(member) == size >= _HEADER_BYTES:
            if not _ends_in_a_line(member):
                break
            return start + found + size, False
        window = window[:found]
    return _scan_for_whole_lines(file)


def _ends_in_a_line(member: bytes) -> bool:
    """Return False for the first parts of a long line. A damaged member stays where it is: readers pass over it."""
    try:
        return zlib.decompress(member, wbits=31).endswith(b"\n")
    except zlib.error:
        return True


def _scan_for_whole_lines(file: io.FileIO) -> tuple[int, bool]:
    """Read all of a file of members: a long line was cut off, or another program wrote it."""
    end = 0
    with io.BufferedReader(io.FileIO(file.fileno(), closefd=False)) as reader:
        for piece in read_pieces(reader, compressed=True):
            if isinstance(piece, Boundary) or (isinstance(piece, Damage) and not piece.is_cut):
                end = piece.end
            elif isinstance(piece, Line) and not piece.text.endswith(b"\n") and is_json(piece.text):
                return file.seek(0, os.SEEK_END), True
    return end, False
