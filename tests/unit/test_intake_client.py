"""The sending side of a delivery against a service that breaks off, forgets, replaces and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest

from kinlink.errors import InputError, UnavailableError
from kinlink.intake_client import IntakeClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceServicer, add_IntakeServiceServicer_to_server

CHUNKS = [bytes([n]) * 5 for n in range(6)]
RECEIVING, ACCEPTED = pb.DELIVERY_STATE_RECEIVING, pb.DELIVERY_STATE_ACCEPTED


@dataclass
class FakeIntake(IntakeServiceServicer):  # type: ignore[misc]
    """Holds deliveries in memory; breaks each stream after the chunk counts in `breaks`, one a stream."""

    breaks: list[int] = field(default_factory=list)
    lose_answers: int = 0
    refuse: bool = False
    held: dict[str, list[bytes]] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    streams: list[int] = field(default_factory=list)

    def Deliver(self, parts: Iterator[pb.DeliverRequest], context: grpc.ServicerContext) -> pb.DeliverResponse:
        header = next(parts).header
        self.streams.append(header.first_chunk)
        if self.refuse:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")
        left = self.breaks.pop(0) if self.breaks else len(CHUNKS) + 1
        held = self.held.setdefault(header.delivery_id, [])
        self.states[header.delivery_id] = RECEIVING
        assert header.first_chunk == len(held)
        for part in parts:
            if left == 0:
                break
            if part.WhichOneof("part") == "finish":
                assert held == CHUNKS
                self.states[header.delivery_id] = ACCEPTED
                if self.lose_answers:
                    self.lose_answers -= 1
                    break
                return pb.DeliverResponse(delivery=self.delivery(header.delivery_id))
            left -= 1
            held.append(part.chunk.arrow_ipc)
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        raise AssertionError

    def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: grpc.ServicerContext
    ) -> pb.ListDeliveriesResponse:
        assert request.delivery_id
        found = [request.delivery_id] if request.delivery_id in self.states else []
        return pb.ListDeliveriesResponse(deliveries=map(self.delivery, found))

    def delivery(self, delivery_id: str) -> pb.Delivery:
        return pb.Delivery(
            delivery_id=delivery_id,
            state=self.states[delivery_id],  # type: ignore[arg-type]
            chunks_received=len(self.held[delivery_id]),
        )


@pytest.fixture
def intake() -> FakeIntake:
    return FakeIntake()


@pytest.fixture
def client(intake: FakeIntake) -> Iterator[IntakeClient]:
    server = grpc.server(ThreadPoolExecutor(2))
    add_IntakeServiceServicer_to_server(intake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield IntakeClient(channel, delays_s=(0, 0))
    server.stop(None).wait()


def header(**changes: object) -> pb.DeliveryHeader:
    return pb.DeliveryHeader(
        dataset=pb.DATASET_CATALOGUE, period="2014", chunks=len(CHUNKS), digest=b"d" * 32, **changes
    )  # type: ignore[arg-type]


def send(client: IntakeClient, **changes: object) -> tuple[str, bool, list[int]]:
    sent: list[int] = []
    receipt = client.deliver(header(**changes), lambda index: CHUNKS[index], lambda done, _: sent.append(done))
    return receipt.delivery.delivery_id, receipt.already, sent


def test_a_delivery_is_sent_once_and_its_header_alone_again(client: IntakeClient, intake: FakeIntake) -> None:
    first, already, sent = send(client)
    assert (already, sent) == (False, [1, 2, 3, 4, 5, 6])
    assert send(client) == (first, True, [6])
    assert intake.streams == [0, 6]


@pytest.mark.parametrize("breaks", [[0], [3], [6], [2, 3], [1, 1, 1, 1, 1, 1]])
def test_a_broken_connection_is_resumed_where_the_service_stands(
    client: IntakeClient, intake: FakeIntake, breaks: list[int]
) -> None:
    intake.breaks = list(breaks)
    send(client)
    expected = [sum(breaks[:n]) for n in range(len(breaks) + 1)]
    assert intake.streams == expected


def test_a_service_that_stays_away_is_given_up(client: IntakeClient, intake: FakeIntake) -> None:
    intake.breaks = [2, 0, 0, 0, 0]
    with pytest.raises(UnavailableError):
        send(client)
    assert intake.streams == [0, 2, 2, 2]
    intake.breaks = []
    assert send(client)[1] is False
    assert intake.streams[-1] == 2


def test_a_lost_answer_is_no_second_delivery(client: IntakeClient, intake: FakeIntake) -> None:
    intake.lose_answers = 1
    _, already, _ = send(client)
    assert (already, intake.streams) == (False, [0])


def test_a_refusal_is_final(client: IntakeClient, intake: FakeIntake) -> None:
    intake.refuse = True
    with pytest.raises(InputError):
        send(client)
    assert intake.streams == [0]


@pytest.mark.parametrize("state", [pb.DELIVERY_STATE_REPLACED, pb.DELIVERY_STATE_WITHDRAWN])
def test_overtaken_content_is_sent_again_under_a_new_id(client: IntakeClient, intake: FakeIntake, state: int) -> None:
    first, _, _ = send(client)
    intake.states[first] = state
    second, already, _ = send(client)
    assert second != first
    assert not already
    assert send(client)[0] == second


def test_other_content_has_another_id(client: IntakeClient) -> None:
    assert len({send(client)[0], send(client, rejected_rows=1)[0], send(client, rows=3)[0]}) == 3
