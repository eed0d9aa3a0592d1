"""Can an attacker learn a protected number of the synthetic municipality from what left the service?

The tables come over gRPC, as a consumer gets them. What is protected is counted from the facts that the release was
made from, as they lie in the linker's store.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest

from kinlink.client_config import ClientConfig
from kinlink.linker.v1 import statistics_service_pb2 as pb
from kinlink.linker.v1.statistics_service_pb2_grpc import StatisticsServiceStub
from kinlink.released import Table
from kinlink.statistics_client import StatisticsClient
from linker.disclosure import basis
from linker.disclosure.release import CellStatus, ReleasedCell, ReleasedTable
from linker.store.releases import Releases
from tests.acceptance.whole import copied
from tests.conftest import Town
from tests.privacy import towns as t
from tests.privacy.protected_cells import Run, Secret, secrets
from tests.privacy.public_knowledge import World, worlds
from tests.privacy.release_attackers import BoundsAttacker, Outcome, SubtractionAttacker, lone_contributors

CONSUMER = "consumer/velfaerdsanalyse"
Told = tuple[Run, list[ReleasedTable], list[Secret]]


def channel(town: Town) -> grpc.Channel:
    return ClientConfig.load(town.stack.client(CONSUMER)).linker_channel()


@pytest.fixture(scope="module")
def told(town: Town) -> Told:
    """The run behind the release, its tables as they are served, and what they must not tell."""
    with channel(town) as opened:
        statistics = StatisticsClient(opened)
        served = [statistics.get_table(each.table_id) for each in statistics.list_tables() if each.periods]
    with copied(town.stack.folder / "linker") as engine:
        [past, *_] = Releases(engine).history()
    behind = basis.read(past.basis)
    run = t.run_of(behind.facts, t.REGISTRY)
    periods = {table.table_id: period for table, period in run.tables}
    tables = [as_released(each) for each in served if periods.get(each.definition.table_id) == each.period]
    return run, tables, secrets(run, t.PROTECTION)


def as_released(table: Table) -> ReleasedTable:
    """Return a table as the attackers read it; a current cell names no revision there."""
    cells = []
    for cell in table.cells:
        status = CellStatus(cell.status)
        revision = cell.revision if status is CellStatus.CARRIED else 0
        cells.append(ReleasedCell(cell.categories, cell.measure, status, cell.value, revision))
    words = (table.release_id, table.definition.table_id, 1, table.revision, "", "", "", ())
    return ReleasedTable(*words, table.period, table.reference_date, (), (), tuple(cells), table.digest)


def world(run: Run, tables: Sequence[ReleasedTable]) -> World:
    columns = t.public_columns(run)
    registry = {table.table_id: table for table, _ in run.tables}
    [found] = worlds([tables], columns, registry, t.common_sense(columns))
    return found


def test_no_attacker_wins_a_number_of_what_left_the_service(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    run, tables, protected = told
    known = world(run, tables)
    assert len(tables) == len(run.tables)
    outcomes = [
        SubtractionAttacker().attack(known, protected),
        BoundsAttacker().attack(known, protected),
        *(attacker.attack(known, protected) for attacker in lone_contributors(run)[:2]),
    ]
    for outcome in outcomes:
        with capsys.disabled():
            print(f"\n{outcome}", end="")  # noqa: T201
        assert outcome.attacked > 10
        assert outcome.won() == 0


def test_consumers_who_join_have_no_more_than_one_who_reads_everything(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    run, tables, protected = told
    one, other = (SubtractionAttacker().attack(world(run, part), protected) for part in (tables[::2], tables[1::2]))
    both: Outcome = SubtractionAttacker().attack(world(run, [*tables[::2], *tables[1::2]]), protected)
    with capsys.disabled():
        print(f"\nconsumers who join, {both}", end="")  # noqa: T201
    assert both.attacked == one.attacked == other.attacked > 10
    assert one.won() == other.won() == both.won() == 0


def test_asking_again_tells_nothing_new(town: Town, told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    """Averages of many answers are the answer: every one is the same bytes, whichever way it is asked for."""
    asked = 0
    with channel(town) as opened:
        stub = StatisticsServiceStub(opened)
        for table in told[1]:
            plain = pb.GetTableRequest(table_id=table.table_id, period=table.period)
            exact = pb.GetTableRequest(table_id=table.table_id, period=table.period, release_id=table.release_id)
            answers = [stub.GetTable(request).SerializeToString(deterministic=True) for request in [plain, exact] * 5]
            streams = [
                b"".join(part.arrow_ipc for part in stub.StreamTable(pb.StreamTableRequest(table_id=table.table_id)))
                for _ in range(5)
            ]
            asked += len(answers) + len(streams)
            assert len(set(answers)) == len(set(streams)) == 1
    with capsys.disabled():
        print(f"\naveraging: {asked} answers of {len(told[1])} tables, each table's all the same", end="")  # noqa: T201
    assert asked > 50


def test_control_what_is_hidden_would_be_won_if_only_protected_numbers_were(told: Told) -> None:
    run, _, protected = told
    only = {secret.terms[0][0] for secret in protected if len(secret.terms) == 1}
    careless = world(run, t.shown(run, t.hiding(run, only)))
    assert SubtractionAttacker().attack(careless, protected).exact
