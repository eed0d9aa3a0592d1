"""The linker as its callers meet it: a process of its own, mutual TLS, the real clients."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import grpc
import polars as pl
import pytest

from examples.stack import Stack
from kinlink.cli.config import ClientConfig
from kinlink.delivery.datasets import DATASETS, Kind
from kinlink.errors import ConflictError, InputError, KinlinkError, LimitError, RefusedError, from_rpc_error
from kinlink.linkage_client import LinkageClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.types.v1 import types_pb2
from linker.store.delta import DeltaTables
from linker.store.snapshots import Snapshots
from servicekit.database import engine
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
    sent = [
        deliver(stack, "dubu", requests("dubu", "postings", given.postings("a"), period=f"201{i}")).delivery
        for i in range(5)
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


@dataclass(frozen=True)
class Attempt:
    """What a caller tries, and how it ends."""

    source: str
    parts: Callable[[], list[pb.DeliverRequest]]
    error: type[KinlinkError]
    reason: str


ATTEMPTS = {
    "a source delivers persons": Attempt(
        "prisme",
        lambda: requests("prisme", "persons", given.persons("a", source="prisme")),
        RefusedError,
        "DATASET_NOT_ALLOWED",
    ),
    "the register delivers postings": Attempt(
        "folkeregister",
        lambda: requests("folkeregister", "postings", given.postings("a", source="folkeregister")),
        RefusedError,
        "DATASET_NOT_ALLOWED",
    ),
    "a source names another's key": Attempt(
        "dubu", lambda: requests("prisme", "postings", given.postings("a")), RefusedError, "KEY_DOMAIN_NOT_OWN"
    ),
    "an element is not canonical": Attempt(
        "dubu",
        lambda: requests(
            "dubu",
            "postings",
            given.postings("a", "b").with_columns(person=pl.Series([given.element("a"), b"\xff" * 32])),
        ),
        InputError,
        "ROWS_INVALID",
    ),
    "a message is over the size limit": Attempt(
        "dubu",
        lambda: [
            requests("dubu", "postings", given.postings("a"))[0],
            pb.DeliverRequest(chunk=pb.DeliveryChunk(arrow_ipc=bytes(3 << 20))),
        ],
        LimitError,
        "MESSAGE_TOO_LARGE",
    ),
    "garbage without end": Attempt(
        "dubu",
        lambda: [
            requests("dubu", "postings", given.postings("a"), chunks=10_000, rows=10_000)[0],
            *(pb.DeliverRequest(chunk=pb.DeliveryChunk(index=0, arrow_ipc=b"\x17" * 4096)) for _ in range(500)),
        ],
        InputError,
        "CHUNK_INVALID",
    ),
}


@pytest.mark.parametrize("name", sorted(ATTEMPTS))
def test_a_refused_delivery_leaves_nothing(stack: Stack, name: str) -> None:
    attempt = ATTEMPTS[name]
    parts = attempt.parts()
    with pytest.raises(attempt.error) as error:
        deliver(stack, attempt.source, parts)
    assert error.value.reason == attempt.reason
    if attempt.reason == "ROWS_INVALID":
        assert [violation.field for violation in error.value.violations] == ["person[1]"]
    with channel(stack, f"source/{attempt.source}") as opened:
        known = IntakeServiceStub(opened).ListDeliveries(pb.ListDeliveriesRequest(page_size=1000)).deliveries
    held = {delivery.delivery_id: delivery for delivery in known}.get(parts[0].header.delivery_id)
    # A message that gRPC refuses never reached the intake: what was begun waits to be resumed.
    assert held is None or (attempt.reason == "MESSAGE_TOO_LARGE" and held.chunks_received == 0)


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


STRACE = ("strace", "-D", "-ff", "-ttt", "-T", "-y", "-s", "8192", "-e", "trace=fsync,fdatasync,pwrite64")
_SYNC = re.compile(r"^(\d+\.\d+) f(?:data)?sync\(\d+<([^>]*)>\)\s+= 0 <(\d+\.\d+)>")


def traced() -> bool:
    """Tell whether this machine lets a process be traced."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run([*STRACE, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


def synced(traces: Sequence[Path], after: float, before: float) -> set[Path]:
    """Return the paths whose sync began and ended between two instants."""
    found = [match for trace in traces for line in trace.read_text().splitlines() if (match := _SYNC.match(line))]
    return {Path(m[2]) for m in found if float(m[1]) > after and float(m[1]) + float(m[3]) < before}


def accepted_at(traces: Sequence[Path], delivery_id: str) -> float:
    """Return the instant at which the row that says `accepted` began to be written to SQLite's log."""
    row = re.compile(rf"^(\d+\.\d+) pwrite64\(\d+<[^>]*state\.db-wal>.*{delivery_id}postings2014.{{,300}}?accepted")
    found = [match for trace in traces for line in trace.read_text().splitlines() if (match := row.match(line))]
    return min(float(match[1]) for match in found)


@pytest.mark.skipif(not traced(), reason="strace is not installed, or may not trace")
def test_an_accepted_delivery_was_synced_before_its_snapshot_was_named(stack: Stack, tmp_path: Path) -> None:
    stack.stop("linker")
    stack.start("linker", wrapper=(*STRACE, "-o", str(tmp_path / "trace")))
    begun = time.time()  # strace stamps by the same clock; what start-up synced is before this
    root = stack.folder / "linker"
    parts = requests("voksen", "postings", given.postings("a", source="voksen"), given.postings("b", source="voksen"))
    accepted = deliver(stack, "voksen", parts).delivery
    stack.stop("linker")

    store = Snapshots(engine(f"sqlite:///{root}/state.db"), DeltaTables(root / "store"))
    snapshot = store.current()
    store.engine.dispose()
    assert snapshot.number == accepted.snapshot
    table = root / "store/quarantine/postings"
    rows = table / f"source=voksen/delivery_id={accepted.delivery_id}"
    entry = table / f"_delta_log/{snapshot.versions['quarantine/postings']:020}.json"
    named = {*rows.glob("*.parquet"), rows, rows.parent, table, entry, entry.parent, table.parent, root / "store"}
    assert len(named) == 8

    traces = sorted(tmp_path.iterdir())
    in_time = synced(traces, begun, accepted_at(traces, accepted.delivery_id))
    assert named <= in_time, f"not synced in time: {sorted(map(str, named - in_time))}"
    assert any(root / "staging" in path.parents for path in in_time), "chunks were synced as they came"
    stack.start("linker")
