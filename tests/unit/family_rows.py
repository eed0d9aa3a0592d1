"""Rows for tests of families and tables: what a test does not say has a harmless value."""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl

from linker import frames

DAY = datetime.date(2015, 1, 1)
_ORIGIN = {"source": "prisme", "delivery_id": "d1"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "persons": {
        "age_anchor": datetime.date(1980, 1, 1),
        "sex": "f",
        "civil_status": "U",
        "status": 1,
        "municipality": 101,
        "valid_from": datetime.date(2010, 1, 1),
        **_ORIGIN,
    },
    "postings": {
        "person_kind": "cpr",
        "event_month": datetime.date(2014, 3, 1),
        "booked_month": datetime.date(2014, 3, 1),
        "dranst": 1,
        "department": "SOF",
        "cost_component": "service",
        **_ORIGIN,
    },
    "spells": {"person_kind": "cpr", "department": "SOF", "start": datetime.date(2014, 1, 1), **_ORIGIN},
    "catalogue": {
        "name_da": "",
        "department": "SOF",
        "type": "offer",
        "area": "special",
        "counts": True,
        "cost_basis": "posting",
        "flags": [],
        "valid_from": datetime.date(2007, 1, 1),
        **_ORIGIN,
    },
}


def facts(dataset: str, *rows: dict[str, Any]) -> pl.LazyFrame:
    """Return the rows as facts."""
    return pl.LazyFrame([{**_DEFAULTS[dataset], **row} for row in rows], schema=frames.FACTS[dataset])


def members(*rows: tuple[int, int, str, int]) -> pl.LazyFrame:
    """Return FAMILY_MEMBERS from person, family, role and family type."""
    return pl.LazyFrame(
        [
            {
                "person_id": person,
                "household_id": family,
                "family_id": family,
                "role": role,
                "family_type": family_type,
                "age": 40 if role == "adult" else 8,
                "civil_status": "U",
            }
            for person, family, role, family_type in rows
        ],
        schema=frames.FAMILY_MEMBERS,
    )
