"""A source whose extracts change under the linker: rows come and go, and all are numbered anew.

It sends through the real intake, as its client does: what the linker holds already is sent by its header alone. What is
true of each posting is known by its amount, which no other row ever has.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from linker.intake.intake import Intake
from linker.intake.retention import expire
from linker.linkage import policy
from linker.linkage.conversion import convert_all
from linker.linkage.links import applied
from linker.linkage_stage import LinkageStage
from linker.review import Review
from linker.store.memory import MemoryTables
from linker.store.snapshots import Snapshots
from linker.store.tables import IDENTITIES, LINKS, quarantine
from linker.store.tables import facts as stored
from servicekit.audit import AuditLog
from tests.unit import linker_fixtures as given

SOURCE = "prisme"
_GIVEN = ("Rosalil", "Torbjørn", "Ingeborg", "Solveig", "Gunvor", "Asmund", "Hjalmar", "Tyge", "Ragnhild", "Vibeke")
_FAMILY = (
    "Månestråle",
    "Havgus",
    "Lyngtop",
    "Bækdal",
    "Nattergal",
    "Egekrone",
    "Stenbro",
    "Fjordlys",
    "Kærmose",
    "Ask",
)
PEOPLE: Mapping[str, Mapping[str, str]] = {
    f"person {place}": {
        "given_name": given_name,
        "family_name": family_name,
        "birth_date": f"19{40 + 4 * place}-{1 + place:02}-{3 + 2 * place:02}",
        "street": f"{family_name}vej",
        "house_number": f"{3 + 7 * place}",
        "postcode": f"{2100 + 130 * place}",
    }
    for place, (given_name, family_name) in enumerate(zip(_GIVEN, _FAMILY, strict=True))
}
NAMES = tuple(PEOPLE)


@dataclass(slots=True)
class Extracts:
    """A linker that holds the register's encodings, and what a source sends it.

    `rows`: of the newest extract of each period, amount and payer by place; the place is the number. `truth`: the payer
    of each amount there ever was. `notes`: of the last run.
    """

    folder: Path
    url: str | None = None
    rows: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    truth: dict[int, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    quality: Sequence[Mapping[str, Any]] = ()
    store: Snapshots = field(init=False)
    intake: Intake = field(init=False)
    accepted: dict[tuple[str, str], tuple[list[Any], tuple[Any, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the linker, and deliver the register."""
        self.store = given.store(self.folder, MemoryTables(), self.url)
        self.intake = given.intake(self.store, self.folder)
        self.register()

    def register(self) -> None:
        """Let the register deliver everybody, encoded."""
        register = given.delivery("person_encodings", given.person_encodings(PEOPLE), source="folkeregister")
        self.intake.deliver("folkeregister", given.ALL, iter(register))

    def extract(self, period: str, payers: Sequence[str]) -> None:
        """Make a new extract: a row a payer, in this order. What a payer had before keeps its amount."""
        before = list(self.rows.get(period, ()))
        made = []
        for payer in payers:
            known = next((row for row in before if row[1] == payer), None)
            if known is not None:
                before.remove(known)
            amount = known[0] if known else 100_000 + len(self.truth)
            self.truth[amount] = payer
            made.append((amount, payer))
        self.rows[period] = made

    def send_postings(self, period: str) -> None:
        """Send the postings of the newest extract."""
        month = datetime.date.fromisoformat(f"{period}-03-01"[:10] if len(period) == 4 else f"{period}-01")
        rows = [
            {"encoding_id": f"{number}", "amount_ore": amount, "event_month": month, "booked_month": month}
            for number, (amount, _) in enumerate(self.rows[period], 1)
        ]
        made = given.postings(*[None] * len(rows)).with_columns(
            pl.Series(name, [row[name] for row in rows])
            for name in ("encoding_id", "amount_ore", "event_month", "booked_month")
        )
        self._send("postings", period, made, tuple(rows[0].items()) + tuple(row["amount_ore"] for row in rows))

    def send_payers(self, period: str, **said: str) -> None:
        """Send the payers of the newest extract, who are described by `said` besides."""
        payers = {f"{number}": {**PEOPLE[payer], **said} for number, (_, payer) in enumerate(self.rows[period], 1)}
        self._send("payer_encodings", period, given.payer_encodings(payers), (*payers.values(),))

    def send_answers(self, period: str) -> None:
        """Answer for every record of the newest extract, truly."""
        answers = {f"{number}": payer for number, (_, payer) in enumerate(self.rows[period], 1)}
        self._send("review_answers", period, given.review_answers(answers), (*answers.values(),))

    def withdraw(self, dataset: str, period: str) -> None:
        """Take back what was accepted last."""
        parts, _ = self.accepted.pop((dataset, period), ([], ()))
        if parts:
            self.intake.withdraw(SOURCE, parts[0].delivery_id)

    def expire(self) -> None:
        """Let the retention of all encodings end."""
        expire(self.store, 0, AuditLog(self.store.engine))
        for dataset, period in list(self.accepted):
            if dataset == "payer_encodings":
                del self.accepted[dataset, period]

    def run(self) -> None:
        """Convert what was delivered, and link."""
        convert_all(self.store, given.LocalConverter(), given.PURPOSE, lambda *_: None)
        stage = LinkageStage(self.store, policy.load(Path(policy.__file__).parent.parent / "linkage.toml"))
        self.quality, self.notes = stage(datetime.date(2015, 2, 1), lambda *_: None)

    def paid(self) -> dict[int, str | None]:
        """Return by amount who pays what the linker has converted; None where nobody is known."""
        names = {given.element(name, domain=f"linkage/{given.PURPOSE}"): name for name in NAMES}
        with self.store.pin() as pinned:
            posted = applied(pinned.scan(stored("postings")), pinned.scan(LINKS))
            found = posted.join(pinned.scan(IDENTITIES), left_on="person_id", right_on="id", how="left")
            rows = found.select("amount_ore", "pseudonym").collect().rows()
        return {amount: names.get(pseudonym) for amount, pseudonym in rows}

    def holds(self, dataset: str) -> bool:
        """Tell whether any rows of the dataset are held."""
        with self.store.pin() as pinned:
            tables = pl.concat(pinned.scan(table(dataset)).select("encoding_id") for table in (stored, quarantine))
            return not tables.limit(1).collect().is_empty()

    def state(self, *numbers: str) -> list[str]:
        """Return what the source is told of its records."""
        return [each.state.value for each in Review(self.store).explain(SOURCE, numbers)]

    def close(self) -> None:
        """Close the database."""
        self.store.engine.dispose()

    def _send(self, dataset: str, period: str, rows: pl.DataFrame, content: tuple[Any, ...]) -> None:
        parts, before = self.accepted.get((dataset, period), ([], ()))
        if not parts or before != content:
            parts = given.delivery(dataset, rows, source=SOURCE, period=period)
            self.accepted[dataset, period] = (parts, content)
        self.intake.deliver(SOURCE, given.ALL, iter(parts))
