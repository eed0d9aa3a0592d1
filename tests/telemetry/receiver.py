"""An OTLP receiver in this process: keeps what arrives, as it arrived."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

ANSWERS = {
    trace_service_pb2.ExportTraceServiceRequest: trace_service_pb2.ExportTraceServiceResponse,
    metrics_service_pb2.ExportMetricsServiceRequest: metrics_service_pb2.ExportMetricsServiceResponse,
    logs_service_pb2.ExportLogsServiceRequest: logs_service_pb2.ExportLogsServiceResponse,
}


class Receiver:
    """Everything that was exported."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.endpoint = ""

    def raw(self) -> bytes:
        """Return every byte that arrived."""
        return b"".join(request.SerializeToString() for request in self.requests)

    def spans(self) -> list[tuple[str, Any]]:
        """Return (service, span)."""
        return [
            (service_of(group.resource), span)
            for request in self.requests
            for group in getattr(request, "resource_spans", ())
            for scope in group.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> list[tuple[str, Any]]:
        """Return (service, metric)."""
        return [
            (service_of(group.resource), metric)
            for request in self.requests
            for group in getattr(request, "resource_metrics", ())
            for scope in group.scope_metrics
            for metric in scope.metrics
        ]

    def logs(self) -> list[tuple[str, Any]]:
        """Return (service, record)."""
        return [
            (service_of(group.resource), record)
            for request in self.requests
            for group in getattr(request, "resource_logs", ())
            for scope in group.scope_logs
            for record in scope.log_records
        ]


def attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of a span, record, data point or resource."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "string_value") for a in holder.attributes}


def service_of(resource: Any) -> str:
    return str(attributes(resource)["service.name"])


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive on a free port until the block ends."""
    receiver = Receiver()

    class Keep(
        trace_service_pb2_grpc.TraceServiceServicer,
        metrics_service_pb2_grpc.MetricsServiceServicer,
        logs_service_pb2_grpc.LogsServiceServicer,
    ):
        def Export(self, request: Any, context: Any) -> Any:
            receiver.requests.append(request)
            return ANSWERS[type(request)]()

    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Keep(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Keep(), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Keep(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    receiver.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield receiver
    finally:
        server.stop(0).wait()
