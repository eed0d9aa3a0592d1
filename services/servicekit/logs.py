"""Logs as JSON lines on standard error, ours and those of libraries, through one chain.

1. CPR-shaped text is redacted in every field.
2. An exception is logged as its type and the places it passed, never its text; one that
   nobody caught as well.
3. With a provider the same records go out as OTLP too, allowed attributes only.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.sdk._logs import LoggerProvider

from servicekit.allow_list import allowed
from servicekit.redaction import redact

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
        if str(event.get("logger", "")).startswith("opentelemetry"):
            return event  # that sending failed is not sent
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


def _log_uncaught(error: BaseException | None) -> None:
    structlog.get_logger(__name__).error("uncaught exception", exc_info=error)


def setup_logs(provider: LoggerProvider | None) -> None:
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
    sys.excepthook = lambda _type, error, _trace: _log_uncaught(error)
    threading.excepthook = lambda uncaught: _log_uncaught(uncaught.exc_value)
