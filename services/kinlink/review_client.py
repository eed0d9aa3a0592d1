"""Asks a linker what became of a source's own records without a usable CPR number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import grpc

from kinlink.errors import from_rpc_error
from kinlink.linker.v1 import review_service_pb2 as pb
from kinlink.linker.v1.review_service_pb2_grpc import ReviewServiceStub

_IDS = 1_000  # of one call


class RecordState(StrEnum):
    """What became of a record. UNKNOWN: the linker is newer than this client."""

    LINKED = "linked"
    IN_REVIEW = "in review"
    NOT_LINKED = "not linked"
    NOT_SEEN = "not seen"
    UNKNOWN = "unknown"


_STATES = {
    pb.RECORD_STATE_LINKED: RecordState.LINKED,
    pb.RECORD_STATE_IN_REVIEW: RecordState.IN_REVIEW,
    pb.RECORD_STATE_NOT_LINKED: RecordState.NOT_LINKED,
    pb.RECORD_STATE_NOT_SEEN: RecordState.NOT_SEEN,
}


@dataclass(frozen=True, slots=True)
class RecordExplanation:
    """What became of a record.

    `missing_fields`: fields of the linkage schema of which it has no usable value. `advice`: what would help, or "".
    """

    encoding_id: str
    state: RecordState
    missing_fields: tuple[str, ...]
    advice: str


class ReviewClient:
    """Asks as the source of the channel's certificate, about its own records only."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel."""
        self._stub = ReviewServiceStub(channel)

    def in_review(self, page_size: int = 0) -> Iterator[RecordExplanation]:
        """Yield the source's records in review, in the order of their ids; `page_size` 0 is the linker's.

        Raises KinlinkError.
        """
        request = pb.ListReviewRequest(page_size=page_size)
        while True:
            try:
                answer = self._stub.ListReview(request)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None
            yield from map(_explanation, answer.records)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def explain(self, encoding_ids: Sequence[str]) -> Iterator[RecordExplanation]:
        """Yield what became of records, one an id, in their order. Raises KinlinkError."""
        for first in range(0, len(encoding_ids), _IDS):
            request = pb.ExplainRecordsRequest(encoding_ids=encoding_ids[first : first + _IDS])
            try:
                answer = self._stub.ExplainRecords(request)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None
            yield from map(_explanation, answer.records)


def _explanation(record: pb.RecordExplanation) -> RecordExplanation:
    state = _STATES.get(record.state, RecordState.UNKNOWN)
    return RecordExplanation(record.encoding_id, state, tuple(record.missing_fields), record.advice)
