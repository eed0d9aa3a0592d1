"""The work of a linkage run: from accepted deliveries to a release.

1. conversion: encodings and bases whose retention ended are deleted, and a year that is closed is refused; source
   pseudonyms become ids, a delivery at a time.
2. linkage: records without a usable CPR number are linked by their encodings (`linkage_stage`).
3. aliases: the newest snapshot is pinned; links are put on postings, number changes are resolved, exclusions applied.
4. families: residents on the reference date, and the C-families they form.
5. tables: the facts of the registered tables that the run's months make; no others are computed.
6. release: all tables pass the one gate together, which compares them with every earlier release; then, when the year
   is over, the family table is made (`family_table_run`).

What the gate cannot prove it says in the outcomes: the run succeeds, and what was released before stays.

Each stage's frames are lazy; what is materialised is at most a row a resident or a
family's service. Nothing unprotected leaves this module: its result is what the gate let
through, and shares of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime

import polars as pl
import sqlalchemy as sa
import structlog

from linker import frames
from linker.background import Report
from linker.disclosure.closing import ClosedYearError
from linker.disclosure.facts import ContributionError, FactFrame
from linker.disclosure.family_table import FamilyTable
from linker.disclosure.gate import protect
from linker.disclosure.policy import Policy
from linker.disclosure.release import Release, TableOutcome, canonical
from linker.families.c_family import c_family_members
from linker.families.families import families_with_children
from linker.families.residents import residents
from linker.family_table_run import FamilyTableStage
from linker.intake.retention import expire
from linker.linkage import links, register
from linker.linkage.aliases import resolve
from linker.linkage.conversion import Converter, convert_all
from linker.linkage.policy import LinkagePolicy
from linker.linkage_stage import LinkageStage
from linker.runs import Result
from linker.store.family_tables import FamilyTables
from linker.store.releases import Releases
from linker.store.runs import Stage
from linker.store.snapshots import PinnedSnapshot, Snapshots
from linker.store.tables import LINKS
from linker.store.tables import facts as stored
from linker.tables import contributions, registry, target_groups
from linker.tables.catalogue import CatalogueError
from linker.tables.coverage import coverage
from linker.tables.registered_table import RegisteredTable
from linker.tables.services import family_services
from linker.tables.spending import family_spending
from linker.tables.target_groups import TargetGroupError
from linker.year_closing import erase_due, refuse_closed
from servicekit.audit import AuditEntry, AuditLog
from servicekit.errors import PreconditionError
from servicekit.identity import caller_uri, request_id

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkagePipeline:
    """Implements `runs.Pipeline`.

    `connect` opens a connection to the pseudonymizer for the time of a conversion.
    """

    store: Snapshots
    releases: Releases
    family_tables: FamilyTables
    audit: AuditLog
    connect: Callable[[], AbstractContextManager[Converter]]
    registry: Sequence[RegisteredTable]
    policy: Policy
    linkage: LinkagePolicy
    purpose: str
    municipality: int

    def __call__(self, reference_date: date, year: int, through_month: int, report: Report) -> Result:
        """Run all stages; see `runs.Pipeline`.

        Raises:
            KinlinkError: the pseudonymizer is away, or refuses.
            PreconditionError: the data do not allow it; names codes. CATALOGUE_CONTRADICTORY, rows of a service
                differ; TARGET_GROUP_UNDEFINED, a target group asks for a service or flag that the catalogue
                does not have; CODE_NOT_REGISTERED, facts have a code that the registry's axes do not; YEAR_CLOSED, no
                release of the year is made any more.
        """
        expire(self.store, self.linkage.encodings_kept_days, self.audit)
        erase_due(self.store.engine, self.releases, self.policy.retention, self.audit)
        refuse_closed(year, reference_date, self.releases, self.policy.retention)
        with self.connect() as converter:
            convert_all(self.store, converter, self.purpose, lambda done, total: report(Stage.CONVERSION, done, total))
        quality, notes = LinkageStage(self.store, self.linkage)(datetime.now(UTC).date(), report)
        try:
            with self.store.pin() as pinned:
                release, family_table, outcome = self._release(pinned, reference_date, year, through_month, report)
                snapshot = pinned.snapshot.number
        except CatalogueError as error:
            raise PreconditionError(str(error), "CATALOGUE_CONTRADICTORY") from error
        except ClosedYearError as error:  # since the run began
            raise PreconditionError(str(error), "YEAR_CLOSED") from error
        except ContributionError as error:
            raise PreconditionError(str(error), "CODE_NOT_REGISTERED") from error
        except TargetGroupError as error:
            raise PreconditionError(str(error), "TARGET_GROUP_UNDEFINED") from error
        finally:
            self.store.purge()

        def commit(connection: sa.Connection) -> None:
            self.releases.store(release, connection)
            self.audit.append(
                AuditEntry(
                    rpc="linkage run",
                    caller=caller_uri(),  # who started or resumed it
                    outcome="ok",
                    subject=f"release/{release.release_id}" if release.release_id else "",
                    count=len(release.tables),
                    request_id=request_id(),
                    evidence=_evidence(release) if release.release_id else "",
                ),
                connection,
            )
            if family_table is not None:
                self._commit_families(family_table, connection)

        return Result(
            snapshot=snapshot,
            coverage=[asdict(row) for row in release.coverage],
            tables=[asdict(each) for each in (*release.outcomes, *([outcome] if outcome else []))],
            commit=commit,
            quality=quality,
            linkage_notes=notes,
        )

    def _commit_families(self, table: FamilyTable, connection: sa.Connection) -> None:
        self.family_tables.store(table, connection)
        self.audit.append(
            AuditEntry(
                rpc="family table release",
                caller=caller_uri(),
                outcome="ok",
                subject=f"families/{table.period}/{table.release_id}",
                count=table.record.families,
                request_id=request_id(),
                evidence=table.record_content(),
            ),
            connection,
        )

    def _release(
        self, pinned: PinnedSnapshot, reference_date: date, year: int, through_month: int, report: Report
    ) -> tuple[Release, FamilyTable | None, TableOutcome | None]:
        tables = registry.due(self.registry, through_month)
        aliases, known = self._known(pinned, report)
        report(Stage.FAMILIES, 0, 2)
        resident = residents(known["persons"], reference_date, self.municipality).collect(engine="streaming")
        report(Stage.FAMILIES, 1, 2)
        parents = known["persons"].select("person_id", "mother_id", "father_id")
        members = c_family_members(resident.lazy(), parents, reference_date).collect(engine="streaming")
        report(Stage.FAMILIES, 2, 2)
        facts = _Facts(tables, known, members.lazy(), aliases.lazy(), reference_date, year, through_month)
        found = list(facts.computed(report))
        history = self.releases.history()
        started = time.monotonic()
        release = protect(
            tables,
            found,
            self.policy,
            history,
            year=year,
            through_month=through_month,
            reference_date=reference_date,
            progress=lambda _, done, total: report(Stage.RELEASE, done, total),
        )
        release = replace(release, record=replace(release.record, seconds=time.monotonic() - started))
        stage = FamilyTableStage(self.family_tables, self.registry, self.policy)
        sources = known["postings"], known["spells"], known["catalogue"]
        return stage.table(release, history, members.lazy(), sources, year, through_month, reference_date)

    def _known(self, pinned: PinnedSnapshot, report: Report) -> tuple[pl.DataFrame, Mapping[str, pl.LazyFrame]]:
        """Return the number changes, and the facts after them and after exclusions."""
        report(Stage.ALIASES, 0, 1)
        aliases = resolve(pinned.scan(stored("aliases")))
        if aliases.cycles or aliases.ambiguous:
            _log.warning("number changes left alone", cycles=aliases.cycles, ambiguous=aliases.ambiguous)

        def scan(dataset: str) -> pl.LazyFrame:
            rows = pinned.scan(stored(dataset))
            return links.applied(rows, pinned.scan(LINKS)) if dataset == "postings" else rows

        known = register.read(scan, aliases.resolved, datetime.now(UTC).date())
        report(Stage.ALIASES, 1, 1)
        return aliases.resolved, known


def _evidence(release: Release) -> str:
    """Return what binds the log to a release: its policy, and SHA-256 of its tables' digests, as every door shows."""
    digests = canonical({f"{table.table_id}/{table.period}": table.digest for table in release.tables})
    tables = hashlib.sha256(digests.encode()).hexdigest()
    return canonical({"policy_digest": release.policy_digest, "follows": release.follows, "tables_sha256": tables})


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts of a run's tables. `members`: FAMILY_MEMBERS; `aliases`: `Aliases.resolved`."""

    tables: Sequence[RegisteredTable]
    known: Mapping[str, pl.LazyFrame]
    members: pl.LazyFrame
    aliases: pl.LazyFrame
    reference_date: date
    year: int
    through_month: int

    def computed(self, report: Report) -> Iterator[FactFrame]:
        """Yield the frames that the tables need, each when it is there."""
        needed = sorted(contributions.needed(self.tables))
        families = None
        for done, name in enumerate(needed):
            report(Stage.TABLES, done, len(needed))
            if name == contributions.COVERED:
                yield self._coverage()
                continue
            if families is None:
                families = self._families().collect(engine="streaming").lazy()
            yield self._of_families(families) if name == contributions.FAMILIES else self._spending(families)
        report(Stage.TABLES, len(needed), len(needed))

    def _families(self) -> pl.LazyFrame:
        groups = sorted({table.target_group for table in self.tables if table.target_group})
        target = pl.LazyFrame(schema={"family_id": frames.ID})
        for name in groups:  # the registry has one at most
            group = target_groups.load(name)
            spells, catalogue = self.known["spells"], self.known["catalogue"]
            target = target_groups.target_families(group, self.members, spells, catalogue, self.reference_date)
        return contributions.grouped(families_with_children(self.members), target)

    def _of_families(self, families: pl.LazyFrame) -> FactFrame:
        services = family_services(self.members, *self._sources(), self.year, self.through_month)
        return contributions.family_facts(self.tables, families, services, self.members, self.aliases)

    def _spending(self, families: pl.LazyFrame) -> FactFrame:
        spending = family_spending(self.members, *self._sources(), self.year, self.through_month)
        return contributions.spending_facts(families, spending, self.members, self.aliases)

    def _coverage(self) -> FactFrame:
        postings, spells, _ = self._sources()
        covered = coverage(postings, spells, self.members.select("person_id"), self.year)
        return contributions.coverage_facts(covered, self.aliases)

    def _sources(self) -> tuple[pl.LazyFrame, pl.LazyFrame, pl.LazyFrame]:
        return self.known["postings"], self.known["spells"], self.known["catalogue"]
