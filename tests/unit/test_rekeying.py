"""The linker's pseudonyms are carried to the next key version: all of them, in one snapshot, whatever stops it."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given as case
from hypothesis import settings
from hypothesis import strategies as st
from sqlalchemy import select

from kinlink.pseudonyms import Kind
from linker.intake.header import ClaimedKey
from linker.intake.intake import Intake
from linker.intake.retention import expire
from linker.linkage.conversion import convert_all
from linker.linkage.rekeying import RekeyingWork
from linker.rekeyings import Rekeyings
from linker.store.memory import MemoryTables
from linker.store.rekeyings import Rekeying, Stage
from linker.store.snapshots import Snapshots
from linker.store.state import REKEYED_KEYS, RunState
from linker.store.tables import IDENTITIES, REKEYED, facts
from servicekit.audit import AuditLog
from servicekit.errors import ServiceError
from tests.unit import linker_fixtures as given
from tests.unit.rekeying_fixtures import LocalKeys, away, element

LINKAGE = "linkage/familie"
NAMES = tuple("abcdefgh")


class World:
    """A linker without its server: store, intake, rekeyings, and the keys it asks for."""

    def __init__(self, folder: Path, *, piece: int = 3, delta: bool = True) -> None:
        self.folder, self.keys, self.piece = folder, LocalKeys(), piece
        self.store: Snapshots = given.store(folder, None if delta else MemoryTables())
        self.intake: Intake = given.intake(self.store, folder)
        self.rekeyings = self.restarted()

    def restarted(self) -> Rekeyings:
        audit = AuditLog(self.store.engine)
        made = Rekeyings(self.store.engine, audit)
        work = RekeyingWork(
            self.store, audit, self.keys.connect, "familie", lambda _: None, patience_s=1.0, piece=self.piece
        )
        made.open(work)
        return made

    def deliver(self, *names: str, source: str = "prisme", version: int = 1, **fields: Any) -> str:
        month = date(int(fields.get("period", "2014")), 3, 1)
        rows = given.postings(*names, source=source, event_month=month, booked_month=month).with_columns(
            pl.Series("person", [element(name, f"source/{source}", version) for name in names])
        )
        fields = {"keys": [ClaimedKey(f"source/{source}", Kind.CPR, version)], **fields}
        parts = given.delivery("postings", rows, source=source, **fields)
        return self.intake.deliver(source, given.ALL, iter(parts)).delivery.header.delivery_id

    def begin(self, *names: str, source: str = "prisme", version: int = 1, period: str = "2014") -> Callable[[], None]:
        """Send all of a delivery but its finish; return what sends it again whole."""
        month = date(int(period), 3, 1)
        rows = given.postings(*names, source=source, event_month=month, booked_month=month)
        keys = [ClaimedKey(f"source/{source}", Kind.CPR, version)]
        parts = given.delivery("postings", rows, source=source, keys=keys, period=period)
        with pytest.raises(ConnectionError):
            self.intake.deliver(source, given.ALL, given.stream(parts[:-1], broken=True))
        return lambda: void(self.intake.deliver(source, given.ALL, iter(parts)))

    def convert(self) -> None:
        convert_all(self.store, self.keys, "familie", lambda *_: None)

    def rekey(self, request_id: str = "") -> Rekeying:
        started = self.rekeyings.start(request_id or str(uuid.uuid4()))
        return list(self.rekeyings.watch(started.rekeying_id))[-1]

    def scan(self, table: str) -> pl.DataFrame:
        with self.store.pin() as pinned:
            return pinned.scan(table).collect()

    def identities(self) -> dict[bytes, tuple[int, int]]:
        """Return the id and key version of each pseudonym."""
        rows = self.scan(IDENTITIES).select("pseudonym", "id", "key_version").iter_rows()
        return {pseudonym: (number, version) for pseudonym, number, version in rows}

    def samples(self) -> int:
        """Return how many samples are kept, old and new."""
        with self.store.engine.connect() as connection:
            rows = connection.execute(select(REKEYED_KEYS.c.sample_from, REKEYED_KEYS.c.sample_to))
            return sum(bool(sample) for row in rows for sample in row)

    def on_disk(self) -> bytes:
        """Return all that the store's data files hold, unpacked."""
        files = [file for file in (self.folder / "store").rglob("*.parquet") if "_delta_log" not in file.parts]
        tables = [pl.read_parquet(file) for file in files]
        return b"".join(b"".join(t["pseudonym"]) for t in tables if "pseudonym" in t.columns)


