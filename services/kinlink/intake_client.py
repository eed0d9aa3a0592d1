"""Sends deliveries to a linker, and goes on where a broken connection left off.

1. A delivery's id follows from its content, so sending the same again finds it: still
   arriving, it is resumed; accepted, its header alone is sent, by which the service knows
   that its source stands by it. Content that was replaced, withdrawn or expired since is
   sent under a new id.
2. What the service says of chunks held is believed over what was sent.
3. Only absence is tried again, a bounded number of times since the last progress; a
   refusal is final.

It knows chunks as bytes and no identifiers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc

from kinlink.errors import KinlinkError, UnavailableError, from_rpc_error
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub

_NAMESPACE = uuid.UUID("6b1f9c1e-6f0c-5c0e-9b6a-6b696e6c696b")
_OVERTAKEN = (pb.DELIVERY_STATE_REPLACED, pb.DELIVERY_STATE_WITHDRAWN, pb.DELIVERY_STATE_EXPIRED)


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted delivery.

    `already`: it had been accepted before; `replaced`: the id of the one it took the place of, or "".
    """

    delivery: pb.Delivery
    replaced: str = ""
    already: bool = False


class IntakeClient:
    """Speaks to a linker's intake as the source of the channel's certificate."""

    def __init__(self, channel: grpc.Channel, *, delays_s: Sequence[float] = (0.5, 1, 2, 4, 8)) -> None:
        """Use an open channel; `delays_s` are the waits between attempts without progress."""
        self._stub = IntakeServiceStub(channel)
        self._delays_s = tuple(delays_s)

    def deliver(
        self, header: pb.DeliveryHeader, chunk: Callable[[int], bytes], progress: Callable[[int, int], None]
    ) -> Receipt:
        """Send a delivery whose header is complete but for its id and first chunk; return when it is accepted.

        `chunk` returns a chunk by index. `progress` is told chunks sent, of all.

        Raises:
            UnavailableError: the service stayed away; running again resumes.
            KinlinkError: refused; see its reason.
        """
        given, header = header, pb.DeliveryHeader()
        header.CopyFrom(given)
        attempts = iter(self._delays_s)
        held = -1
        while True:
            try:
                header.delivery_id, found = self._identify(header)
                if found and found.state == pb.DELIVERY_STATE_ACCEPTED:
                    if held < 0:
                        self._send(header, header.chunks, chunk, progress)
                    progress(header.chunks, max(header.chunks, 1))
                    return Receipt(found, already=held < 0)
                first = found.chunks_received if found else 0
                if first > held >= 0:
                    attempts = iter(self._delays_s)
                held = first
                return self._send(header, first, chunk, progress)
            except KinlinkError as error:
                if not isinstance(error, UnavailableError) and error.reason != "CHUNK_GAP":
                    raise
                delay_s = next(attempts, None)
                if delay_s is None:
                    raise
                time.sleep(delay_s)

    def get(self, delivery_id: str) -> pb.Delivery | None:
        """Return one of this source's deliveries; None when the service does not know it. Raises KinlinkError."""
        try:  # a list may be empty; GetDelivery would leave a refusal in the service's log for every new delivery
            answer = self._stub.ListDeliveries(pb.ListDeliveriesRequest(delivery_id=delivery_id))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        return next((found for found in answer.deliveries if found.delivery_id == delivery_id), None)

    def list(self) -> Iterator[pb.Delivery]:
        """Yield this source's deliveries, newest first. Raises KinlinkError."""
        request = pb.ListDeliveriesRequest()
        while True:
            try:
                answer = self._stub.ListDeliveries(request)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None
            yield from answer.deliveries
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def withdraw(self, delivery_id: str) -> pb.Delivery:
        """Take an accepted delivery back; again changes nothing. Raises KinlinkError."""
        try:
            return self._stub.WithdrawDelivery(pb.WithdrawDeliveryRequest(delivery_id=delivery_id)).delivery
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def _identify(self, header: pb.DeliveryHeader) -> tuple[str, pb.Delivery | None]:
        """Return the id under which the content is to be sent, and what the service holds of it."""
        content = pb.DeliveryHeader()
        content.CopyFrom(header)
        content.ClearField("delivery_id")
        content.ClearField("first_chunk")
        name = content.SerializeToString(deterministic=True).hex()
        attempt = 0
        while True:
            delivery_id = str(uuid.uuid5(_NAMESPACE, f"{name}/{attempt}"))
            found = self.get(delivery_id)
            if found is None or found.state not in _OVERTAKEN:
                return delivery_id, found
            attempt += 1

    def _send(
        self,
        header: pb.DeliveryHeader,
        first: int,
        chunk: Callable[[int], bytes],
        progress: Callable[[int, int], None],
    ) -> Receipt:
        header.first_chunk = first

        def parts() -> Iterator[pb.DeliverRequest]:
            yield pb.DeliverRequest(header=header)
            for index in range(first, header.chunks):
                yield pb.DeliverRequest(chunk=pb.DeliveryChunk(index=index, arrow_ipc=chunk(index)))
                progress(index + 1, header.chunks)
            yield pb.DeliverRequest(finish=pb.DeliveryFinish())

        try:
            answer = self._stub.Deliver(parts())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        return Receipt(answer.delivery, answer.replaced)
