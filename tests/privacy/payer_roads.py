"""The roads by which a name, a street, a birth date or an encoding key could get where none may be.

Made-up people, each on a road of its own, so that a finding names its road. Their sources encode, deliver, ask and
answer by commands; a run links. What is typed nowhere but at a source is `TYPED`; what somebody sends by hand where it
does not belong, and so is in the linker's memory while it is refused, is `SENT`.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from examples.stack import Stack
from kinlink.cli.__main__ import run
from kinlink.linker.v1 import intake_service_pb2 as intake
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.types.v1.types_pb2 import KIND_ENCODING, KeyRef
from tests.payer_town import FIELDS, town
from tests.privacy.canary_roads import PERSON, Roads
from tests.privacy.parties import delivery, dial

# Road → given name, family name, street. None of these words is anybody's.
TYPED_PEOPLE = {
    "registered and linked": ("Quistgunda", "Zybrandtsøn", "Xylofonstredet"),
    "misspelt": ("Quistgunde", "Zybrandson", "Xylofonstrade"),
    "swapped": ("Zybrandtsoen", "Qvistgunda", "Xylophonstredet"),
    "partly known": ("Vrubelka", "Zybrandsoen", "Xylofonstr."),
    "of nobody": ("Hvissewald", "Kvaksalversen", "Pjuskebuskvej"),
    "in a bad row": ("Snabelfrida", "Bjergtrolden", "Mosekonebanken"),
    "in a refused file": ("Krummeline", "Ravnskrigsen", "Tudsebanketorvet"),
    "in a wrong column": ("Gnavpottine", "Skumringsen", "Uglestenstorvet"),
    "dry run": ("Fjerkrakella", "Nisseluffe", "Vaffelbruddet"),
}
SENT = {"in a chunk": "Drillepindus", "in a token": "Surmuletyv", "as schema": "sortesyn", "in an id": "Ballademager"}
BIRTH_DATES = {"of who is registered": "1887-03-29", "of nobody": "1893-11-17"}
TYPED = {
    f"{road}: {part}": word
    for road, person in TYPED_PEOPLE.items()
    for part, word in zip(("given name", "family name", "street"), person, strict=True)
}
RECORDS = {road: f"faktura-{index:04}" for index, road in enumerate(TYPED_PEOPLE)}

_HEADER = "number;cpr;amount;" + ";".join(FIELDS)


def words(of: dict[str, str] | None = None) -> dict[str, str]:
    """Return every word to look for, and the ways to write the birth dates; normalised names are words in small."""
    if of is not None:
        return of
    return TYPED | {"normalised": "zybrandtson"} | {f"{name} {index}": text for name, text, index in _dates()}


def _dates() -> list[tuple[str, str, int]]:
    found = []
    for name, text in BIRTH_DATES.items():
        year, month, day = text.split("-")
        forms = (text, f"{day}-{month}-{year}", f"{day}.{month}.{year}", f"{year}{month}{day}", f"{day}{month}{year}")
        found += [(f"birth date {name}", form, index) for index, form in enumerate(forms)]
    return found


@dataclass(slots=True)
class PayerRoads:
    """Drives people without a CPR number through a running stack, and keeps what their sources are told."""

    roads: Roads
    said: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def stack(self) -> Stack:
        """The stack that is driven."""
        return self.roads.stack

    def register(self) -> None:
        """Deliver encodings of the registered: ordinary people, and one whose name is looked for."""
        others = town(120, 1).persons.select(*FIELDS).rows()
        numbers = [f"{61 + index % 20:02}{1 + index % 12:02}{50 + index % 40:02}{5000 + index}" for index in range(130)]
        people = [dict(zip(FIELDS, self._filled(row), strict=True)) for row in others]
        rows = [self._row("", PERSON, self._person("registered and linked"))]
        rows += [self._row("", number, person) for number, person in zip(numbers, people, strict=False)]
        extract = self._file("navne.csv", rows)
        self._deliver("source/folkeregister", self._mapping("person_encodings", "2015-02-01"), extract)

    def payers(self) -> None:
        """Deliver postings, and encodings of their payers: good ones, and each way to fail."""
        roads = ("registered and linked", "misspelt", "swapped", "of nobody")
        rows = [self._row(RECORDS[road], "", self._person(road)) for road in roads]
        rows.append(self._row(RECORDS["partly known"], "", self._person("partly known") | {"birth_date": ""}))
        extract = self._file("betalere.csv", rows)
        postings = self._mapping("postings", "2014")
        encodings = self._mapping("payer_encodings", "2014")
        self._deliver("source/prisme", postings, extract)
        dry = self._file("afprøvet.csv", [self._row(RECORDS["dry run"], "", self._person("dry run"))])
        self._deliver("source/prisme", encodings, dry, "--dry-run")
        self._deliver("source/prisme", encodings, extract)
        bad = self._person("in a bad row")
        doubled = [self._row(RECORDS["in a bad row"], "", bad)] * 2
        self._deliver("source/prisme", self._mapping("payer_encodings", "2013"), self._file("dobbelt.csv", doubled))
        refused = self._file("forkert.csv", [self._row("x", "", self._person("in a refused file"))])
        refused.write_text(refused.read_text(encoding="utf-8").replace(";", "|"), encoding="utf-8")
        self._deliver("source/prisme", encodings, refused, fails=True)
        mixed = self._person("in a wrong column")
        mixed |= {"birth_date": mixed["family_name"], "house_number": mixed["street"], "postcode": mixed["given_name"]}
        wrong = self._file("forbyttet.csv", [self._row(RECORDS["in a wrong column"], "", mixed)])
        self._deliver("source/prisme", self._mapping("payer_encodings", "2012"), wrong)

    def by_hand(self) -> None:
        """Send words where the linker takes none."""
        number, key = intake.DATASET_PAYER_ENCODINGS, KeyRef(domain="linkage/familie", kind=KIND_ENCODING, version=1)
        chunk = f"{SENT['in a chunk']}\n".encode() * 99
        for road, told in (
            ("in a chunk", {"keys": [key]}),
            ("as schema", {"keys": [key], "schema_id": f"{SENT['as schema']}.0123456789abcdef"}),
            ("in a token", {"keys": [key], "delivery_id": SENT["in a token"]}),
        ):
            with dial(self.stack, "linker", "source/prisme") as channel:
                stub = IntakeServiceStub(channel)
                parts = delivery("prisme", number, chunk, **told)
                self.roads.ask(road, lambda parts=parts, stub=stub: stub.Deliver(parts))
        self._told("source/prisme", "link", "explain", SENT["in an id"])

    def run(self) -> None:
        """Link; whatever becomes of tables of so few."""
        told = ("link", "run", "--reference-date", "2015-01-01", "--year", "2014")
        self._told("operator/drift", *told, code=None)
        self._told("operator/drift", "link", "status")

    def ask_and_answer(self) -> str:
        """Ask for what became of the records, answer for one, and return what was said."""
        review = self._told("source/prisme", "link", "review")
        explained = self._told("source/prisme", "link", "explain", *RECORDS.values())
        answers = self.roads.folder / "svar.csv"
        answers.write_text(f"encoding_id;cpr\n{RECORDS['misspelt']};{PERSON}\n{RECORDS['of nobody']};\n")
        self._told("source/prisme", "link", "review", "--answers", str(answers), "--period", "2014")
        return review + explained

    def _deliver(self, party: str, mapping: Path, extract: Path, *more: str, fails: bool = False) -> None:
        rejects = self.roads.folder / "rejects.csv"
        told = ("deliver", "--mapping", str(mapping), "--rejects", str(rejects), *more, str(extract))
        self._told(party, *told, code=3 if fails else 0)
        if rejects.exists():
            self.said.append(("the rejects file", rejects.read_bytes()))

    def _told(self, party: str, *arguments: str, code: int | None = 0) -> str:
        """Run a command as a party, in this process; its temporary files lie in the folder that is searched."""
        environment = {"KINLINK_CONFIG": str(self.stack.client(party)), "KINLINK_DEBUG": "1"}
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, environment),
            patch.object(tempfile, "tempdir", str(self.roads.temporary)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            ended = run(list(arguments))
        said = out.getvalue(), err.getvalue()
        self.said += [(f"output of {arguments[0]}", said[0].encode()), (f"errors of {arguments[0]}", said[1].encode())]
        assert code is None or ended == code, said[1]
        return said[0]

    def _person(self, road: str) -> dict[str, str]:
        given, family, street = TYPED_PEOPLE[road]
        born = BIRTH_DATES["of nobody" if road == "of nobody" else "of who is registered"]
        return dict(zip(FIELDS, (given, family, born, street, "77", "3 tv", "8899"), strict=True))

    @staticmethod
    def _filled(row: tuple[str | None, ...]) -> list[str]:
        return [value or "" for value in row]

    @staticmethod
    def _row(number: str, cpr: str, person: dict[str, str]) -> str:
        return ";".join([number, cpr, "1234", *person.values()])

    def _file(self, name: str, rows: Sequence[str]) -> Path:
        path = self.roads.folder / name
        path.write_text("\n".join([_HEADER, *rows, ""]), encoding="utf-8")
        return path

    def _mapping(self, dataset: str, period: str) -> Path:
        """Write the mapping of one of the datasets that this file's extracts hold."""
        columns = {
            "person_encodings": 'person = { from = "cpr" }',
            "payer_encodings": 'person = { from = "cpr" }\nencoding_id = { from = "number" }',
            "postings": 'person = { from = "cpr" }\nencoding_id = { from = "number" }\namount_ore = '
            '{ from = "amount" }\ndranst = { value = "1" }\ndepartment = { value = "SOF" }\nservice = { value = "S" }\n'
            'cost_component = { value = "service" }\nevent_month = { period = "start" }\n'
            'booked_month = { period = "start" }',
        }[dataset]
        fields = "\n".join(f'{name} = {{ from = "{name}" }}' for name in FIELDS)
        encoded = f"[fields]\n{fields}\n" if dataset != "postings" else ""
        schema = 'schema = "dk-person-1"\n' if encoded else ""
        path = self.roads.folder / f"{dataset}_{period}.toml"
        path.write_text(
            f'dataset = "{dataset}"\nperiod = "{period}"\n{schema}max_rejected_share = 1.0\n'
            f'[file]\nencoding = "utf-8"\n[columns]\n{columns}\n{encoded}',
            encoding="utf-8",
        )
        return path
