"""Records in review go back to their source, whose answers the next run goes by: two processes, the real commands."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from examples.stack import REGISTER, Stack
from kinlink.client_config import ClientConfig
from kinlink.linkage_client import LinkageClient
from tests.acceptance.test_linker import CATALOGUE, deliver, requests
from tests.in_process import InProcess
from tests.payer_town import ADDRESS, town
from tests.unit import linker_fixtures as given

PRISME, OTHER, OPERATOR = "source/prisme", "source/ky", "operator/drift"
SCHEMA = 'schema = "dk-person-1"\n[file]\nencoding = "utf-8"\n[columns]\n'
FIELDS = """
[fields]
given_name = { from = "given_name" }
family_name = { from = "family_name" }
birth_date = { from = "birth_date", date = "yyyy-mm-dd" }
street = { from = "street" }
house_number = { from = "house_number" }
floor_door = { from = "floor_door" }
postcode = { from = "postcode" }
"""
NAMES = f'dataset = "person_encodings"\n{SCHEMA}person = {{ from = "pnr" }}\n{FIELDS}'
PAYERS = f'dataset = "payer_encodings"\n{SCHEMA}encoding_id = {{ from = "record" }}\n{FIELDS}'
POSTINGS = """
dataset = "postings"
[file]
encoding = "utf-8"
[numbers]
decimal = ","
[columns]
encoding_id = { from = "record" }
event_month = { from = "month", date = "yyyymm" }
booked_month = { from = "month", date = "yyyymm" }
amount_ore = { from = "amount" }
dranst = { value = 1 }
department = { value = "SOF" }
service = { value = "family_treatment" }
cost_component = { value = "service" }
"""
# Two persons each, of one name and one birth date: told no address, nobody can say which of the two it is.
ALIKE = {"asked-1": ("Rosalil", "Månestråle"), "nobody-1": ("Torbjørn", "Havgus"), "open-1": ("Ingeborg", "Lyngtop")}


@dataclass(frozen=True, slots=True)
class Told:
    """A stack to which all was delivered but answers, as the commands of its parties are run."""

    stack: Stack
    run_as: InProcess
    folder: Path

    def send(self, party: str, mapping: str, extract: str) -> str:
        """Deliver one of the files of `extracts`; return what the command says."""
        path = self.folder / "mapping.toml"
        path.write_text(f"max_rejected_share = 0.0\n{mapping}", encoding="utf-8")
        said = self.run_as(party, "deliver", "--mapping", path, "--period", "2014", self.folder / extract)
        return said.stdout

    def send_postings_and_payers(self) -> str:
        """Deliver both files of prisme's extract, postings first; return what the commands say."""
        return "".join(self.send(PRISME, mapping, "payers.csv") for mapping in (POSTINGS, PAYERS))

    def link(self) -> None:
        """Make a run, and wait for its end."""
        with ClientConfig.load(self.stack.client(OPERATOR)).linker_channel() as opened:
            client = LinkageClient(opened)
            started = client.start(date(2015, 1, 1))
            *_, last = client.watch(started.run_id)
        assert (last.state, last.reason) == ("succeeded", "")

    def in_review(self, party: str = PRISME) -> dict[str, Mapping[str, str]]:
        """Return the rows of `kinlink link review`, by id."""
        rows = csv.DictReader(self.run_as(party, "link", "review").stdout.splitlines(), delimiter=";")
        return {row["encoding_id"]: row for row in rows}

    def explained(self, *ids: str, party: str = PRISME) -> dict[str, str]:
        """Return the state of each record, by id."""
        lines = self.run_as(party, "link", "explain", *ids).stdout.splitlines()
        return {name: said.split(".")[0].split(",")[0] for name, _, said in (line.partition(": ") for line in lines)}

    def persons(self) -> dict[str, int | None]:
        """Return what no caller is told: the person of each record, from the linker's disk."""
        return dict(self._stored("links").select("encoding_id", "person_id").iter_rows())

    def described_as(self, record: str) -> int:
        """Return the one person who is encoded as this record is."""
        payers, persons = self._stored("facts/payer_encodings"), self._stored("facts/person_encodings")
        fields = payers.row(by_predicate=pl.col("encoding_id") == record, named=True)["fields"]
        (found,) = [
            person for person, encoded in persons.select("person_id", "fields").iter_rows() if encoded == fields
        ]
        return int(found)

    def _stored(self, table: str) -> pl.DataFrame:
        return pl.read_delta(str(self.stack.folder / "linker/store" / table))


def number(index: int) -> str:
    """Return a synthetic CPR number."""
    return f"{61 + index % 28}{1 + index // 28 % 12:02}80{1000 + index // 336:04}"


def described(record: str, **said: str) -> dict[str, str]:
    return {"record": record, "month": "201403", "amount": "125,00", **said}