def void(_: object) -> None:
    """Drop a result."""


def expected(names: str, version: int) -> set[bytes]:
    return {element(name, LINKAGE, version) for name in names}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.engine.dispose()


def test_all_pseudonyms_change_ids_stay_and_the_old_ones_are_off_the_disk(world: World) -> None:
    world.deliver(*NAMES)
    world.convert()
    before, people = world.identities(), world.scan(facts("postings"))
    assert element("a", LINKAGE, 1) in world.on_disk()
    world.keys.rotate(LINKAGE)
    done = world.rekey()
    assert (done.state, done.stage, done.reason) == (RunState.SUCCEEDED, Stage.ATTESTATION, "")
    after = world.identities()
    assert set(after) == expected("abcdefgh", 2)
    for name in NAMES:
        assert after[element(name, LINKAGE, 2)] == (before[element(name, LINKAGE, 1)][0], 2)
        assert element(name, LINKAGE, 1) not in world.on_disk()
    assert world.scan(facts("postings")).equals(people)
    assert world.scan(REKEYED).is_empty()
    [key] = done.keys
    assert (key.held, key.converted, key.sample_size, key.attested_at is not None) == (8, 8, 8, True)
    [stated] = world.keys.attested
    assert (stated.held, stated.converted, stated.sample, stated.to) == (8, 8, 8, (LINKAGE, 2))


def test_later_deliveries_are_converted_under_the_new_version_and_meet_the_same_people(world: World) -> None:
    world.deliver("a", "b")
    world.convert()
    world.keys.rotate(LINKAGE)
    world.rekey()
    world.deliver("b", "c", source="dubu")
    world.convert()
    assert set(world.identities()) == expected("abc", 2)


def test_deliveries_meanwhile_are_converted_under_the_old_version_and_caught_up_with(world: World) -> None:
    world.deliver("a", "b", "c", "d")
    world.convert()
    world.keys.rotate(LINKAGE)
    more = iter(["ef", "gh"])

    def meanwhile(operation: str) -> None:
        if operation == "rekey" and (names := next(more, "")):
            world.deliver(*names, source="dubu", period=f"201{4 + (names == 'gh')}")
            world.convert()
            assert {version for _, version in world.identities().values()} == {1}

    world.keys.before = meanwhile
    assert world.rekey().state == RunState.SUCCEEDED
    assert set(world.identities()) == expected("abcdefgh", 2)


def test_a_conversion_answered_under_the_old_version_and_committed_after_the_switch_splits_nobody(world: World) -> None:
    world.deliver("a", "b")
    world.convert()
    world.keys.rotate(LINKAGE)
    copying, answered, switched = threading.Event(), threading.Event(), threading.Event()

    def before(operation: str) -> None:
        if operation == "rekey" and not copying.is_set():
            copying.set()
            assert answered.wait(60)
        if operation == "convert" and copying.is_set() and not answered.is_set():
            answered.set()
            assert switched.wait(60)

    world.keys.before = before
    started = world.rekeyings.start(str(uuid.uuid4()))
    assert copying.wait(60)
    world.deliver("b", "c", source="dubu")
    converting = threading.Thread(target=world.convert)
    converting.start()
    stopped = list(world.rekeyings.watch(started.rekeying_id))[-1]
    assert (stopped.snapshot is not None, stopped.reason) == (True, "STORE_IN_USE"), "the conversion still reads"
    switched.set()
    converting.join(60)
    assert set(world.identities()) == expected("abc", 2)
    assert len(world.identities()) == 3
    assert world.rekey().state == RunState.SUCCEEDED


def test_an_empty_line_is_attested_and_an_answer_under_its_old_version_comes_too_late(world: World) -> None:
    world.deliver("a")
    world.keys.before = lambda operation: switch() if operation == "convert" else None

    def switch() -> None:  # the conversion asked for the primary, which was version 1 then
        world.keys.before = lambda _: None
        world.keys.rotate(LINKAGE)
        [key] = world.rekey().keys
        assert (key.held, key.to_version) == (0, 0)

    world.convert()
    assert set(world.identities()) == expected("a", 2)
    assert world.rekey().state == RunState.SUCCEEDED
    [stated] = world.keys.attested
    assert (stated.held, stated.to, stated.sample) == (0, None, 0)


