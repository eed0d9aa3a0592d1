"""A run's linkage by encodings: from what was delivered to stored links.

1. Compared are the encodings under the linkage schema and key version that the register was encoded under last.
2. A source's answer decides about its own record, whatever the encodings say, also when they are gone.
3. What is not compared now keeps what it had: a delivery whose retention ended, all of it; one under another schema or
   version, and any where nothing could be compared, its links. What was withdrawn loses all, and so does what was
   compared with a register that was withdrawn. What was replaced loses all once what replaced it is compared; until
   then, the links of records that are not there any more.
4. Payers and answers count for the postings that they are of, as far as can be seen (`encoded_deliveries`); what is
   left out for that is a note. A link holds for the postings of one delivery.
5. Nothing that prevents linking stops the run: it says so in a note, and links nothing new.
6. Links, the model and the notes are one snapshot. It is not made again as long as nothing that it read has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import polars as pl

from kinlink.encoding.schema import LinkageSchema, SchemaError, find
from linker import frames
from linker.background import Report
from linker.disclosure.release import canonical
from linker.intake.encoded import schemas
from linker.linkage import comparable, encoded_deliveries
from linker.linkage.aliases import resolve
from linker.linkage.comparable import KEY
from linker.linkage.encoded_deliveries import ANSWERS, PAYERS, PERSONS, POSTINGS, READ, Encodings, Misfit
from linker.linkage.fuzzy.assignment import LINKED, UNLINKED
from linker.linkage.fuzzy.drift import alarms
from linker.linkage.fuzzy.encodings import RECORD, TOKENS
from linker.linkage.fuzzy.linking import Basis, Linkage, link
from linker.linkage.fuzzy.model import Model
from linker.linkage.fuzzy.plan import plan_of
from linker.linkage.fuzzy.problems import FuzzyLinkageError
from linker.linkage.linkage_notes import Notes
from linker.linkage.policy import LinkagePolicy
from linker.linkage.quality import answered, quality, with_kroner
from linker.linkage.standing_links import Known, left_out, standing_links
from linker.store import linkages
from linker.store.deliveries import Delivery
from linker.store.linkages import StoredLinkage
from linker.store.runs import Stage
from linker.store.snapshots import PinnedSnapshot, Snapshots
from linker.store.tables import LINKS, quarantine
from linker.store.tables import facts as stored
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read

_READ: Final = (*READ, "aliases", "exclusions")
_STEPS = 3
_DELIVERY: Final = {"source": pl.String, "delivery_id": pl.String}


def record(policy: LinkagePolicy, audit: AuditLog) -> None:
    """Log which policy is in force. Raises UnavailableError: AUDIT_UNAVAILABLE."""
    audit.append(AuditEntry("linkage.loaded", "", "ok", evidence=canonical({"digest": policy.digest})))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What came of a comparison: LINKS of all records compared, the fitted model ("" without), quality.

    `compared`: the deliveries of payers whose records were.
    """

    links: pl.DataFrame
    model: str
    quality: Sequence[dict[str, Any]]
    compared: Sequence[Delivery] = ()


