"""The work of a linkage run: from accepted deliveries to a release.

1. conversion: source pseudonyms become ids, a delivery at a time.
2. aliases: the newest snapshot is pinned; number changes are resolved, exclusions applied.
3. families: residents on the reference date, and the C-families they form.
4. tables: services, spending, target groups and coverage of the registered tables.
5. release: all tables pass the one gate together.

Each stage's frames are lazy; what is materialised is at most a row a resident or a
family's service. Nothing unprotected leaves this module: its result is what the gate let
through, and shares of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

import polars as pl
import sqlalchemy as sa
import structlog

from linker.background import Report
from linker.disclosure.cells import ContributionError
from linker.disclosure.gate import protect
from linker.disclosure.policy import Policy
from linker.disclosure.release import Release
from linker.disclosure.table_input import TableInput
from linker.families.c_family import c_family_members
from linker.families.families import families_with_children
from linker.families.residents import residents
from linker.linkage import register
from linker.linkage.aliases import resolve
from linker.linkage.conversion import Converter, convert_all
from linker.runs import Result
from linker.store.releases import Releases
from linker.store.runs import Stage
from linker.store.snapshots import PinnedSnapshot, Snapshots
from linker.store.tables import facts
from linker.tables import target_groups
from linker.tables.catalogue import CatalogueError
from linker.tables.contributions import table_inputs
from linker.tables.coverage import coverage
from linker.tables.registry import RegisteredTable
from linker.tables.services import family_services
from linker.tables.spending import family_spending
from linker.tables.target_groups import TargetGroupError
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
    audit: AuditLog
    connect: Callable[[], AbstractContextManager[Converter]]
    registry: Sequence[RegisteredTable]
    policy: Policy
    purpose: str
    municipality: int

    def __call__(self, reference_date: date, year: int, report: Report) -> Result:
        """Run all stages; see `runs.Pipeline`.

        Raises:
            KinlinkError: the pseudonymizer is away, or refuses.
            PreconditionError: the data do not allow it; names codes. CATALOGUE_CONTRADICTORY, rows of a service
                differ; TARGET_GROUP_UNDEFINED, a target group asks for a service or flag that the catalogue
                does not have; CODE_NOT_REGISTERED, facts have a code that the registry's axes do not.
        """
        with self.connect() as converter:
            convert_all(self.store, converter, self.purpose, lambda done, total: report(Stage.CONVERSION, done, total))
        try:
            with self.store.pin() as pinned:
                release = self._release(pinned, reference_date, year, report)
                snapshot = pinned.snapshot.number
        except CatalogueError as error:
            raise PreconditionError(str(error), "CATALOGUE_CONTRADICTORY") from error
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
                ),
                connection,
            )

        return Result(
            snapshot=snapshot,
            coverage=[asdict(row) for row in release.coverage],
            tables=[asdict(outcome) for outcome in release.outcomes],
            commit=commit,
        )

    def _release(self, pinned: PinnedSnapshot, reference_date: date, year: int, report: Report) -> Release:
        known = self._known(pinned, report)
        report(Stage.FAMILIES, 0, 2)
        resident = residents(known["persons"], reference_date, self.municipality).collect(engine="streaming")
        report(Stage.FAMILIES, 1, 2)
        parents = known["persons"].select("person_id", "mother_id", "father_id")
        members = c_family_members(resident.lazy(), parents, reference_date).collect(engine="streaming")
        report(Stage.FAMILIES, 2, 2)
        inputs = self._tables(known, members, reference_date, year, report)
        report(Stage.RELEASE, 0, 1)
        release = protect(inputs, self.policy, self.releases.live(), period=str(year), reference_date=reference_date)
        report(Stage.RELEASE, 1, 1)
        return release

    def _known(self, pinned: PinnedSnapshot, report: Report) -> Mapping[str, pl.LazyFrame]:
        """Return the facts after number changes and exclusions."""
        report(Stage.ALIASES, 0, 1)
        aliases = resolve(pinned.scan(facts("aliases")))
        if aliases.cycles or aliases.ambiguous:
            _log.warning("number changes left alone", cycles=aliases.cycles, ambiguous=aliases.ambiguous)
        known = register.read(lambda dataset: pinned.scan(facts(dataset)), aliases.resolved, datetime.now(UTC).date())
        report(Stage.ALIASES, 1, 1)
        return known

    def _tables(
        self, known: Mapping[str, pl.LazyFrame], members: pl.DataFrame, reference_date: date, year: int, report: Report
    ) -> list[TableInput]:
        postings, spells, catalogue = known["postings"], known["spells"], known["catalogue"]
        people = members.lazy()
        groups = sorted({table.target_group for table in self.registry if table.target_group})
        total, done = 4 + len(groups), 0

        def computed(rows: pl.LazyFrame) -> pl.LazyFrame:
            nonlocal done
            report(Stage.TABLES, done, total)
            frame = rows.collect(engine="streaming")
            done += 1
            return frame.lazy()

        families = computed(families_with_children(people))
        services = computed(family_services(people, postings, spells, catalogue, year))
        spending = computed(family_spending(people, postings, spells, catalogue, year))
        covered = computed(coverage(postings, spells, people.select("person_id"), year))
        targets = {
            name: computed(
                target_groups.target_families(target_groups.load(name), people, spells, catalogue, reference_date)
            )
            for name in groups
        }
        inputs = table_inputs(self.registry, families, services, spending, targets, covered)
        report(Stage.TABLES, total, total)
        return inputs