@pytest.mark.parametrize("operation", ["leaving", "convert", "rekey", "attest"])
def test_what_the_pseudonymizer_breaks_off_goes_on_where_it_was(world: World, operation: str) -> None:
    world.deliver(*NAMES)
    world.convert()
    world.deliver("x", source="dubu")
    world.keys.rotate(LINKAGE)
    world.keys.before = away(operation, after=2 if operation == "rekey" else 0)
    asked = str(uuid.uuid4())
    stopped = world.rekey(asked)
    assert (stopped.state, stopped.reason) == (RunState.INTERRUPTED, "PSEUDONYMIZER_UNAVAILABLE")
    assert stopped.ended_at is None
    assert world.scan(REKEYED).height == (6 if operation == "rekey" else 0)
    world.keys.before = lambda _: None
    before = world.keys.rekeyed
    done = world.rekey(asked)
    assert (done.rekeying_id, done.state) == (stopped.rekeying_id, RunState.SUCCEEDED)
    assert set(world.identities()) == expected("abcdefghx", 2)
    if operation == "rekey":  # nine in all: the two pieces of three were kept; a sample of nine twice
        assert world.keys.rekeyed - before == 3 + 9 + 9
    assert world.rekey(asked) == done
    assert len(world.keys.attested) == 1


def test_another_request_finishes_what_an_interrupted_one_switched(world: World) -> None:
    world.deliver(*NAMES)
    world.convert()
    world.keys.rotate(LINKAGE)
    world.keys.before = away("attest")
    stopped = world.rekey()
    assert (stopped.stage, stopped.snapshot is not None) == (Stage.ATTESTATION, True)
    world.keys.before = lambda _: None
    done = world.rekey()
    assert done.state == RunState.SUCCEEDED
    assert [(key.held, key.sample_size) for key in done.keys] == [(8, 8)]
    assert world.keys.attested[0].sample == 8, "the sample outlived the old pseudonyms, blinded"


def test_another_rekeying_attests_again_with_the_same_sample_until_the_version_is_destroyed(world: World) -> None:
    world.deliver(*NAMES)
    world.convert()
    world.keys.rotate(LINKAGE)
    first = world.rekey()
    again = world.rekey()
    assert (first.state, again.state) == (RunState.SUCCEEDED, RunState.SUCCEEDED)
    assert [(key.held, key.sample_size) for key in again.keys] == [(8, 8)]
    assert world.samples() == 2
    world.keys.retiring.clear()
    assert world.rekey().state == RunState.SUCCEEDED
    assert world.samples() == 0, "nobody asks for it any more"


def test_wrong_answers_fail_the_rekeying_and_nothing_is_switched(world: World) -> None:
    world.deliver(*NAMES)
    world.convert()
    world.keys.rotate(LINKAGE)

    def lies_once(operation: str) -> None:
        world.keys.wrong = operation == "rekey" and world.keys.rekeyed == 0

    world.keys.before = lies_once
    failed = world.rekey()
    assert (failed.state, failed.reason) == (RunState.FAILED, "REKEYING_MISMATCH")
    assert set(world.identities()) == expected("abcdefgh", 1)
    assert world.scan(REKEYED).is_empty()
    assert world.rekey().state == RunState.SUCCEEDED, "a new one makes the copy anew"


def test_a_source_version_is_attested_when_all_of_it_is_converted_and_refused_from_then_on(world: World) -> None:
    world.deliver("a", "b", "c")
    world.keys.rotate("source/prisme")
    done = world.rekey()
    assert done.state == RunState.SUCCEEDED
    [stated] = world.keys.attested
    assert (stated.line, stated.held, stated.converted) == (("source/prisme", Kind.CPR), 3, 3)
    assert (stated.to, stated.sample) == ((LINKAGE, 1), 0)
    with pytest.raises(ServiceError) as refused:
        world.deliver("d", period="2015")
    assert refused.value.reason == "KEY_VERSION_CLOSED"
    assert world.intake.page("prisme", dataset=None, limit=9, before=None)[0].delivery.header.period == "2014"
    world.deliver("d", version=2, period="2015")
    world.deliver("d", source="dubu")
    world.convert()
    assert set(world.identities()) == expected("abcd", 1)


