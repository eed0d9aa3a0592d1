"""IntakeService: wire messages to values, one use case, values to wire messages.

The source is the caller's name, and what it may deliver stands in its access rule.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from kinlink.delivery.datasets import BY_NUMBER, DATASETS
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceServicer
from kinlink.types.v1 import types_pb2
from linker.intake.header import Begin, ClaimedKey
from linker.intake.intake import Chunk, Finish, Intake, Part, Receipt
from linker.store.state import DeliveryState
from servicekit.audit import describe
from servicekit.errors import FieldViolation, InvalidError
from servicekit.identity import current_caller, current_limits

KIND_WORDS = {
    types_pb2.KIND_UNSPECIFIED: "",
    types_pb2.KIND_CPR: "cpr",
    types_pb2.KIND_ADDRESS: "address",
    types_pb2.KIND_REPLACEMENT: "replacement",
    types_pb2.KIND_ENCODING: "encoding",
}
_STATES = {
    DeliveryState.RECEIVING: pb.DELIVERY_STATE_RECEIVING,
    DeliveryState.ACCEPTED: pb.DELIVERY_STATE_ACCEPTED,
    DeliveryState.REPLACED: pb.DELIVERY_STATE_REPLACED,
    DeliveryState.WITHDRAWN: pb.DELIVERY_STATE_WITHDRAWN,
    DeliveryState.EXPIRED: pb.DELIVERY_STATE_EXPIRED,
}


class IntakeApi(IntakeServiceServicer):
    """Serves IntakeService from an `Intake`."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def Deliver(
        self, request_iterator: Iterator[pb.DeliverRequest], context: grpc.ServicerContext
    ) -> pb.DeliverResponse:
        """Take in a delivery."""
        source = current_caller().name
        receipt = self._intake.deliver(
            source, current_limits().get("datasets", ()), (_part(request) for request in request_iterator)
        )
        header = receipt.delivery.header
        describe(subject=f"{source}/{header.dataset}/{header.period}/{header.delivery_id}", count=header.rows)
        return pb.DeliverResponse(delivery=_delivery(receipt), replaced=receipt.replaced)

    def GetDelivery(self, request: pb.GetDeliveryRequest, context: grpc.ServicerContext) -> pb.GetDeliveryResponse:
        """Return one delivery."""
        receipt = self._intake.get(current_caller().name, request.delivery_id)
        return pb.GetDeliveryResponse(delivery=_delivery(receipt))

    def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: grpc.ServicerContext
    ) -> pb.ListDeliveriesResponse:
        """List deliveries, newest first."""
        limit = request.page_size or 100
        if limit > 1000:
            raise _invalid("page_size", "expected at most 1000")
        dataset = BY_NUMBER[request.dataset].name if request.dataset in BY_NUMBER else None
        if request.dataset and dataset is None:
            raise _invalid("dataset", "expected a dataset of the data dictionary, or none")
        before = _position(request.page_token) if request.page_token else None
        found = self._intake.page(
            current_caller().name, dataset=dataset, limit=limit + 1, before=before, delivery_id=request.delivery_id
        )
        page = found[:limit]
        more = len(found) > limit
        return pb.ListDeliveriesResponse(
            deliveries=map(_delivery, page), next_page_token=_token(page[-1]) if more else ""
        )

    def WithdrawDelivery(
        self, request: pb.WithdrawDeliveryRequest, context: grpc.ServicerContext
    ) -> pb.WithdrawDeliveryResponse:
        """Take a delivery back."""
        source = current_caller().name
        receipt = self._intake.withdraw(source, request.delivery_id)
        header = receipt.delivery.header
        describe(subject=f"{source}/{header.dataset}/{header.period}/{header.delivery_id}", count=header.rows)
        return pb.WithdrawDeliveryResponse(delivery=_delivery(receipt))


def _part(request: pb.DeliverRequest) -> Part:
    match request.WhichOneof("part"):
        case "header":
            return _begin(request.header)
        case "chunk":
            return Chunk(request.chunk.index, request.chunk.arrow_ipc)
        case "finish":
            return Finish()
    raise InvalidError("each message of a delivery holds a header, a chunk or a finish", "STREAM_INVALID")


def _begin(header: pb.DeliveryHeader) -> Begin:
    return Begin(
        delivery_id=header.delivery_id,
        dataset=BY_NUMBER[header.dataset].name if header.dataset in BY_NUMBER else "",
        period=header.period,
        suite=header.suite,
        keys=[ClaimedKey(key.domain, KIND_WORDS.get(key.kind, ""), key.version) for key in header.keys],
        rows=header.rows,
        chunks=header.chunks,
        digest=header.digest,
        rejected_rows=header.rejected_rows,
        first_chunk=header.first_chunk,
        schema_id=header.schema_id,
    )


def timestamp(at: datetime | None) -> Timestamp | None:
    """Return the instant as a message; None when there is none."""
    if at is None:
        return None
    message = Timestamp()
    message.FromDatetime(at)
    return message


def _delivery(receipt: Receipt) -> pb.Delivery:
    delivery, header = receipt.delivery, receipt.delivery.header
    return pb.Delivery(
        delivery_id=header.delivery_id,
        source=delivery.source,
        dataset=DATASETS[header.dataset].number,
        period=header.period,
        state=_STATES[delivery.state],
        rows=header.rows,
        chunks_received=receipt.chunks_received,
        accepted_at=timestamp(delivery.accepted_at),
        snapshot=delivery.snapshot or 0,
        replaced_by=delivery.replaced_by or "",
    )


def _token(receipt: Receipt) -> str:
    at, delivery_id = receipt.delivery.received_at, receipt.delivery.header.delivery_id
    return base64.urlsafe_b64encode(f"{at.isoformat()} {delivery_id}".encode()).decode()


def _position(token: str) -> tuple[datetime, str]:
    try:
        at, delivery_id = base64.urlsafe_b64decode(token).decode().split(" ")
        return datetime.fromisoformat(at), delivery_id
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _invalid("page_token", "expected a token from an earlier answer") from None


def _invalid(field: str, expected: str) -> InvalidError:
    return InvalidError(f"{field}: {expected}", "REQUEST_INVALID", [FieldViolation(field, expected)])
