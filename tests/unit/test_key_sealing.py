"""Whoever changes the key store's tables past the service is found out, and a destroyed key is gone from the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from kinlink.change_document import Signer, SignerRole
from kinlink.pseudonyms import PSEUDONYM_KINDS, Kind
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import tables
from pseudonymizer.keystore.encryption_keys import KeyStoreError, open_key_encryption_key
from pseudonymizer.keystore.manifest import Manifest
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.lifecycle import KeyState, Transition
from pseudonymizer.policy import Policy
from servicekit.audit import AuditLog
from servicekit.errors import UnavailableError
from tests.unit import key_fixtures as given
from tests.unit.keystore_place import change_people

_SOURCE = "source/prisme"
_POLICY = Policy.model_validate(
    {
        "domain": [
            {"name": _SOURCE, "kinds": ["cpr", "replacement"]},
            {"name": "linkage/familie", "kinds": ["cpr"]},
        ]
    }
)
_FIRST, _SECOND = KeyName(_SOURCE, Kind.CPR, 1), KeyName(_SOURCE, Kind.CPR, 2)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = given.database_in(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> KeyStore:
    """A store in which one version of a line was destroyed, one retires, and one is active."""
    store = given.keystore(engine, _POLICY)
    given.rotate(store, _FIRST)
    given.apply(store, Transition.DESTROY, _FIRST)
    given.rotate(store, _SECOND)
    return store


_CHANGES = [
    "UPDATE pseudonymisation_keys SET generation = generation + 1",
    "UPDATE pseudonymisation_keys SET version = version + 7",
    "UPDATE pseudonymisation_keys SET check_value = zeroblob(32)",
    "UPDATE pseudonymisation_keys SET created_at = '2020-01-01T00:00:00+00:00'",
    "UPDATE pseudonymisation_keys SET activated_at = NULL WHERE state = 'retiring'",
    "UPDATE pseudonymisation_keys SET state_since = created_at WHERE state = 'retiring'",
    "UPDATE pseudonymisation_keys SET compromised_at = created_at",
    "UPDATE pseudonymisation_keys SET state = 'disabled' WHERE state = 'retiring'",
    "UPDATE pseudonymisation_keys SET state = 'compromised' WHERE state = 'active' AND version = 3",
    "UPDATE pseudonymisation_keys SET state = 'retiring', sealed = zeroblob(60) WHERE state = 'destroyed'",
    "UPDATE pseudonymisation_keys SET domain = 'source/andet' WHERE kind = 'replacement'",
    "UPDATE pseudonymisation_keys SET suite = 'synthetic'",
    "UPDATE pseudonymisation_keys SET suite = 'no such'",
    "DELETE FROM pseudonymisation_keys WHERE state = 'destroyed'",
    "DELETE FROM pseudonymisation_keys WHERE kind = 'replacement'",
    "DELETE FROM pseudonymisation_keys",
    "UPDATE keystore_head SET generation = generation - 1",
    "UPDATE keystore_head SET generation = generation + 1",
    "UPDATE keystore_head SET mac = zeroblob(32)",
    "UPDATE keystore_head SET wrapped_key = (SELECT wrapped_key FROM pseudonymisation_keys WHERE state = 'active')",
    "DELETE FROM keystore_head",
    "UPDATE signers SET role = 'custodian'",
    "DELETE FROM signers",
]


@pytest.mark.parametrize("change", _CHANGES)
def test_a_store_that_was_changed_does_not_open(engine: Engine, store: KeyStore, change: str) -> None:
    reviewer = Signer("reviewer/revision", SignerRole.REVIEWER, bytes(32))
    change_people(store, lambda people: people.with_enrolled(reviewer, "", datetime.now(UTC)))
    given.keystore(engine, _POLICY)  # opens as it is
    with engine.begin() as connection:
        assert connection.execute(text(change)).rowcount
    with pytest.raises(KeyStoreError, match=r"changed|another suite"):
        given.keystore(engine, _POLICY)
    with pytest.raises(UnavailableError) as refused, store.change():
        pytest.fail("a store that does not stand the proof is not changed")
    assert refused.value.reason == "KEY_STORE_UNUSABLE"


@pytest.mark.parametrize("column", ["sealed", "wrapped_key"])
def test_a_sealed_key_that_was_changed_does_not_open(engine: Engine, store: KeyStore, column: str) -> None:
    with engine.begin() as connection:
        row = connection.execute(select(tables.keys).where(tables.keys.c.state == "active").limit(1)).mappings().one()
        spoilt = bytes(row[column])[:-1] + bytes([bytes(row[column])[-1] ^ 1])
        where = "domain = :d AND kind = :k AND version = :v"
        values = {"d": row["domain"], "k": row["kind"], "v": row["version"], "x": spoilt}
        connection.execute(text(f"UPDATE pseudonymisation_keys SET {column} = :x WHERE {where}"), values)
    with pytest.raises(KeyStoreError, match="changed"):
        given.keystore(engine, _POLICY)


def test_keys_of_two_rows_that_changed_places_do_not_open(engine: Engine, store: KeyStore) -> None:
    swap = (
        "UPDATE pseudonymisation_keys SET (sealed, wrapped_key) = (SELECT sealed, wrapped_key FROM "
        "pseudonymisation_keys WHERE domain = 'linkage/familie') WHERE version = 3"
    )
    with engine.begin() as connection:
        connection.execute(text(swap))
    with pytest.raises(KeyStoreError, match="the sealed key of source/prisme"):
        given.keystore(engine, _POLICY)


def test_a_row_of_an_earlier_generation_that_is_put_back_does_not_open(engine: Engine) -> None:
    store = given.keystore(engine, _POLICY)
    with engine.connect() as connection:
        before = dict(connection.execute(select(tables.keys).where(tables.keys.c.domain == _SOURCE)).mappings().first())
    given.rotate(store, _FIRST)
    given.apply(store, Transition.DESTROY, _FIRST)
    columns = {name: before[name] for name in ("state", "generation", "wrapping_version", "wrapped_key", "sealed")}
    columns |= {"state": "retiring", "state_since": before["state_since"]}
    here = (tables.keys.c.domain == _SOURCE) & (tables.keys.c.kind == "cpr") & (tables.keys.c.version == 1)
    with engine.begin() as connection:
        connection.execute(tables.keys.update().where(here).values(columns))
    with pytest.raises(KeyStoreError, match="changed by something else"):
        given.keystore(engine, _POLICY)


def test_an_older_database_put_back_is_for_the_anchors_to_find(engine: Engine, tmp_path: Path) -> None:
    class Anchors:
        """Remembers the newest manifest, as something outside of the database does."""

        newest = Manifest(0, b"")

        def record(self, _connection: object, _manifest: Manifest) -> None: ...

        def check(self, manifest: Manifest) -> None:
            if manifest.generation < self.newest.generation or (
                manifest.generation == self.newest.generation and manifest != self.newest
            ):
                raise KeyStoreError("older than anchored")

        def write(self, manifest: Manifest) -> None:
            self.newest = max(self.newest, manifest, key=lambda one: one.generation)

    anchors = Anchors()
    kek = open_key_encryption_key("file:kek", tmp_path, first_start=True)

    def opened() -> KeyStore:
        store = KeyStore(engine, kek, _POLICY.suite, AuditLog(engine), anchors=anchors)
        store.open(_POLICY.key_lines())
        return store

    store = opened()
    assert anchors.newest.generation == 1
    engine.dispose()
    shutil.copy(tmp_path / "state.db", tmp_path / "old.db")
    given.rotate(store, _FIRST)
    given.apply(store, Transition.DESTROY, _FIRST)
    assert anchors.newest.generation == 4
    engine.dispose()
    for journal in tmp_path.glob("state.db-*"):
        journal.unlink()
    shutil.copy(tmp_path / "old.db", tmp_path / "state.db")
    given.keystore(engine, _POLICY)  # its seal is whole, and nothing else remembers
    with pytest.raises(KeyStoreError, match="older than anchored"):
        opened()
    with pytest.raises(UnavailableError):
        store.at(1)
    assert "older" in store.refused


def test_a_running_service_that_sees_an_older_store_answers_nothing(engine: Engine, tmp_path: Path) -> None:
    store = given.keystore(engine, _POLICY)
    engine.dispose()
    shutil.copy(tmp_path / "state.db", tmp_path / "old.db")
    given.rotate(store, _FIRST)
    engine.dispose()
    for journal in tmp_path.glob("state.db-*"):
        journal.unlink()
    shutil.copy(tmp_path / "old.db", tmp_path / "state.db")
    with pytest.raises(UnavailableError) as refused:
        store.at(1)
    assert refused.value.reason == "KEY_STORE_UNUSABLE"
    with pytest.raises(UnavailableError):
        store.at(3)  # nor under the generation that it still has in memory


def test_a_destroyed_key_stands_in_no_file(engine: Engine, tmp_path: Path) -> None:
    lines = [{"name": f"source/s{number}", "kinds": ["cpr", "address", "replacement"]} for number in range(6)]
    store = given.keystore(engine, Policy.model_validate({"domain": lines}))
    ever: dict[KeyName, set[bytes]] = {}

    def note() -> None:
        with engine.connect() as connection:
            for row in connection.execute(select(tables.keys)).mappings():
                name = KeyName(row["domain"], Kind(row["kind"]), row["version"])
                found = ever.setdefault(name, set())
                found.update(bytes(row[column]) for column in ("sealed", "wrapped_key") if row[column])

    note()
    destroyed = []
    for number in range(6):
        for kind in PSEUDONYM_KINDS:
            name = KeyName(f"source/s{number}", kind, 1)
            given.rotate(store, name)
            note()
            if (number + len(kind)) % 3 == 0:
                given.apply(store, Transition.DISABLE, name)
                note()
            if number % 2:
                given.apply(store, Transition.DESTROY, name)
                destroyed.append(name)
    disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert disk.count(b"source/s3") > 3
    for name, sealed in ever.items():
        present = [found in disk for found in sealed]
        assert any(present) == (name not in destroyed), name
    assert len(destroyed) == 9
    assert {v.state for v in store.current()[0] if v.name in destroyed} == {KeyState.DESTROYED}


def test_only_a_change_that_changed_something_makes_a_generation(engine: Engine) -> None:
    store = given.keystore(engine, _POLICY)
    with store.change():
        pass
    assert store.current()[1].generation == 1
    given.keystore(engine, _POLICY)
    assert store.current()[1].generation == 1
    with pytest.raises(RuntimeError, match=r"KeyStore\.change"), engine.begin() as connection:
        store.create(connection, _SOURCE, Kind.CPR)
    _make_and_give_up(store)
    assert store.current()[1].generation == 1
    assert [v.name.version for v in store.current()[0]] == [1, 1, 1]


def _make_and_give_up(store: KeyStore) -> None:
    with suppress(ZeroDivisionError), store.change() as connection:
        store.create(connection, _SOURCE, Kind.CPR)
        raise ZeroDivisionError


def test_several_keys_change_together_or_not_at_all(engine: Engine) -> None:
    store = given.keystore(engine, _POLICY)
    both = [KeyName(_SOURCE, kind, 2) for kind in (Kind.CPR, Kind.REPLACEMENT)]
    with store.change() as connection:
        for name in both:
            store.create(connection, name.domain, name.kind)
    with store.change() as connection:
        store.transition(
            connection, both, Transition.ACTIVATE, datetime.now(UTC), caller="spiffe://x/custodian/a", evidence="{}"
        )
    states = {(v.name.kind, v.name.version): v.state for v in store.current()[0] if v.name.domain == _SOURCE}
    assert set(states.items()) == {
        ((kind, version), state)
        for kind in (Kind.CPR, Kind.REPLACEMENT)
        for version, state in ((1, KeyState.RETIRING), (2, KeyState.ACTIVE))
    }
    told = [(e["rpc"], e["kind"], e["key_version"], e["caller"], e["evidence"]) for e in AuditLog(engine).entries()]
    assert told[-4:] == [
        (event, kind, version, "spiffe://x/custodian/a", "{}")
        for kind in ("cpr", "replacement")
        for event, version in (("key.retire", 1), ("key.activate", 2))
    ]
