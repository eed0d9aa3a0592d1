"""Encoding keys: who is handed what, what the log says of it, and their life from version to version."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select, update

from kinlink import ristretto255
from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.doors import Doors
from pseudonymizer.encoding_keys import EncodingKeys
from pseudonymizer.inventory import KeyInventory
from pseudonymizer.keyset import KeyName, Keyset
from pseudonymizer.keystore import tables
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.lifecycle import KeyState, Transition, Use, usable, uses
from servicekit.budget import Budget
from servicekit.errors import ServiceError
from servicekit.identity import Caller, Role
from tests.unit import key_fixtures as given
from tests.unit.encoding_key_fixtures import (
    ACTIVE,
    DUBU,
    FIRST,
    LINKAGE,
    OTHER_SCHEMA,
    POLICY,
    PRISME,
    REGISTER,
    SCHEMA,
    SECOND,
    Place,
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    engine = given.database_in(tmp_path)
    yield Place(engine)
    engine.dispose()


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as refused:
        call()
    return refused.value.reason


def sealed(place: Place, name: KeyName = FIRST) -> bytes:
    """Open the key itself, as the service does."""
    key = place.store.current()[1].usable(name)
    assert key
    return key.scalar


def test_what_is_handed_out_is_hkdf_of_the_key_and_the_schema(place: Place) -> None:
    found = place.fetch()
    assert found.key == FIRST
    derived = HKDF(SHA256(), 32, b"kinlink-encoding-key-v1", SCHEMA.encode()).derive(sealed(place))
    assert found.secret == derived != sealed(place)
    assert place.fetch(REGISTER).secret == found.secret, "all sources of a purpose encode alike"
    assert place.fetch(wanted=FIRST).secret == found.secret
    assert place.fetch(schema=OTHER_SCHEMA).secret != found.secret


def test_each_purpose_has_a_key_of_its_own(place: Place) -> None:
    keyset = place.store.current()[1]
    other = keyset.usable(KeyName("linkage/andet", Kind.ENCODING, 1))
    assert other
    assert other.scalar != sealed(place)
    assert len(other.scalar) == len(sealed(place)) == 32


def test_the_log_says_who_was_handed_which_version_for_which_schema_and_not_the_key(place: Place) -> None:
    secret = place.fetch().secret
    said = '{"schema_id":"dk-person-1.0123456789abcdef"}'
    assert place.told() == [(PRISME.uri, "ok", "", LINKAGE, "encoding", 1, 1, "prisme encodes", said)]
    whole = repr(place.audit.entries())
    assert not any(form in whole for form in (secret.hex(), repr(secret)[2:-1], sealed(place).hex()))


@pytest.mark.parametrize(
    "caller", [DUBU, given.LINKER, given.DPO, Caller("spiffe://x/custodian/a", Role.CUSTODIAN, "a")]
)
def test_nobody_without_a_grant_is_handed_a_key(place: Place, caller: Caller) -> None:
    assert reason(lambda: place.fetch(caller)) == "GRANT_MISSING"
    assert place.told() == [(caller.uri, "refused", "GRANT_MISSING", LINKAGE, "encoding", 0, 1, "", "")]


@pytest.mark.parametrize(
    ("wanted", "schema", "expected"),
    [
        (KeyName("linkage/andet", Kind.ENCODING, 0), SCHEMA, "GRANT_MISSING"),
        (KeyName("linkage/6101804711", Kind.ENCODING, 0), SCHEMA, "GRANT_MISSING"),
        (KeyName(LINKAGE, Kind.CPR, 0), SCHEMA, "KIND_MISMATCH"),
        (KeyName("source/prisme", Kind.CPR, 1), SCHEMA, "KIND_MISMATCH"),
        (SECOND, SCHEMA, "KEY_VERSION_UNKNOWN"),
        (ACTIVE, "", "SCHEMA_ID_MALFORMED"),
        (ACTIVE, "dk-person-1", "SCHEMA_ID_MALFORMED"),
        (ACTIVE, "dk-person-1.0123456789ABCDEF", "SCHEMA_ID_MALFORMED"),
        (ACTIVE, "dk-person-1.0123456789abcdef\n", "SCHEMA_ID_MALFORMED"),
        (ACTIVE, "p610180.0123456789abcdef", "SCHEMA_ID_MALFORMED"),
        (ACTIVE, "p61-01-80.0123456789abcdef", "SCHEMA_ID_MALFORMED"),
        (ACTIVE, "a" * 65 + ".0123456789abcdef", "SCHEMA_ID_MALFORMED"),
    ],
)
def test_another_key_and_what_is_no_schema_is_refused(
    place: Place, wanted: KeyName, schema: str, expected: str
) -> None:
    assert reason(lambda: place.fetch(wanted=wanted, schema=schema)) == expected
    [entry] = place.told()
    assert entry[1:3] == ("refused", expected)
    assert schema == SCHEMA or (schema or "none") not in repr(entry), "what is no schema stands in no log"
    assert "6101804711" not in repr(entry)


def test_a_handing_out_counts_against_the_budget(place: Place) -> None:
    for _ in range(50):
        place.fetch()
    assert reason(place.fetch) == "BUDGET_DAY"
    assert Budget(place.engine).used("source/prisme", f"{datetime.now(UTC):%Y-%m-%d}") == 50


def test_no_entry_no_key(place: Place) -> None:
    full = "CREATE TRIGGER full BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'full'); END"
    with place.engine.begin() as connection:
        connection.exec_driver_sql(full)
    assert reason(place.fetch) == "AUDIT_UNAVAILABLE"


def test_only_the_active_version_is_handed_out_whatever_becomes_of_the_others(place: Place) -> None:
    before = place.fetch().secret
    place.rotate()
    found = place.fetch()
    assert (found.key, found.secret == before) == (SECOND, False)
    for transition in (None, Transition.DISABLE, Transition.ENABLE, Transition.COMPROMISE):
        if transition:
            given.apply(place.store, transition, FIRST)
        assert reason(lambda: place.fetch(wanted=FIRST)) == "KEY_VERSION_INACTIVE"
    given.apply(place.store, Transition.COMPROMISE, SECOND)
    assert reason(place.fetch) == "KEY_MISSING"
    assert reason(lambda: place.fetch(wanted=SECOND)) == "KEY_VERSION_INACTIVE"


def test_a_key_that_nobody_is_handed_is_not_in_memory(place: Place) -> None:
    place.rotate()
    keyset = place.store.current()[1]
    assert keyset.usable(FIRST) is None
    assert keyset.usable(SECOND)


def test_a_key_that_retires_while_it_is_asked_for_is_not_handed_out(place: Place) -> None:
    class Slow:
        """Lets another process rotate once the keys are read."""

        def at(self, generation: int) -> Keyset:
            keyset = place.store.at(generation)
            if place.states() == [KeyState.ACTIVE]:
                place.rotate()
            return keyset

    assert EncodingKeys(POLICY, Slow(), place.ledger).hand_out(PRISME, ACTIVE, SCHEMA).key == SECOND


def test_a_version_is_destroyed_when_all_sources_that_encode_and_the_linker_have_attested(place: Place) -> None:
    place.rotate()
    assert reason(lambda: given.apply(place.store, Transition.DESTROY, FIRST)) == "HOLDERS_NOT_DONE"
    place.attest(PRISME)
    assert reason(lambda: given.apply(place.store, Transition.DESTROY, FIRST)) == "HOLDERS_NOT_DONE"
    place.attest(REGISTER)
    assert reason(lambda: given.apply(place.store, Transition.DESTROY, FIRST)) == "HOLDERS_NOT_DONE"
    place.attest(given.LINKER)
    [rotation] = place.rotations.visible_to(PRISME)
    assert [(one.holder, one.attested_at is None) for one in rotation.holders] == [
        ("linker/familie", False),
        ("source/folkeregister", False),
        ("source/prisme", False),
    ]
    given.apply(place.store, Transition.DESTROY, FIRST)
    assert place.states() == [KeyState.DESTROYED, KeyState.ACTIVE]
    assert place.fetch().key == SECOND


def test_a_version_is_destroyed_at_once_when_the_loss_is_accepted(place: Place) -> None:
    place.rotate()
    given.apply(place.store, Transition.DESTROY, FIRST, accept_loss=True)
    assert place.states() == [KeyState.DESTROYED, KeyState.ACTIVE]


def test_a_compromised_version_is_attested_too_once_it_was_replaced(place: Place) -> None:
    given.apply(place.store, Transition.COMPROMISE, FIRST)
    assert reason(lambda: place.attest(PRISME)) == "KEY_VERSION_INACTIVE"
    place.rotate()
    for caller in (PRISME, REGISTER, given.LINKER):
        place.attest(caller)
    given.apply(place.store, Transition.DESTROY, FIRST)


def test_nothing_is_carried_over_from_an_encoding_key(place: Place) -> None:
    place.rotate()
    assert reason(lambda: place.attest(PRISME, to=SECOND)) == "ATTESTATION_INVALID"
    assert reason(lambda: place.attest(PRISME, held=3)) == "ATTESTATION_INVALID"
    assert reason(lambda: place.attest(given.LINKER, to=SECOND)) == "ATTESTATION_INVALID"
    assert reason(lambda: place.attest(DUBU)) == "HOLDER_UNKNOWN"
    given.apply(place.store, Transition.COMPROMISE, FIRST)
    assert reason(lambda: given.apply(place.store, Transition.SALVAGE, FIRST)) == "KEY_TRANSITION_REFUSED"


def test_no_operation_multiplies_by_an_encoding_key_and_no_other_key_is_handed_out(place: Place) -> None:
    elements = ristretto255.hash_to_group([b"x"], b"test")
    with ristretto255.new_pool() as pool:
        doors = Doors(POLICY, place.store, place.ledger, pool, 10)
        for refused in (
            lambda: doors.evaluate(PRISME, ACTIVE, Suite.SYNTHETIC.wire, elements),
            lambda: doors.convert(given.LINKER, KeyName("source/dubu", Kind.ENCODING, 1), ACTIVE, elements),
            lambda: doors.rekey(given.LINKER, FIRST, ACTIVE, elements),
            lambda: doors.rekey(PRISME, FIRST, ACTIVE, elements),
        ):
            assert reason(refused) == "GRANT_MISSING"
    keyset = place.store.current()[1]
    cpr = KeyName(LINKAGE, Kind.CPR, 1)
    for mistaken in (
        lambda: keyset.for_evaluation(ACTIVE),
        lambda: keyset.for_conversion(cpr, ACTIVE),
        lambda: keyset.for_rekeying(FIRST, ACTIVE),
        lambda: keyset.for_handing_out(cpr),
    ):
        assert reason(mistaken) == "KIND_MISMATCH", "whatever the policy says"


def test_uses_by_kind() -> None:
    assert uses(Kind.ENCODING) == (Use.HAND_OUT,)
    assert usable(Kind.ENCODING) == {KeyState.ACTIVE}
    for kind in (Kind.CPR, Kind.ADDRESS, Kind.REPLACEMENT):
        assert Use.HAND_OUT not in uses(kind)
        assert usable(kind) == {KeyState.ACTIVE, KeyState.RETIRING}


def test_who_sees_that_there_is_an_encoding_key(place: Place) -> None:
    inventory = KeyInventory(place.engine, POLICY, place.store)

    def seen(caller: Caller) -> set[tuple[str, Kind]]:
        return {one.version.line for one in inventory.visible_to(caller).keys}

    assert seen(PRISME) == {(LINKAGE, Kind.ENCODING)}, "a grant to encode shows no other key of the domain"
    assert seen(DUBU) == {("source/dubu", Kind.CPR)}
    assert seen(given.LINKER) == {("source/dubu", Kind.CPR), (LINKAGE, Kind.CPR), (LINKAGE, Kind.ENCODING)}


def test_a_sealed_encoding_key_that_was_moved_does_not_open(place: Place) -> None:
    andet = KeyName("linkage/andet", Kind.ENCODING, 1)
    with place.engine.begin() as connection:
        rows = {
            (row["domain"], row["kind"]): dict(row) for row in connection.execute(select(tables.keys)).mappings().all()
        }
        taken = rows[andet.domain, "encoding"]
        assert taken["check_value"] != rows[LINKAGE, "encoding"]["check_value"]
        moved = {name: taken[name] for name in ("sealed", "wrapped_key", "wrapping_version")}
        here = (tables.keys.c.domain == LINKAGE) & (tables.keys.c.kind == "encoding")
        connection.execute(update(tables.keys).where(here).values(moved))
    with pytest.raises(KeyStoreError):
        given.keystore(place.engine, POLICY)


def test_the_key_stands_in_the_clear_in_no_file_and_shows_nothing_of_itself(place: Place, tmp_path: Path) -> None:
    found = place.fetch()
    key = place.store.current()[1].usable(FIRST)
    assert key
    disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"linkage/familie" in disk
    for secret in (key.scalar, found.secret):
        forms = (secret, secret.hex().encode(), secret.hex().upper().encode())
        assert not any(form in disk for form in forms)
        assert not any(str(form) in text for form in (secret, secret.hex()) for text in (repr(found), repr(key)))
        (tmp_path / "leak").write_bytes(secret)
        assert secret in b"".join(path.read_bytes() for path in tmp_path.iterdir()), "the search finds what is there"
    with pytest.raises(TypeError):
        pickle.dumps(found)


def test_a_store_opened_again_has_the_same_key(place: Place) -> None:
    again = Place(place.engine)
    assert isinstance(again.store, KeyStore)
    assert again.fetch().secret == place.fetch().secret
