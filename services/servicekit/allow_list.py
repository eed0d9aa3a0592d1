"""The attributes that may leave a service, and exporters that let nothing else through.

1. An attribute whose key is not listed here is dropped, whoever set it.
2. What passes is searched for CPR-shaped text, names included.
3. Status texts and exemplars are dropped: the first hold exception messages,
   the second the attributes that were dropped from their metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from servicekit.redaction import redact, redact_text

ALLOWED_ATTRIBUTES = frozenset({
    "rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code",
    "kinlink.request_id", "kinlink.role", "kinlink.caller", "kinlink.reason",
    "kinlink.domain", "kinlink.kind", "kinlink.key_version", "kinlink.elements", "kinlink.operation",
    "kinlink.dataset", "kinlink.rows", "kinlink.table", "kinlink.release", "kinlink.run", "kinlink.stage",
    "exception.type",
})  # fmt: skip


def allowed(attributes: Any) -> dict[str, Any]:
    """Return the attributes that may leave, redacted."""
    return {key: redact(value) for key, value in (attributes or {}).items() if key in ALLOWED_ATTRIBUTES}


class AllowedSpans(SpanExporter):
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


class AllowedMetrics(MetricExporter):
    """Hands metrics on with redacted labels, allowed ones only."""

    def __init__(self, exporter: MetricExporter) -> None:
        """Export to `exporter`."""
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)  # noqa: SLF001 - its own base
        self._exporter = exporter

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Strip and export."""
        groups = [
            replace(
                group, scope_metrics=[replace(s, metrics=list(map(_metric, s.metrics))) for s in group.scope_metrics]
            )
            for group in metrics_data.resource_metrics
        ]
        return self._exporter.export(MetricsData(groups), timeout_millis, **kwargs)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)


def _metric(metric: Any) -> Any:
    points = [replace(p, attributes=allowed(p.attributes), exemplars=[]) for p in metric.data.data_points]
    return replace(metric, name=redact_text(metric.name), data=replace(metric.data, data_points=points))
