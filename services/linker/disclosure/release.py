"""What may leave: released tables, frozen, with the digest that every door shows.

1. A released table holds what is served and nothing else. Suppressed is a status; such a cell has no value.
   A carried cell shows what an earlier revision of the table published, and says which.
2. The digest is SHA-256 over the canonical JSON of everything but release id and
   digest. Equal content, equal digest.
3. Which cells were primary, secondary or hidden for a change is internal, as are the basis and the record's
   counts of them: stored, never served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from linker.tables.registered_table import Unit

if TYPE_CHECKING:
    from linker.disclosure.protection import Protected


class CellStatus(StrEnum):
    """Whether a cell's number is shown."""

    PUBLISHED = "published"
    CARRIED = "carried"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True)
class ReleasedCell:
    """One measure of one cell; `value` is None exactly when it is suppressed.

    `revision`: the revision of the table that published a carried value; 0 unless it is carried.
    """

    categories: tuple[str, ...]
    measure: str
    status: CellStatus
    value: int | float | None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class ReleasedAxis:
    """An axis as released: its groups, subtotals and total, with their Danish names."""

    name: str
    title_da: str
    categories: tuple[str, ...]
    subtotals: tuple[str, ...]
    total: str
    titles_da: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReleasedMeasure:
    """A measure as released."""

    name: str
    title_da: str
    unit: Unit


@dataclass(frozen=True, slots=True)
class ReleasedTable:
    """A table as it is served. `revision`: 1, 2, … for each table and period; the newest is live."""

    release_id: str
    table_id: str
    version: int
    revision: int
    title_da: str
    title_en: str
    universe: str
    notes_da: tuple[str, ...]
    period: str
    reference_date: date
    axes: tuple[ReleasedAxis, ...]
    measures: tuple[ReleasedMeasure, ...]
    cells: tuple[ReleasedCell, ...]
    digest: str

    def content(self) -> str:
        """Return the canonical JSON that the digest covers."""
        document = asdict(self)
        del document["release_id"], document["digest"]
        document["reference_date"] = self.reference_date.isoformat()
        return canonical(document)

    def sealed(self) -> Self:
        """Return the table with the digest of its content."""
        return replace(self, digest=hashlib.sha256(self.content().encode()).hexdigest())

    def says_as(self, other: ReleasedTable) -> bool:
        """Say whether both tables show the same numbers of the same thing; titles, notes and what is carried aside."""
        return self._said() == other._said()

    def _said(self) -> object:
        axes = [(axis.name, axis.categories, axis.subtotals, axis.total) for axis in self.axes]
        measures = [(measure.name, measure.unit) for measure in self.measures]
        cells = [(cell.categories, cell.measure, cell.value) for cell in self.cells]
        return (self.table_id, self.version, self.period, self.reference_date, axes, measures, cells)

    @classmethod
    def from_content(cls, content: str, release_id: str) -> ReleasedTable:
        """Read back what `content` wrote; the digest is computed anew."""
        document: dict[str, Any] = json.loads(content)
        document["reference_date"] = date.fromisoformat(document["reference_date"])
        document["notes_da"] = tuple(document["notes_da"])
        document["axes"] = tuple(
            ReleasedAxis(
                axis["name"],
                axis["title_da"],
                tuple(axis["categories"]),
                tuple(axis["subtotals"]),
                axis["total"],
                axis["titles_da"],
            )
            for axis in document["axes"]
        )
        document["measures"] = tuple(
            ReleasedMeasure(entry["name"], entry["title_da"], Unit(entry["unit"])) for entry in document["measures"]
        )
        document["cells"] = tuple(
            ReleasedCell(
                tuple(cell["categories"]), cell["measure"], CellStatus(cell["status"]), cell["value"], cell["revision"]
            )
            for cell in document["cells"]
        )
        return cls(**document, release_id=release_id, digest="").sealed()


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """What became of a registered table: the release that serves it (or none), and a sentence."""

    table_id: str
    release_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class CoverageShare:
    """How much of a source was linked by a method; None when withheld or not delivered."""

    source: str
    method: str
    share_rows: float | None
    share_amount: float | None


@dataclass(frozen=True, slots=True)
class TableRecord:
    """What the gate did to one table: counts of its released cells, a cell being one measure of one combination.

    `cells` = `shown` + `carried` + `suppressed`. Internal: `primary` (unsafe by the rules), `changes` (unsafe only
    for what they tell about another release) and `secondary` (hidden for the sake of these) tell why.
    """

    cells: int
    shown: int
    carried: int
    suppressed: int
    primary: int
    secondary: int
    changes: int


@dataclass(frozen=True, slots=True)
class DisclosureRecord:
    """The audit record of a release, frozen with its values.

    `attackers`: how many of each name attacked. `programs`: linear programs solved. `witnesses`: tables that prove it.
    `failures` and `unchecked`: 0 in whatever is released. `seconds`: what the release took; 0 from the gate, which
    knows no clock.
    """

    tables: Mapping[str, TableRecord]
    attackers: Mapping[str, int]
    programs: int
    witnesses: int
    failures: int
    unchecked: int
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """Return what `from_document` reads: plain values only."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read back what `document` wrote."""
        tables = {name: TableRecord(**counts) for name, counts in document["tables"].items()}
        return cls(**{**document, "tables": tables})


@dataclass(frozen=True, slots=True)
class Release:
    """The gate's answer.

    `tables` are new and to be stored; `outcomes` has a row for each registered table of the run, in
    order. `coverage` is what the coverage table shows, empty when none is live for this
    run. `record` and `basis` are internal; `basis` is what a later release is compared with (`basis`).
    `release_id` is empty when nothing new is released; there are no tables and no basis then.
    `follows` is the newest release that it was compared with, empty when there was none: nothing may come between.
    `proof`: the pattern and its certificate, for what else must agree with it in the same run; it is not stored.
    """

    release_id: str
    period: str
    reference_date: date
    policy_digest: str
    tables: tuple[ReleasedTable, ...]
    outcomes: tuple[TableOutcome, ...]
    coverage: tuple[CoverageShare, ...]
    record: DisclosureRecord
    basis: bytes
    follows: str = ""
    proof: Protected | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PastRelease:
    """An earlier release, as the gate compares with it: its tables, and its basis; None when that is erased."""

    release_id: str
    reference_date: date
    tables: tuple[ReleasedTable, ...]
    basis: bytes | None

    @property
    def year(self) -> int:
        """The year that it is about."""
        return year_of(self.tables[0].period)


def year_of(period: str) -> int:
    """Return the year of a period's name: 2014 of "2014", "2014M01-06" and "2014Q2"."""
    return int(period[:4])


def canonical(document: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys and no spaces: one text for one content."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
