"""Reads the cases of tests/spec/disclosure: small tables in Markdown, as docs/spec/disclosure-control.md shows them.

A case is a heading, words, and captions with tables: `**Facts: families**` and `**Released: t**`, with the release in
front where it has several (`**Second: Facts: amount**`). A grid's first heading names its two axes, `kind / place`;
any other table has a column for each axis. Facts of an amount are 1,000 kr. a family, `8x40 + 900`; facts of families
are their number. The family in the same place of the same cell of two releases is the same family; `A: 900` is
the amount of family A, wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "disclosure"
_CAPTION = re.compile(r"\*\*(?:(?P<phase>\w+): )?(?P<what>Facts|Released): (?P<name>[\w ]+)\*\*")
_SETTING = re.compile(r"^- (?P<key>policy|sums|tables|refused): (?P<value>.+)$", re.MULTILINE)
Cell = Mapping[str, str]


@dataclass(frozen=True)
class Block:
    """A table of a case: a row a cell, with the name on each axis and the text under `name`."""

    phase: str
    what: str
    name: str
    cells: Sequence[tuple[Cell, str]]

    @property
    def axes(self) -> list[str]:
        """Return the names of its axes."""
        return list(self.cells[0][0])


@dataclass(frozen=True)
class Case:
    """A case: what is in the tables, what is set, and what the release says."""

    title: str
    settings: Mapping[str, Sequence[str]]
    blocks: Sequence[Block]
    text: str

    def phases(self) -> list[str]:
        """Return the names of its releases, in order."""
        return list(dict.fromkeys(block.phase for block in self.blocks))


def read_cases() -> list[Case]:
    """Return all cases, in the order of the page."""
    cases = []
    for file in sorted(FOLDER.glob("*.md")):
        for part in file.read_text(encoding="utf-8").split("\n### ")[1:]:
            title, _, body = part.partition("\n")
            settings: dict[str, list[str]] = {}
            for found in _SETTING.finditer(body):
                settings.setdefault(found["key"], []).append(found["value"])
            cases.append(Case(title, settings, list(_blocks(body)), body))
    return cases


def _blocks(body: str) -> Iterator[Block]:
    captions = list(_CAPTION.finditer(body))
    ends = [caption.start() for caption in captions[1:]] + [len(body)]
    for caption, end in zip(captions, ends, strict=True):
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in body[caption.end() : end].splitlines()
            if line[:1] == "|"
        ]
        cells = list(_cells(lines[0], lines[2:]))
        yield Block(caption["phase"] or "Only", caption["what"], caption["name"], cells)


def _cells(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[tuple[Cell, str]]:
    if " / " in heading[0]:
        down, across = heading[0].split(" / ")
        for row in rows:
            for name, text in zip(heading[1:], row[1:], strict=True):
                yield {down: row[0], across: name}, text
    else:
        for row in rows:
            yield dict(zip(heading[:-1], row[:-1], strict=True)), row[-1]


def amounts(text: str) -> list[tuple[str, int]]:
    """Return the families of a cell, by name or "", and their amounts in øre, from `8x40 + 900 + A: -20`."""
    found = []
    for part in filter(None, text.replace("−", "-").split(" + ")):
        family, _, of_each = part.rpartition(": ")
        times, _, amount = of_each.rpartition("x")
        found += [(family, int(amount) * 100_000)] * int(times or 1)
    return found
