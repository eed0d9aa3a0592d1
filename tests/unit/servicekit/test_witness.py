"""Another kinlink as witness: two services, two logs, mutual TLS."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kinlink.audit import merkle, note
from kinlink.audit.note import WITNESS, Checkpoint, VerifierKey
from kinlink.audit.v1 import audit_service_pb2 as pb
from kinlink.audit.v1.audit_service_pb2_grpc import WitnessServiceStub
from kinlink.channel import open_channel
from kinlink.errors import KinlinkError, from_rpc_error
from servicekit import database
from servicekit.audit.checkpoints import open_key
from servicekit.audit.tables import StoredTree
from tests.running import identity
from tests.unit.servicekit import log_services
from tests.unit.servicekit.log_services import LogService, key_of


@pytest.fixture
def other(tmp_path: Path, certificates: Path) -> Iterator[LogService]:
    """The pseudonymizer, which watches the linker's log."""
    logs = [key_of(tmp_path / "linker", "linker")]
    with log_services.running("pseudonymizer", tmp_path / "other", certificates, witnessed_logs=logs) as service:
        yield service


@pytest.fixture
def own(tmp_path: Path, certificates: Path, other: LogService) -> Iterator[LogService]:
    """The linker, whose log is watched."""
    witnesses = [log_services.witness(other)]
    with log_services.running("linker", tmp_path / "linker", certificates, witnesses=witnesses) as service:
        service.kept.checkpointer.round()
        yield service


def cosigner(other: LogService) -> VerifierKey:
    key = VerifierKey.parse(other.key)
    return VerifierKey(key.name, key.public, WITNESS)


def ask(other: LogService, old_size: int, proof: list[bytes], signed: str, party: str = "service-linker") -> str:
    with open_channel(other.address, identity(other.certificates, party)) as channel:
        request = pb.AddCheckpointRequest(old_size=old_size, consistency=proof, note=signed)
        try:
            return WitnessServiceStub(channel).AddCheckpoint(request).signature
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None


def test_each_checkpoint_comes_back_with_the_signature_of_the_witness(own: LogService, other: LogService) -> None:
    for count in (3, 1, 5):
        own.append(count)
        own.kept.checkpointer.round()
    with own.reader() as client:
        notes = list(client.checkpoints(1))
        newest = client.checkpoint().note
    assert [Checkpoint.parse(note.parse(n).text).size for n in notes] == [3, 4, 9]
    for signed in notes:
        note.verify(signed, VerifierKey.parse(own.key))
        assert note.verify(signed, cosigner(other)) > 0
    assert "pseudonymizer" not in newest  # which was signed for this call, and not sent yet
    assert {outcome for _, outcome, _ in other.told("kinlink.audit.v1.WitnessService")} == {"ok"}
    assert own.log.anchored


def test_witness_that_refuses_stops_nothing_and_is_told_of_once(
    other: LogService, tmp_path: Path, certificates: Path
) -> None:
    """Another log's key: the witness does not know it until its settings name it."""
    folder = tmp_path / "unknown"
    with log_services.running("linker", folder, certificates, witnesses=[log_services.witness(other)]) as unknown:
        unknown.kept.checkpointer.round()
        unknown.append(1)
        unknown.kept.checkpointer.round()
        assert not unknown.log.anchored
        told = (f"writing witness:{other.kept.origin}", "failed", "ANCHOR_UNAVAILABLE")
        assert unknown.told("log.anchor") == [told]
        assert not unknown.log.failing
        with unknown.reader() as client:
            assert Checkpoint.parse(note.parse(client.checkpoint().note).text).size == 2


def test_log_that_was_written_anew_is_refused_as_a_fork_and_an_alarm_is_in_both_logs(
    own: LogService, other: LogService, tmp_path: Path, certificates: Path
) -> None:
    own.append(4)
    own.kept.checkpointer.round()
    folder = tmp_path / "forged"
    folder.mkdir()
    shutil.copy(own.settings.log_key, folder / "log.key")
    with log_services.running("linker", folder, certificates, witnesses=[log_services.witness(other)]) as forged:
        forged.append(9, "another")
        forged.kept.checkpointer.round()
        [(_, outcome, reason)] = forged.told("log.anchor")
        assert (outcome, reason) == ("failed", "LOG_FORKED")
        assert not forged.log.anchored
        assert ("AddCheckpoint", "refused", "LOG_FORKED") in other.told("kinlink")
        assert not forged.log.failing  # a witness's word stops no service


def test_log_that_was_put_back_is_known_by_its_size(
    own: LogService, other: LogService, tmp_path: Path, certificates: Path
) -> None:
    folder = tmp_path / "older"
    folder.mkdir()
    own.append(2)
    shutil.copy(own.settings.log_key, folder / "log.key")
    with sqlite3.connect(own.engine.url.database or "") as source, sqlite3.connect(folder / "state.db") as copy:
        source.backup(copy)
    own.append(7)
    own.kept.checkpointer.round()
    with log_services.running("linker", folder, certificates, witnesses=[log_services.witness(other)]) as older:
        older.kept.checkpointer.round()
        assert [reason for _, _, reason in older.told("log.anchor")] == ["LOG_FORKED"]


def test_witness_refuses_what_it_cannot_stand_for(own: LogService, other: LogService) -> None:
    own.append(4)
    own.kept.checkpointer.round()
    own.append(3)
    signed = own.kept.checkpoints.sign()
    key = open_key(own.settings.log_key, may_create=False)
    with database.read(own.engine) as connection:
        proof = merkle.consistency_proof(4, 7, StoredTree(connection).node)
    own_root = Checkpoint.parse(note.parse(signed).text).root

    def forged(origin: str = own.kept.origin, size: int = 7, root: bytes = own_root) -> str:
        return note.sign(Checkpoint(origin, size, root).text(), own.kept.origin, key)

    stolen = open_key(other.settings.log_key, may_create=False)
    cases: list[tuple[str, int, list[bytes], str]] = [
        ("CHECKPOINT_STALE", 0, [], signed),
        ("CHECKPOINT_STALE", 3, proof, signed),
        ("PROOF_MALFORMED", 4, [], signed),
        ("PROOF_MALFORMED", 4, proof[:-1], signed),
        ("PROOF_MALFORMED", 4, [*proof[:-1], proof[-1][:-1]], signed),
        ("LOG_FORKED", 4, [*proof[:-1], bytes(32)], signed),
        ("LOG_FORKED", 4, proof, forged(root=bytes(32))),
        ("LOG_FORKED", 4, [], forged(size=4, root=bytes(32))),
        ("PROOF_MALFORMED", 4, [], forged(size=3)),
        ("LOG_UNKNOWN", 0, [], forged(origin="kinlink.test/another")),
        ("LOG_KEY_UNKNOWN", 4, proof, note.sign(note.parse(signed).text, own.kept.origin, stolen)),
        ("NOTE_INVALID", 4, proof, "no note"),
        ("NOTE_INVALID", 4, proof, signed.replace("\n7\n", "\n8\n")),
    ]
    for reason, old_size, hashes, text in cases:
        with pytest.raises(KinlinkError) as caught:
            ask(other, old_size, hashes, text)
        assert caught.value.reason == reason, (reason, caught.value)
    assert [reason for _, outcome, reason in other.told("kinlink") if outcome == "refused"] == [c[0] for c in cases]
    with pytest.raises(KinlinkError) as caught:
        ask(other, 4, proof, signed, "dpo-dpo")
    assert caught.value.reason == "ACCESS_DENIED"
    line = ask(other, 4, proof, signed)
    note.verify(str(note.parse(signed).with_signature(line)), cosigner(other))
