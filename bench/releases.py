"""Disclosure control over time: the same year's tables released twelve times, while 1 % of the families change a month.

A line of JSON a month, then one with the stacked attacker's result; the shares over time are drawn as SVG. `load` is
the machine's: seconds under load are no figure.

    python -m bench.releases [--svg docs/explanation/releases-over-time.svg]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from linker.disclosure.release import CellStatus
from tests import monthly_releases as m
from tests.privacy.test_monthly_releases import SHARE, attack

MONTHS = 12
_WIDTH, _HEIGHT, _EDGE = 640, 320, 44
_STYLES = {CellStatus.PUBLISHED: ("#1b6e4b", "current"), CellStatus.CARRIED: ("#b3541e", "carried")}


def main() -> None:
    """Print the figures, and draw them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--svg", type=Path)
    asked = parser.parse_args()
    months, start = list[m.Month](), time.monotonic()
    for month in m.months(m.FULL, count=MONTHS, share=SHARE, seed=1):
        months.append(month)
        print(json.dumps(_figures(len(months), month, time.monotonic() - start)), flush=True)
        start = time.monotonic()
    attacked, recovered, narrow = attack(months)
    result = {"attacked": attacked, "recovered": recovered, "known_too_well": narrow}
    print(json.dumps({"bench": "releases", **result, "seconds": round(time.monotonic() - start, 1)}))
    if asked.svg:
        shares = {status: [month.share(status) for month in months] for status in _STYLES}
        asked.svg.write_text(_drawn(shares), encoding="utf-8")


def _figures(number: int, month: m.Month, seconds: float) -> dict[str, object]:
    record = month.release.record
    return {
        "bench": "releases",
        "month": number,
        "cells": sum(len(table.cells) for table in month.tables),
        "published": round(month.share(CellStatus.PUBLISHED), 3),
        "carried": round(month.share(CellStatus.CARRIED), 3),
        "suppressed": round(month.share(CellStatus.SUPPRESSED), 3),
        "departments_current": month.departments_current(),
        "programs": record.programs,
        "interval_failures": record.failures,
        "unchecked": record.unchecked,
        "seconds": round(seconds, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def _drawn(shares: Mapping[CellStatus, Sequence[float]]) -> str:
    """Return a line for each status: share of cells, by month."""
    months = len(shares[CellStatus.PUBLISHED])
    step = (_WIDTH - 2 * _EDGE) / (months - 1)

    def at(number: int, share: float) -> str:
        return f"{_EDGE + number * step:.1f},{_HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE):.1f}"

    title = "Share of cells that are current, and carried, by monthly release of the same year"
    parts = [
        f"<title>{title}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_EDGE}" y="24" font-size="14">{title}</text>',
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 8}" text-anchor="end">month</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(0, share).split(",")
        parts.append(f'<line x1="{x}" y1="{y}" x2="{_WIDTH - _EDGE}" y2="{y}" stroke="#ccc"/>')
        parts.append(f'<text x="{float(x) - 6:.1f}" y="{float(y) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for number in range(months):
        x, y = at(number, 0).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 18:.1f}" text-anchor="middle">{number + 1}</text>')
    for status, (colour, word) in _STYLES.items():
        points = " ".join(at(number, share) for number, share in enumerate(shares[status]))
        x, y = at(months - 1, shares[status][-1]).split(",")
        said = f"{word} {shares[status][-1]:.0%}"
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x}" y="{float(y) - 10:.1f}" text-anchor="end" fill="{colour}">{said}</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-family="sans-serif"'
    )
    return "\n".join([f'{head} font-size="12">', *parts, "</svg>", ""])


if __name__ == "__main__":
    main()
