"""Draws what the target group cost each department: in truth, without and with the payers who have no CPR number.

A dot a run on a line of per cent of the truth, so that departments of any size can be compared; kroner stand beside.
Colour repeats what form says: hollow before, filled after. SVG, one file, no script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

NAMES_DA = {
    "BIF": "Beskæftigelse og integration",
    "BUF": "Børn og ungdom",
    "KFF": "Kultur og fritid",
    "SOF": "Socialforvaltningen",
    "SUF": "Sundhed og omsorg",
}
_WHOLE, _MIO_KR = 100, 100_000_000
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 1000, 250, 690, 150, 62
_BEFORE, _AFTER, _INK, _PALE = "#b45309", "#1d4ed8", "#1f2937", "#9ca3af"
_STYLE = (
    "width='1000' role='img' aria-labelledby='t d' font-family='system-ui, sans-serif' font-size='15' fill='"
    + _INK
    + "'"
)
# White around the letters: they stay legible on a line.
_SMALL = "font-size='13' stroke='white' stroke-width='4' paint-order='stroke'"


@dataclass(frozen=True, slots=True)
class Department:
    """What the target group cost a department, in øre: in truth, and as found before and after."""

    name: str
    truth: int
    before: int
    after: int

    def share(self, amount: int) -> float:
        """Return an amount as a share of the truth; 1 where the truth is 0."""
        return amount / self.truth if self.truth else 1.0


def drawn(rows: Sequence[Department]) -> str:
    """Return the plot, in Danish."""
    shares = [row.share(amount) for row in rows for amount in (row.before, row.after)]
    least = min([*shares, 0.95]) - 0.02
    most = max([*shares, 1.0]) + 0.01

    def x(share: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (share - least) / (most - least), 1)

    bottom = _TOP + _ROW * len(rows)
    height = bottom + 50
    title = "Målgruppens udgifter i 2014: posteringer uden CPR-nummer"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' height='{height}' {_STYLE}>",
        f"<title id='t'>{title}</title>",
        f"<desc id='d'>{escape(_in_words(rows))}</desc>",
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
        _text(24, 38, title, "font-size='20' font-weight='600'"),
        _text(24, 64, "Nettoudgift i procent af den sande, efter forvaltning. Eksakte tal for en syntetisk kommune."),
        *_legend(96),
        *(
            _tick(x(step / 100), step, bottom)
            for step in range(5 * math.ceil(least * 20), math.floor(most * 100) + 1, 5)
        ),
        _line(x(1.0), _TOP - 14, x(1.0), bottom, _INK, 2),
        *(_text(at, _TOP - 22, name, "text-anchor='end' fill='#4b5563'") for at, name in _COLUMNS),
        _text(885, _TOP - 44, "mio. kr.", "text-anchor='end' fill='#4b5563'"),
    ]
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number + 26
        at, to = x(row.share(row.before)), x(row.share(row.after))
        parts += [
            _text(24, y, row.name, "font-weight='600'"),
            _text(24, y + 19, NAMES_DA.get(row.name, ""), "font-size='13' fill='#4b5563'"),
            _line(at, y, to, y, _PALE, 2),
            f"<circle cx='{at}' cy='{y}' r='7' fill='white' stroke='{_BEFORE}' stroke-width='3'/>",
            f"<circle cx='{to}' cy='{y}' r='7' fill='{_AFTER}'/>",
            _text(at + 7, y + 26, _percent(row.share(row.before)), f"text-anchor='end' {_SMALL} fill='{_BEFORE}'"),
            _text(to + 7, y - 14, _percent(row.share(row.after)), f"text-anchor='end' {_SMALL} fill='{_AFTER}'"),
            *(
                _text(place, y + 5, _mio(amount), "text-anchor='end'")
                for (place, _), amount in zip(_COLUMNS, (row.truth, row.before, row.after), strict=True)
            ),
        ]
    return "\n".join([*parts, "</svg>", ""])


_COLUMNS = ((790, "sandt"), (885, "før"), (980, "efter"))


def _legend(y: int) -> list[str]:
    return [
        f"<circle cx='31' cy='{y - 5}' r='7' fill='white' stroke='{_BEFORE}' stroke-width='3'/>",
        _text(46, y, "før: koblet på CPR-nummer alene"),
        f"<circle cx='341' cy='{y - 5}' r='7' fill='{_AFTER}'/>",
        _text(356, y, "efter: også på kodet navn, fødselsdato og adresse"),
    ]


def _tick(x: float, percent: int, bottom: int) -> str:
    name = "sandt" if percent == _WHOLE else f"{percent} %"
    label = _text(x, bottom + 22, name, "text-anchor='middle' font-size='13' fill='#4b5563'")
    return _line(x, _TOP - 14, x, bottom, "#e5e7eb", 1) + label


def _in_words(rows: Sequence[Department]) -> str:
    return " ".join(
        f"{row.name}: før {_percent(row.share(row.before))}, efter {_percent(row.share(row.after))} af"
        f" {_mio(row.truth)} mio. kr."
        for row in rows
    )


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f"<text x='{x}' y='{y}' {more}>{escape(text)}</text>"


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: int) -> str:
    return f"<line x1='{x}' y1='{y}' x2='{to_x}' y2='{to_y}' stroke='{colour}' stroke-width='{width}'/>"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %".replace(".", ",")


def _mio(ore: int) -> str:
    return f"{ore / _MIO_KR:.2f}".replace(".", ",")
