"""Trace context across a call, and the measures of each RPC served.

Rate, errors and duration: `rpc.server.requests` (count), `rpc.server.errors`
(count of calls that ended in another status than OK) and `rpc.server.duration`
(histogram, seconds), each by service, method, status and the caller's role.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry import metrics, trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import SpanKind, Status, StatusCode

from servicekit.identity import Call

_meter = metrics.get_meter("servicekit")
_requests = _meter.create_counter("rpc.server.requests", "{call}", "calls that ended")
_errors = _meter.create_counter("rpc.server.errors", "{call}", "calls that did not end in OK")
_duration = _meter.create_histogram(
    "rpc.server.duration",
    "s",
    "from the first layer to the last answer",
    explicit_bucket_boundaries_advisory=[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600],
)
_tracer = trace.get_tracer("servicekit")


@contextmanager
def server_span(call: Call, metadata: Sequence[tuple[str, str | bytes]]) -> Iterator[None]:
    """Span and measure one RPC; the trace is the caller's when it sent one."""
    # Only the ids: trace state and baggage are the caller's own text, and would be exported.
    carrier = {key: value for key, value in metadata if key == "traceparent" and isinstance(value, str)}
    service, _, method = call.rpc.partition("/")
    names = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    started = time.monotonic()
    with _tracer.start_as_current_span(
        call.rpc, extract(carrier), SpanKind.SERVER, names, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        finally:
            code = call.code or "OK"
            labels = names | {"rpc.grpc.status_code": code, "kinlink.role": call.caller.role if call.caller else ""}
            span.set_attributes(labels | {"kinlink.request_id": call.request_id})
            if call.caller:
                span.set_attribute("kinlink.caller", call.caller.uri)
            if code != "OK":
                span.set_status(Status(StatusCode.ERROR))
                _errors.add(1, labels)
            _requests.add(1, labels)
            _duration.record(time.monotonic() - started, labels)


class _Details(grpc.ClientCallDetails):
    """Call details with other metadata."""

    def __init__(self, details: grpc.ClientCallDetails, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = tuple(metadata)
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


class _Propagation(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Opens a client span for a call and sends its context along."""

    def _call(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        details = client_call_details
        name = details.method if isinstance(details.method, str) else details.method.decode()
        service, _, method = name.lstrip("/").partition("/")
        names = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        span = _tracer.start_span(f"{service}/{method}", kind=SpanKind.CLIENT, attributes=names)
        carrier: dict[str, str] = {}
        inject(carrier, trace.set_span_in_context(span))
        call = continuation(_Details(details, [*(details.metadata or ()), *carrier.items()]), request)
        call.add_done_callback(lambda ended: _end(span, ended))
        return call

    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call
    intercept_stream_stream: Any = _call


def _end(span: trace.Span, call: grpc.Call) -> None:
    code = call.code()
    if code is not None:
        span.set_attribute("rpc.grpc.status_code", code.name)
        if code is not grpc.StatusCode.OK:
            span.set_status(Status(StatusCode.ERROR))
    span.end()


def client_interceptors() -> tuple[grpc.UnaryUnaryClientInterceptor, ...]:
    """Return the interceptors for `kinlink.channel.open_channel` that carry the trace to the next service."""
    return (_Propagation(),)
