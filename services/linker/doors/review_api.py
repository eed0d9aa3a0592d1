"""ReviewService: wire messages to values, one use case, values to wire messages.

The source is the caller's name; no field says whose records are asked about.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

import grpc

from kinlink.linker.v1 import review_service_pb2 as pb
from kinlink.linker.v1.review_service_pb2_grpc import ReviewServiceServicer
from linker.review import Explanation, Review, State
from servicekit.audit import describe
from servicekit.errors import FieldViolation, InvalidError
from servicekit.identity import current_caller

PAGE, LARGEST_PAGE = 1_000, 10_000
MOST_IDS = 1_000

_STATES = {
    State.LINKED: pb.RECORD_STATE_LINKED,
    State.IN_REVIEW: pb.RECORD_STATE_IN_REVIEW,
    State.NOT_LINKED: pb.RECORD_STATE_NOT_LINKED,
    State.NOT_SEEN: pb.RECORD_STATE_NOT_SEEN,
}


class ReviewApi(ReviewServiceServicer):
    """Serves ReviewService from a `Review`."""

    def __init__(self, review: Review) -> None:
        self._review = review

    def ListReview(self, request: pb.ListReviewRequest, context: grpc.ServicerContext) -> pb.ListReviewResponse:
        """List the caller's records in review."""
        source, limit = current_caller().name, request.page_size or PAGE
        if limit > LARGEST_PAGE:
            raise _invalid([FieldViolation("page_size", f"expected at most {LARGEST_PAGE}")])
        found = self._review.page(source, limit=limit + 1, after=_position(request.page_token))
        page, more = found[:limit], len(found) > limit
        describe(subject=f"{source}/review", count=len(page))
        return pb.ListReviewResponse(records=map(_record, page), next_page_token=_token(page[-1]) if more else "")

    def ExplainRecords(
        self, request: pb.ExplainRecordsRequest, context: grpc.ServicerContext
    ) -> pb.ExplainRecordsResponse:
        """Say what became of some of the caller's records."""
        source = current_caller().name
        if violations := list(_violations(request.encoding_ids)):
            raise _invalid(violations)
        found = self._review.explain(source, request.encoding_ids)
        describe(subject=f"{source}/review", count=len(found))
        return pb.ExplainRecordsResponse(records=map(_record, found))


def _violations(encoding_ids: Sequence[str]) -> Iterator[FieldViolation]:
    if not 1 <= len(encoding_ids) <= MOST_IDS:
        yield FieldViolation("encoding_ids", f"expected 1 to {MOST_IDS} ids")
        return
    for index, each in enumerate(encoding_ids):
        if not each:
            yield FieldViolation(f"encoding_ids[{index}]", "expected an id, not empty text")


def _record(explanation: Explanation) -> pb.RecordExplanation:
    return pb.RecordExplanation(
        encoding_id=explanation.encoding_id,
        state=_STATES[explanation.state],
        missing_fields=explanation.missing_fields,
        advice=explanation.advice,
    )


def _token(last: Explanation) -> str:
    return base64.urlsafe_b64encode(last.encoding_id.encode()).decode()


def _position(token: str) -> str:
    """Return the id after which the page begins; "" is before all."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _invalid([FieldViolation("page_token", "expected a token from an earlier answer")]) from None


def _invalid(violations: Sequence[FieldViolation]) -> InvalidError:
    first = violations[0]
    return InvalidError(f"{first.field}: {first.description}", "REQUEST_INVALID", violations)
