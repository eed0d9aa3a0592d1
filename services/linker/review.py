"""What a source may know of its own records without a usable CPR number, as the last run left them.

1. A source sees its own records and no others. An id that does not exist and an id of another source answer alike.
2. An answer is a state and the fields without a usable value; the advice follows from these two. Nothing of which
   person was near, nor how near, is here to be read.
3. Answered are records that stand in a posting with an amount. So whoever makes up a payer to learn of a person has to
   make up money in the accounts as well. A record without one answers as one that does not exist.
4. Records are listed in the order of their ids, which tells nothing.

What is left to learn of a person from a state: docs/explanation/threat-model.md. It does not know gRPC, nor how records
are linked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import polars as pl

from linker.linkage.fuzzy.assignment import LINKED, REVIEW, UNLINKED
from linker.store.snapshots import PinnedSnapshot, Snapshots
from linker.store.tables import LINKS, facts


class State(StrEnum):
    """What became of a record."""

    LINKED = "linked"
    IN_REVIEW = "in review"
    NOT_LINKED = "not linked"
    NOT_SEEN = "not seen"


_STATES: Mapping[str, State] = MappingProxyType(
    {LINKED: State.LINKED, REVIEW: State.IN_REVIEW, UNLINKED: State.NOT_LINKED}
)
_ASKED = "Look it up, and answer who it is."
_UNKNOWN = "Check its spelling, or find its CPR number. Nothing is wrong if it is nobody in the register."
_UNSEEN = "Deliver its encodings and its posting anew; the next run takes them in. Check the id if you have done so."


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of a record, and which fields of the linkage schema it has no usable value of, in their order."""

    encoding_id: str
    state: State
    missing_fields: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """Return what would help, "" when linked. The same for all with this state and these fields missing."""
        names = ", ".join(name.replace("_", " ") for name in self.missing_fields)
        fill = f"Fill in what you know of {names}, and deliver it again." if names else ""
        match self.state:
            case State.LINKED:
                return ""
            case State.IN_REVIEW:
                return f"{_ASKED} Or: {fill}" if fill else _ASKED
            case State.NOT_LINKED:
                return fill or _UNKNOWN
            case State.NOT_SEEN:
                return _UNSEEN


class Review:
    """The use cases of a source that asks about its records. All methods may be called from many threads."""

    def __init__(self, store: Snapshots) -> None:
        self._store = store

    def page(self, source: str, *, limit: int, after: str = "") -> Sequence[Explanation]:
        """Return up to `limit` of the source's records in review whose ids come after `after`, ordered by id."""
        with self._store.pin() as pinned:
            found = _answered(pinned, source, (pl.col("status") == REVIEW) & (pl.col("encoding_id") > after))
            return _explanations(found.sort("encoding_id").head(limit).collect())

    def explain(self, source: str, encoding_ids: Sequence[str]) -> Sequence[Explanation]:
        """Return what became of records, one an id, in their order."""
        with self._store.pin() as pinned:
            rows = _answered(pinned, source, pl.col("encoding_id").is_in(set(encoding_ids))).collect()
        known = {record.encoding_id: record for record in _explanations(rows)}
        return [known.get(each) or Explanation(each, State.NOT_SEEN) for each in encoding_ids]


def _answered(pinned: PinnedSnapshot, source: str, asked: pl.Expr) -> pl.LazyFrame:
    """Return the source's links that fit `asked` (of `encoding_id`, `status`) and have money: id, status, missing."""
    own = pl.col("source") == source
    links = pinned.scan(LINKS).filter(own, asked).select("encoding_id", "posting_id", "status", "missing")
    posted = pinned.scan(facts("postings")).filter(own, pl.col("amount_ore") != 0)
    # In postings delivered since, a number may be another record's.
    numbered = posted.select("encoding_id", posting_id="delivery_id")
    return links.join(numbered, on=["encoding_id", "posting_id"], how="semi")


def _explanations(rows: pl.DataFrame) -> list[Explanation]:
    return [
        Explanation(encoding_id, _STATES[status], tuple(missing))
        for encoding_id, status, missing in rows.select("encoding_id", "status", "missing").iter_rows()
    ]