def extracts(folder: Path) -> None:
    """Write the register's names, and what prisme knows of payers; the pairs of ALIKE have the first six numbers.

    The record "free-1" is of a posting without money, and of the second of the first pair.
    """
    made = town(1_200, 300)
    pairs = [
        {"given_name": given_name, "family_name": family_name, "birth_date": "1980-05-03", **home(which)}
        for given_name, family_name in ALIKE.values()
        for which in range(2)
    ]
    sure = {"given_name": "Solveig", "family_name": "Bækdal", "birth_date": "1971-11-23", **home(0)}
    persons = pl.concat([pl.DataFrame([*pairs, sure]), made.persons.drop("record")], how="diagonal")
    persons = persons.with_columns(pl.Series("pnr", [number(index) for index in range(len(persons))]))
    payers = [
        *(
            described(name, given_name=given_name, family_name=family_name, birth_date="1980-05-03")
            for name, (given_name, family_name) in ALIKE.items()
        ),
        described("sure-1", **sure),
        described("free-1", **pairs[1]) | {"amount": "0,00"},
        described("stranger-1", given_name="Gunvor", family_name="Nattergal", street="Ukendtstien", house_number="99"),
    ]
    town_payers = made.records.with_columns(pl.lit("201403").alias("month"), pl.lit("125,00").alias("amount"))
    told = pl.concat([pl.DataFrame(payers, infer_schema_length=None), town_payers], how="diagonal")
    for name, rows in (("names", persons), ("payers", told)):
        rows.write_csv(folder / f"{name}.csv", separator=";")


def home(which: int) -> dict[str, str]:
    told = (("Vandmøllevej", "12", "st tv", "2630"), ("Skovsvinget", "47", "2 th", "2100"))[which]
    return dict(zip(ADDRESS, told, strict=True))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("review")
    with Stack(folder / "stack", encoders=(REGISTER, "prisme")) as stack:
        yield told_all(stack, folder)


def told_all(stack: Stack, folder: Path) -> Told:
    """Deliver all but answers to a stack that runs."""
    extracts(folder)
    told = Told(stack, InProcess(stack), folder)
    told.send(f"source/{REGISTER}", NAMES, "names.csv")
    told.send_postings_and_payers()
    deliver(stack, "prisme", requests("prisme", "catalogue", CATALOGUE, kinds=()))
    deliver(stack, REGISTER, requests(REGISTER, "persons", given.persons("a", "b")))
    return told


def answer(told: Told, folder: Path, rows: Sequence[str]) -> str:
    """Deliver answers as prisme; return what the command says."""
    path = folder / "answers.csv"
    path.write_text("\n".join(["encoding_id;cpr", *rows, ""]), encoding="utf-8")
    return told.run_as(PRISME, "link", "review", "--answers", path, "--period", "2014").stdout


def test_what_a_source_answers_is_linked_or_not_in_the_next_run(told: Told, tmp_path: Path) -> None:
    assert told.explained("asked-1", "sure-1") == {"asked-1": "not seen", "sure-1": "not seen"}, "no run was made yet"
    told.link()
    before = told.in_review()
    assert set(ALIKE) <= set(before)
    assert before["open-1"]["missing_fields"].split() == ["street", "house_number", "floor_door", "postcode"]
    assert before["open-1"]["advice"].startswith("Look it up")
    states = {"asked-1": "in review", "nobody-1": "in review", "open-1": "in review", "sure-1": "linked"}
    never = {"stranger-1": "not linked", "free-1": "not seen", "none such": "not seen"}
    assert told.explained(*states, *never) == {**states, **never}
    assert "free-1" not in before, "a record without money is not answered"
    assert not {"sure-1", "stranger-1"} & set(before)

    assert told.in_review(OTHER) == {}
    assert set(told.explained(*states, *never, party=OTHER).values()) == {"not seen"}

    answers = [f"asked-1;{number(1)}", "nobody-1;"]
    assert "2 answers for 2014, accepted" in answer(told, tmp_path, answers)
    assert told.in_review() == before, "as the last run left it"
    told.link()
    after = {**states, "asked-1": "linked", "nobody-1": "not linked"}
    assert told.explained(*after, *never) == {**after, **never}
    shorter = told.in_review()
    assert set(ALIKE) & set(shorter) == {"open-1"}
    assert len(shorter) < len(before)
    persons = told.persons()
    assert persons["asked-1"] == told.described_as("free-1")
    assert persons["nobody-1"] is persons["open-1"] is None

    assert "already accepted" in answer(told, tmp_path, answers)
    told.link()
    assert told.explained(*after, *never) == {**after, **never}

    assert "1 answers for 2014, accepted" in answer(told, tmp_path, answers[1:])
    told.link()
    assert told.explained("asked-1", "nobody-1") == {"asked-1": "in review", "nobody-1": "not linked"}
    assert set(ALIKE) & set(told.in_review()) == {"asked-1", "open-1"}
