"""Traces, metrics and logs, and what may be in them.

1. Attributes pass an allow-list in code; everything else is dropped on its way
   out, whoever set it. What passes is searched for CPR-shaped text.
2. No exception message and no stack trace leaves: types and places only.
3. Without an OTLP endpoint nothing is sent; logs go to standard error as JSON
   lines either way.
4. Calls carry W3C trace context, so that one trace spans both services.
"""

from __future__ import annotations

from threading import Thread
from typing import Any, Protocol

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from servicekit.allow_list import ALLOWED_ATTRIBUTES, AllowedMetrics, AllowedSpans
from servicekit.logs import setup_logs
from servicekit.tracing import client_interceptors

__all__ = ["Telemetry", "client_interceptors", "flush", "setup"]

_EXPORT_TIMEOUT_S = 5


class TelemetrySettings(Protocol):
    """The one setting that telemetry reads."""

    @property
    def otlp_endpoint(self) -> str: ...


class Telemetry:
    """What `setup` started."""

    def __init__(self, *providers: TracerProvider | MeterProvider | LoggerProvider) -> None:
        """Hold the providers to stop."""
        self._providers = list(providers)

    def flush(self) -> None:
        """Send what is buffered and stop; `server.run` does so at its end. Again: nothing.

        All at once, so that an absent collector delays the end by one timeout and not by three.
        """
        ending = [Thread(target=provider.shutdown, daemon=True) for provider in self._providers]
        self._providers.clear()
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()


_started = Telemetry()


def flush() -> None:
    """Flush what `setup` started in this process."""
    _started.flush()


def setup(settings: TelemetrySettings, service_name: str) -> Telemetry:
    """Start logs, and with an endpoint traces, metrics and logs to it, for this process.

    Call once, before anything is logged. Spans and instruments made with
    `opentelemetry.trace.get_tracer` and `metrics.get_meter` are sent too, as
    far as the allow-list lets their attributes through.
    """
    global _started  # noqa: PLW0603 - OpenTelemetry's providers are one a process as well
    if not settings.otlp_endpoint:
        setup_logs(None)
        return _started
    # Not Resource.create: it reads the environment, which may hold anything.
    resource = Resource({"service.name": service_name, "service.namespace": "kinlink"})
    insecure = not settings.otlp_endpoint.startswith("https://")
    endpoint: Any = {"endpoint": settings.otlp_endpoint, "insecure": insecure, "timeout": _EXPORT_TIMEOUT_S}
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(AllowedSpans(OTLPSpanExporter(**endpoint))))
    trace.set_tracer_provider(tracing)
    metering = MeterProvider(
        [PeriodicExportingMetricReader(AllowedMetrics(OTLPMetricExporter(**endpoint)))],
        resource=resource,
        shutdown_on_exit=False,
        views=[View(instrument_name="*", attribute_keys=set(ALLOWED_ATTRIBUTES))],
    )
    metrics.set_meter_provider(metering)
    logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**endpoint)))
    set_logger_provider(logs)
    setup_logs(logs)
    _started = Telemetry(tracing, metering, logs)
    return _started
