"""The linker as its callers meet it: a process of its own, mutual TLS, the real clients."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from datetime import date

import grpc
import polars as pl
import pytest

from examples.stack import Stack
from kinlink.client_config import ClientConfig
from kinlink.delivery.datasets import DATASETS
from kinlink.errors import ConflictError, RefusedError, from_rpc_error
from kinlink.linkage_client import LinkageClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.pseudonyms import Kind
from kinlink.types.v1 import types_pb2
from tests.unit import linker_fixtures as given

KINDS = {Kind.CPR: types_pb2.KIND_CPR, Kind.ADDRESS: types_pb2.KIND_ADDRESS}
OPERATOR = "operator/drift"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("linker"), settings={"linker": {"max_message_bytes": 2 << 20}}) as started:
        yield started


def channel(stack: Stack, party: str) -> grpc.Channel:
    return ClientConfig.load(stack.client(party)).linker_channel()


def requests(
    source: str, dataset: str, *frames: pl.DataFrame, kinds: Sequence[Kind] = (Kind.CPR,), **fields: object
) -> list[pb.DeliverRequest]:
    chunks = [given.ipc(frame) for frame in frames]
    header = {
        "delivery_id": str(uuid.uuid4()),
        "dataset": DATASETS[dataset].number,
        "period": "2014",
        "suite": types_pb2.SUITE_KINLINK_SYNTHETIC_V1 if kinds else types_pb2.SUITE_UNSPECIFIED,
        "keys": [types_pb2.KeyRef(domain=f"source/{source}", kind=KINDS[kind], version=1) for kind in kinds],
        "rows": sum(frame.height for frame in frames),
        "chunks": len(chunks),
        "digest": given.digest(chunks),
        **fields,
    }
    sent = [pb.DeliveryChunk(index=index, arrow_ipc=chunk) for index, chunk in enumerate(chunks)]
    return [
        pb.DeliverRequest(header=pb.DeliveryHeader(**header)),  # type: ignore[arg-type]
        *(pb.DeliverRequest(chunk=chunk) for chunk in sent),
        pb.DeliverRequest(finish=pb.DeliveryFinish()),
    ]


def deliver(stack: Stack, source: str, parts: Sequence[pb.DeliverRequest]) -> pb.DeliverResponse:
    with channel(stack, f"source/{source}") as opened:
        try:
            return IntakeServiceStub(opened).Deliver(iter(parts))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


def test_deliver_list_and_withdraw_over_the_wire(stack: Stack) -> None:
    years = [(f"201{i}", given.postings("a", event_month=date(2010 + i, 1, 1))) for i in range(5)]
    sent = [
        deliver(stack, "dubu", requests("dubu", "postings", rows, period=period)).delivery for period, rows in years
    ]
    with channel(stack, "source/dubu") as opened:
        stub = IntakeServiceStub(opened)
        pages, token = [], ""
        while True:
            page = stub.ListDeliveries(pb.ListDeliveriesRequest(page_size=2, page_token=token))
            pages.append([delivery.delivery_id for delivery in page.deliveries])
            token = page.next_page_token
            if not token:
                break
        assert pages == [[d.delivery_id for d in part] for part in (sent[4:2:-1], sent[2:0:-1], sent[:1])]
        gone = stub.WithdrawDelivery(pb.WithdrawDeliveryRequest(delivery_id=sent[0].delivery_id)).delivery
        assert gone.state == pb.DELIVERY_STATE_WITHDRAWN
        for bad in ({"page_size": 1001}, {"page_token": "x"}, {"dataset": 99}):
            with pytest.raises(grpc.RpcError) as error:
                stub.ListDeliveries(pb.ListDeliveriesRequest(**bad))  # type: ignore[arg-type]
            assert from_rpc_error(error.value).reason == "REQUEST_INVALID"
    with channel(stack, "source/ky") as opened, pytest.raises(grpc.RpcError) as error:
        IntakeServiceStub(opened).GetDelivery(pb.GetDeliveryRequest(delivery_id=sent[1].delivery_id))
    assert from_rpc_error(error.value).reason == "DELIVERY_UNKNOWN"


CATALOGUE = given.frame(
    "catalogue",
    [
        {
            "service": service, "name_da": service, "department": department, "type": kind, "area": area,
            "counts": True, "cost_basis": "posting", "flags": flags, "valid_from": date(2000, 1, 1),
        }
        for service, department, kind, area, flags in (
            ("BIF-KONTANTHJAELP", "BIF", "transfer", None, ["public_support"]),
            ("BIF-SYGEDAGPENGE", "BIF", "transfer", None, ["public_support"]),
            ("BIF-RESSOURCEFORLOEB", "BIF", "transfer", None, ["public_support"]),
            ("family_treatment", "SOF", "offer", "special", ["social_child_case"]),
        )
    ],
)  # fmt: skip


def test_a_run_waits_for_the_pseudonymizer_and_is_resumed(stack: Stack) -> None:
    deliver(stack, "prisme", requests("prisme", "catalogue", CATALOGUE, kinds=()))
    deliver(stack, "prisme", requests("prisme", "postings", given.postings("a", "b")))
    deliver(stack, "folkeregister", requests("folkeregister", "persons", given.persons("a", "b")))
    stack.stop("pseudonymizer")
    told = ("link", "run", "--reference-date", "2015-01-01")
    stopped = stack.run(OPERATOR, *told, check=False)
    assert stopped.returncode == 5, stopped.stderr
    assert "PSEUDONYMIZER_UNAVAILABLE" in stopped.stdout
    resume = re.search(r"go on with: kinlink (.*)", stopped.stderr)
    assert resume
    stack.start("pseudonymizer")
    resumed = stack.run(OPERATOR, *resume[1].split(), check=False)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "succeeded" in resumed.stdout
    assert "family_characteristics" in resumed.stdout
    assert stack.run(OPERATOR, "link", "status").stdout.splitlines()[0] == resumed.stdout.splitlines()[0]
    with channel(stack, OPERATOR) as opened:
        run = LinkageClient(opened).get()
        assert run.snapshot > 0
        with pytest.raises(ConflictError) as error:
            LinkageClient(opened).start(date(2016, 1, 1), request_id=run.request_id)
        assert error.value.reason == "REQUEST_ID_REUSED"


def test_only_operators_start_runs(stack: Stack) -> None:
    for party in ("source/prisme", "consumer/velfaerdsanalyse", "dpo/dpo"):
        with channel(stack, party) as opened, pytest.raises(RefusedError):
            LinkageClient(opened).start(date(2015, 1, 1))


def test_a_second_linker_on_the_same_store_does_not_start(stack: Stack) -> None:
    settings = stack.folder / "linker/settings.toml"
    second = stack.run(OPERATOR, "serve", "linker", "--config", settings, check=False)
    assert (second.returncode, second.stderr.count("\n")) == (2, 1)
    assert "is used by another linker" in second.stderr
