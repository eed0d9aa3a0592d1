"""One point of the report's summary."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kinlink.report.words import Words


class Status(StrEnum):
    """How a point stands."""

    OK = "ok"
    LOOK = "look"
    ACT = "act"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Light:
    """One point of the summary; `section` is the part of the page that says more."""

    section: str
    status: Status
    title: Words
    text: Words
