"""A service's own log over the wire, and its way to second places."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kinlink.audit import merkle, note
from kinlink.audit.entry import parse
from kinlink.audit.note import Checkpoint, VerifierKey
from kinlink.audit.v1 import audit_service_pb2 as pb
from kinlink.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from kinlink.channel import open_channel
from kinlink.errors import from_rpc_error
from servicekit import server
from servicekit.audit.checkpoints import LogError
from servicekit.errors import UnavailableError
from tests.running import identity
from tests.unit.servicekit import log_services
from tests.unit.servicekit.log_services import LogService, key_of


@pytest.fixture
def service(tmp_path: Path, certificates: Path) -> Iterator[LogService]:
    with log_services.running("linker", tmp_path / "linker", certificates) as made:
        yield made


@pytest.fixture
def stub(service: LogService) -> Iterator[AuditServiceStub]:
    with open_channel(service.address, identity(service.certificates, "dpo-dpo")) as channel:
        yield AuditServiceStub(channel)


def health(service: LogService, name: str = "", party: str = "operator-drift") -> tuple[str, dict[str, Any]]:
    with open_channel(service.address, identity(service.certificates, party)) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        answer, call = check.with_call(health_pb2.HealthCheckRequest(service=name))
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), dict(call.trailing_metadata())


def stream(stub: AuditServiceStub, start: int, end: int) -> list[bytes]:
    answers = list(stub.ListEntries(pb.ListEntriesRequest(start=start, end=end)))
    found = [entry for answer in answers for entry in answer.entries]
    assert b"".join(answer.leaf_hashes for answer in answers) == b"".join(map(merkle.leaf_hash, found))
    assert [answer.start for answer in answers] == list(range(start, start + len(found), 500))
    return found


def test_entries_come_in_order_in_pages_and_each_call_is_one_entry(service: LogService, stub: AuditServiceStub) -> None:
    service.append(1100)
    assert [parse(e).index for e in stream(stub, 0, 0)] == list(range(1100))
    assert [parse(e).index for e in stream(stub, 499, 1001)] == list(range(499, 1001))
    assert stream(stub, 5, 5) == stream(stub, 9_999, 0) == []
    assert len(stream(stub, 1100, 0)) == 4  # who read before
    assert [(e["rpc"].partition("/")[2], e["subject"], e["count"]) for e in service.log.entries(1099)] == [
        ("ListEntries", "entries 0-1100", 1100),
        ("ListEntries", "entries 499-1001", 502),
        ("ListEntries", "entries 5-5", 0),
        ("ListEntries", "entries 9999-9999", 0),
        ("ListEntries", "entries 1100-1104", 4),
    ]


def test_proofs_lead_to_the_signed_root(service: LogService, stub: AuditServiceStub) -> None:
    service.append(13)
    early = stub.GetCheckpoint(pb.GetCheckpointRequest())
    service.append(30)
    late = stub.GetCheckpoint(pb.GetCheckpointRequest())
    assert early.verifier_key == late.verifier_key == service.key
    old, new = (note.open_checkpoint(c.note, VerifierKey.parse(service.key)) for c in (early, late))
    assert (old.size, new.size) == (13, 44)
    leaves = [merkle.leaf_hash(entry) for entry in stream(stub, 0, 44)]
    for index in (0, 12, 13, 43):
        proof = stub.GetInclusionProof(pb.GetInclusionProofRequest(index=index, size=44))
        merkle.verify_inclusion(index, proof.size, leaves[index], proof.hashes, new.root)
    proof = stub.GetConsistencyProof(pb.GetConsistencyProofRequest(old_size=13, new_size=44))
    merkle.verify_consistency(13, proof.new_size, proof.hashes, old.root, new.root)
    stands = stub.GetConsistencyProof(pb.GetConsistencyProofRequest(old_size=1)).new_size
    assert stub.GetInclusionProof(pb.GetInclusionProofRequest(index=1)).size == stands + 1  # the call before it
    assert [n.note for n in stub.ListCheckpoints(pb.ListCheckpointsRequest(min_size=1))] == [early.note, late.note]
    assert [n.note for n in stub.ListCheckpoints(pb.ListCheckpointsRequest(min_size=14))] == [late.note]


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetInclusionProof", pb.GetInclusionProofRequest(index=3, size=3), "index"),
        ("GetInclusionProof", pb.GetInclusionProofRequest(index=0, size=99), "size"),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=0), "old_size"),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=3, new_size=2), "old_size"),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest(old_size=1, new_size=99), "new_size"),
        ("ListEntries", pb.ListEntriesRequest(start=3, end=2), "end"),
    ],
)
def test_request_past_the_log_is_refused_by_field(
    service: LogService, stub: AuditServiceStub, method: str, request_: Any, field: str
) -> None:
    service.append(3)
    call = getattr(stub, method)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(request_))
    error = from_rpc_error(caught.value)
    assert (error.reason, [v.field for v in error.violations]) == ("REQUEST_INVALID", [field])
    assert service.told("kinlink")[-1] == (method, "refused", "REQUEST_INVALID")


def test_sizes_beyond_what_a_database_counts_are_no_failure(service: LogService, stub: AuditServiceStub) -> None:
    service.append(3)
    assert list(stub.ListCheckpoints(pb.ListCheckpointsRequest(min_size=2**64 - 1))) == []
    assert list(stub.ListEntries(pb.ListEntriesRequest(start=2**64 - 1))) == []


def test_checkpoints_reach_every_anchor_and_the_last_one_at_the_end(tmp_path: Path, certificates: Path) -> None:
    places = [f"file:{tmp_path / 'far'}", "file:near"]
    with log_services.running("linker", tmp_path / "linker", certificates, anchors=places) as service:
        service.append(3)
        service.kept.checkpointer.round()
        service.append(4)
        key = VerifierKey.parse(service.key)
    for folder in (tmp_path / "far", tmp_path / "linker/near"):
        found = {file.name: file.read_text() for file in (folder / "linker/checkpoint").iterdir()}
        sizes = {note.open_checkpoint(text, key).size: name for name, text in found.items()}
        assert set(sizes) - {0} == {3, 7}
        assert all(name == f"{size:020}" for size, name in sizes.items())


def test_checkpoint_is_due_after_so_many_entries(tmp_path: Path, certificates: Path) -> None:
    folder = tmp_path / "far/linker/checkpoint"
    told = {"anchors": [f"file:{tmp_path / 'far'}"], "checkpoint_every_entries": 5}
    with log_services.running("linker", tmp_path / "linker", certificates, **told) as service:
        service.kept.checkpointer.round()
        seen = {file.name for file in folder.iterdir()}
        service.append(4)
        assert {file.name for file in folder.iterdir()} == seen
        service.append(1)
        service.kept.checkpointer.stop()
    assert {int(file.name) for file in folder.iterdir()} >= {0, 5}


def test_anchor_that_is_away_stops_nothing_and_health_says_so(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "far").write_text("no folder")
    anchors = [f"file:{tmp_path / 'far'}"]
    with log_services.running("linker", tmp_path / "linker", certificates, anchors=anchors) as service:
        service.append(2)
        service.kept.checkpointer.round()
        service.kept.checkpointer.round()
        assert health(service)[0] == "SERVING"
        assert health(service, server.ANCHORS)[0] == "NOT_SERVING"
        (tmp_path / "far").unlink()
        service.kept.checkpointer.round()
        assert health(service, server.ANCHORS)[0] == "SERVING"
        assert [(outcome, reason) for _, outcome, reason in service.told("log.anchor")] == [
            ("failed", "ANCHOR_UNAVAILABLE"),
            ("ok", ""),
        ]
        with service.reader() as client:
            newest = Checkpoint.parse(note.parse(client.checkpoint().note).text)
        assert newest.size == 4


def test_service_whose_database_was_put_back_answers_nothing_but_health(tmp_path: Path, certificates: Path) -> None:
    """The anchor holds a checkpoint that this log does not continue: written by the service before, from its key."""
    folder, far = tmp_path / "linker", tmp_path / "far"
    anchors = [f"file:{far}"]
    with log_services.running("linker", folder, certificates, anchors=anchors) as before:
        before.append(9)
    kept_aside = tmp_path / "aside"
    shutil.move(far, kept_aside)
    (folder / "state.db").rename(tmp_path / "state.db")
    for file in folder.glob("state.db-*"):
        file.unlink()
    with log_services.running("linker", folder, certificates, anchors=anchors) as service:
        service.append(2)
        service.kept.checkpointer.stop()  # it writes no more
        shutil.rmtree(far)
        shutil.move(kept_aside, far)
        with service.reader() as client, pytest.raises(Exception, match="rolled back") as caught:
            client.checkpoint()
        assert getattr(caught.value, "reason", "") == "AUDIT_UNAVAILABLE"
        with service.reader() as client, pytest.raises(Exception, match="rolled back"):
            list(client.leaves())
        status, metadata = health(service)
        assert status == "NOT_SERVING"
        assert "rolled back" in metadata["kinlink-cause"]
        for told in (str(caught.value), metadata["kinlink-cause"]):
            assert str(far) not in told, "where the anchors lie is for the service's own log"
        assert "kinlink-cause" not in health(service, party="consumer-analyse")[1]
        with pytest.raises(UnavailableError):
            service.append(1)
    with (
        pytest.raises(LogError, match="rolled back"),
        log_services.running("linker", folder, certificates, anchors=anchors),
    ):
        pass


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"anchors": ["https://far"]}, "anchors: expected file:"),
        ({"witnessed_logs": ["no key"]}, "witnessed_logs"),
        ({"witnesses": [{"address": "localhost:1", "key": "no key"}]}, "witnesses"),
    ],
)
def test_ill_formed_setting_stops_the_start(
    tmp_path: Path, certificates: Path, told: dict[str, Any], said: str
) -> None:
    with pytest.raises(LogError, match=said), log_services.running("linker", tmp_path, certificates, **told):
        pass


def test_lost_key_stops_the_start(tmp_path: Path, certificates: Path) -> None:
    with log_services.running("linker", tmp_path, certificates):
        pass
    (tmp_path / "log.key").unlink()
    with pytest.raises(LogError, match="put its key back"), log_services.running("linker", tmp_path, certificates):
        pass
    key_of(tmp_path, "linker")
    with pytest.raises(LogError, match="another key"), log_services.running("linker", tmp_path, certificates):
        pass
