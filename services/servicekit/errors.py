"""Refusals that a caller may read.

A handler raises one of these; the error interceptor turns it into a gRPC
status with `google.rpc.ErrorInfo` and field violations. Anything else that is
raised reaches the caller as INTERNAL with a request id and no text.

1. A message says what was wrong and what was expected, never the value.
2. A reason is UPPER_SNAKE, stable, and what programs branch on.
3. Knows no gRPC: `code` is the status code's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field: its path in the request, and the form expected."""

    field: str
    description: str


class ServiceError(Exception):
    """A refusal with a stable reason; raise a subclass."""

    code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse with `message`; `reason` defaults to the status code's name."""
        super().__init__(message)
        self.message = message
        self.reason = reason or self.code
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})


class InvalidError(ServiceError):
    """The request is malformed, whatever the state of the service."""

    code = "INVALID_ARGUMENT"


class UnauthenticatedError(ServiceError):
    """The certificate names nobody that this service knows."""

    code = "UNAUTHENTICATED"


class DeniedError(ServiceError):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class NotFoundError(ServiceError):
    """There is no such thing, or not for this caller."""

    code = "NOT_FOUND"


class ConflictError(ServiceError):
    """The same name stands for something else already."""

    code = "ALREADY_EXISTS"


class PreconditionError(ServiceError):
    """The request is sound, but the state does not allow it now."""

    code = "FAILED_PRECONDITION"


class ExhaustedError(ServiceError):
    """Over a limit: budget, size or load."""

    code = "RESOURCE_EXHAUSTED"


class OutOfRangeError(ServiceError):
    """The request goes past the end of what there is."""

    code = "OUT_OF_RANGE"


class UnavailableError(ServiceError):
    """Something this service needs is away; the same request may succeed later."""

    code = "UNAVAILABLE"