def test_an_open_delivery_under_the_old_version_holds_the_attestation_up_and_lands(world: World) -> None:
    finish = world.begin("a", "b")
    world.keys.rotate("source/prisme")
    asked = str(uuid.uuid4())
    stopped = world.rekey(asked)
    assert (stopped.state, stopped.reason, stopped.stage) == (
        RunState.INTERRUPTED,
        "DELIVERY_OPEN",
        Stage.ATTESTATION,
    )
    assert "prisme" in stopped.message
    assert "postings" in stopped.message
    assert world.keys.attested == []
    finish()
    assert world.rekey(asked).state == RunState.SUCCEEDED
    assert world.keys.attested[0].held == 2
    assert set(world.identities()) == expected("ab", 1)
    finish()  # sent again, it is known


def test_an_open_delivery_that_its_source_sends_again_under_the_new_version_holds_nothing_up(world: World) -> None:
    world.begin("a", "b")
    elsewhere = world.begin("a", period="2015")
    world.keys.rotate("source/prisme")
    asked = str(uuid.uuid4())
    assert world.rekey(asked).reason == "DELIVERY_OPEN"
    world.deliver("a", "b", version=2)
    assert world.rekey(asked).reason == "DELIVERY_OPEN", "another period is open still"
    world.deliver("a", version=2, period="2015")
    assert world.rekey(asked).state == RunState.SUCCEEDED
    with pytest.raises(ServiceError) as refused:
        elsewhere()
    assert refused.value.reason == "KEY_VERSION_CLOSED"


def test_an_open_delivery_is_waited_for(world: World) -> None:
    finish = world.begin("a", "b")
    world.keys.rotate("source/prisme")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if seconds:
            finish()

    work = RekeyingWork(world.store, AuditLog(world.store.engine), world.keys.connect, "familie", wait)
    world.rekeyings.open(work)
    assert world.rekey().state == RunState.SUCCEEDED
    assert [seconds for seconds in waits if seconds] == [0.5]
    assert world.keys.attested[0].held == 2


def test_a_reader_of_old_pseudonyms_holds_the_attestation_up(world: World) -> None:
    world.deliver("a")
    world.convert()
    world.keys.rotate(LINKAGE)
    asked = str(uuid.uuid4())
    with world.store.pin():
        stopped = world.rekey(asked)
        assert (stopped.state, stopped.reason) == (RunState.INTERRUPTED, "STORE_IN_USE")
    assert world.rekey(asked).state == RunState.SUCCEEDED
    assert element("a", LINKAGE, 1) not in world.on_disk()


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ({("cpr", 1): True}, "KEY_VERSION_UNKNOWN"),
        ({("cpr", 7): False}, "KEY_VERSION_INACTIVE"),
        ({("cpr", 7): True}, ""),
        (None, ""),
    ],
)
def test_a_header_under_a_version_that_cannot_be_converted_is_refused(
    tmp_path: Path, states: dict[tuple[str, int], bool] | None, reason: str
) -> None:
    store = given.store(tmp_path)
    intake = given.intake(store, tmp_path, key_states=lambda domain: states if domain == "source/prisme" else {})
    keys = [ClaimedKey("source/prisme", Kind.CPR, 7)]
    parts = given.delivery("postings", given.postings("a"), source="prisme", keys=keys)
    if not reason:
        intake.deliver("prisme", given.ALL, iter(parts))
        return
    with pytest.raises(ServiceError) as refused:
        intake.deliver("prisme", given.ALL, iter(parts))
    assert refused.value.reason == reason
    assert intake.page("prisme", dataset=None, limit=1, before=None) == []
    store.engine.dispose()


def test_the_log_has_the_start_the_switch_and_the_attestation(world: World) -> None:
    world.deliver("a", "b")
    world.convert()
    world.keys.rotate(LINKAGE)
    world.rekey()
    entries = [e for e in AuditLog(world.store.engine).entries() if e["rpc"].startswith("rekeying")]
    assert [e["rpc"] for e in entries] == ["rekeying started", "rekeying switched", "rekeying attested"]
    switched = entries[1]
    assert (switched["subject"], switched["kind"], switched["key_version"], switched["count"]) == (LINKAGE, "cpr", 2, 2)
    assert json.loads(switched["evidence"])["sample_size"] == 2


