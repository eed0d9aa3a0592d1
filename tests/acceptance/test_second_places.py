"""Each second place of a running service, as its settings name it: a folder, an object store, another kinlink.

A real pseudonymizer whose checkpoints and generations go to all three; a database put back is known by each alone.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from examples.stack import SERVICES, Stack, StackError
from kinlink.audit import note
from kinlink.audit.note import WITNESS, VerifierKey
from kinlink.audit_client import AuditClient
from servicekit.anchors import open_anchors
from servicekit.audit.checkpoints import open_key
from servicekit.server import ANCHORS
from tests import object_store
from tests.privacy.parties import audited, dial, evaluate

FOLDER, BUCKET = "file:../anchors", "s3://second/kommune"
CHECKPOINTS, GENERATIONS = "pseudonymizer/checkpoint/", "pseudonymizer/keystore/"
WITHIN_S = 30.0


@dataclass
class Watched:
    """Both services. The linker is the pseudonymizer's witness."""

    stack: Stack
    own: VerifierKey
    witness: VerifierKey

    def settings(self, anchors: Sequence[str], *, witnessed: bool) -> None:
        """Say which second places the pseudonymizer has from its next start on."""
        told = {"address": self.stack.processes["linker"].address, "key": str(self.witness)}
        told_of = {"anchors": list(anchors), "witnesses": [told] if witnessed else [], "checkpoint_every_s": 0.2}
        self.stack.settings["pseudonymizer"].update(told_of)  # type: ignore[attr-defined]

    def newest(self, uri: str, prefix: str = CHECKPOINTS) -> bytes:
        """Return what a place holds last."""
        [anchor] = open_anchors([uri], self.stack.folder / "pseudonymizer")
        found = anchor.newest(prefix)
        return found[1] if found else b""

    def kept(self) -> list[str]:
        """Return the service's own checkpoints, with the signatures that came for them."""
        with dial(self.stack, "pseudonymizer", "dpo/dpo") as channel:
            return list(AuditClient(channel).checkpoints())

    def signed_by_witness(self) -> set[int]:
        """Return the sizes of the checkpoints with the witness's signature."""
        cosigner = VerifierKey(self.witness.name, self.witness.public, WITNESS)
        sizes = set()
        for text in self.kept():
            if self.witness.name in text.partition("\n\n")[2]:
                note.verify(text, cosigner)
                sizes.add(note.open_checkpoint(text, self.own).size)
        return sizes


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with object_store.served() as address:
        object_store.make_bucket(address, "second")
        for name, value in object_store.environment(address).items():
            monkeypatch.setenv(name, value)
        keys = {}
        for service in ("pseudonymizer", "linker"):
            (tmp_path / service).mkdir()
            key = open_key(tmp_path / service / "log.key", may_create=True)
            keys[service] = VerifierKey.of(f"kinlink.test/{service}", key)
        told = {"pseudonymizer": {}, "linker": {"witnessed_logs": [str(keys["pseudonymizer"])]}}
        with Stack(tmp_path, settings=told) as stack:
            stack.stop("pseudonymizer")
            yield Watched(stack, keys["pseudonymizer"], keys["linker"])


def eventually(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)


def copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)


def anchors_health(stack: Stack) -> str:
    with dial(stack, "pseudonymizer", "operator/drift") as channel:
        request = health_pb2.HealthCheckRequest(service=ANCHORS)
        status = health_pb2_grpc.HealthStub(channel).Check(request).status
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


def test_each_second_place_holds_the_log_and_knows_a_database_that_was_put_back(
    watched: Watched, tmp_path: Path
) -> None:
    stack, database = watched.stack, tmp_path / "pseudonymizer/state.db"
    watched.settings([FOLDER, BUCKET], witnessed=True)
    stack.start("pseudonymizer")
    evaluate(stack, "prisme", ["6101800010"])
    copy(database, tmp_path / "older.db")
    evaluate(stack, "prisme", ["6101800010"])
    size = len(audited(stack, "pseudonymizer"))

    def holds(uri: str) -> bool:
        newest = watched.newest(uri)
        return bool(newest) and note.open_checkpoint(newest.decode(), watched.own).size >= size

    eventually(lambda: holds(FOLDER) and holds(BUCKET))
    eventually(lambda: max(watched.signed_by_witness(), default=0) >= size)
    assert watched.newest(FOLDER, GENERATIONS) == watched.newest(BUCKET, GENERATIONS) != b""
    assert anchors_health(stack) == "SERVING"
    stack.stop("pseudonymizer")
    copy(tmp_path / "older.db", database)

    for uri in (FOLDER, BUCKET):
        watched.settings([uri], witnessed=False)
        with pytest.raises(StackError, match=f"checkpoint in {uri} has [0-9]+: it was rolled back"):
            stack.start("pseudonymizer")
    (tmp_path / "elsewhere").mkdir()
    watched.settings(["file:../elsewhere"], witnessed=True)
    stack.start("pseudonymizer")  # a witness's word is an alarm; it stops nothing
    eventually(lambda: anchors_health(stack) == "NOT_SERVING")
    alarms = [e for e in audited(stack, "pseudonymizer") if e["rpc"] == "log.anchor"]
    assert [(e["outcome"], e["reason"]) for e in alarms] == [("failed", "LOG_FORKED")]
    assert alarms[0]["subject"] == f"writing witness:{watched.witness.name}"


@pytest.mark.parametrize("service", SERVICES)
def test_service_of_real_identifiers_does_not_start_without_one(tmp_path: Path, service: str) -> None:
    told: dict[str, dict[str, object]] = {"pseudonymizer": {}, "linker": {}}
    told[service] = {"anchors": []} | ({"suites": ["kinlink-v1"]} if service == "linker" else {})
    stack = Stack(tmp_path, settings=told)
    stack.prepare()
    policy = tmp_path / "pseudonymizer/policy.toml"
    try:
        if service == "linker":
            stack.start("pseudonymizer")
        else:
            policy.write_text(policy.read_text().replace('"synthetic"', '"kinlink-v1"'))
        with pytest.raises(StackError, match="anchors: a service of real identifiers needs one"):
            stack.start(service)
    finally:
        stack.stop("pseudonymizer")