@dataclass(frozen=True, slots=True)
class LinkageStage:
    """Links the records without a usable CPR number of all that is delivered."""

    store: Snapshots
    policy: LinkagePolicy

    def __call__(self, today: date, report: Report) -> tuple[Sequence[dict[str, Any]], Sequence[str]]:
        """Make the links that stand, if they do not yet; return rows of quality (`quality`), and notes.

        `today`: the day by which exclusions have begun or not. Raises nothing on account of the data.
        """
        report(Stage.LINKAGE, 0, _STEPS)
        notes = Notes()
        with self.store.pin() as pinned:
            resolved = resolve(pinned.scan(stored("aliases"))).resolved
            gone = comparable.excluded(pinned.scan(stored("exclusions")), resolved, today)
            with read(self.store.engine) as connection:
                chosen = encoded_deliveries.chosen(connection, pinned.snapshot.number)
                before = linkages.newest(connection)
                kept = linkages.kept_model(connection, chosen.schema_id, chosen.key_version)
            digest = self._digest(pinned, gone, chosen.misfits)
            if before is not None and before.digest == digest:
                report(Stage.LINKAGE, _STEPS, _STEPS)
                return [dict(row) for row in before.quality], [*before.notes, notes.unchanged(before.snapshot)]
            posted = comparable.posted(pinned.scan(stored(POSTINGS)))
            answers = comparable.answers(
                pinned.scan(stored(ANSWERS)),
                encoded_deliveries.order(chosen.answers),
                posted,
                chosen.misfits,
                resolved,
                gone,
            )
            reused = posted.filter("reused").select(KEY)
            notes.reused(reused.group_by("source").len().sort("source").rows())
            known = Known(resolved, gone, answers.join(reused, on=KEY, how="anti"), posted, reused, chosen.misfits)
            report(Stage.LINKAGE, 1, _STEPS)
            found = self._compared(pinned, chosen, known, kept, notes)
            payers, given, links = (pinned.scan(name) for name in (stored(PAYERS), stored(ANSWERS), LINKS))
            notes.not_of_these_postings(left_out(found.links, payers, given, links, known).rows())
        report(Stage.LINKAGE, 2, _STEPS)
        if before is None and not chosen.payers and answers.is_empty():
            return [], notes.sentences
        model = StoredLinkage(
            0, digest, chosen.schema_id, chosen.key_version, found.model, found.quality, notes.sentences
        )
        shown = self._write(found, known, model)
        report(Stage.LINKAGE, _STEPS, _STEPS)
        return shown, notes.sentences

    def _digest(self, pinned: PinnedSnapshot, gone: pl.DataFrame, misfits: pl.DataFrame) -> str:
        """Return the digest of all that a linkage reads; a table's version stands for its rows."""
        content = {
            "tables": {name: pinned.snapshot.version(stored(name)) for name in _READ},
            "policy": self.policy.digest,
            "schemas": sorted(schemas()),
            "gone": gone["person_id"].to_list(),
            "misfits": misfits.filter(pl.col("why") != Misfit.APART).rows(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _compared(self, pinned: PinnedSnapshot, chosen: Encodings, known: Known, kept: str, notes: Notes) -> _Found:
        nothing = _Found(pl.DataFrame(schema=frames.LINKS), "", [])
        if not chosen.payers and not chosen.others:
            return nothing
        if chosen.register is None:
            notes.no_register()
            return nothing
        notes.encode_anew([(d.source, d.header.period) for d in chosen.others])
        if not chosen.payers:
            return nothing
        try:
            schema = find(chosen.schema_id)
            before = _model(kept)
            return self._linked(pinned, chosen, chosen.register, schema, known, before, notes)
        except (FuzzyLinkageError, SchemaError) as error:
            notes.nothing_linked(error)
            return nothing

    def _linked(
        self,
        pinned: PinnedSnapshot,
        chosen: Encodings,
        register: Delivery,
        schema: LinkageSchema,
        known: Known,
        kept: Model | None,
        notes: Notes,
    ) -> _Found:
        persons = comparable.persons(pinned.scan(stored(PERSONS)), register.key, known.resolved, known.gone, schema)
        payers = pinned.scan(stored(PAYERS))
        rows = comparable.records(
            payers,
            encoded_deliveries.order(chosen.payers),
            known.posted,
            known.misfits,
            schema,
        )
        rows = rows.join(known.reused, on=KEY, how="anti", maintain_order="left")
        if rows.is_empty() and not known.misfits.is_empty():
            return _Found(pl.DataFrame(schema=frames.LINKS), "", [])  # a note says why
        columns = [RECORD, *(field.name for field in schema.fields), TOKENS]
        encoded, rows = rows.select(columns), rows.select(RECORD, *KEY, "delivery_id", "missing")
        rows = rows.join(known.posted, on=KEY, how="left").with_columns(pl.col("weight").fill_null(0))
        found = link(
            plan_of(schema), encoded, persons, self.policy.thresholds, weights=rows.select(RECORD, "weight"), kept=kept
        )
        _say(notes, found, kept, len(rows), self.policy.smallest_group)
        certain = rows.join(known.answers, on=KEY).select(RECORD, "somebody")
        status = pl.when("somebody").then(pl.lit(LINKED)).when(~pl.col("somebody")).then(pl.lit(UNLINKED))
        told = found.records.join(certain, on=RECORD, how="left").with_columns(
            pl.coalesce(status, "status").alias("status")
        )
        shown = quality(
            answered(told.drop("somebody"), certain),
            [answered(refit, certain) for refit in found.refitted],
            rows,
            self.policy.smallest_group,
        )
        links = rows.join(found.records, on=RECORD).select(
            *KEY,
            "delivery_id",
            "posting_id",
            pl.lit(register.header.delivery_id).alias("register_id"),
            "status",
            pl.when(pl.col("status") == LINKED).then(comparable.person_of("person")).alias("person_id"),
            "missing",
        )
        model = found.model.to_json() if found.basis is Basis.FITTED else ""
        return _Found(links.select(frames.LINKS.names()), model, shown, chosen.compared)

    def _write(self, found: _Found, known: Known, linkage: StoredLinkage) -> Sequence[dict[str, Any]]:
        with self.store.change("linkage") as change:
            with read(self.store.engine) as connection:
                standing = encoded_deliveries.standing(connection, {delivery.key for delivery in found.compared})
            compared = pl.DataFrame([delivery.key for delivery in found.compared], schema=_DELIVERY, orient="row")
            replacing = pl.concat(
                change.scan(table).select(*KEY, "delivery_id") for table in (stored(PAYERS), quarantine(PAYERS))
            )
            links = standing_links(found.links, compared, change.scan(LINKS), replacing, known, standing)
            shown = with_kroner(found.quality, change.scan(stored(POSTINGS)), links.lazy())
            change.write(LINKS, replace=True, append=links.lazy())
            with change.commit() as connection:
                linkages.store(connection, replace(linkage, snapshot=change.number, quality=shown))
        self.store.purge([LINKS])
        return shown


def _model(text: str) -> Model | None:
    """Return a kept model; None where there is none, or another release of kinlink wrote it."""
    try:
        return Model.from_json(text) if text else None
    except (KeyError, TypeError, ValueError):
        return None


def _say(notes: Notes, found: Linkage, kept: Model | None, records: int, smallest: int) -> None:
    if found.basis is not Basis.FITTED:
        notes.few_records(kept=found.basis is Basis.KEPT)
    elif kept is not None:
        notes.moved(alarms(kept, found.model))
    if records < smallest:
        return  # what they lack would be told of each
    notes.empty_fields([name for name, both in zip(found.model.fields, found.model.compared, strict=True) if not both])
    notes.unblocked(found.unblocked, records)
