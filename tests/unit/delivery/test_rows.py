"""From an extract's rows to a dataset's: values, rejects by row, and what is left out."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kinlink.delivery.errors import RejectShareError
from kinlink.delivery.mapping_file import load
from tests.unit.delivery.extracts import HEADER, POSTINGS, SOUND, examined, reasons, rows


def row(**changes: str) -> str:
    fields = {
        "Konto": "100",
        "Dato": "05-03-2014",
        "Periode": "201403",
        "Registrant": "610180-0010",
        "Tekst": "",
        "Beløb": "1,00",
    }
    return ";".join((fields | changes).values()) + "\r\n"


def test_a_row_becomes_a_posting(tmp_path: Path) -> None:
    (made,) = rows(tmp_path, HEADER + SOUND).to_dicts()
    assert made == {
        "person": "6101800010",
        "person_kind": "cpr",
        "encoding_id": None,
        "event_month": date(2014, 3, 1),
        "booked_month": date(2014, 3, 1),
        "amount_ore": -123456,
        "dranst": 1,
        "department": "BIF",
        "service": "BIF-X",
        "account_function": None,
        "cost_component": "service",
    }


@pytest.mark.parametrize(
    ("registrant", "person", "kind"),
    [
        ("'6101800010", "6101800010", "cpr"),
        ("610180 0010 ", "6101800010", "cpr"),
        ("610180ab12", "610180AB12", "replacement"),
        ("12345678", None, None),
        ("", None, None),
        ("0000000000", None, None),
    ],
)
def test_a_registrant_is_a_person_or_nobody(
    tmp_path: Path, registrant: str, person: str | None, kind: str | None
) -> None:
    made = rows(tmp_path, HEADER + row(Registrant=registrant))
    assert (made["person"][0], made["person_kind"][0]) == (person, kind)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Dato": "31-02-2014"}, ("Dato", "not_a_date")),
        ({"Dato": ""}, ("Dato", "missing")),
        ({"Beløb": "1,234.56"}, ("Beløb", "not_an_amount")),
        ({"Registrant": "6101800"}, ("Registrant", "not_a_cpr")),
        ({"Registrant": "613002-0010"}, ("Registrant", "not_a_cpr")),
        ({"Registrant": "61018000"}, None),
        ({"Tekst": "x;y"}, ("", "fields")),
        ({"Konto": ""}, ("Konto", "missing")),
        ({"Konto": "999"}, ("Konto", "unknown_code")),
    ],
)
def test_a_bad_value_is_a_reject_by_row_and_column(
    tmp_path: Path, changes: dict[str, str], expected: tuple[str, str] | None
) -> None:
    examination = examined(tmp_path, HEADER + SOUND + row(**changes) + SOUND)
    assert reasons(examination) == ([(3, *expected)] if expected else [])
    assert examination.delivered == (2 if expected else 3)


def test_rows_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    text = HEADER + SOUND + "\r\n" + row(Tekst="a;b") + SOUND + row(Dato="x") + row(Tekst="a;b") + row(Beløb="x")
    found = reasons(examined(tmp_path, text))
    assert sorted(number for number, _, _ in found) == [4, 6, 7, 8]


def test_rejects_never_hold_a_value(tmp_path: Path) -> None:
    examination = examined(tmp_path, HEADER + row(Registrant="6130020010", Dato="secret", Beløb="610180-0010"))
    text = examination.rejects.write_csv()
    assert not any(word in text for word in ("6130020010", "secret", "610180"))
    assert "6130020010" not in repr(examination)


def test_too_many_rejects_refuse_the_whole(tmp_path: Path) -> None:
    mapping = POSTINGS.replace("max_rejected_share = 1.0", "max_rejected_share = 0.3")
    text = HEADER + SOUND + row(Dato="x") + row(Dato="y")
    with pytest.raises(RejectShareError, match="2 of 3 rows"):
        examined(tmp_path, text, mapping).check(load(tmp_path / "mapping.toml"))
    examined(tmp_path, text.replace(";y;", ";06-03-2014;").replace(";x;", ";06-03-2014;"), mapping).check(
        load(tmp_path / "mapping.toml")
    )


def test_repeated_rows_are_left_out_when_the_mapping_says_so(tmp_path: Path) -> None:
    text = HEADER + SOUND + SOUND + row(Tekst="other") + SOUND
    assert examined(tmp_path, text).delivered == 4
    examination = examined(tmp_path, text, POSTINGS.replace("[numbers]", "drop_duplicate_rows = true\n[numbers]"))
    assert (examination.rows, examination.duplicates, examination.delivered) == (2, 2, 2)


def test_an_empty_period_is_a_delivery_of_no_rows(tmp_path: Path) -> None:
    examination = examined(tmp_path, HEADER)
    assert (examination.rows, examination.delivered, examination.identifiers) == (0, 0, {})


SPELLS = """
dataset = "spells"
max_rejected_share = 1.0
[file]
encoding = "utf-8"
{file}
[columns]
person = {{ from = "cpr" }}
department = {{ value = "BIF" }}
service = {{ value = "BIF-X" }}
category = {{ from = "note" }}
start = {{ from = "fra" }}
end = {{ from = "til", absent = "9999-12-31", add_days = 1 }}
"""


@pytest.mark.parametrize(
    ("til", "end", "reason"),
    [
        ("2014-01-31", date(2014, 2, 1), None),
        ("2014-01-01", date(2014, 1, 2), None),
        ("", None, None),
        ("9999-12-31", None, None),
        ("2013-12-31", None, "end_before_start"),
    ],
)
def test_an_inclusive_end_becomes_the_day_after(tmp_path: Path, til: str, end: date | None, reason: str | None) -> None:
    text = f"cpr;note;fra;til\n6101800010;;2014-01-01;{til}\n"
    mapping = SPELLS.format(file="")
    if reason:
        assert [found for _, _, found in reasons(examined(tmp_path, text, mapping))] == [reason]
    else:
        assert rows(tmp_path, text, mapping)["end"][0] == end


def test_a_cpr_number_in_a_delivered_text_is_held_back(tmp_path: Path) -> None:
    text = "cpr;note;fra;til\n6101800010;se 610180-0010;2014-01-01;\n"
    assert reasons(examined(tmp_path, text, SPELLS.format(file=""))) == [(2, "note", "looks_like_cpr")]


def test_mojibake_is_repaired_beside_sound_text(tmp_path: Path) -> None:
    text = "cpr;note;fra;til\n" + "".join(
        f"6101800010;{note};2014-01-01;\n" for note in ("børn", "bÃ¸rn", "Ã\u0085rlig", "Årlig")
    )
    mapping = SPELLS.format(file='mojibake = "utf-8 read as latin-1"')
    assert rows(tmp_path, text, mapping, "utf-8")["category"].to_list() == ["børn", "børn", "Årlig", "Årlig"]


def test_fields_may_hold_separators_and_declared_line_breaks(tmp_path: Path) -> None:
    text = 'cpr;note;fra;til\n6101800010;"a;b\nc";2014-01-01;\n'
    mapping = SPELLS.format(file="line_breaks_in_fields = true")
    assert rows(tmp_path, text, mapping)["category"].to_list() == ["a;b\nc"]


def test_names_stand_for_a_header_that_is_not_there(tmp_path: Path) -> None:
    mapping = SPELLS.format(file='names = ["cpr", "note", "fra", "til"]\nskip_rows = 1')
    text = "made on a monday\n6101800010;x;2014-01-01;\n6101800010;x;2014-01-;\n"
    assert reasons(examined(tmp_path, text, mapping)) == [(3, "fra", "not_a_date")]


def test_an_interval_of_two_constants_holds_for_a_large_file(tmp_path: Path) -> None:
    mapping = SPELLS.format(file="").replace('{ from = "fra" }', '{ period = "start" }')
    mapping = mapping[: mapping.index("end = ")] + 'end = { period = "end" }\n'
    made = rows(tmp_path, "cpr;note\n" + "6101800010;x\n" * 60_000, mapping)
    assert made.select("start", "end").unique().rows() == [(date(2014, 1, 1), date(2015, 1, 1))]
    assert made.height == 60_000


TWO_SIDED = """
dataset = "postings"
max_rejected_share = 1.0
[file]
encoding = "utf-8"
[columns]
person = { from = "cpr" }
event_month = { period = "start" }
booked_month = { period = "start" }
department = { value = "BIF" }
service = { value = "BIF-X" }
cost_component = { value = "service" }
[[each]]
amount_ore = { from = "brutto", unit = "øre", drop_zero = true }
dranst = { value = 1 }
[[each]]
amount_ore = { from = "refusion", unit = "øre", times = "antal", negative = true, drop_zero = true }
dranst = { value = 2 }
"""


def test_a_row_may_give_several_and_zero_gives_none(tmp_path: Path) -> None:
    text = "cpr;brutto;refusion;antal\n6101800010;500;100;2\n6101800010;500;0;1\n6101800010;7;x;1\n"
    made = rows(tmp_path, text, TWO_SIDED)
    assert made.select("amount_ore", "dranst").rows() == [(500, 1), (500, 1), (-200, 2)]
    examination = examined(tmp_path, text, TWO_SIDED)
    assert (examination.rejected, examination.delivered) == (1, 3)