def test_one_at_a_time_and_a_stop_interrupts_it(world: World) -> None:
    world.deliver(*NAMES)
    world.convert()
    world.keys.rotate(LINKAGE)
    working, go_on = threading.Event(), threading.Event()

    def until_told(operation: str) -> None:
        if operation == "rekey":
            working.set()
            go_on.wait(30)

    world.keys.before = until_told
    first = world.rekeyings.start(str(uuid.uuid4()))
    assert working.wait(30)
    with pytest.raises(ServiceError) as refused:
        world.rekeyings.start(str(uuid.uuid4()))
    assert refused.value.reason == "REKEYING_IN_PROGRESS"
    assert world.rekeyings.start(first.request_id).rekeying_id == first.rekeying_id
    world.rekeyings._background._stopping.set()
    go_on.set()
    world.rekeyings.close()
    stopped = world.rekeyings.get("")
    assert (stopped.state, stopped.reason) == (RunState.INTERRUPTED, "SERVICE_STOPPED")
    world.rekeyings = world.restarted()
    assert world.rekey(first.request_id).state == RunState.SUCCEEDED


@pytest.mark.parametrize("request_id", ["", "x", f"urn:uuid:{uuid.uuid4()}"])
def test_start_refuses_what_is_no_request_id(world: World, request_id: str) -> None:
    with pytest.raises(ServiceError) as refused:
        world.rekeyings.start(request_id)
    assert [violation.field for violation in refused.value.violations] == ["request_id"]
    with pytest.raises(ServiceError) as unknown:
        world.rekeyings.get("")
    assert unknown.value.reason == "REKEYING_UNKNOWN"


STEPS = st.lists(st.sampled_from(["deliver", "convert", "rotate", "rekey", "break", "withdraw"]), max_size=12)


@settings(max_examples=8, deadline=None)
@case(steps=STEPS, piece=st.integers(1, 5))
def test_whatever_the_order_everybody_has_one_id_and_stands_under_one_version(
    steps: list[str], piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.mktemp("w"), piece=piece, delta=False)
    first: dict[str, int] = {}
    delivered: list[tuple[str, str]] = []
    for number, step in enumerate([*steps, "rotate", "convert", "rekey"]):
        match step:
            case "deliver":
                names = [NAMES[(number + offset) % 8] for offset in range(3)]
                delivered.append(("dubu", world.deliver(*names, source="dubu", period=str(2000 + number))))
            case "convert":
                world.convert()
            case "rotate" if not world.keys.retiring:
                world.keys.rotate(LINKAGE)
            case "break":
                world.keys.before = away("rekey", after=number % 3)
                world.rekey()
                world.keys.before = lambda _: None
            case "rekey":
                assert world.rekey().state == RunState.SUCCEEDED
            case "withdraw" if delivered:
                world.intake.withdraw(*delivered.pop())
        found = world.identities()
        assert len({version for _, version in found.values()}) <= 1
        for name in NAMES:
            ids = {found[element(name, LINKAGE, v)][0] for v in (1, 2) if element(name, LINKAGE, v) in found}
            assert len(ids) <= 1
            for number_given in ids:
                assert first.setdefault(name, number_given) == number_given
    assert {version for _, version in world.identities().values()} <= {2}
    world.store.engine.dispose()


# Encodings


PERSONS = given.person_encodings({"a": given.ANNE, "b": given.BO})
PAYERS = given.payer_encodings({"r1": given.ANNE})
PLACES = {"person_encodings": ("folkeregister", PERSONS), "payer_encodings": ("prisme", PAYERS)}


def encode(world: World, dataset: str, version: int = 1, *, finish: bool = True) -> str:
    """Deliver encodings under a version of the encoding key, which the pseudonymizer says is in use."""
    intake = given.intake(
        world.store, world.folder, key_states=lambda _: {("cpr", 1): True, ("encoding", version): True}
    )
    source, rows = PLACES[dataset]
    keys = [ClaimedKey(LINKAGE, Kind.ENCODING, version)]
    keys += [ClaimedKey(f"source/{source}", Kind.CPR, 1)] if "person" in rows.columns else []
    parts = given.delivery(dataset, rows, source=source, keys=keys)
    if finish:
        return intake.deliver(source, given.ALL, iter(parts)).delivery.header.delivery_id
    with pytest.raises(ConnectionError):
        intake.deliver(source, given.ALL, given.stream(parts[:-1], broken=True))
    return ""


