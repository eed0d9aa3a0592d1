"""The demo's second month: two sources correct their extracts of the year, one for everybody, one for three rows.

Delivering a period again replaces what was delivered for it. Many families' amounts in health change, which a release
may tell; in culture those of three rows, which it may not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from examples.deliveries import DELIVERIES, Delivery

PRICES_UP_PERCENT = 3
ROWS_CORRECTED = 3
_AMOUNT = re.compile(r"(\d[\d.]*),(\d\d)$")


def corrected(extracts: Path, out: Path) -> list[Delivery]:
    """Write the corrected extracts below `out`, laid out as in `extracts`, and return what is delivered again."""
    return [
        _written("sundhed", extracts, out, lambda _, ore: ore * (100 + PRICES_UP_PERCENT) // 100),
        _written("kultur", extracts, out, lambda number, ore: 2 * ore if number <= ROWS_CORRECTED else ore),
    ]


def _written(mapping: str, extracts: Path, out: Path, correct: Callable[[int, int], int]) -> Delivery:
    """Write an extract with `correct(row, øre)` for the amount that ends each row; row 0 is the header."""
    [delivery] = [each for each in DELIVERIES if each.mapping == mapping]
    for name in delivery.files:
        source, target = (folder / delivery.source / name for folder in (extracts, out))
        lines = source.read_text(encoding="utf-8").splitlines()
        target.parent.mkdir(parents=True, exist_ok=True)
        content = "".join(f"{_line(text, number, correct)}\n" for number, text in enumerate(lines))
        target.write_text(content, encoding="utf-8")
    return delivery


def _line(text: str, number: int, correct: Callable[[int, int], int]) -> str:
    found = _AMOUNT.search(text)
    if found is None:
        return text
    ore = correct(number, int(found[1].replace(".", "")) * 100 + int(found[2]))
    return f"{text[: found.start()]}{ore // 100},{ore % 100:02}"
