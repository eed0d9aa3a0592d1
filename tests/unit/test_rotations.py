"""A rotation over a real key store, without gRPC: what each version does in each phase, and what holders must show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from kinlink import ristretto255
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymisation_pb
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1.types_pb2 import KeyRef
from pseudonymizer import doors as doors_module
from pseudonymizer.grpc_api import LONGEST_BEGUN_S, PseudonymisationApi
from pseudonymizer.inventory import KeyInventory
from pseudonymizer.keyset import KeyName
from pseudonymizer.lifecycle import KeyState, Transition
from pseudonymizer.rotations import Statement
from servicekit.errors import DeniedError, InvalidError, PreconditionError, ServiceError, UnavailableError
from servicekit.identity import CURRENT, Call, Caller
from tests.unit import key_fixtures as given
from tests.unit.key_fixtures import (
    DOMAIN,
    DPO,
    ELEMENTS,
    FAMILIE,
    FIRST,
    LINKAGE,
    LINKAGE_FIRST,
    LINKAGE_PRIMARY,
    LINKER,
    OTHER,
    POLICY,
    PRIMARY,
    SECOND,
    SOURCE,
    Replica,
)

_SIZE = ristretto255.SIZE


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = given.database_in(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ristretto255.new_pool() as pool:
        yield pool


@pytest.fixture
def one(engine: Engine, pool: ThreadPoolExecutor) -> Replica:
    return Replica(engine, pool)


@pytest.fixture
def two(engine: Engine, pool: ThreadPoolExecutor, one: Replica) -> Replica:
    return Replica(engine, pool)


def _reason(ask: object, *arguments: object) -> str:
    with pytest.raises(ServiceError) as refused:
        ask(*arguments)  # type: ignore[operator]
    return refused.value.reason


def _sample(old: bytes, new: bytes, size: int = 64) -> tuple[bytes, bytes]:
    scalars = ristretto255.random_scalars(size)
    return (
        ristretto255.multiply_each(scalars, old[: _SIZE * size]),
        ristretto255.multiply_each(scalars, new[: _SIZE * size]),
    )


def _statement(replica: Replica, old: bytes, source: KeyName = FIRST, target: KeyName = SECOND) -> Statement:
    new = replica.rekey(source, target, old)
    return Statement(source, target, 100, 100, *_sample(old, new))


def test_stored_pseudonyms_are_carried_over_and_meet_what_is_evaluated_anew(one: Replica) -> None:
    old, linked = one.evaluate(), one.convert(FIRST, elements=one.evaluate())
    given.rotate(one.keys, FIRST)
    new = one.evaluate()
    assert new != old
    assert one.rekey(FIRST, elements=old) == new
    assert one.convert(FIRST, elements=old) == one.convert(SECOND, elements=new) == linked
    assert _reason(one.evaluate, FIRST) == "KEY_VERSION_INACTIVE"
    assert _reason(one.rekey, SECOND) == "KEY_VERSION_INACTIVE"
    assert _reason(one.rekey, FIRST, FIRST) == "KEY_VERSION_INACTIVE"
    assert _reason(one.rekey, PRIMARY) == "KEY_VERSION_UNSPECIFIED"
    assert _reason(one.rekey, FIRST, replace(SECOND, kind=Kind.ADDRESS)) == "KIND_MISMATCH"
    assert _reason(one.rekey, FIRST, LINKAGE_FIRST) == "DOMAIN_MISMATCH"


def test_nobody_rekeys_without_a_grant(one: Replica) -> None:
    given.rotate(one.keys, FIRST)
    for caller, name in ((LINKER, FIRST), (OTHER, FIRST), (SOURCE, LINKAGE_FIRST)):
        target = replace(name, version=0)
        assert _reason(one.doors.rekey, caller, name, target, ELEMENTS) == "GRANT_MISSING"


def test_the_linkers_store_stands_under_a_retiring_version_until_it_is_switched(one: Replica) -> None:
    before = one.convert(FIRST)
    second = given.rotate(one.keys, LINKAGE_FIRST)
    assert one.convert(FIRST, LINKAGE_FIRST) == before
    after = one.convert(FIRST)
    assert after == one.convert(FIRST, second) != before
    assert one.doors.rekey(LINKER, LINKAGE_FIRST, LINKAGE_PRIMARY, before).elements == after
    given.apply(one.keys, Transition.DISABLE, LINKAGE_FIRST)
    assert _reason(one.convert, FIRST, LINKAGE_FIRST) == "KEY_VERSION_INACTIVE"


def test_a_call_begun_before_activation_ends_under_its_version_and_no_new_one_does(one: Replica, two: Replica) -> None:
    old, begun = one.evaluate(FIRST), {FIRST}
    given.rotate(one.keys, FIRST)
    for replica in (one, two):
        assert replica.evaluate(FIRST, begun) == old
        assert _reason(replica.evaluate, FIRST, {SECOND}) == "KEY_VERSION_INACTIVE"
        assert _reason(replica.evaluate, FIRST) == "KEY_VERSION_INACTIVE"
    for step in (Transition.COMPROMISE, Transition.SALVAGE):
        given.apply(one.keys, step, FIRST)
        for replica in (one, two):
            assert _reason(replica.evaluate, FIRST, begun) == "KEY_VERSION_INACTIVE", "a thief's too may be open"
    assert one.rekey(FIRST) == two.rekey(FIRST), "salvaged to be rekeyed from"


def test_a_call_does_not_go_on_under_its_version_for_ever(one: Replica) -> None:
    now = 0.0
    key = KeyRef(domain=DOMAIN, kind=Kind.CPR.wire, version=1)
    request = pseudonymisation_pb.EvaluateRequest(key=key, suite=Suite.SYNTHETIC.wire, elements=ELEMENTS)
    api = PseudonymisationApi(one.doors, lambda: now)
    token = CURRENT.set(Call("Evaluate", "", caller=SOURCE))
    answers = api.Evaluate(itertools.repeat(request), None)  # type: ignore[arg-type]
    first = next(answers)
    given.rotate(one.keys, FIRST)
    now += LONGEST_BEGUN_S
    assert next(answers).elements == first.elements
    now += 1
    assert _reason(lambda: next(answers)) == "KEY_VERSION_INACTIVE"
    CURRENT.reset(token)


@pytest.mark.parametrize(
    "steps",
    [(Transition.DESTROY,), (Transition.DISABLE,), (Transition.COMPROMISE,), (Transition.DISABLE, Transition.DESTROY)],
)
def test_every_replica_obeys_at_once(one: Replica, two: Replica, steps: tuple[Transition, ...]) -> None:
    given.rotate(one.keys, FIRST)
    assert two.convert(FIRST) == one.convert(FIRST)
    for step in steps:
        given.apply(one.keys, step, FIRST, accept_loss=True)
    for replica in (two, one):
        assert _reason(replica.convert, FIRST) == "KEY_VERSION_INACTIVE"
        assert _reason(replica.rekey, FIRST) == "KEY_VERSION_INACTIVE"
        assert _reason(replica.evaluate, FIRST, {FIRST}) == "KEY_VERSION_INACTIVE"
    assert two.keys.current()[1].usable(FIRST) is None
    assert two.evaluate() == one.evaluate()


def test_a_key_destroyed_while_a_message_is_under_way_is_in_no_answer(
    one: Replica, two: Replica, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.rotate(one.keys, FIRST)
    multiply, destroyed = ristretto255.multiply, list[bool]()

    def interrupted(*arguments: object) -> bytes:
        result = multiply(*arguments)  # type: ignore[arg-type]
        if not destroyed:
            destroyed.append(True)
            given.apply(two.keys, Transition.DESTROY, FIRST, accept_loss=True)
        return result

    monkeypatch.setattr(doors_module.ristretto255, "multiply", interrupted)
    assert _reason(one.convert, FIRST) == "KEY_VERSION_INACTIVE"
    told = [(e["outcome"], e["reason"]) for e in one.audit.entries() if e["rpc"].endswith("/Convert")]
    assert told == [("refused", "KEY_VERSION_INACTIVE")]
    with engine.connect() as connection:
        assert not connection.execute(text("SELECT sum(elements) FROM budget_use")).scalar()


def test_a_message_under_way_when_the_primary_changes_is_answered_under_the_new_one(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply, rotated = ristretto255.multiply, list[KeyName]()

    def interrupted(*arguments: object) -> bytes:
        result = multiply(*arguments)  # type: ignore[arg-type]
        if not rotated:
            rotated.append(given.rotate(two.keys, FIRST))
        return result

    monkeypatch.setattr(doors_module.ristretto255, "multiply", interrupted)
    answer = one.doors.evaluate(SOURCE, PRIMARY, Suite.SYNTHETIC.wire, ELEMENTS)
    assert answer.key == SECOND
    assert answer.elements == two.evaluate()


def test_keys_that_never_come_to_rest_end_a_message(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply = ristretto255.multiply

    def interrupted(*arguments: object) -> bytes:
        name = KeyName(DOMAIN, Kind.ADDRESS, 1)
        with two.keys.change() as connection:
            made = two.keys.create(connection, name.domain, name.kind)
            two.keys.transition(connection, [made.name], Transition.COMPROMISE, datetime.now(UTC))
        return multiply(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(doors_module.ristretto255, "multiply", interrupted)
    with pytest.raises(UnavailableError) as refused:
        one.evaluate()
    assert refused.value.reason == "KEYS_CHANGING"


def test_a_version_is_destroyed_when_every_holder_has_attested(one: Replica, two: Replica) -> None:
    old = one.evaluate()
    given.rotate(one.keys, FIRST)
    assert _reason(given.apply, one.keys, Transition.DESTROY, FIRST) == "HOLDERS_NOT_DONE"
    assert one.rotations.attest(SOURCE, _statement(one, old)) == 64
    assert _reason(given.apply, one.keys, Transition.DESTROY, FIRST) == "HOLDERS_NOT_DONE"
    linked = one.convert(FIRST, elements=old)
    passed_on = Statement(FIRST, LINKAGE_FIRST, 100, 100, *_sample(old, linked))
    assert two.rotations.attest(LINKER, passed_on) == 64
    (rotation,) = one.rotations.visible_to(DPO)
    assert (rotation.source, rotation.target, rotation.state) == (FIRST, SECOND, KeyState.RETIRING)
    assert [(h.holder, h.held, h.converted, h.sample_size) for h in rotation.holders] == [
        (FAMILIE, 100, 100, 64),
        (DOMAIN, 100, 100, 64),
    ]
    assert rotation.last_used_at is not None
    given.apply(two.keys, Transition.DESTROY, FIRST)
    (rotation,) = one.rotations.visible_to(DPO)
    assert rotation.state is KeyState.DESTROYED
    assert rotation.destroyed_at
    assert all(holder.attested_at for holder in rotation.holders)
    proofs = [e["evidence"] for e in one.audit.entries() if e["rpc"] == "key.attest"]
    assert proofs[0] == (
        '{"converted":100,"held":100,"holder":"source/prisme","sample_size":64,'
        '"to":{"domain":"source/prisme","version":2}}'
    )


def test_a_holder_that_uses_the_version_after_it_attested_attests_again(one: Replica) -> None:
    old = one.evaluate()
    given.rotate(one.keys, FIRST)
    one.rotations.attest(SOURCE, _statement(one, old))
    one.rotations.attest(LINKER, Statement(FIRST, None, 0, 0))
    one.convert(FIRST)
    assert _reason(given.apply, one.keys, Transition.DESTROY, FIRST) == "HOLDERS_NOT_DONE"
    one.rotations.attest(LINKER, Statement(FIRST, LINKAGE_FIRST, 0, 0))
    one.rekey(FIRST)
    assert _reason(given.apply, one.keys, Transition.DESTROY, FIRST) == "HOLDERS_NOT_DONE"
    one.rotations.attest(SOURCE, _statement(one, old))
    given.apply(one.keys, Transition.DESTROY, FIRST)


def test_accepting_the_loss_keeps_who_had_not_attested(one: Replica) -> None:
    given.rotate(one.keys, FIRST)
    given.apply(one.keys, Transition.DESTROY, FIRST, accept_loss=True)
    (rotation,) = one.rotations.visible_to(DPO)
    assert [(holder.holder, holder.attested_at) for holder in rotation.holders] == [(FAMILIE, None), (DOMAIN, None)]


def test_what_a_holder_states_must_be_so(one: Replica) -> None:
    old = one.evaluate()
    given.rotate(one.keys, FIRST)
    good = _statement(one, old)
    other = ristretto255.multiply(ristretto255.random_scalars(1), good.sample_to)
    refused = {
        "REKEYING_INCOMPLETE": replace(good, converted=99),
        "SAMPLE_MISMATCH": replace(good, sample_to=other),
        "ELEMENT_INVALID": replace(good, sample_from=bytes(_SIZE) + good.sample_from[_SIZE:]),
        "KEY_VERSION_UNSPECIFIED": replace(good, target=PRIMARY),
        "KIND_MISMATCH": replace(good, target=replace(SECOND, kind=Kind.ADDRESS)),
        "KEY_VERSION_UNKNOWN": replace(good, target=replace(SECOND, version=3)),
        "KEY_VERSION_INACTIVE": replace(good, source=SECOND, target=FIRST),
        "GRANT_MISSING": replace(good, target=LINKAGE_FIRST),
        "HOLDER_UNKNOWN": replace(good, source=KeyName("source/dubu", Kind.CPR, 1)),
    }
    malformed = (
        replace(good, sample_to=good.sample_to[:-_SIZE]),
        replace(good, sample_from=good.sample_from[:-1], sample_to=good.sample_to[:-1]),
        replace(good, sample_from=good.sample_from[:-_SIZE], sample_to=good.sample_to[:-_SIZE]),
        replace(good, held=63, converted=63),
        replace(good, held=2**63, converted=2**63),
        replace(good, target=None),
    )
    for reason, statement in refused.items():
        assert _reason(one.rotations.attest, SOURCE, statement) == reason
    for statement in malformed:
        assert _reason(one.rotations.attest, SOURCE, statement) == "ATTESTATION_INVALID"
    swapped = good.sample_to[_SIZE : 2 * _SIZE] + good.sample_to[:_SIZE] + good.sample_to[2 * _SIZE :]
    assert _reason(one.rotations.attest, SOURCE, replace(good, sample_to=swapped)) == "SAMPLE_MISMATCH"
    assert _reason(one.rotations.attest, OTHER, good) == "HOLDER_UNKNOWN"
    assert _reason(one.rotations.attest, DPO, good) == "HOLDER_UNKNOWN"
    (rotation,) = one.rotations.visible_to(DPO)
    assert all(holder.attested_at is None for holder in rotation.holders)


def test_only_a_version_that_was_replaced_is_attested(one: Replica) -> None:
    nothing = Statement(FIRST, None, 0, 0)
    assert _reason(one.rotations.attest, SOURCE, nothing) == "KEY_VERSION_INACTIVE"
    assert _reason(one.rotations.attest, SOURCE, replace(nothing, target=LINKAGE_FIRST)) == "GRANT_MISSING"
    assert _reason(one.rotations.attest, LINKER, replace(nothing, target=LINKAGE_FIRST)) == "KEY_VERSION_INACTIVE"
    assert _reason(one.rotations.attest, SOURCE, replace(nothing, source=SECOND)) == "KEY_VERSION_UNKNOWN"
    given.apply(one.keys, Transition.COMPROMISE, FIRST)
    assert _reason(one.rotations.attest, SOURCE, nothing) == "KEY_VERSION_INACTIVE"  # it has no successor yet
    given.rotate(one.keys, FIRST)
    assert one.rotations.attest(SOURCE, nothing) == 0
    given.apply(one.keys, Transition.DESTROY, FIRST, accept_loss=True)
    assert _reason(one.rotations.attest, LINKER, nothing) == "KEY_VERSION_INACTIVE"


def test_who_sees_which_keys_and_rotations(one: Replica, engine: Engine) -> None:
    given.rotate(one.keys, FIRST)
    given.rotate(one.keys, KeyName("source/dubu", Kind.CPR, 1))
    inventory = KeyInventory(engine, POLICY, one.keys)

    def seen(caller: Caller, domain: str = "") -> set[tuple[str, int]]:
        return {(k.version.name.domain, k.version.name.version) for k in inventory.visible_to(caller, domain).keys}

    own = {(DOMAIN, 1), (DOMAIN, 2)}
    assert seen(SOURCE) == own
    assert seen(SOURCE, LINKAGE) == set()
    assert seen(LINKER) == own | {(LINKAGE, 1)}
    assert seen(DPO) == own | {(LINKAGE, 1), ("source/dubu", 1), ("source/dubu", 2)}
    assert seen(DPO, LINKAGE) == {(LINKAGE, 1)}
    assert inventory.visible_to(DPO).generation == 5
    assert {r.source.domain for r in one.rotations.visible_to(DPO)} == {DOMAIN, "source/dubu"}
    assert {r.source.domain for r in one.rotations.visible_to(LINKER)} == {DOMAIN}
    assert one.rotations.visible_to(OTHER) == []
    ages = {k.version.state: (k.rotate_before, k.version.activated_at) for k in inventory.visible_to(SOURCE).keys}
    assert ages[KeyState.RETIRING][0] is None
    wanted, activated = ages[KeyState.ACTIVE]
    assert wanted
    assert activated
    assert (wanted - activated).days == 365


def test_refusals_of_the_lifecycle_say_what_to_do(one: Replica) -> None:
    third = given.rotate(one.keys, FIRST)
    with pytest.raises(PreconditionError, match="finish its rotation") as refused:
        given.rotate(one.keys, third)
    assert refused.value.reason == "ROTATION_UNFINISHED"
    with pytest.raises(PreconditionError, match="linker/familie, source/prisme did not attest"):
        given.apply(one.keys, Transition.DESTROY, FIRST)
    with pytest.raises(InvalidError), one.keys.change() as connection:
        one.keys.create(connection, "source/nobody", Kind.CPR)
    with pytest.raises(DeniedError):
        one.doors.rekey(OTHER, FIRST, PRIMARY, ELEMENTS)
