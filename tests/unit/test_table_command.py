"""`kinlink table` and `kinlink release show`: what a person and a program get of a released table."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from kinlink.cli.__main__ import run
from kinlink.statistics_client import StatisticsClient
from tests import running, workbook
from tests.releases import POLICY_DIGEST, TABLE_ID
from tests.unit.served_tables import FIRST, POLICY, REGISTRY, SECOND, config, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Served]:
    with serve(tmp_path_factory.mktemp("statistics")) as started:
        yield started


@pytest.fixture
def client(served: running.Served) -> Iterator[StatisticsClient]:
    with served.channel("consumer-analyse") as channel:
        yield StatisticsClient(channel)


class Said:
    """Runs commands and returns what they print, without the log lines of the server in the same process."""

    def __init__(self, served: running.Served, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._served, self._folder, self._capsys = served, folder, capsys

    def __call__(self, *words: str, as_: str = "consumer-analyse", code: int = 0) -> str:
        self._capsys.readouterr()
        assert run([*words, "--config", config(self._served, self._folder, as_)]) == code
        out, err = self._capsys.readouterr()
        return "".join(line for line in (out + err).splitlines(True) if "[info " not in line)


@pytest.fixture
def said(served: running.Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(served, tmp_path, capsys)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_text_marks_suppressed_and_carried_numbers_and_says_what_they_mean(said: Said) -> None:
    text = said("table", "get", TABLE_ID)
    assert text.startswith("Familier efter forvaltning, 2014, revision 2\n")
    assert ["SOF", "12", "r1", "200", "212"] in words(text)
    assert ["KFF", "..", "..", "44"] in words(text)
    assert ["Alle", "forvaltninger", "15", "..", "257"] in words(text)
    assert ["-", "..", "betyder,"] in [line[:3] for line in words(text)]
    assert "- Et tal med r er videreført: r1 fra revision 1." in text
    assert f"udgivelse {SECOND.release_id}, revision 2\nsha256 {SECOND.tables[0].digest}\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_numbers_stand_under_each_other_whether_carried_or_not(said: Said) -> None:
    lines = said("table", "get", TABLE_ID).splitlines()
    (carried,) = [line for line in lines if line.startswith(" SOF")]
    (total,) = [line for line in lines if line.startswith(" Alle forvaltninger")]
    assert carried.index("12") == total.index("15")


def test_first_revision_is_read_by_its_release_and_has_no_word_on_carrying(said: Said) -> None:
    text = said("table", "get", TABLE_ID, "--release", FIRST.release_id)
    assert text.startswith("Familier efter forvaltning, 2014\n")
    assert "videreført" not in text
    assert ["SOF", "12", "200", "212"] in words(text)


def test_period_is_said_in_words(said: Said) -> None:
    assert said("table", "get", "to_date").startswith("Familier efter forvaltning, januar–juni 2014\n")


def test_list_names_the_tables_and_how_often_they_were_released(said: Said) -> None:
    text = said("table", "list")
    assert [TABLE_ID, "Familier", "efter", "forvaltning", "2014", "(r2)"] in words(text)
    assert "ikke udgivet" in text
    listed = json.loads(said("table", "list", "--json"))
    assert [table["table_id"] for table in listed] == [table.table_id for table in REGISTRY]
    assert [each["release_id"] for each in listed[0]["revisions"]] == [SECOND.release_id, FIRST.release_id]


def test_every_file_holds_the_same_numbers_statuses_and_release(
    said: Said, tmp_path: Path, client: StatisticsClient
) -> None:
    table = client.get_table(TABLE_ID)
    frame = table.to_frame()
    for suffix in ("csv", "json", "arrow", "parquet", "xlsx"):
        said("table", "get", TABLE_ID, "--out", f"{tmp_path}/t.{suffix}")
    assert pl.read_ipc(tmp_path / "t.arrow").equals(frame)
    assert pl.read_parquet(tmp_path / "t.parquet").equals(frame)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text(encoding="utf-8"))))
    expected = [
        (cell.status, str(cell.revision or ""), ".." if cell.value is None else str(cell.value)) for cell in table.cells
    ]
    assert [(row["status"], row["revision"], row["value"]) for row in rows] == expected
    assert {(row["release_id"], row["sha256"]) for row in rows} == {(SECOND.release_id, SECOND.tables[0].digest)}
    document = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert [(cell["status"], cell["value"]) for cell in document["cells"]] == [
        (cell.status, cell.value) for cell in table.cells
    ]
    data = workbook.rows(workbook.read(tmp_path / "t.xlsx")["Data"])
    danish = {"published": "vist", "carried": "videreført", "suppressed": "skjult"}
    assert [(row["Status"], row.get("Værdi")) for row in data] == [
        (danish[cell.status], cell.value) for cell in table.cells
    ]


def test_arrow_and_parquet_say_in_themselves_what_they_are(said: Said, tmp_path: Path) -> None:
    for suffix in ("arrow", "parquet"):
        said("table", "get", TABLE_ID, "--out", f"{tmp_path}/t.{suffix}")
    with pa.OSFile(f"{tmp_path}/t.arrow") as file:
        kept = pa.ipc.open_file(file).schema.metadata
    of_arrow = {key.decode(): value.decode() for key, value in kept.items()}
    for told in (of_arrow, pl.read_parquet_metadata(tmp_path / "t.parquet")):
        assert (told["release_id"], told["digest"]) == (SECOND.release_id, SECOND.tables[0].digest)
        definition = json.loads(told["definition"])
        assert definition["revision"] == 2
        assert definition["definition"]["title_da"] == "Familier efter forvaltning"
        assert set(definition["statuses"]) == {"published", "carried", "suppressed"}


def test_workbook_shows_the_table_its_data_and_what_it_means(said: Said, tmp_path: Path) -> None:
    said("table", "get", TABLE_ID, "--out", f"{tmp_path}/t.xlsx")
    sheets = workbook.read(tmp_path / "t.xlsx")
    assert list(sheets) == ["Tabel", "Data", "Forklaring"]
    picture = sheets["Tabel"]
    assert [picture[place] for place in ("A3", "B3", "C3", "D3")] == ["Forvaltning", "Målgruppen", "Øvrige", "Alle"]
    assert [picture[place] for place in ("A4", "B4", "C4", "D4")] == ["SOF", 12.0, 200.0, 212.0]
    assert [picture[place] for place in ("A5", "B5", "C5", "D5")] == ["KFF", "..", "..", 44.0]
    with zipfile.ZipFile(tmp_path / "t.xlsx") as file:
        assert "#,##0&quot;\u00a0r1&quot;" in file.read("xl/styles.xml").decode()  # how a carried number is shown
    first = workbook.rows(sheets["Data"])[0]
    assert first == {
        "Gruppe": "Målgruppen", "Forvaltning": "SOF", "Tal": "Familier", "Enhed": "antal", "Sum": "nej",
        "Status": "videreført", "Fra revision": 1.0, "Værdi": 12.0,
    }  # fmt: skip
    explained = "\n".join(map(str, sheets["Forklaring"].values()))
    for part in (SECOND.release_id, SECOND.tables[0].digest, "Barn: under 18 år.", "videreført", "Det er ikke 0"):
        assert part in explained


def test_workbook_has_amounts_in_kroner_and_shares_as_shares(said: Said, tmp_path: Path) -> None:
    for name in ("means", "to_date"):
        said("table", "get", name, "--out", f"{tmp_path}/{name}.xlsx")
        assert workbook.read(tmp_path / f"{name}.xlsx")["Tabel"].get("A2") == (
            "Beløb i kroner" if name == "means" else None
        )
    means = workbook.rows(workbook.read(tmp_path / "means.xlsx")["Data"])
    assert means[0]["Værdi"] == 11_300.50
    assert means[0]["Enhed"] == "kr. (gennemsnit)"
    assert "Værdi" not in means[1]
    assert workbook.rows(workbook.read(tmp_path / "to_date.xlsx")["Data"])[0]["Værdi"] == 0.25


def test_same_table_gives_the_same_bytes(said: Said, tmp_path: Path) -> None:
    for suffix in ("csv", "json", "arrow", "parquet", "xlsx"):
        for name in ("one", "two"):
            said("table", "get", TABLE_ID, "--out", f"{tmp_path}/{name}.{suffix}")
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes(), suffix


def test_table_that_is_not_there_exits_with_not_found(said: Said) -> None:
    assert "See `kinlink table list`" in said("table", "get", "never_released", code=6)


def test_file_that_cannot_be_written_exits_with_bad_input(said: Said, tmp_path: Path) -> None:
    said("table", "get", TABLE_ID, "--out", f"{tmp_path}/none/t.csv", code=3)


def test_release_show_draws_the_pattern_and_says_why_without_telling_which_rule(said: Said) -> None:
    text = said("release", "show", TABLE_ID)
    assert ["SOF", "▒", "█", "█"] in words(text)
    assert ["KFF", "·", "·", "█"] in words(text)
    assert ["Alle", "forvaltninger", "█", "·", "█"] in words(text)
    assert "█ vist: 5 " in text
    assert "▒ videreført: 1 " in text
    assert "· skjult: 3 " in text
    assert "ikke tegnet" not in text
    assert "De skjulte tal beskytter hinanden." in text.replace("\n", " ")
    assert "Et tal skjules, når 1 til 4 familier står bag det" in text.replace("\n", " ")
    assert "15 %" not in text  # what hides an amount is for the data-protection officer
    for word in ("primær", "sekundær", "primary", "secondary"):
        assert word not in text


def test_release_show_says_nothing_of_hiding_where_all_is_shown(said: Said) -> None:
    text = said("release", "show", "to_date", "--period", "2014M01-06")
    assert "skjules" in text.replace("\n", " ")
    assert "Et tal videreføres" not in text


def test_release_show_without_a_table_shows_all_that_may_be_read(said: Said) -> None:
    text = said("release", "show")
    (line,) = [line for line in words(text) if line[:1] == [TABLE_ID]]
    assert line[:6] == [TABLE_ID, "2014", "5", "1", "3", "9"]
    assert len(line[6]) == 20
    assert [sign in line[6] for sign in "█▒·"] == [True] * 3
    narrow = said("release", "show", as_="consumer-narrow")
    assert "to_date" in narrow
    assert TABLE_ID not in narrow


def test_release_show_gives_the_data_protection_officer_the_record(said: Said) -> None:
    text = said("release", "show", as_="dpo-thea")
    assert text.index(SECOND.release_id) < text.index(FIRST.release_id)
    assert "700 lineære programmer, 0 fejl, 0 uden bevis, 1,5 s" in text
    assert "udenforstående" in text
    assert POLICY_DIGEST in text
    assert ["2014", "2", "5", "1", "3", "9"] in [line[-6:] for line in words(text)]
    one = said("release", "show", "means", as_="dpo-thea")
    assert FIRST.release_id in one
    assert SECOND.release_id not in one
    said_of_it = " ".join(one.split())
    assert "regler »standard«: tal om 1 til 4 familier skjules; beløb skjules, når alle andre end de to" in said_of_it
    assert "eller når de 2 største giver over 90 %; et skjult beløb kan være mindst 5 % og 5.000 kr." in said_of_it
    assert "forvaltninger, der kender deres egne tal, er ikke angribere" in said_of_it
    assert "Ingen udgivelse har det." in said("release", "show", "no_such_table", as_="dpo-thea")


def test_release_show_does_not_say_the_numbers_of_another_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(tmp_path, replace(POLICY, digest="77" * 32)) as served:
        said = Said(served, tmp_path, capsys)
        reader, text = said("release", "show", "means"), said("release", "show", "means", as_="dpo-thea")
    assert "når få familier står bag det" in " ".join(reader.split())
    assert "regler »" not in text
    assert "regler for means: udgivet efter en tidligere politik" in text


def test_release_show_refuses_nobody_in_the_log(served: running.Served, said: Said) -> None:
    """The command asks only for what the caller may have: a refusal would stand in the officer's report."""
    refused = sum(outcome == "refused" for _, outcome, _ in served.audited())
    said("release", "show", TABLE_ID)
    said("release", "show", as_="dpo-thea")
    assert sum(outcome == "refused" for _, outcome, _ in served.audited()) == refused
