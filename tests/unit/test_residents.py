"""Does `residents` choose the right row for each person?"""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest

from linker.families.families import families_with_children
from linker.families.residents import ReferenceDateError, residents
from linker.frames import SchemaError
from tests.unit.family_rows import DAY, facts, members

D = datetime.date


def addresses(*rows: dict[str, Any]) -> list[int | None]:
    found = residents(facts("persons", *({"person_id": 1} | row for row in rows)), DAY, 101).collect()
    return found["address_id"].to_list()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([{"address_id": 7}], [7], id="current"),
        pytest.param([{"address_id": 7, "valid_from": DAY}], [7], id="from the reference date"),
        pytest.param([{"address_id": 7, "valid_from": D(2015, 2, 1)}], [], id="moves in later"),
        pytest.param([{"address_id": 7, "valid_to": DAY}], [], id="until the reference date, half-open"),
        pytest.param([{"address_id": 7, "valid_to": D(2015, 2, 1)}], [7], id="leaves later"),
        pytest.param([{"address_id": 7, "status": 3}], [7], id="no fixed address"),
        pytest.param([{"address_id": 7, "status": 90}], [], id="dead"),
        pytest.param([{"address_id": 7, "status": 80, "municipality": None}], [], id="emigrated"),
        pytest.param([{"address_id": 7, "municipality": 147}], [], id="another municipality"),
        pytest.param([{"address_id": 7}, {"address_id": 8, "valid_from": D(2012, 1, 1)}], [8], id="the newest row"),
        pytest.param(
            [{"address_id": 7}, {"status": 80, "valid_from": D(2012, 1, 1)}], [], id="emigrated, old row open"
        ),
        pytest.param(
            [{"address_id": 7}, {"address_id": 8, "municipality": 147, "valid_from": D(2012, 1, 1)}],
            [],
            id="moved to another municipality, old row open",
        ),
        pytest.param([{"address_id": 7, "valid_to": D(2016, 1, 1)}, {"address_id": 8}], [8], id="the open row"),
        pytest.param([{"address_id": 8}, {"address_id": 7}], [7], id="the lower address, else equal"),
        pytest.param([{"address_id": 7}, {"address_id": 9, "status": 90}], [], id="dead before alive"),
        pytest.param([{"address_id": 7}, {"status": 60, "valid_from": DAY}], [7], id="a number no longer in use"),
    ],
)
def test_residents_are_chosen_by_the_reference_date(rows: list[dict[str, Any]], expected: list[int]) -> None:
    assert addresses(*rows) == expected
    assert addresses(*reversed(rows)) == expected


def test_residents_refuses_a_date_on_which_ages_are_not_exact() -> None:
    with pytest.raises(ReferenceDateError, match="first of month"):
        residents(facts("persons"), D(2015, 1, 2), 101)


def test_residents_refuses_a_frame_without_a_column() -> None:
    with pytest.raises(SchemaError, match="column status is missing"):
        residents(facts("persons").drop("status"), DAY, 101)


def test_families_with_children_tells_a_lone_spouse_from_a_single_provider() -> None:
    rows = members(
        (1, 1, "adult", 2),
        (2, 1, "child", 2),
        (3, 3, "adult", 2),
        (4, 3, "child", 2),
        (5, 5, "child", 53),
        (6, 6, "adult", 1),
    ).with_columns(civil_status=pl.when(pl.col("person_id") == 3).then(pl.lit("G")).otherwise("civil_status"))
    found = families_with_children(rows).sort("family_id").collect()
    assert found.select("family_id", "n_persons", "n_adults", "n_children", "single_provider").rows() == [
        (1, 2, 1, 1, True),
        (3, 2, 1, 1, False),
    ]
