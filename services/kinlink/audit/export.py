"""The export of a log: a file that is verified without the service it came from.

JSON Lines, in this order, each line exactly as written here:

1. a header: origin, the verifier key that the service shows, the first index, and the
   hashes of the complete subtrees before it (none when it is 0);
2. one line for each entry: its leaf hash as the service stores it, and the entry's
   canonical bytes;
3. in between, the checkpoints that the service has kept, each after the entry that
   it ends with;
4. the end: the index after the last entry, so that a file that broke off is not taken
   for a log that did.

Nothing here is believed: `kinlink.audit.verify` does that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kinlink.audit.entry import encode
from kinlink.audit.merkle import HASH_BYTES, Frontier
from kinlink.audit.note import Checkpoint, NoteError, parse

FORM = "kinlink-audit-export-v1"

_LEAF, _ENTRY = b'{"leaf_hash":"', b'","entry":'
_ENTRY_AT = len(_LEAF) + 2 * HASH_BYTES + len(_ENTRY)
_CHECKPOINT = b'{"checkpoint":'
_END = b'{"end":'
_MAX_LINE = 1 << 24


class ExportError(ValueError):
    """A file is not an export; `str()` names the line and says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an export says of itself."""

    origin: str
    verifier_key: str
    start: int = 0
    frontier: tuple[bytes, ...] = ()  # the complete subtrees before `start`, largest first


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry's line."""

    hash: bytes  # as the service has stored it
    content: bytes  # the entry's canonical bytes


def write(file: BinaryIO, header: Header, leaves: Iterable[Leaf], notes: Iterable[str]) -> int:
    """Write an export; return the index after its last entry. Memory is that of one line.

    `notes` are signed checkpoints in order of size; those outside the entries are left out.
    """
    file.write(encode({"form": FORM, **_fields(header)}) + b"\n")
    waiting = ((Checkpoint.parse(parse(note).text).size, note) for note in notes)
    size, note = next(waiting, (-1, ""))
    end = header.start
    for leaf in leaves:
        file.write(b"%s%s%s%s}\n" % (_LEAF, leaf.hash.hex().encode(), _ENTRY, leaf.content))
        end += 1
        while 0 <= size <= end:
            if size == end:
                file.write(encode({"checkpoint": note}) + b"\n")
            size, note = next(waiting, (-1, ""))
    file.write(encode({"end": end}) + b"\n")
    return end


class Export:
    """An export on disk: its header, and its lines as often as they are asked for."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises ExportError when the file is no export; OSError when it cannot be read."""
        self.path = path
        self.bytes = path.stat().st_size
        with path.open("rb") as file:
            self.header = _read_header(file.readline(_MAX_LINE))

    def records(self) -> Iterator[tuple[Leaf | str, int]]:
        """Yield each leaf, and each kept checkpoint as a note, with the number of bytes read so far.

        Raises ExportError at the first line that is not as it was written, and when the end is missing or wrong.
        """
        size, read = self.header.start, 0
        with self.path.open("rb") as file:
            read += len(file.readline(_MAX_LINE))
            for number, line in enumerate(file, 2):
                read += len(line)
                if line.startswith(_LEAF):
                    yield _read_leaf(line, number), read
                    size += 1
                elif line.startswith(_CHECKPOINT):
                    yield _read_note(line, number), read
                elif line == encode({"end": size}) + b"\n" and not file.read(1):
                    return
                else:
                    raise ExportError(f"line {number} is not as kinlink wrote it; export again")
        raise ExportError("the file breaks off before its end line; copy or export it again")


def _fields(header: Header) -> dict[str, object]:
    return {
        "frontier": [h.hex() for h in header.frontier],
        "origin": header.origin,
        "start": header.start,
        "verifier_key": header.verifier_key,
    }


def _read_header(line: bytes) -> Header:
    try:
        found = json.loads(line)
        header = Header(
            found["origin"], found["verifier_key"], found["start"], tuple(map(bytes.fromhex, found["frontier"]))
        )
        Frontier(header.start, header.frontier)
        is_as_written = line == encode({"form": FORM, **_fields(header)}) + b"\n"
    except (ValueError, KeyError, TypeError, AttributeError):
        is_as_written = False
    if not is_as_written:
        raise ExportError(f"the first line is not the header of an export ({FORM})")
    return header


def _read_leaf(line: bytes, number: int) -> Leaf:
    ends = _ENTRY_AT - len(_ENTRY)
    try:
        leaf_hash = bytes.fromhex(line[len(_LEAF) : ends].decode())
    except ValueError:
        leaf_hash = b""
    if len(leaf_hash) != HASH_BYTES or line[ends:_ENTRY_AT] != _ENTRY or not line.endswith(b"}\n"):
        raise ExportError(f"line {number} is not an entry as kinlink wrote it; export again")
    return Leaf(leaf_hash, line[_ENTRY_AT:-2])


def _read_note(line: bytes, number: int) -> str:
    try:
        note = json.loads(line)["checkpoint"]
        Checkpoint.parse(parse(note).text)
    except (ValueError, KeyError, TypeError, AttributeError, NoteError) as error:
        raise ExportError(f"line {number} is not a checkpoint as kinlink wrote it; export again") from error
    return str(note)
