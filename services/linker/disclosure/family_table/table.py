"""What the family table is, once released: rows without ids, their record, and the tables made of them.

1. Rows are sorted by their values; their order tells nothing. Equal rows stand once, with how many they are.
2. The digest is SHA-256 over the canonical JSON of all but the release id, the digest and the record.
3. A consumer gets each row under an id that no other consumer and no other release has, in the ids' order: HMAC-SHA256
   under the release's secret of the consumer and the row's place. The secret is the store's, made at the release and
   never shown. So nothing is written when the table is read, the same consumer gets the same ids again, and two
   cannot join theirs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self

import polars as pl

from linker.disclosure.family_table.columns import PROPERTIES
from linker.disclosure.family_table.rounding import SUFFIX
from linker.disclosure.release import ReleasedTable, canonical

TABLE_ID = "families"
VERSION = 1
ROW_ID = "row_id"
FAMILIES = "families"
_ID_BYTES = 16

LABEL_DA = "Pseudonymiserede personoplysninger"
LABEL_EN = "Pseudonymised personal data"
TITLE_DA = "Børnefamilier, en række pr. familie"
TITLE_EN = "Families with children, one row a family"
NOTES_DA = (
    "Pseudonymiserede personoplysninger: kun for den, som den dataansvarlige har givet adgang, og ikke til kobling.",
    'Hver række er ens med mindst k - 1 andre. "hidden" er skjult; "some" er et beløb, hvis størrelse er skjult.',
    "row_id gælder kun denne udgivelse og denne modtager. Rækkefølgen siger intet.",
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no family table, and what to do next. Both are sentences without an end."""

    reason: str
    next: str

    def __str__(self) -> str:
        """Return the outcome's sentence."""
        return f"refused: {self.reason}; next: {self.next}"


@dataclass(frozen=True, slots=True)
class FamilyTableRecord:
    """How the table was made safe, in numbers that tell of no family; frozen with it.

    `k`, `l`: asked for. `fewest_alike`: rows that are equal in all columns but amounts. `fewest_values`: different
    totals in a class that shows any. `smallest_class`: rows with the same properties. `residue`: rows whose properties
    are all hidden. `share_altered`: rows with anything hidden or blurred. `share_moved`: of kroner, by coding.
    `candidates`: the fewest that the linkage attack was left with, by known services; 0: nobody has so many.
    `attempts`: of the attack.
    """

    k: int
    l: int  # noqa: E741 - l-diversity's own name
    families: int
    classes: int
    smallest_class: int
    fewest_alike: int
    fewest_values: int
    residue: int
    share_altered: float
    share_moved: float
    candidates: Mapping[str, int]
    attempts: int

    def __str__(self) -> str:
        """Return the outcome's sentence."""
        found = [number for number in self.candidates.values() if number]
        left = f"leaves at least {min(found)} candidates" if found else "has nothing to go on: no family uses a service"
        return (
            f"released: {self.families} families in {self.classes} classes, k {self.k}, l {self.l}; "
            f"{self.residue} in the residue; {self.share_altered:.0%} of rows altered; "
            f"the linkage attack {left}"
        )


@dataclass(frozen=True, slots=True)
class FamilyTable:
    """A family table as it is served.

    `rows`: columns as shown and `families`, how many rows are so, sorted. `bands_ore`, `rounding_ore`: the policy's.
    """

    release_id: str
    period: str
    reference_date: date
    policy_digest: str
    bands_ore: tuple[int, ...]
    rounding_ore: int
    rows: pl.DataFrame
    coded: tuple[ReleasedTable, ...]
    record: FamilyTableRecord

    @property
    def digest(self) -> str:
        """SHA-256 of `content`, hex."""
        return hashlib.sha256(self.content().encode()).hexdigest()

    def content(self) -> str:
        """Return the canonical JSON that the digest covers."""
        return canonical(
            {
                "version": VERSION,
                "period": self.period,
                "reference_date": self.reference_date.isoformat(),
                "policy_digest": self.policy_digest,
                "bands_ore": self.bands_ore,
                "rounding_ore": self.rounding_ore,
                "columns": self.rows.columns,
                "rows": self.rows.rows(),
                "coded": [table.content() for table in self.coded],
            }
        )

    @classmethod
    def from_content(cls, content: str, release_id: str, record: str) -> Self:
        """Read back what `content` and `record` wrote."""
        document: dict[str, Any] = json.loads(content)
        columns = document["columns"]
        schema = {name: pl.Int64() if name == FAMILIES or name.endswith(SUFFIX) else pl.String() for name in columns}
        return cls(
            release_id=release_id,
            period=document["period"],
            reference_date=date.fromisoformat(document["reference_date"]),
            policy_digest=document["policy_digest"],
            bands_ore=tuple(document["bands_ore"]),
            rounding_ore=document["rounding_ore"],
            rows=pl.DataFrame(document["rows"], schema=schema, orient="row"),
            coded=tuple(ReleasedTable.from_content(each, release_id) for each in document["coded"]),
            record=FamilyTableRecord(**json.loads(record)),
        )

    def record_content(self) -> str:
        """Return the record as canonical JSON."""
        return canonical(asdict(self.record))

    def definition(self) -> dict[str, Any]:
        """Return what goes beside the rows wherever they are sent."""
        return {
            "table_id": TABLE_ID,
            "version": VERSION,
            "title_da": TITLE_DA,
            "title_en": TITLE_EN,
            "label_da": LABEL_DA,
            "label_en": LABEL_EN,
            "notes_da": NOTES_DA,
            "period": self.period,
            "reference_date": self.reference_date.isoformat(),
            "properties": PROPERTIES,
            "k": self.record.k,
            "l": self.record.l,
        }

    def each_family(self) -> pl.DataFrame:
        """Return a row a family, without ids, sorted by values."""
        return self.rows.select(pl.exclude(FAMILIES).repeat_by(FAMILIES)).explode(self.rows.drop(FAMILIES).columns)

    def for_consumer(self, consumer: str, secret: bytes) -> pl.DataFrame:
        """Return a row a family, with `row_id` (String, 32 hex digits) first and sorted by it."""
        rows = self.each_family()
        name = consumer.encode()
        ids = [
            hmac.digest(secret, len(name).to_bytes(2, "big") + name + place.to_bytes(8, "big"), "sha256").hex()
            for place in range(rows.height)
        ]
        short = pl.Series(ROW_ID, [each[: 2 * _ID_BYTES] for each in ids], pl.String)
        return rows.insert_column(0, short).sort(ROW_ID)
