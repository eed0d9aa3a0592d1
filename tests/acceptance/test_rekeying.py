"""Calls that are under way while a key is rotated: an evaluation and a delivery that began before still land."""

from __future__ import annotations

import os
import pty
import queue
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import polars as pl
import pytest

from examples.rotation import OPERATOR, Rotation, rekey_linker, rekey_source
from examples.stack import PEOPLE, PURPOSE, SERVICES, Stack
from kinlink.channel import open_channel
from kinlink.delivery.datasets import DATASETS
from kinlink.errors import ConflictError, from_rpc_error
from kinlink.key_administration_client import KeyAdministrationClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.linker_rekeying_client import LinkerRekeyingClient
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1.types_pb2 import KeyRef
from tests import postgres
from tests.in_process import InProcess
from tests.running import identity
from tests.unit import linker_fixtures as given

SOURCE = "source/prisme"
NUMBERS = [f"{61 + n % 28}{1 + n // 28:02}700{n:03}" for n in range(100)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("rekeying")
    with ExitStack() as opened:
        on_postgresql = request.param == "postgresql"
        told = postgres.databases(opened.enter_context(postgres.cluster()), SERVICES) if on_postgresql else {}
        yield opened.enter_context(Stack(folder, settings=told))


def dial(stack: Stack, service: str, party: str) -> grpc.Channel:
    who = identity(stack.folder / "certs", party.replace("/", "-"))
    return open_channel(stack.processes[service].address, who)


def header(chunk: bytes, rows: int, key: KeyRef) -> pb.DeliveryHeader:
    return pb.DeliveryHeader(
        delivery_id=str(uuid.uuid4()),
        dataset=DATASETS["postings"].number,
        period="2014",
        suite=Suite.SYNTHETIC.wire,
        keys=[key],
        rows=rows,
        chunks=1,
        digest=given.digest([chunk]),
    )


def held(intake: IntakeServiceStub, asked: pb.GetDeliveryRequest) -> int:
    try:
        return int(intake.GetDelivery(asked).delivery.chunks_received)
    except grpc.RpcError:
        return 0


def test_what_began_before_activation_lands_and_is_carried_over(stack: Stack) -> None:
    activated: list[int] = []

    def activate(done: int, _: int) -> None:
        if not activated:
            activated.append(done)
            Rotation(InProcess(stack), SOURCE).activate()

    with dial(stack, "pseudonymizer", SOURCE) as channel:
        client = PseudonymizerClient(channel, domain=SOURCE, suite=Suite.SYNTHETIC, batch_size=10)
        elements, key = client.evaluate(NUMBERS, Kind.CPR, progress=activate)
        assert (activated, key.version, len(elements)) == ([10], 1, 32 * len(NUMBERS)), "one stream, one version"
        with pytest.raises(ConflictError) as refused:
            client.evaluate(NUMBERS[:1], Kind.CPR, version=1)
        assert refused.value.reason == "KEY_VERSION_INACTIVE"
        again, new = client.evaluate(NUMBERS[:1], Kind.CPR)
        assert (new.version, again == elements[:32]) == (2, False)

    people = [elements[at : at + 32] for at in range(0, len(elements), 32)]
    rows = given.postings(*["x"] * len(people)).with_columns(person=pl.Series(people, dtype=pl.Binary))
    chunk = given.ipc(rows)
    told: queue.Queue[pb.DeliverRequest | None] = queue.Queue()
    with dial(stack, "linker", SOURCE) as linker, dial(stack, "linker", "operator/drift") as operators:
        intake, rekeying = IntakeServiceStub(linker), LinkerRekeyingClient(operators)
        begun = header(chunk, rows.height, key)
        told.put(pb.DeliverRequest(header=begun))
        told.put(pb.DeliverRequest(chunk=pb.DeliveryChunk(index=0, arrow_ipc=chunk)))
        answers: list[pb.DeliverResponse] = []
        sending = threading.Thread(target=lambda: answers.append(intake.Deliver(iter(told.get, None))))
        sending.start()
        asked = pb.GetDeliveryRequest(delivery_id=begun.delivery_id)
        while not held(intake, asked):  # the first message may not have arrived
            pass
        started = rekeying.start()
        watch = rekeying.watch(started.rekeying_id)
        assert next(now for now in watch if now.stage == "attestation").state == "running", "it waits for the delivery"
        told.put(pb.DeliverRequest(finish=pb.DeliveryFinish()))
        told.put(None)
        sending.join(60)
        assert answers[0].delivery.state == pb.DELIVERY_STATE_ACCEPTED
        done = list(watch)[-1]
        assert (done.state, done.reason) == ("succeeded", "")
        [left] = [one for one in done.keys if (one.domain, one.kind) == (SOURCE, "cpr")]
        assert (left.held, left.converted, left.to_domain, left.attested) == (100, 100, "linkage/familie", True)
        late = header(chunk, rows.height, key)
        with pytest.raises(grpc.RpcError) as closed:
            intake.Deliver(iter([pb.DeliverRequest(header=late), pb.DeliverRequest(finish=pb.DeliveryFinish())]))
        assert from_rpc_error(closed.value).reason == "KEY_VERSION_CLOSED"


def test_the_linkers_store_is_carried_over_and_what_was_left_is_destroyed(stack: Stack) -> None:
    """What the test above delivered, 100 people, stands under the linkage key that is replaced."""
    linkage, run = f"linkage/{PURPOSE}", InProcess(stack)
    Rotation(run, linkage).activate()
    with pytest.raises(subprocess.CalledProcessError) as early:
        Rotation(run, linkage).destroy()
    assert "[HOLDERS_NOT_DONE]" in early.value.stderr
    with dial(stack, "linker", OPERATOR) as operators:
        rekeying = LinkerRekeyingClient(operators)
        *_, done = rekeying.watch(rekeying.start().rekeying_id)
    assert done.state == "succeeded"
    [left] = [one for one in done.keys if (one.domain, one.kind) == (linkage, "cpr")]
    assert (left.held, left.converted, left.sample_size, left.attested) == (100, 100, 100, True)
    rekey_source(run, "prisme", [], "")
    for domain in (linkage, SOURCE):
        Rotation(run, domain).destroy()
        with dial(stack, "pseudonymizer", PEOPLE[0]) as channel:
            states = {(key.name.version, key.state) for key in KeyAdministrationClient(channel).keys(domain)}
        assert states == {(1, "destroyed"), (2, "active")}


def test_a_version_that_does_not_exist_is_refused_at_the_door(stack: Stack) -> None:
    chunk = given.ipc(given.postings("a"))
    with dial(stack, "linker", SOURCE) as linker:
        begun = header(chunk, 1, KeyRef(domain=SOURCE, kind=Kind.CPR.wire, version=9))
        with pytest.raises(grpc.RpcError) as refused:
            IntakeServiceStub(linker).Deliver(iter([pb.DeliverRequest(header=begun)]))
    assert from_rpc_error(refused.value).reason == "KEY_VERSION_UNKNOWN"


def on_a_terminal(stack: Stack, party: str, *arguments: str | Path) -> str:
    """Run `kinlink` with a terminal for what it says beside its output; return that."""
    shown, terminal = pty.openpty()
    command = stack.command(*arguments)
    with subprocess.Popen(command, env=stack.environment(party), stdout=subprocess.DEVNULL, stderr=terminal) as running:
        os.close(terminal)
        said = b""
        with suppress(OSError):  # how a terminal ends
            while piece := os.read(shown, 65536):
                said += piece
    os.close(shown)
    assert running.returncode == 0, said
    return said.decode()


def test_a_source_carries_its_files_over_and_attests(stack: Stack, tmp_path: Path) -> None:
    source, run = "source/dubu", InProcess(stack)
    plain = tmp_path / "borgere.csv"
    plain.write_text("note;cpr\n" + "".join(f"0{n};{number}\n" for n, number in enumerate(NUMBERS)))
    held = [tmp_path / "held.csv", tmp_path / "held.parquet"]
    for path in held:
        run(source, "pseudonymise", plain, "--column", "cpr", "--out", path)
    Rotation(run, source).activate()
    bar = on_a_terminal(stack, source, "keys", "rekey", held[0], "--column", "cpr")
    assert "held.csv" in bar
    assert "100%" in bar
    said = run(source, "keys", "rekey", *held, "--column", "cpr", "--complete").stdout
    assert "attested for source/dubu cpr version 1: 200 held and carried over, a sample of 200 compared" in said
    fresh = tmp_path / "fresh.csv"
    run(source, "pseudonymise", plain, "--column", "cpr", "--out", fresh)
    assert held[0].read_bytes() == fresh.read_bytes(), "as if pseudonymised under the new version"
    receipts = {f"{path.name}.rekeyed.json" for path in held}
    assert {path.name for path in tmp_path.iterdir()} == {plain.name, fresh.name, *(p.name for p in held), *receipts}
    rekey_linker(run)
    run(source, "keys", "rekey", "--kind", "replacement", "--complete")
    Rotation(run, source).destroy()
    run(source, "keys", "rekey", *held, "--column", "cpr", "--complete")
    assert not receipts & {path.name for path in tmp_path.iterdir()}, "nobody asks about them any more"
