"""What a user sees when a service dies or a connection breaks, and that he can go on."""

from __future__ import annotations

import random
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.stack import SERVICES, Stack
from kinlink.channel import Identity, open_channel
from kinlink.errors import UnavailableError
from kinlink.intake_client import IntakeClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from tests.acceptance.kills import Battered
from tests.acceptance.phases import give
from tests.acceptance.proxy import proxy
from tests.acceptance.reader import Reader
from tests.acceptance.test_linker import CATALOGUE, channel, deliver, requests
from tests.acceptance.whole import damage, ledger, orphans, unrecorded
from tests.unit import linker_fixtures as given
from tests.unit.delivery.extracts import HEADER, SOUND, extract_file, mapping_file

OPERATOR = "operator/drift"


def start(folder: Path, fault: str = "") -> Battered:
    battered = Battered(Stack(folder), random.Random(0), fault, at_once=True)  # noqa: S311 - chooses moments, no secrets
    battered.stack.prepare()
    for service in SERVICES:
        battered.start(service)
    return battered


@pytest.fixture(scope="module")
def battered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battered]:
    started = start(tmp_path_factory.mktemp("crashes"))
    yield started
    started.stack.__exit__(None, None, None)


def test_services_killed_while_they_accept_and_answer_lose_nothing_and_the_command_succeeds(
    battered: Battered, tmp_path: Path
) -> None:
    battered.orders = {"linker": ["delivery/sync", "delivery/commit"], "pseudonymizer": ["evaluate/settle"]}
    extract, mapping = extract_file(tmp_path, HEADER + SOUND * 3), mapping_file(tmp_path)
    told = ("deliver", "--mapping", mapping, "--period", "2014", extract)
    battered.run("source/prisme", *told)

    assert [(death.who, death.phase) for death in battered.deaths] == [
        ("pseudonymizer", "evaluate/settle"),
        ("linker", "delivery/sync"),
        ("linker", "delivery/commit"),
    ]
    assert list(battered.promised.values()) == [3]
    assert battered.wrong == []
    linker = battered.stack.folder / "linker"
    assert (damage(linker, battered.promised), orphans(linker)) == ([], [])
    assert unrecorded(linker) == []
    assert damage(linker, {"another": 3}) == ["a client was told that another is accepted; it is not"]
    left = linker / "store/quarantine/postings/part-0.parquet#1"
    left.write_bytes(b"half written")
    assert orphans(linker) == [str(left.relative_to(linker))]
    battered.stack.kill("linker")
    battered.start("linker")
    assert orphans(linker) == []
    assert ledger(battered.stack.folder / "pseudonymizer", {"source/prisme": 1}) == []


def test_a_pseudonymizer_that_dies_during_linkage_interrupts_the_run_which_then_goes_on(battered: Battered) -> None:
    stack = battered.stack
    deliver(stack, "prisme", requests("prisme", "catalogue", CATALOGUE, kinds=()))
    deliver(stack, "dubu", requests("dubu", "postings", given.postings("a", "b")))
    deliver(stack, "folkeregister", requests("folkeregister", "persons", given.persons("a", "b")))
    give(battered.folder("pseudonymizer"), "convert/multiply", 0)
    stopped = stack.run(OPERATOR, "link", "run", "--reference-date", "2015-01-01", check=False)
    assert stack.processes["pseudonymizer"].popen.wait() == -9
    assert stopped.returncode == 5, stopped.stderr
    resume = re.search(r"go on with: kinlink (.*)", stopped.stderr)
    assert resume
    status = stack.run(OPERATOR, "link", "status").stdout
    assert ": interrupted," in status
    assert "stopped in stage conversion: PSEUDONYMIZER_UNAVAILABLE." in status
    battered.start("pseudonymizer")
    assert ": succeeded," in stack.run(OPERATOR, *resume[1].split()).stdout
    assert ": succeeded," in stack.run(OPERATOR, "link", "status").stdout


