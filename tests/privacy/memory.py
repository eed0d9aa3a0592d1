"""What lies in the memory of a running process: which of some named literals are there."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

_PAGE = resource.getpagesize()
_PART = 1 << 12  # pages at a time
_OVERLAP = 1 << 10
_HELD = np.uint64(3 << 62)  # a page is in memory, or swapped out


def in_memory(pid: int, words: Mapping[str, str], packed: Mapping[str, bytes]) -> set[str]:
    """Return the names of those words, in any case, and bytes that are found.

    Looked at is what the process has written to: heap, stacks and other memory of its own, page by page that is used.
    """
    small = {name: word.lower().encode() for name, word in words.items()}
    found: set[str] = set()
    for part in _parts(Path(f"/proc/{pid}")):
        lower = part.lower()
        found |= {name for name, literal in small.items() if literal in lower}
        found |= {name for name, literal in packed.items() if literal in part}
    return found


def _parts(process: Path) -> Iterator[bytes]:
    """Yield the used memory of a process, in parts that overlap."""
    with (process / "mem").open("rb", buffering=0) as memory, (process / "pagemap").open("rb", buffering=0) as pages:
        for line in (process / "maps").read_text().splitlines():
            place, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(each, 16) // _PAGE for each in place.split("-"))
            for first in range(start, end, _PART):
                count = min(_PART, end - first)
                pages.seek(8 * first)
                held = np.frombuffer(pages.read(8 * count), np.uint64) & _HELD != 0
                for begin, stop in _runs(held):
                    memory.seek((first + begin) * _PAGE)
                    is_last = first + stop >= end
                    yield memory.read((stop - begin) * _PAGE + (0 if is_last else _OVERLAP))


def _runs(held: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Iterator[tuple[int, int]]:
    """Yield where runs of used pages begin and stop."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