def test_encodings_keep_their_persons_when_the_linkage_key_is_rotated(world: World) -> None:
    encode(world, "person_encodings")
    encode(world, "payer_encodings")
    world.deliver("a")
    world.convert()
    tables = [facts(name) for name in ("person_encodings", "payer_encodings", "postings")]
    before = {table: world.scan(table) for table in tables}
    persons = {element(name, LINKAGE, 1): name for name in "ab"}
    owners = {number: persons[pseudonym] for pseudonym, (number, _) in world.identities().items()}
    world.keys.rotate(LINKAGE)
    assert world.rekey().state == RunState.SUCCEEDED
    assert all(world.scan(table).equals(before[table]) for table in tables)
    renamed = {element(name, LINKAGE, 2): name for name in "ab"}
    assert {number: renamed[pseudonym] for pseudonym, (number, _) in world.identities().items()} == owners
    encode(world, "person_encodings")  # whoever is delivered again is who he was
    world.convert()
    assert set(world.scan(facts("person_encodings"))["person_id"]) == set(owners)


@pytest.mark.parametrize("converted", [False, True])
def test_a_version_of_the_encoding_key_is_attested_when_nothing_under_it_is_held(world: World, converted: bool) -> None:
    gone = [encode(world, "person_encodings"), encode(world, "payer_encodings")]
    if converted:
        world.convert()
    world.deliver("a")
    world.keys.rotate(LINKAGE, Kind.ENCODING)
    world.keys.rotate("source/prisme")
    held = world.rekey()
    assert (held.state, held.reason) == (RunState.INTERRUPTED, "ENCODINGS_HELD")
    assert "folkeregister person_encodings 2014, prisme payer_encodings 2014" in held.message
    assert [one.line for one in world.keys.attested] == [("source/prisme", Kind.CPR)], "all else is done"

    encode(world, "person_encodings", version=2)
    left = world.rekey()
    assert left.reason == "ENCODINGS_HELD"
    assert "folkeregister" not in left.message
    encode(world, "payer_encodings", version=2)
    assert world.rekey().state == RunState.SUCCEEDED
    found = world.keys.attested[-1]
    assert (found.line, found.from_version, found.to) == ((LINKAGE, Kind.ENCODING), 1, None)
    assert (found.held, found.converted, found.sample) == (0, 0, 0)
    assert not [path for path in (world.folder / "store").rglob("*.parquet") if any(name in str(path) for name in gone)]

    with pytest.raises(ServiceError, match="encode and deliver again") as refused:
        encode(world, "payer_encodings")
    assert refused.value.reason == "KEY_VERSION_CLOSED"


def test_a_version_of_the_encoding_key_is_not_attested_while_encodings_under_it_arrive(world: World) -> None:
    encode(world, "payer_encodings", finish=False)
    world.keys.rotate(LINKAGE, Kind.ENCODING)
    assert world.rekey().reason == "ENCODINGS_HELD"
    encode(world, "payer_encodings", version=2)  # overtakes the one that broke off
    assert world.rekey().state == RunState.SUCCEEDED


def test_expired_encodings_do_not_keep_a_version_from_being_attested(world: World) -> None:
    encode(world, "payer_encodings")
    world.keys.rotate(LINKAGE, Kind.ENCODING)
    assert world.rekey().reason == "ENCODINGS_HELD"
    expire(world.store, 0, AuditLog(world.store.engine))
    assert world.rekey().state == RunState.SUCCEEDED


def test_a_version_of_the_encoding_key_is_attested_when_no_reader_needs_what_stood_under_it(world: World) -> None:
    encode(world, "payer_encodings")
    world.convert()
    world.keys.rotate(LINKAGE, Kind.ENCODING)
    with world.store.pin():
        expire(world.store, 0, AuditLog(world.store.engine))
        assert world.rekey().reason == "STORE_IN_USE"
    assert world.rekey().state == RunState.SUCCEEDED