def test_a_linker_that_dies_during_linkage_leaves_an_interrupted_run_which_then_goes_on(battered: Battered) -> None:
    stack = battered.stack
    deliver(stack, "ky", requests("ky", "postings", given.postings("a", source="ky")))
    give(battered.folder("linker"), "conversion/commit", 0)
    stopped = stack.run(OPERATOR, "link", "run", "--reference-date", "2015-01-01", check=False)
    assert stack.processes["linker"].popen.wait() == -9
    assert stopped.returncode == 5, stopped.stderr
    resume = re.search(r"go on with: kinlink (.*)", stopped.stderr)
    assert resume
    battered.start("linker")
    status = stack.run(OPERATOR, "link", "status").stdout
    assert ": interrupted," in status
    assert "SERVICE_RESTARTED" in status
    assert ": succeeded," in stack.run(OPERATOR, *resume[1].split()).stdout


def test_a_delivery_whose_connection_is_cut_is_resumed_where_it_broke_off(battered: Battered) -> None:
    stack, chunks_held = battered.stack, 3
    parts = requests("voksen", "postings", *(given.postings(name, source="voksen") for name in "abcdef"))
    header = parts[0].header
    header.ClearField("delivery_id")
    chunks = [part.chunk.arrow_ipc for part in parts if part.HasField("chunk")]
    asked: list[int] = []
    certificate = stack.folder / "certs/source-voksen"
    identity = Identity(stack.folder / "certs/ca.pem", Path(f"{certificate}.pem"), Path(f"{certificate}.key"))

    with proxy(stack.processes["linker"].address) as carried, channel(stack, "source/voksen") as direct:
        beside = IntakeClient(direct)

        def under_way() -> pb.Delivery:
            return next(beside.list())

        def chunk(index: int) -> bytes:
            asked.append(index)
            if len(asked) == chunks_held + 1:
                waited = threading.Event()
                while next(iter(beside.list()), pb.Delivery()).chunks_received < chunks_held:
                    waited.wait(0.01)
                carried.cut()
            return chunks[index]

        with open_channel(carried.address, identity) as opened, pytest.raises(UnavailableError):
            IntakeClient(opened, delays_s=()).deliver(header, chunk, lambda *_: None)
        broken = under_way()
        assert (broken.state, broken.chunks_received) == (pb.DELIVERY_STATE_RECEIVING, chunks_held)
        assert "receiving" in stack.run("source/voksen", "deliveries", "list").stdout
        asked = []
        with open_channel(carried.address, identity) as opened:
            receipt = IntakeClient(opened).deliver(header, chunks.__getitem__, lambda done, _: asked.append(done - 1))
    assert asked == [3, 4, 5]
    assert (receipt.delivery.delivery_id, receipt.delivery.rows) == (broken.delivery_id, 6)
    assert receipt.delivery.state == pb.DELIVERY_STATE_ACCEPTED


def test_the_checks_see_a_snapshot_that_is_named_before_its_files_are_written(tmp_path: Path) -> None:
    """The control that must fail: a linker that accepts first and writes then, killed in between."""
    battered = start(tmp_path, "the snapshot is named before its files are written")
    stack, linker = battered.stack, tmp_path / "linker"
    give(battered.folder("linker"), "delivery/write", 0)
    extract, mapping = extract_file(tmp_path, HEADER + SOUND * 3), mapping_file(tmp_path)
    told = stack.command("deliver", "--mapping", mapping, "--period", "2014", extract)
    client = subprocess.Popen(told, env=stack.environment("source/prisme"), stdout=subprocess.DEVNULL)
    stack.processes["linker"].popen.wait()
    client.kill()
    client.wait()
    stack.stop("pseudonymizer")

    faults = damage(linker, {})
    assert len(faults) == 1
    assert "what the snapshot names cannot be read" in faults[0] or "0 of 3 rows" in faults[0]


def test_the_reader_sees_a_table_and_an_accepted_delivery_that_are_gone(battered: Battered) -> None:
    """The reader's control: what it believes to have seen was never there."""
    reader = Reader(battered.stack)
    reader.deliveries["elev/lost"] = pb.Delivery(delivery_id="lost", state=pb.DELIVERY_STATE_ACCEPTED)
    reader.tables["lost"] = None  # type: ignore[assignment]
    reader.start()
    waited = threading.Event()
    while reader.answers < 50:
        waited.wait(0.02)
    reader.stop()
    assert any("elev/lost" in fault and "gone" in fault for fault in reader.wrong)
    assert any(fault.startswith("of ['lost") for fault in reader.wrong)
