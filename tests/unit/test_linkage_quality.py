"""Is quality by source and month what the model expects, and not shown of few?"""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest

from linker.linkage.fuzzy.assignment import ASSIGNED
from linker.linkage.quality import answered, quality

D = datetime.date
FEW = 20


def found(*groups: tuple[str, int | None, int, str, float]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return assigned records and what is known of them, from source, month, how many, status and probability."""
    rows = [group for group in groups for _ in range(group[2])]
    assigned = [
        {"record": f"{place:04}", "status": status, "probability": probability, "any": probability}
        for place, (*_, status, probability) in enumerate(rows)
    ]
    records = [
        {"record": f"{place:04}", "source": source, "month": month and D(2014, month, 1), "weight": 100}
        for place, (source, month, *_) in enumerate(rows)
    ]
    schema = {"record": pl.String, "source": pl.String, "month": pl.Date, "weight": pl.Int64}
    return pl.DataFrame(assigned, schema=ASSIGNED), pl.DataFrame(records, schema=schema)


def shown(*groups: tuple[str, int | None, int, str, float]) -> list[dict[str, Any]]:
    assigned, records = found(*groups)
    return quality(assigned, [], records, FEW)


def test_each_source_and_month_has_its_counts_and_expectations() -> None:
    """Precision is the mean probability of the linked, recall what of all that is expected was linked."""
    rows = shown(
        ("a", 1, 30, "linked", 0.9),
        ("a", 1, 10, "review", 0.3),
        ("a", 2, 40, "linked", 1.0),
        ("b", 2, 25, "unlinked", 0.0),
    )
    counts = [(r["source"], r["month"], r["records"], r["linked"], r["in_review"]) for r in rows]
    assert counts == [
        ("a", "", 80, 70, 10),
        ("a", "2014-01", 40, 30, 10),
        ("a", "2014-02", 40, 40, 0),
        ("b", "", 25, 0, 0),
        ("b", "2014-02", 25, 0, 0),
    ]
    assert rows[1]["precision"] == pytest.approx(0.9)
    assert rows[1]["recall"] == pytest.approx(27 / 30)
    assert rows[1]["precision_low"] < 0.9 < rows[1]["precision_high"]
    assert (rows[3]["precision"], rows[3]["recall"]) == (None, None)


@pytest.mark.parametrize(
    ("months", "kept"),
    [
        ({1: 20, 2: 40}, ["2014-01", "2014-02"]),
        ({1: 19, 2: 40, 3: 50}, ["2014-03"]),  # 19 would be the total less the others: 2 is not shown either
        ({1: 19, 2: 19, 3: 50}, ["2014-03"]),
        ({1: 10, 2: 10, 3: 50}, ["2014-03"]),
        ({1: 3, 2: 3, 3: 3}, None),  # nor the source
        ({1: 3, 2: 100}, []),
        ({None: 5, 1: 30, 2: 40}, ["2014-02"]),  # records without a posting have no month
        ({None: 30}, []),
    ],
)
def test_few_records_are_not_shown_nor_told_by_the_others(
    months: dict[int | None, int], kept: list[str] | None
) -> None:
    """What is not shown cannot be found by subtraction, unless it is together as many as could be shown."""
    rows = shown(*(("a", month, count, "linked", 0.99) for month, count in months.items()))
    if kept is None:
        assert rows == []
        return
    total, *others = rows
    assert (total["month"], total["records"]) == ("", sum(months.values()))
    assert [row["month"] for row in others] == kept
    hidden = total["records"] - sum(row["records"] for row in others)
    assert hidden == 0 or hidden >= FEW


def test_one_source_hides_nothing_of_another() -> None:
    """Each by itself."""
    rows = shown(("a", 1, 5, "linked", 0.99), ("b", 1, 50, "linked", 0.99))
    assert {(row["source"], row["month"]) for row in rows} == {("b", ""), ("b", "2014-01")}


def test_answered_records_are_certain() -> None:
    """Somebody is right, nobody is rightly nobody, and the others are as likely as they were."""
    assigned, _ = found(("a", 1, 3, "review", 0.4))
    known = pl.DataFrame({"record": ["0000", "0001"], "somebody": [True, False]})
    sure = answered(assigned, known)
    assert sure["probability"].to_list() == [1.0, 0.0, 0.4]
    assert sure["any"].to_list() == [1.0, 0.0, 0.4]
    assert sure.columns == assigned.columns


def test_nothing_has_no_quality() -> None:
    """No records, no rows."""
    assert shown() == []
