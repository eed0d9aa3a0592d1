"""What changed from one month's model to the next: an alarm names it, nobody has to read two models.

A source that fills its fields otherwise, or encodes under other rules, shows as a field whose likeness among matches
moved (total variation distance of m); a register that lacks part of its persons, as fewer matches a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from linker.linkage.fuzzy.classes import CLASSES
from linker.linkage.fuzzy.model import Model

FIELD_MOVED = 0.05
MATCHES_MOVED = 0.10


class Drift(StrEnum):
    """What moved."""

    FIELD = "field"
    COMPARED = "compared"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class Alarm:
    """What moved, on which field ("" for the whole), and by how much: a distance in [0, 1], or matches a record."""

    drift: Drift
    field: str
    moved: float


def alarms(before: Model, now: Model) -> list[Alarm]:
    """Return what moved beyond the limits between two fitted models of one schema, fields in order, matches last."""
    found = []
    for name, was, compared, m, other in zip(now.fields, before.compared, now.compared, before.m, now.m, strict=True):
        if was != compared:
            found.append(Alarm(Drift.COMPARED, name, 1.0))
        elif compared and (moved := float(np.abs(np.subtract(m, other)).sum() / 2)) > FIELD_MOVED:
            found.append(Alarm(Drift.FIELD, name, moved))
    moved = matches(now) - matches(before)
    return [*found, Alarm(Drift.MATCHES, "", moved)] if abs(moved) > MATCHES_MOVED else found


def matches(model: Model) -> float:
    """Return how many matches a record is expected to have."""
    return sum(model.per_record.get(c.name, 0.0) for c in CLASSES if c.match)
