"""Markdown pieces that the generated pages share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

NOTE = "<!-- Written by tools/gen_docs.py. Do not edit: change the code and run `make fix`. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table, and a blank line after it."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(_cell(text) for text in row) + " |"
    yield ""


def _cell(text: str) -> str:
    """Return `text` as it may stand in a cell: one line, no bar, `<` only inside code."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))
