"""The report's charts, as inline SVG that a screen reader can read and a printer can print.

1. Coordinates across are percentages, sizes down are pixels: a chart fills any width and its
   text stays as large as the page's.
2. Colour repeats what a word, a shape or a hatching says.
3. Every chart has a title and a description; what it shows stands in a table beside it as well.
4. They take rows of the report's document: redacted already. Jinja escapes every text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

Row = Mapping[str, Any]
ROWS_A_CHART = 12  # a chart cannot break across pages
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class AgeBar:
    """A bar of the chart of ages; lengths in percent of the width."""

    label: str
    days: int
    width: float
    limit_days: int | None
    overdue: bool


@dataclass(frozen=True, slots=True)
class AgeChart:
    """Ages of primary keys, and the limit's place; None when no key has one limit in common with the others."""

    bars: Sequence[AgeBar]
    limit_days: int | None
    limit_at: float | None


def age_charts(keys: Sequence[Row]) -> list[AgeChart]:
    """Return charts of the active keys' ages, oldest first, at most ROWS_A_CHART bars each, on one scale."""
    active = sorted((key for key in keys if key["state"] == "active"), key=lambda key: (-key["age_days"], key["name"]))
    if not active:
        return []
    limits = [key["limit_days"] for key in active if key["limit_days"]]
    scale = max([key["age_days"] for key in active] + limits + [1]) * 1.08
    common = limits[0] if limits and len(set(limits)) == 1 else None
    bars = [
        AgeBar(
            label=key["name"],
            days=key["age_days"],
            width=max(100 * key["age_days"] / scale, 0.4),
            limit_days=key["limit_days"],
            overdue=key["limit_days"] is not None and key["age_days"] >= key["limit_days"],
        )
        for key in active
    ]
    a_chart = -(-len(bars) // -(-len(bars) // ROWS_A_CHART))  # as many in each as can be, the last one fewer
    return [
        AgeChart(bars[start : start + a_chart], common, common and 100 * common / scale)
        for start in range(0, len(bars), a_chart)
    ]


@dataclass(frozen=True, slots=True)
class DayBar:
    """A day's bar; `x`, `width` in percent, `height` in [0, 1] of the plot's."""

    day: str
    elements: int
    x: float
    width: float
    height: float
    stands_out: bool


@dataclass(frozen=True, slots=True)
class VolumeChart:
    """A caller's month. `usual` is the median's height in [0, 1], None when unknown or above the plot."""

    bars: Sequence[DayBar]
    top: int
    usual: float | None
    last_day: int


def volume_chart(volume: Row, month: str) -> VolumeChart:
    """Return the chart of one caller's days."""
    first = date.fromisoformat(f"{month}-01")
    days = ((first + timedelta(days=31)).replace(day=1) - first).days
    top = _round_up(max([day["elements"] for day in volume["days"]] + [1]))
    bars = []
    for one in volume["days"]:
        place = date.fromisoformat(one["day"]).day - 1
        bars.append(
            DayBar(
                day=one["day"],
                elements=one["elements"],
                x=100 * (place + 0.12) / days,
                width=76 / days,
                height=max(one["elements"] / top, 0.015),
                stands_out=one["stands_out"],
            )
        )
    usual = volume["usual"] / top if volume["usual"] else None
    return VolumeChart(bars, top, usual if usual is not None and usual <= 1 else None, days)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: `shape` is proposed, signed, activated, attested or destroyed; `x` in percent."""

    shape: str
    x: float
    at: str
    name: str
    action: str = ""  # of the change proposed or signed
    holder: Row | None = None  # of an attestation


@dataclass(frozen=True, slots=True)
class Timeline:
    """A rotation's time: marks, and the bar while two versions exist; `open` when it has no end yet."""

    marks: Sequence[Mark]
    bar_from: float
    bar_to: float
    open: bool
    first: str
    last: str


def timeline(rotation: Row, changes: Sequence[Row], made_at: str) -> Timeline:
    """Return the timeline of a rotation with its changes' signatures."""
    events = [Mark("activated", 0, rotation["activated_at"], "")]
    for change in changes:
        if change["change_id"] in rotation["changes"]:
            signed, action = change["proposal"], change["action"]
            events.append(Mark("proposed", 0, signed["signed_at"], signed["signer"], action))
            events += [Mark("signed", 0, each["signed_at"], each["signer"], action) for each in change["approvals"]]
    events += [
        Mark("attested", 0, each["attested_at"], each["name"], holder=each)
        for each in rotation["holders"]
        if each["attested_at"]
    ]
    end = rotation["destroyed_at"] or made_at
    if rotation["destroyed_at"]:
        events.append(Mark("destroyed", 0, rotation["destroyed_at"], ""))
    moments = [datetime.fromisoformat(event.at) for event in events] + [datetime.fromisoformat(end)]
    start, length = min(moments), max((max(moments) - min(moments)).total_seconds(), 1.0)

    def place(at: str) -> float:
        return 2 + 96 * (datetime.fromisoformat(at) - start).total_seconds() / length

    marks = [replace(event, x=place(event.at)) for event in sorted(events, key=lambda event: event.at)]
    return Timeline(
        marks=marks,
        bar_from=place(rotation["activated_at"]),
        bar_to=place(end),
        open=not rotation["destroyed_at"],
        first=min(moments).isoformat(),
        last=max(moments).isoformat(),
    )


def _round_up(value: int) -> int:
    power = 1
    while power * 10 < value:
        power *= 10
    return int(next(step * power for step in _STEPS if step * power >= value))
