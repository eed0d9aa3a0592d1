"""A wrong mapping is a sentence that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinlink.delivery.errors import MappingError
from kinlink.delivery.mapping_file import load
from kinlink.delivery.period import Period
from kinlink.delivery.validate import Validator
from kinlink.errors import InputError
from tests.unit.delivery.extracts import POSTINGS, mapping_file

SHIPPED = sorted((Path(__file__).parents[3] / "examples" / "municipality" / "mappings").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_mappings_are_sound(path: Path) -> None:
    mapping = load(path)
    Validator(mapping, Period.parse(mapping.period), synthetic=True)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('dataset = "postings"', 'dataset = "payments"', "one of persons, aliases, postings"),
        ('dataset = "postings"', "", "lacks dataset"),
        ('encoding = "windows-1252"', 'encoding = "klingon"', "encoding must be one of"),
        ('encoding = "windows-1252"', 'encodign = "utf-8"', "lacks encoding"),
        ("[numbers]", 'seperator = ","\n[numbers]', "Did you mean separator"),
        ("[numbers]", 'separator = ";;"\n[numbers]', "one sign"),
        ('thousands = "."', 'thousands = ","', "must differ"),
        ("trailing_minus = true", "trailing_minus = 1", "type bool"),
        ("amount_ore =", "amount =", "Did you mean amount_ore"),
        ("amount_ore =", "# amount_ore =", "needs the column amount_ore"),
        ('{ from = "Registrant", not_a_person = "cvr" }', '{ value = "6101800010" }', "must come from a column"),
        ('{ from = "Registrant", not_a_person = "cvr" }', '{ from = ["a", "b"] }', "takes 1 column"),
        ('department = { code = "konto" }', 'department = { code = "konti" }', "not among"),
        ('department = { code = "konto" }', "department = { }", "lacks from"),
        ('department = { code = "konto" }', 'department = { period = "start" }', "is no date"),
        ('date = "dd-mm-yyyy"', 'date = "dd-mm-yy"', "booked_month: the date form .* has a two-digit year: set pivot"),
        ("max_rejected_share = 1.0", "max_rejected_share = 2.0", "from 0.0 to 1.0"),
        ('from = "Konto"', 'from = "Konto"\nslice = [1]', "slice is not known"),
        ("dataset =", "dataset ==", "not TOML"),
    ],
)
def test_a_wrong_mapping_names_what_is_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in POSTINGS
    with pytest.raises(MappingError, match=says):
        load(mapping_file(tmp_path, POSTINGS.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (None, "cannot be read"),
        ("code;service\n100;X\n", "lacks the column"),
        ("code;service;department\n1;X;A\n1;Y;A\n", "same code twice"),
    ],
)
def test_a_wrong_code_list_is_named(tmp_path: Path, codes: str | None, says: str) -> None:
    mapping = load(mapping_file(tmp_path))
    (tmp_path / "konto.csv").unlink() if codes is None else (tmp_path / "konto.csv").write_text(codes)
    with pytest.raises(MappingError, match=says):
        Validator(mapping, Period.parse("2014"), synthetic=True)


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("2014", "2014-01-01", "2015-01-01"),
        ("2014-12", "2014-12-01", "2015-01-01"),
        ("2014-02-28", "2014-02-28", "2014-03-01"),
    ],
)
def test_period_knows_its_days(text: str, first: str, after: str) -> None:
    period = Period.parse(text)
    assert (str(period.start), str(period.end)) == (first, after)


@pytest.mark.parametrize("text", ["", "14", "2014-13", "2014-02-30", "20140101", "2014-1", "2014-W01", "all"])
def test_period_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="YYYY"):
        Period.parse(text)
