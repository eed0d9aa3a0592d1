"""A server process that answers by asking a second one, where it is given: run by the telemetry test.

Its handler does what must not show: CPR-shaped text in span names, attributes,
events, exceptions, metrics and logs.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import metrics, trace

from kinlink.channel import Identity, open_channel
from kinlink.linker.v1 import statistics_service_pb2 as messages
from kinlink.linker.v1 import statistics_service_pb2_grpc as stubs
from servicekit import database, server, telemetry
from servicekit.access import AccessTable
from servicekit.audit import AuditLog
from servicekit.settings import ServerSettings

CANARY = "6101800010"


class Tables(stubs.StatisticsServiceServicer):
    """GetTable asks the next service for its tables; ListTables fails on purpose."""

    def __init__(self, ask: stubs.StatisticsServiceStub | None) -> None:
        self.ask = ask

    def GetTable(self, request: Any, context: Any) -> Any:
        leak()
        if self.ask is not None:
            self.ask.GetTable(messages.GetTableRequest())
        return messages.GetTableResponse()

    def ListTables(self, request: Any, context: Any) -> Any:
        raise ValueError(f"no person {CANARY}")


def leak() -> None:
    with trace.get_tracer("leaky").start_as_current_span(f"person {CANARY}") as span:
        span.set_attributes({"cpr": CANARY, "kinlink.table": f"t {CANARY}", "kinlink.rows": 7, "http.url": "/persons"})
        span.add_event(f"saw {CANARY}", {"cpr": CANARY, "kinlink.rows": 7})
        span.record_exception(ValueError(CANARY))
        span.set_status(trace.Status(trace.StatusCode.ERROR, f"bad {CANARY}"))
    metrics.get_meter("leaky").create_counter("leaky").add(1, {"cpr": CANARY, "kinlink.dataset": f"d {CANARY}"})
    structlog.get_logger("leaky").warning("person %s", CANARY, cpr=CANARY, rows=[CANARY])
    logging.getLogger("leaky").error("person %s", CANARY)


def main(folder: Path, name: str, next_address: str) -> None:
    settings = ServerSettings.load(folder / f"{name}.toml")
    telemetry.setup(settings, name)
    engine = database.engine(settings.database_url)
    database.migrate(engine, "servicekit")
    ask = None
    if next_address:
        who = Identity(settings.ca, folder / "consumer-analyse.pem", folder / "consumer-analyse.key")
        ask = stubs.StatisticsServiceStub(open_channel(next_address, who, telemetry.client_interceptors()))
    server.run(
        settings,
        lambda target: stubs.add_StatisticsServiceServicer_to_server(Tables(ask), target),
        ["kinlink.linker.v1.StatisticsService"],
        AccessTable.load(folder / "access.toml"),
        AuditLog(engine),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
