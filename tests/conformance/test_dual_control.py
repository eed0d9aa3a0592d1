"""Dual control over each database, with several replicas at once: nothing is counted or done twice."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine

from kinlink import genesis as genesis_file
from kinlink.approval_keys import new_key, public_bytes
from kinlink.approvals import Verb, sign
from kinlink.change_document import Action, Change, KeyVersionName, Signer, SignerRole
from kinlink.pseudonyms import Kind
from pseudonymizer import genesis, signers
from pseudonymizer.changes import Standing
from pseudonymizer.dual_control import DualControl
from pseudonymizer.genesis import GenesisFileError
from pseudonymizer.key_changes import KeyChanges
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.encryption_keys import open_key_encryption_key
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.policy import Policy
from servicekit import database
from servicekit.audit import AuditLog
from servicekit.errors import ServiceError
from servicekit.identity import Caller, Role

_LOG = "kinlink.test/pseudonymizer"
_DOMAIN = "source/prisme"
_NOW = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
_KEYS = {name: new_key() for name in ("custodian/a", "custodian/b", "reviewer/r")}
_SIGNERS = [Signer(name, SignerRole(name.partition("/")[0]), public_bytes(key)) for name, key in _KEYS.items()]
_POLICY = Policy.model_validate({"suites": ["synthetic"], "domain": [{"name": _DOMAIN, "kinds": ["cpr"]}]})


class Replica:
    """One of several services over one database."""

    def __init__(self, url: str, folder: Path, file: Path) -> None:
        self.engine = database.engine(url)
        database.migrate(self.engine, "pseudonymizer")
        self.audit = AuditLog(self.engine)
        genesis.begin(file, self.engine, self.audit, lambda: _NOW)
        kek = open_key_encryption_key("file:kek.key", folder, first_start=not (folder / "kek.key").exists())
        self.store = KeyStore(self.engine, kek, _POLICY.suite, self.audit)
        self.store.open(_POLICY.key_lines())
        self.changes = KeyChanges(self.store, _POLICY.holders, lambda: _NOW)
        self.control = DualControl(self.engine, self.audit, self.changes, _LOG, lambda: _NOW)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.toml"
    path.write_text(genesis_file.file_of(_SIGNERS))
    return path


@pytest.fixture
def replicas(url: str, tmp_path: Path, file: Path) -> Iterator[list[Replica]]:
    found = [Replica(url, tmp_path, file) for _ in range(2)]
    found[0].changes.create(_caller("custodian/a"), KeyName(_DOMAIN, Kind.CPR, 0))
    yield found
    for one in found:
        one.engine.dispose()


def _caller(name: str) -> Caller:
    role, _, own = name.partition("/")
    return Caller(f"spiffe://kinlink.test/{name}", Role(role), own)


def _change() -> Change:
    keys = (KeyVersionName(_DOMAIN, Kind.CPR, 2),)
    ends = _NOW + timedelta(days=7)
    return Change(str(uuid.uuid4()), _LOG, Action.ACTIVATE, "Rotation", "custodian/a", _NOW, ends, keys)


def _propose(replica: Replica, change: Change) -> Standing:
    document = change.document()
    signature = sign(_KEYS[change.proposer], Verb.PROPOSE, change.proposer, document)
    return replica.control.propose(_caller(change.proposer), document, signature)


def _approve(replica: Replica, change: Change, name: str) -> Standing:
    signature = sign(_KEYS[name], Verb.APPROVE, name, change.document())
    return replica.control.approve(_caller(name), change.change_id, signature)


def _together(*calls: Callable[[], Standing]) -> list[str]:
    """Return what becomes of calls made at the same moment: a state, or a reason."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Standing]) -> str:
        barrier.wait()
        try:
            return call().state.value
        except ServiceError as error:
            return error.reason

    with ThreadPoolExecutor(len(calls)) as pool:
        return sorted(pool.map(run, calls))


def _count(engine: Engine, rpc: str) -> int:
    return sum(entry["rpc"] == rpc for entry in AuditLog(engine).entries(limit=10_000))


