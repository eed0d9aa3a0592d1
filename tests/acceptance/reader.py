"""A reader that never stops: released tables and deliveries, while the services die.

It may be told UNAVAILABLE. Any answer must be whole: the tables of one release, the same
cells every time, and no accepted delivery gone.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, field

import grpc

from examples.stack import SOURCES, Stack
from kinlink.client_config import ClientConfig
from kinlink.errors import ConflictError, UnavailableError
from kinlink.intake_client import IntakeClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.released import Table
from kinlink.statistics_client import StatisticsClient

CONSUMER = "consumer/velfaerdsanalyse"
_AFTER = {
    pb.DELIVERY_STATE_RECEIVING: 0,
    pb.DELIVERY_STATE_ACCEPTED: 1,
    pb.DELIVERY_STATE_REPLACED: 2,
    pb.DELIVERY_STATE_WITHDRAWN: 2,
}


@dataclass
class Reader:
    """A thread that reads until it is stopped.

    `tables` and `deliveries` (by source/id) are what it has seen, `wrong` what it should not have.
    """

    stack: Stack
    answers: int = 0
    away: int = 0
    wrong: list[str] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    deliveries: dict[str, pb.Delivery] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                with ExitStack() as opened:
                    self._rounds(opened)
            except UnavailableError:
                self.away += 1
                self._ended.wait(0.1)
            except Exception as error:  # noqa: BLE001 - whatever else it is told, it should not have been
                self.wrong.append(f"{type(error).__name__}: {error}")
                return

    def _rounds(self, opened: ExitStack) -> None:
        def channel(party: str) -> grpc.Channel:
            return opened.enter_context(ClientConfig.load(self.stack.client(party)).linker_channel())

        statistics = StatisticsClient(channel(CONSUMER))
        intakes = {source: IntakeClient(channel(f"source/{source}")) for source in SOURCES}
        while not self._ended.wait(0.25):
            self._read_tables(statistics)
            for source, intake in intakes.items():
                self._read_deliveries(source, intake)

    def _read_tables(self, statistics: StatisticsClient) -> None:
        released = [table.table_id for table in statistics.list_tables() if table.periods]
        if self.tables and set(released) != set(self.tables):
            self.wrong.append(f"of {sorted(self.tables)} only {released} are released")
        tables = {table_id: statistics.get_table(table_id) for table_id in released}
        self.answers += 1 + len(tables)
        if len({table.release_id for table in tables.values()}) > 1:
            self.wrong.append("tables of several releases")
        for table_id, table in tables.items():
            if self.tables.setdefault(table_id, table) != table:
                self.wrong.append(f"{table_id}: another answer than before")
        if not self.tables:
            try:
                statistics.get_table("coverage")
            except ConflictError:  # not released yet
                self.answers += 1

    def _read_deliveries(self, source: str, intake: IntakeClient) -> None:
        found = {f"{source}/{delivery.delivery_id}": delivery for delivery in intake.list()}
        self.answers += 1
        before = {key: known for key, known in self.deliveries.items() if key.startswith(f"{source}/")}
        for key, known in before.items():
            now = found.get(key)
            if now is None or _AFTER[now.state] < _AFTER[known.state] or now.rows != known.rows:
                self.wrong.append(f"delivery {key} was {known.state} and is {now.state if now else 'gone'}")
        self.deliveries |= found
