"""What whoever holds the pseudonymizer, and keeps all it is sent, sees of persons; what a source sees of another.

Neither who is repeated, within a delivery or between two, nor in what order they stood.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from examples.stack import SERVICES, Stack
from kinlink import ristretto255
from kinlink.delivery.datasets import DATASETS
from kinlink.errors import KinlinkError, from_rpc_error
from kinlink.linker.v1 import intake_service_pb2 as intake
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymisation
from kinlink.pseudonyms import Kind, Suite
from tests.privacy.parties import CONVERT, EVALUATE, audited, convert, delivery, dial, evaluate, pieces
from tests.privacy.recording import Recorded, recording
from tests.unit import linker_fixtures as given


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    stack = Stack(folder, budget_per_day={"source/dubu": 100})
    stack.prepare()
    capture = folder / "capture.jsonl"
    stack.start("pseudonymizer", wrapper=recording(capture))
    try:
        stack.start("linker")
        yield Recorded(stack, capture)
    finally:
        for service in reversed(SERVICES):
            stack.stop(service)


def test_a_source_does_not_see_resume_or_withdraw_what_another_delivers(recorded: Recorded) -> None:
    chunks = [given.ipc(given.postings(name)) for name in ("a", "b")]
    postings, delivery_id = DATASETS["postings"].number, str(uuid.uuid4())
    with (
        dial(recorded.stack, "linker", "source/prisme") as own,
        dial(recorded.stack, "linker", "source/ky") as other,
    ):
        owner, stranger = IntakeServiceStub(own), IntakeServiceStub(other)
        parts = list(delivery("prisme", postings, *chunks, delivery_id=delivery_id))
        with pytest.raises(grpc.RpcError) as caught:  # one of two chunks, then the connection breaks
            owner.Deliver(iter(parts[:2]))
        assert from_rpc_error(caught.value).reason == "DELIVERY_INCOMPLETE"
        get = intake.GetDeliveryRequest(delivery_id=delivery_id)
        take = intake.WithdrawDeliveryRequest(delivery_id=delivery_id)

        def stranger_is_refused(*reasons: str) -> None:
            calls = (
                lambda: stranger.GetDelivery(get),
                lambda: stranger.WithdrawDelivery(take),
                lambda: stranger.Deliver(delivery("ky", postings, *chunks, delivery_id=delivery_id, first_chunk=1)),
                lambda: stranger.Deliver(delivery("prisme", postings, *chunks, delivery_id=delivery_id, first_chunk=1)),
            )
            for call, reason in zip(calls, reasons, strict=True):
                with pytest.raises(grpc.RpcError) as caught:
                    call()
                assert from_rpc_error(caught.value).reason == reason
            seen = stranger.ListDeliveries(intake.ListDeliveriesRequest()).deliveries
            assert delivery_id not in {d.delivery_id for d in seen if d.chunks_received or d.source != "ky"}

        stranger_is_refused("DELIVERY_UNKNOWN", "DELIVERY_UNKNOWN", "CHUNK_GAP", "KEY_DOMAIN_NOT_OWN")
        assert owner.GetDelivery(get).delivery.chunks_received == 1
        answer = owner.Deliver(delivery("prisme", postings, *chunks, delivery_id=delivery_id, first_chunk=1))
        assert answer.delivery.state == intake.DELIVERY_STATE_ACCEPTED
        before = owner.GetDelivery(get).delivery
        with pytest.raises(grpc.RpcError):
            stranger.WithdrawDelivery(take)
        assert owner.GetDelivery(get).delivery == before


def test_a_message_over_budget_is_refused_whole(recorded: Recorded) -> None:
    numbers = [f"6101{year:02}{serial:04}" for year in range(10, 13) for serial in range(4000, 4040)]
    assert len(numbers) == 120
    with pytest.raises(KinlinkError) as caught:
        evaluate(recorded.stack, "dubu", numbers)
    assert caught.value.reason == "BUDGET_DAY"
    last = audited(recorded.stack, "pseudonymizer")[-1]
    assert (last["outcome"], last["reason"], last["count"]) == ("refused", "BUDGET_DAY", 120)
    assert len(evaluate(recorded.stack, "dubu", numbers[:100])[0]) == 100  # the refused message used nothing
    with pytest.raises(KinlinkError):
        evaluate(recorded.stack, "dubu", numbers[:1])


# What a capture of the pseudonymizer's traffic shows

EXTRACT_HEADER = "person;event_month;booked_month;amount_ore;dranst;department;service;cost_component\n"
PEOPLE = [f"{61 + n % 20:02}{1 + n % 12:02}{70 + n % 30}{4000 + n:04}" for n in range(400)]


def _deliver_twice(stack: Stack, folder: Path) -> None:
    """Deliver the same 400 people in two periods, each person thrice, by `kinlink deliver`."""
    rules = "\n".join(f'{name} = {{ from = "{name}" }}' for name in EXTRACT_HEADER.strip().split(";"))
    rules = rules.replace('"event_month" }', '"event_month", date = "yyyy-mm-dd" }')
    rules = rules.replace('"booked_month" }', '"booked_month", date = "yyyy-mm-dd" }')
    mapping = folder / "postings.toml"
    mapping.write_text(
        f'dataset = "postings"\nmax_rejected_share = 0.0\n[file]\nencoding = "utf-8"\n[columns]\n{rules}\n'
    )
    lines = "".join(f"{person};2014-03-01;2014-03-01;100;1;SOF;X;service\n" for person in PEOPLE * 3)
    (folder / "postings.csv").write_text(EXTRACT_HEADER + lines)
    for period in ("2014-03", "2014"):
        stack.run("source/prisme", "deliver", "--mapping", mapping, "--period", period, folder / "postings.csv")


def test_a_capture_shows_neither_repeats_nor_persons_nor_order(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(recorded.messages(EVALUATE))
    _deliver_twice(recorded.stack, tmp_path)
    sent = captured(recorded, before)
    assert len(sent) == 2 * len(PEOPLE)  # each person once a delivery
    after = len(recorded.messages(EVALUATE))
    found, key = evaluate(recorded.stack, "prisme", PEOPLE)
    points = pieces(ristretto255.hash_to_group([p.encode() for p in PEOPLE], Suite.SYNTHETIC.tag(Kind.CPR)))
    known = set(points) | set(found) | set(convert(recorded.stack, found, key))
    assert tells_apart(sent, known) == set()
    assert not any(person.encode() in message for message in recorded.messages(EVALUATE) for person in PEOPLE)
    conversions = [
        p for m in recorded.messages(CONVERT) for p in pieces(pseudonymisation.ConvertRequest.FromString(m).elements)
    ]
    assert len(conversions) == len(PEOPLE)
    assert tells_apart(conversions, known) == set()

    # The control: the same client, its blinding taken away. The capture then tells all, and shows the order sent.
    one = (1).to_bytes(32, "little")
    monkeypatch.setattr(ristretto255, "random_scalars", lambda count: one * count)
    for _ in range(2):
        evaluate(recorded.stack, "prisme", PEOPLE)
    unblinded = captured(recorded, after + 1)
    assert tells_apart(unblinded, known) == {"repeats", "known"}
    place = {point: index for index, point in enumerate(points)}
    for orders in (unblinded[: len(PEOPLE)], unblinded[len(PEOPLE) :]):
        order = [place[point] for point in orders]
        assert sorted(order) == list(range(len(PEOPLE)))
        rises = sum(later > earlier for earlier, later in pairwise(order))
        assert 0.3 < rises / len(PEOPLE) < 0.7  # half in a shuffled order; 0.2 is fourteen standard deviations
    assert unblinded[: len(PEOPLE)] != unblinded[len(PEOPLE) :]


def captured(recorded: Recorded, after: int) -> list[bytes]:
    messages = recorded.messages(EVALUATE)[after:]
    return [p for message in messages for p in pieces(pseudonymisation.EvaluateRequest.FromString(message).elements)]


def tells_apart(elements: Sequence[bytes], known: set[bytes]) -> set[str]:
    """Say what a capture of these elements gives away to someone who knows those others."""
    told = {"repeats"} if len(set(elements)) < len(elements) else set()
    return told | ({"known"} if set(elements) & known else set())