def test_replicas_that_start_together_begin_once(url: str, file: Path) -> None:
    engines = [database.engine(url) for _ in range(4)]
    database.migrate(engines[0], "pseudonymizer")
    barrier = Barrier(len(engines))

    def begin(engine: Engine) -> None:
        barrier.wait()
        genesis.begin(file, engine, AuditLog(engine), lambda: _NOW)

    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(begin, engines))
    [first] = AuditLog(engines[0]).entries()
    assert (first["rpc"], first["count"]) == ("log.genesis", 3)
    with database.read(engines[0]) as connection:
        assert sorted(signers.people(connection).enrolled) == ["custodian/a", "custodian/b", "reviewer/r"]
    for engine in engines:
        engine.dispose()


def test_another_genesis_file_later_does_not_start(url: str, file: Path) -> None:
    engine = database.engine(url)
    database.migrate(engine, "pseudonymizer")
    audit = AuditLog(engine)
    genesis.begin(file, engine, audit, lambda: _NOW)
    genesis.begin(file, engine, audit, lambda: _NOW)
    file.write_text(file.read_text() + "# a word more\n")
    with pytest.raises(GenesisFileError, match="is not the file that this service began with"):
        genesis.begin(file, engine, audit, lambda: _NOW)
    file.write_text("")
    with pytest.raises(GenesisFileError, match=r"must hold \[\[signer\]\]"):
        genesis.begin(file, engine, audit, lambda: _NOW)
    file.unlink()
    with pytest.raises(GenesisFileError, match="cannot be read"):
        genesis.begin(file, engine, audit, lambda: _NOW)
    assert _count(engine, "log.genesis") == 1
    engine.dispose()


def test_one_proposal_arriving_twice_is_one(replicas: list[Replica]) -> None:
    change, (one, two) = _change(), replicas
    assert _together(lambda: _propose(one, change), lambda: _propose(two, change)) == ["proposed", "proposed"]
    assert len(one.control.changes()) == 1


def test_one_persons_approval_arriving_twice_counts_once(replicas: list[Replica]) -> None:
    change, (one, two) = _change(), replicas
    _propose(one, change)
    outcomes = _together(lambda: _approve(one, change, "custodian/b"), lambda: _approve(two, change, "custodian/b"))
    assert outcomes == ["proposed", "proposed"]
    assert [signed.signer for signed in one.control.changes()[0].approvals] == ["custodian/b"]


def test_two_peoples_approvals_at_once_count_both(replicas: list[Replica]) -> None:
    change, (one, two) = _change(), replicas
    _propose(one, change)
    outcomes = _together(lambda: _approve(one, change, "custodian/b"), lambda: _approve(two, change, "reviewer/r"))
    assert outcomes == ["approved", "proposed"]


def test_a_change_applied_by_two_takes_effect_once(replicas: list[Replica]) -> None:
    change, (one, two) = _change(), replicas
    _propose(one, change)
    _approve(one, change, "custodian/b")
    _approve(two, change, "reviewer/r")
    calls = [
        lambda replica=replica, name=name: replica.control.apply(_caller(name), change.change_id)
        for replica, name in ((one, "custodian/a"), (two, "custodian/b"))
    ]
    assert _together(*calls) == ["applied", "applied"]
    assert _count(one.engine, "key.activate") == 1
    for replica in replicas:
        versions, keyset = replica.store.current()
        assert [version.state.value for version in versions] == ["retiring", "active"]
        assert keyset.for_evaluation(KeyName(_DOMAIN, Kind.CPR, 0)).name.version == 2


def test_a_reviewer_proposes_nothing_even_past_the_access_table(replicas: list[Replica]) -> None:
    change = replace(_change(), action=Action.COMPROMISE, proposer="reviewer/r")
    with pytest.raises(ServiceError) as refused:
        _propose(replicas[0], change)
    assert refused.value.reason == "SIGNER_NOT_CUSTODIAN"
    assert replicas[0].control.changes() == []
