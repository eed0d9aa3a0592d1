"""Two server processes over mutual TLS, and what a real OTLP receiver gets of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import servicekit
from kinlink.channel import open_channel
from kinlink.dev_certificates import make_certificates
from kinlink.linker.v1 import statistics_service_pb2 as messages
from kinlink.linker.v1 import statistics_service_pb2_grpc as stubs
from servicekit.allow_list import ALLOWED_ATTRIBUTES, AllowedSpans
from tests.running import identity
from tests.telemetry.receiver import Receiver, attributes, receiving
from tests.telemetry.two_services import CANARY

SERVICE = "kinlink.linker.v1.StatisticsService"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@contextmanager
def process(folder: Path, name: str, next_address: str) -> Iterator[tuple[str, list[str]]]:
    """Run a service; yield its address, and after the block everything it wrote."""
    root = Path(__file__).parents[2]
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.telemetry.two_services", folder, name, next_address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{Path(servicekit.__file__).parents[1]}"},
    )
    written: list[str] = []
    try:
        assert running.stdout is not None
        yield running.stdout.readline().removeprefix("ready ").strip(), written
        running.send_signal(signal.SIGTERM)
        written.extend(running.communicate(timeout=60))
        assert running.returncode == 0, written
    finally:
        running.kill()
        running.communicate()


@dataclass
class Observed:
    """What arrived, and what the processes wrote."""

    receiver: Receiver
    written: str


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """One call through both services in a trace of the client's, one failing call, one refused call."""
    folder = tmp_path_factory.mktemp("telemetry")
    make_certificates(folder, ["consumer/analyse", "source/prisme"])
    (folder / "access.toml").write_text(
        f'[[allow]]\nrpc = ["{SERVICE}/GetTable", "{SERVICE}/ListTables"]\nrole = "consumer"\n'
    )
    with receiving() as receiver:
        for name in ("inner", "outer"):
            (folder / f"{name}.toml").write_text(
                'certificate = "service-linker.pem"\nkey = "service-linker.key"\nca = "ca.pem"\n'
                f'trust_domain = "kinlink.test"\ndatabase_url = "sqlite:///{name}.db"\n'
                f'otlp_endpoint = "{receiver.endpoint}"\n'
            )
        with process(folder, "inner", "") as (inner, inner_wrote), process(folder, "outer", inner) as (outer, wrote):
            with open_channel(outer, identity(folder, "consumer-analyse")) as channel:
                stub = stubs.StatisticsServiceStub(channel)
                stub.GetTable(messages.GetTableRequest(), metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01")])
                with pytest.raises(grpc.RpcError):
                    stub.ListTables(messages.ListTablesRequest())
            with open_channel(outer, identity(folder, "source-prisme")) as channel, pytest.raises(grpc.RpcError):
                stubs.StatisticsServiceStub(channel).GetTable(messages.GetTableRequest())
    return Observed(receiver, "".join([*inner_wrote, *wrote]))


def test_one_trace_spans_both_services_and_begins_at_the_caller(observed: Observed) -> None:
    spans = {(service, span.kind): span for service, span in observed.receiver.spans() if span.trace_id.hex() == TRACE}
    server_kind, client_kind = 2, 3
    outer, inner = spans["outer", server_kind], spans["inner", server_kind]
    between = spans["outer", client_kind]
    assert outer.parent_span_id.hex() == PARENT
    assert between.parent_span_id == outer.span_id
    assert inner.parent_span_id == between.span_id
    assert outer.name == inner.name == f"{SERVICE}/GetTable"
    assert attributes(outer)["kinlink.caller"] == "spiffe://kinlink.test/consumer/analyse"
    assert attributes(outer)["rpc.grpc.status_code"] == attributes(between)["rpc.grpc.status_code"] == "OK"


def test_each_rpc_has_rate_errors_and_duration(observed: Observed) -> None:
    counted: dict[tuple[str, str, str], int] = {}
    for service, metric in observed.receiver.metrics():
        if service == "outer":
            points = metric.histogram.data_points or metric.sum.data_points
            for point in points:
                labels = attributes(point)
                key = (metric.name, labels.get("rpc.method", ""), labels.get("rpc.grpc.status_code", ""))
                counted[key] = int(getattr(point, "count", 0) or getattr(point, "as_int", 0))
    for name in ("rpc.server.requests", "rpc.server.duration"):
        assert counted[name, "GetTable", "OK"] == 1
        assert counted[name, "ListTables", "INTERNAL"] == 1
        assert counted[name, "GetTable", "PERMISSION_DENIED"] == 1
    assert counted["rpc.server.errors", "ListTables", "INTERNAL"] == 1
    assert counted["rpc.server.errors", "GetTable", "PERMISSION_DENIED"] == 1
    assert ("rpc.server.errors", "GetTable", "OK") not in counted


def test_logs_arrive_with_their_trace(observed: Observed) -> None:
    records = [record for service, record in observed.receiver.logs() if service == "inner"]
    assert "serving" in {record.body.string_value for record in records}
    assert TRACE in {record.trace_id.hex() for record in records}


def test_only_allowed_attributes_arrive(observed: Observed) -> None:
    receiver = observed.receiver
    holders = [span for _, span in receiver.spans()] + [record for _, record in receiver.logs()]
    holders += [event for _, span in receiver.spans() for event in span.events]
    for _, metric in receiver.metrics():
        holders += [*metric.histogram.data_points, *metric.sum.data_points]
    found = set().union(*(attributes(holder) for holder in holders))
    assert found <= ALLOWED_ATTRIBUTES
    assert {"kinlink.rows", "kinlink.table", "kinlink.dataset", "rpc.method"} <= found


def test_canary_arrives_nowhere_and_no_exception_text(observed: Observed) -> None:
    """The handlers put it in names, attributes, events, exceptions, statuses, metrics and logs."""
    raw = observed.receiver.raw() + observed.written.encode()
    assert CANARY.encode() not in raw
    assert b"no person" not in raw
    assert b"Traceback" not in raw
    assert b"[redacted]" in raw
    assert not any(span.status.message for _, span in observed.receiver.spans())


def test_canary_does_arrive_without_the_allow_list() -> None:
    """The control: what the test above looks for is there to be found."""
    found = {}
    for name, wrap in (("bare", lambda exporter: exporter), ("wrapped", AllowedSpans)):
        memory = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(wrap(memory)))
        with provider.get_tracer("test").start_as_current_span("work") as span:
            span.set_attributes({"cpr": CANARY, "kinlink.rows": 7})
            span.record_exception(ValueError(CANARY))
        provider.shutdown()
        [finished] = memory.get_finished_spans()
        found[name] = finished.to_json()
    assert CANARY in found["bare"]
    assert CANARY not in found["wrapped"]
    assert "kinlink.rows" in found["wrapped"]
