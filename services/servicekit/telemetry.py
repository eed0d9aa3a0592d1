"""Traces, metrics and logs, and what may be in them.

1. Attributes pass an allow-list in code; everything else is dropped on its way
   out, whoever set it. What passes is searched for CPR-shaped text.
2. No exception message and no stack trace leaves: types and places only.
3. Without an OTLP endpoint nothing is sent; logs go to standard error as JSON
   lines either way.
4. Calls carry W3C trace context, so that one trace spans both services.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, SeverityNumber, set_logger_provider
from opentelemetry.context import get_current
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from servicekit.redaction import redact, redact_text
from servicekit.tracing import client_interceptors

__all__ = ["ALLOWED_ATTRIBUTES", "Telemetry", "client_interceptors", "setup"]

ALLOWED_ATTRIBUTES = frozenset({
    "rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code",
    "kinlink.request_id", "kinlink.role", "kinlink.caller", "kinlink.reason",
    "kinlink.domain", "kinlink.kind", "kinlink.key_version", "kinlink.elements", "kinlink.operation",
    "kinlink.dataset", "kinlink.rows", "kinlink.table", "kinlink.release", "kinlink.run", "kinlink.stage",
    "exception.type",
})  # fmt: skip


class TelemetrySettings(Protocol):
    """The one setting that telemetry reads."""

    @property
    def otlp_endpoint(self) -> str: ...


def allowed(attributes: Any) -> dict[str, Any]:
    """Return the attributes that may leave, redacted."""
    return {key: redact(value) for key, value in (attributes or {}).items() if key in ALLOWED_ATTRIBUTES}


class AllowListExporter(SpanExporter):
    """Hands spans on with allowed attributes only, and without status text."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Export to `exporter`."""
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Strip and export."""
        return self._exporter.export([_stripped(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)


def _stripped(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=redact_text(span.name),
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=allowed(span.attributes),
        events=[Event(redact_text(event.name), allowed(event.attributes), event.timestamp) for event in span.events],
        links=[trace.Link(link.context, allowed(link.attributes)) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What `setup` started; `flush` before the process ends."""

    tracing: TracerProvider | None = None
    metering: MeterProvider | None = None
    logs: LoggerProvider | None = None

    def flush(self) -> None:
        """Send what is buffered and stop."""
        for provider in (self.tracing, self.metering, self.logs):
            if provider is not None:
                provider.shutdown()


def setup(settings: TelemetrySettings, service_name: str) -> Telemetry:
    """Start logs, and with an endpoint traces, metrics and logs to it, for this process.

    Call once, before anything is logged. Spans and instruments made with
    `opentelemetry.trace.get_tracer` and `metrics.get_meter` are sent too, as
    far as the allow-list lets their attributes through.
    """
    if not settings.otlp_endpoint:
        _setup_logs(None)
        return Telemetry()
    # Not Resource.create: it reads the environment, which may hold anything.
    resource = Resource({"service.name": service_name, "service.namespace": "kinlink"})
    insecure = not settings.otlp_endpoint.startswith("https://")
    endpoint: Any = {"endpoint": settings.otlp_endpoint, "insecure": insecure}
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(AllowListExporter(OTLPSpanExporter(**endpoint))))
    trace.set_tracer_provider(tracing)
    metering = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter(**endpoint))],
        resource=resource,
        views=[View(instrument_name="*", attribute_keys=set(ALLOWED_ATTRIBUTES))],
        shutdown_on_exit=False,
    )
    metrics.set_meter_provider(metering)
    logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**endpoint)))
    set_logger_provider(logs)
    _setup_logs(logs)
    return Telemetry(tracing, metering, logs)


_Event = MutableMapping[str, Any]


def _add_trace(_logger: Any, _name: str, event: _Event) -> _Event:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"], event["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    return event


def _place_only(_logger: Any, _name: str, event: _Event) -> _Event:
    """Replace an exception by its type and the place it was raised: its text may hold a value."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event.update(describe_exception(error))
    return event


def describe_exception(error: BaseException) -> dict[str, str]:
    """Return the type of an exception and the places it passed, innermost last; never its text."""
    places, frame = [], error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{frame.tb_lineno} {code.co_name}")
        frame = frame.tb_next
    cause = error.__cause__ or error.__context__
    result = {"exception.type": type(error).__qualname__, "exception.places": " > ".join(places[-6:])}
    return result | ({"exception.cause": type(cause).__qualname__} if cause else {})


def _redact_event(_logger: Any, _name: str, event: _Event) -> _Event:
    return {key: redact(value) for key, value in event.items() if not key.startswith("_")}


def _sender(provider: LoggerProvider) -> Callable[[Any, str, _Event], _Event]:
    logger = provider.get_logger("kinlink")

    def send(_logger: Any, _name: str, event: _Event) -> _Event:
        level = str(event.get("level", "info")).upper()
        record = LogRecord(
            timestamp=time.time_ns(),
            context=get_current(),
            severity_text=level,
            severity_number=_SEVERITY.get(level, SeverityNumber.INFO),
            body=str(event.get("event", "")),
            attributes=allowed(event),
        )
        logger.emit(record)
        return event

    return send


_SEVERITY = {
    "DEBUG": SeverityNumber.DEBUG,
    "INFO": SeverityNumber.INFO,
    "WARNING": SeverityNumber.WARN,
    "ERROR": SeverityNumber.ERROR,
    "CRITICAL": SeverityNumber.FATAL,
}


def _setup_logs(provider: LoggerProvider | None) -> None:
    """Send our logs and those of libraries through one chain, to standard error and to `provider`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _add_trace,
    ]
    last: list[Any] = [_place_only, _redact_event]
    if provider is not None:
        last.append(_sender(provider))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[*last, structlog.processors.JSONRenderer()]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("alembic", "sqlalchemy", "grpc", "opentelemetry"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
