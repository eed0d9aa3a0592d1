"""Fixed-width records of a register, joined into rows."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from kinlink.blinding import unreported
from kinlink.delivery import read
from kinlink.delivery.errors import ExtractError
from kinlink.delivery.examine import validated
from kinlink.delivery.mapping_file import load
from kinlink.delivery.period import Period

MAPPINGS = Path(__file__).parents[3] / "examples" / "municipality" / "mappings"
A, B, C = "6101800010", "6201800012", "6301800014"


def line(kind: str, pnr: str, **fields: tuple[int, str]) -> str:
    """Return a record with each field at its place."""
    text = list((kind + pnr).ljust(320))
    for start, value in fields.values():
        text[start - 1 : start - 1 + len(value)] = value
    return "".join(text)


def person(pnr: str, status: str = "01", since: str = "198001010000", sex: str = "K") -> str:
    return line(
        "001", pnr, a=(36, status), b=(38, since), c=(67, sex), d=(68, "1980-01-01"), e=(190, B), f=(292, "0000000000")
    )


def address(pnr: str, road: str, moved: str, town: str = "0101") -> str:
    return line("025", pnr, a=(30, town), b=(34, road), c=(38, "0007"), d=(98, moved))


def civil(pnr: str, status: str = "U") -> str:
    return line("035", pnr, a=(30, status), b=(31, "0000000000"))


def protected(pnr: str, until: str = "") -> str:
    return line("015", pnr, a=(14, "0001"), b=(47, until))


def register(*records: str) -> str:
    lines = [line("000", "0000000000"), *records]
    return "\r\n".join([*lines, line("999", "9999999999", a=(14, f"{len(lines) + 1:08}"))]) + "\r\n"


def persons(folder: Path, text: str, mapping: str = "folkeregister_persons") -> pl.DataFrame:
    path = folder / "cpr.txt"
    path.write_bytes(text.encode("iso-8859-1"))
    told = load(MAPPINGS / f"{mapping}.toml")
    batches = list(validated([path], told, Period.parse("2015-02-01"), unreported, synthetic=True))
    assert not sum(batch.rejects.height for batch, _, _ in batches)
    return pl.concat(batch.rows for batch, _, _ in batches)


def test_a_person_is_joined_from_its_records(tmp_path: Path) -> None:
    made = persons(
        tmp_path, register(person(A), protected(A, "2010-01-01"), address(A, "1234", "201002150000"), civil(A))
    )
    assert made.to_dicts() == [
        {
            "person": A,
            "mother": B,
            "father": None,
            "spouse": None,
            "address": "101|1234|7||",
            "age_anchor": date(1980, 1, 1),
            "sex": "f",
            "civil_status": "U",
            "status": 1,
            "municipality": 101,
            "district": "Østerbro",
            "valid_from": date(2010, 3, 1),
            "valid_to": None,
        }
    ]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ((person(A), protected(A), address(A, "1234", "201001010000"), civil(A)), ("101|1234|7||", 101, None)),
        ((person(A, "03"), address(A, "9901", "201001010000"), civil(A)), (None, 101, None)),
        ((person(A, "80"), address(A, "0000", "201001010000", "0000"), civil(A)), (None, None, None)),
        ((person(A), address(A, "1234", "201001010000", "0791"), civil(A)), ("791|1234|7||", 791, None)),
    ],
)
def test_an_address_is_withheld_where_there_is_none(
    tmp_path: Path, records: tuple[str, ...], expected: tuple[str | None, int | None, str | None]
) -> None:
    made = persons(tmp_path, register(*records))
    assert made.select("address", "municipality", "district").row(0) == expected


@pytest.mark.parametrize("block", [1 << 23, 700])
def test_moves_become_intervals_whatever_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(read, "_BLOCK_BYTES", block)
    text = register(
        *(person(A), address(A, "1000", "201001010000"), address(A, "2000", "201405100000"), civil(A)),
        *(person(B), address(B, "1000", "201405020000"), address(B, "2000", "201405280000"), civil(B)),
        person(C, "60"),
        *(
            person("6401800016", "90", "201501100000"),
            address("6401800016", "1000", "200001010000"),
            civil("6401800016"),
        ),
    )
    made = persons(tmp_path, text).select("person", "address", "valid_from", "valid_to")
    assert made.rows() == [
        (A, "101|1000|7||", date(2010, 1, 1), date(2014, 6, 1)),
        (A, "101|2000|7||", date(2014, 6, 1), None),
        (B, "101|2000|7||", date(2014, 6, 1), None),  # the earlier interval is empty in whole months
        ("6401800016", "101|1000|7||", date(2015, 2, 1), None),
    ]


def test_number_changes_become_aliases(tmp_path: Path) -> None:
    text = register(person(A, "60"), person(B), line("065", B, a=(18, A)), line("065", C, a=(18, B)))
    assert persons(tmp_path, text, "folkeregister_aliases").rows() == [(A, B), (B, C)]


@pytest.mark.parametrize(
    ("damage", "reason", "says"),
    [
        (lambda text: text[: text.index("999" + "9" * 10)], "TRUNCATED", "is missing"),
        (lambda text: text.replace(civil(A) + "\r\n", ""), "TRUNCATED", "counts other lines"),
        (lambda text: text[:-305], "TRUNCATED", "counts other lines"),
        (lambda _: register(person(A), person(B), address(A, "1000", "201001010000")), "RECORDS_APART", "Sort"),
    ],
)
def test_a_damaged_register_is_refused(tmp_path: Path, damage: object, reason: str, says: str) -> None:
    assert callable(damage)
    text = damage(register(person(A), address(A, "1000", "201001010000"), civil(A), person(B)))
    with pytest.raises(ExtractError, match=says) as caught:
        persons(tmp_path, text)
    assert caught.value.reason == reason
    assert A not in str(caught.value)
