"""Somebody puts an old database back under a running pseudonymizer, and it is put right: a real process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from examples.stack import Stack, StackError
from kinlink.approval_keys import read_key
from kinlink.approvals import Verb, sign
from kinlink.channel import open_channel
from kinlink.errors import KinlinkError
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.signed_change import Signature, SignedChange
from pseudonymizer import commands
from tests.in_process import InProcess
from tests.running import identity

NUMBERS = ["6101800010", "6201800020"]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    stack.prepare()
    stack.start("pseudonymizer")
    stack._write_clients()
    yield stack
    stack.stop("pseudonymizer")


def _evaluate(stack: Stack) -> tuple[bytes, int]:
    with open_channel(
        stack.processes["pseudonymizer"].address, identity(stack.folder / "certs", "source-prisme")
    ) as channel:
        packed, key = PseudonymizerClient(channel, domain="source/prisme", suite=Suite.SYNTHETIC).evaluate(
            NUMBERS, Kind.CPR
        )
    return packed, key.version


def _cause_of_not_serving(stack: Stack) -> str:
    address = stack.processes["pseudonymizer"].address
    deadline = time.monotonic() + 30
    with open_channel(address, identity(stack.folder / "certs", "operator-drift")) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < deadline:
            answer, call = stub.Check.with_call(health_pb2.HealthCheckRequest())
            if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                return dict(call.trailing_metadata())["kinlink-cause"]
            time.sleep(0.1)  # nothing tells; health looks once a second
    pytest.fail("health still says SERVING")


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)


def _keystore(stack: Stack, command: str, *arguments: object) -> int:
    """Run `kinlink keystore` in this process: on the service's machine, beside it."""
    config = stack.folder / "pseudonymizer/settings.toml"
    return commands.keystore([command, "--config", str(config), *map(str, arguments)])


def _sign(stack: Stack, file: Path, verb: Verb, name: str) -> None:
    signed = SignedChange.parse(file.read_bytes())
    key = read_key(stack.approval_key(name), lambda: "")
    file.write_bytes(signed.signed(Signature(verb, name, sign(key, verb, name, signed.document))).to_bytes())


def test_an_old_store_put_back_is_refused_until_a_signed_restore(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database, kept = tmp_path / "pseudonymizer/state.db", tmp_path / "kept.db"
    before = _evaluate(stack)
    _copy(database, kept)
    InProcess(stack)("custodian/noegle-1", "keys", "create", "source/prisme", "--kind", "cpr")
    export = tmp_path / "export.jsonl"
    InProcess(stack)("dpo/dpo", "audit", "export", "--service", "pseudonymizer", "--out", export)

    _copy(kept, database)
    with pytest.raises((KinlinkError, grpc.RpcError)):
        _evaluate(stack)
    assert "older" in _cause_of_not_serving(stack)
    stack.stop("pseudonymizer")
    with pytest.raises(StackError, match="an older key store was put back"):
        stack.start("pseudonymizer")

    change = tmp_path / "restore.json"
    proposer = ("--proposer", "custodian/noegle-1", "--reason", "a test of the ceremony")
    assert _keystore(stack, "restore-document", *proposer, change) == 0
    _sign(stack, change, Verb.PROPOSE, "custodian/noegle-1")
    _sign(stack, change, Verb.APPROVE, "custodian/noegle-2")
    assert _keystore(stack, "restore", "--change", change, "--log", export) == 4
    assert "an approval, by a reviewer" in capsys.readouterr().err.replace("1 more", "an")
    InProcess(stack)("reviewer/revision", "approvals", "sign", change, "--yes")
    config = tmp_path / "pseudonymizer/settings.toml"
    done = stack.run(
        "operator/drift", "keystore", "restore", "--config", config, "--change", change, "--log", export, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "source/prisme cpr version 2: LOST" in done.stdout

    stack.start("pseudonymizer")
    assert _evaluate(stack) == before


def test_an_older_key_store_put_back_is_found_without_a_call(stack: Stack, tmp_path: Path) -> None:
    """The keys alone are put back, the log is not: somebody who would undo what was done to a key."""
    database, kept = tmp_path / "pseudonymizer/state.db", tmp_path / "kept.db"
    stack.stop("pseudonymizer")
    stack.settings = {"pseudonymizer": {"checkpoint_every_s": 0.2}}
    stack.start("pseudonymizer")
    _copy(database, kept)
    InProcess(stack)("custodian/noegle-1", "keys", "create", "source/prisme", "--kind", "cpr")
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS older", (str(kept),))
        connection.execute("BEGIN IMMEDIATE")
        for table in ("pseudonymisation_keys", "keystore_head", "keystore_history"):
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM older.{table}")
        connection.execute("COMMIT")
    assert "older" in _cause_of_not_serving(stack)


def test_keys_move_to_another_key_encryption_key_under_a_running_service(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _evaluate(stack)
    stack.stop("pseudonymizer")
    kek, old = tmp_path / "pseudonymizer/kek.key", tmp_path / "pseudonymizer/old.key"
    kek.rename(old)
    kek.write_bytes(old.read_bytes()[:20] + b"A" * 23 + b"=\n")
    kek.chmod(0o600)
    stack.settings = {"pseudonymizer": {"kek_previous": "file:old.key"}}
    stack.start("pseudonymizer")
    assert _keystore(stack, "rewrap") == 0
    assert "take kek_previous out" in capsys.readouterr().out
    old.unlink()
    assert _evaluate(stack) == before, "the running service has read the store again"
    stack.stop("pseudonymizer")
    stack.settings = {}
    stack.start("pseudonymizer")
    assert _evaluate(stack) == before
