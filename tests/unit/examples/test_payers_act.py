"""What does the demo's act about payers say of links that are right, wrong and missing?"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from examples.exact import Exact
from examples.payers_act import as_text, quality
from examples.payers_plot import Department, drawn
from examples.payers_truth import Judgement, departments, judge, nearer
from kinlink.linkage_client import Coverage, Interval, LinkageQuality, Run
from linker.frames import LINKS

ROWS = (Department("SOF", 100_000_00, 98_000_00, 99_990_00), Department("KFF", 1_000_00, 900_00, 1_010_00))


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        (90, 99, True),
        (90, 90, False),  # nothing came of it
        (90, 111, False),  # strangers' money was added
        (100, 100, False),  # nothing was missing: nothing is shown
        (110, 105, True),
    ],
)
def test_linking_came_nearer_the_truth(before: int, after: int, holds: bool) -> None:
    assert nearer([Department("BIF", 100, before, after)]) is holds


def test_every_department_comes_nearer_or_stays_at_the_truth() -> None:
    better, still = Department("BIF", 100, 90, 99), Department("BUF", 100, 100, 100)
    assert nearer([better, still])
    assert not nearer([better, Department("BUF", 100, 100, 101)])
    assert not nearer([better, Department("BUF", 100, 90, 89)])
    assert not nearer([])


def test_links_are_judged_by_absolute_kroner() -> None:
    known = pl.DataFrame(
        [
            ("ky", "1", "a", 600, 3),  # right
            ("ky", "2", "b", -100, 3),  # wrong person
            ("ky", "3", "c", 200, 2),  # in review
            ("ky", "4", "d", 100, 1),  # never seen, told by too little
            ("ky", "5", None, 300, 3),  # an outsider, linked
            ("ky", "6", None, 50, 3),  # an outsider, not linked
        ],
        schema=["source", "record", "cpr", "amount_ore", "given"],
        orient="row",
    )
    status = [
        ("1", "linked", 1),
        ("2", "linked", 1),
        ("3", "review", None),
        ("5", "linked", 4),
        ("6", "unlinked", None),
    ]
    links = pl.DataFrame(
        [{"source": "ky", "encoding_id": number, "status": said, "person_id": who} for number, said, who in status],
        schema=LINKS,
    )
    persons = pl.DataFrame({"cpr": ["a", "b", "c", "d"], "person_id": [1, 2, 3, None]})
    persons = persons.cast({"person_id": links.schema["person_id"]})
    assert judge(known, links, persons) == Judgement(
        records=6,
        linked=3,
        outsiders=2,
        outsiders_linked=1,
        precision=600 / 1000,
        recall=600 / 1000,
        reachable=600 / 900,
    )


def test_another_source_s_record_of_the_same_number_is_another() -> None:
    known = pl.DataFrame({"source": ["ky"], "record": ["1"], "cpr": ["a"], "amount_ore": [5], "given": [3]})
    links = pl.DataFrame([{"source": "prisme", "encoding_id": "1", "status": "linked", "person_id": 1}], schema=LINKS)
    found = judge(
        known, links, pl.DataFrame({"cpr": ["a"], "person_id": [1]}, schema_overrides={"person_id": pl.UInt32})
    )
    assert (found.linked, found.recall) == (0, 0.0)


def test_the_table_gives_kroner_and_shares_of_the_truth() -> None:
    lines = as_text(ROWS).splitlines()
    assert lines[1].split() == ["SOF", "100.000", "98.000", "98.00%", "99.990", "99.99%"]
    assert lines[-1].split() == ["all", "101.000", "98.900", "97.92%", "101.000", "100.00%"]


def test_the_plot_places_each_dot_and_says_the_same_in_words() -> None:
    root = ElementTree.fromstring(drawn(ROWS))  # noqa: S314 - our own text
    svg = "{http://www.w3.org/2000/svg}"
    dots = [(float(dot.get("cx", 0)), dot.get("fill")) for dot in root.iter(f"{svg}circle")][2:]  # after the legend's
    truth = next(float(line.get("x1", 0)) for line in root.iter(f"{svg}line") if line.get("stroke-width") == "2")
    assert [fill == "white" for _, fill in dots] == [True, False, True, False]
    assert dots[2][0] < dots[0][0] < dots[1][0] < truth < dots[3][0]
    words = root.findtext(f"{svg}desc") or ""
    assert "SOF: før 98,00 %, efter 99,99 % af 0,10 mio. kr." in words
    texts = [text.text for text in root.iter(f"{svg}text")]
    assert {"Socialforvaltningen", "90,00 %", "101,00 %", "sandt"} <= set(texts)


def test_a_source_s_links_stand_beside_what_the_run_expects_of_them() -> None:
    run = Run(
        *("id", "request", "succeeded", "release", 1, 1, "", "", date(2015, 1, 1), 2014, 12, 9),
        coverage=[Coverage("ky", "exact", 0.9, 0.988), Coverage("ky", "encoded", 0.8, 0.82)],
        tables=(),
        quality=[
            LinkageQuality("ky", "", 45_678, 34_567, 1_234, Interval(0.998, 0.991, 1.0), Interval(0.979, 0.9, 1.0)),
            LinkageQuality("ky", "2014-01", 30, 20, 1, None, None),
        ],
    )
    true = Judgement(45_678, 34_567, 1_000, 3, precision=1.0, recall=0.93, reachable=0.95)
    _, line, *_ = lines = quality(run, {"ky": true, "": true}).splitlines()
    expected = "ky 98.8% 82.0% 45,678 34,567 1,234 99.8% [99.1-100.0] 100.0% 97.9% [90.0-100.0] 93.0%"
    assert line.split() == expected.split()
    assert sum(each.startswith("ky ") for each in lines) == 1, "months as well"
    assert max(map(len, lines)) < 100, "wider than the demo prints"


def test_departments_are_of_the_target_group_alone(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    pl.DataFrame({"family": [0, 1], "target": [True, False]}).write_parquet(tmp_path / "truth/families.parquet")
    amounts = [(0, "SOF", 70), (0, "SOF", 30), (0, "BIF", 200), (1, "BIF", 5_000)]
    pl.DataFrame(amounts, schema=["family", "department", "linked_ore"], orient="row").write_parquet(
        tmp_path / "truth/amounts.parquet"
    )
    before, after = [(7, "SOF", 90), (8, "BIF", 4_000)], [(7, "SOF", 99), (7, "BIF", 150)]
    assert departments(tmp_path, _spent(before), _spent(after)) == [
        Department("BIF", truth=200, before=0, after=150),
        Department("SOF", truth=100, before=90, after=99),
    ]


def _spent(rows: list[tuple[int, str, int]]) -> Exact:
    """Exact frames of which only spending is filled; family 7 is of the target group."""
    spending = pl.DataFrame(rows, schema=["family_id", "department", "amount_ore"], orient="row")
    none = pl.DataFrame()
    return Exact(none, none, none, spending, pl.DataFrame({"family_id": [7]}), none, none)
