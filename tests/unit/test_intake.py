"""A delivery is all or nothing; each bad input has its own error, and nothing of it stays."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kinlink.pseudonyms import Kind
from linker.intake.header import ClaimedKey
from linker.intake.intake import Chunk, Finish, Intake, Part
from linker.intake.staging import Staging
from linker.store import deliveries
from linker.store.memory import MemoryTables
from linker.store.snapshots import Snapshots
from linker.store.state import DeliveryState
from linker.store.tables import DeliveryKey, quarantine
from servicekit.audit import AuditLog
from servicekit.database import read
from servicekit.errors import ServiceError
from servicekit.identity import CURRENT, Call, Caller, Role
from tests.unit import linker_fixtures as given

PRISME = frozenset({"postings", "spells", "catalogue"})


@pytest.fixture
def store(tmp_path: Path) -> Snapshots:
    return given.store(tmp_path, MemoryTables())


@pytest.fixture
def intake(store: Snapshots, tmp_path: Path) -> Intake:
    return given.intake(store, tmp_path)


def rows(store: Snapshots, dataset: str) -> pl.DataFrame:
    with store.pin() as pinned:
        return pinned.scan(quarantine(dataset)).collect()


def staged(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]


def postings(*frames: pl.DataFrame, **fields: Any) -> list[Part]:
    return given.delivery("postings", *(frames or (given.postings("a", "b"),)), source="prisme", **fields)


def test_deliver_accepts_rows_and_names_the_snapshot(store: Snapshots, intake: Intake, tmp_path: Path) -> None:
    parts = postings(given.postings("a", None), given.postings("b"))
    receipt = intake.deliver("prisme", PRISME, iter(parts))
    assert receipt.delivery.state == DeliveryState.ACCEPTED
    assert receipt.delivery.snapshot == store.current().number == 1
    assert receipt.chunks_received == 2
    stored = rows(store, "postings")
    expected = pl.concat([given.postings("a", None), given.postings("b")])
    assert stored.drop("source", "delivery_id").equals(expected)
    assert set(stored["source"]) == {"prisme"}
    assert set(stored["delivery_id"]) == {receipt.delivery.header.delivery_id}
    assert staged(tmp_path) == []


def test_deliver_returns_the_receipt_and_changes_nothing_when_sent_again(store: Snapshots, intake: Intake) -> None:
    parts = postings()
    first = intake.deliver("prisme", PRISME, iter(parts))
    assert intake.deliver("prisme", PRISME, iter(parts)).delivery == first.delivery
    assert store.current().number == 1


def test_deliver_replaces_the_same_source_dataset_and_period(store: Snapshots, intake: Intake) -> None:
    first = intake.deliver("prisme", PRISME, iter(postings(given.postings("a", "b"))))
    other = intake.deliver("prisme", PRISME, iter(postings(given.postings("c"), period="2014-03")))
    second = intake.deliver("prisme", PRISME, iter(postings(given.postings("d"))))
    assert second.replaced == first.delivery.header.delivery_id
    assert other.replaced == ""
    assert sorted(rows(store, "postings")["person"]) == sorted(
        given.element(name, domain="source/prisme") for name in "cd"
    )
    replaced = intake.get("prisme", first.delivery.header.delivery_id).delivery
    assert (replaced.state, replaced.replaced_by) == (DeliveryState.REPLACED, second.delivery.header.delivery_id)


def test_deliver_takes_an_empty_period_and_a_catalogue_without_keys(store: Snapshots, intake: Intake) -> None:
    catalogue = given.frame(
        "catalogue",
        [
            {
                "service": "ft", "name_da": "Familiebehandling", "department": "SOF", "type": "offer", "area": "special",
                "counts": True, "cost_basis": "posting", "flags": [], "valid_from": date(2010, 1, 1),
            }
        ],
    )  # fmt: skip
    intake.deliver("prisme", PRISME, iter(given.delivery("catalogue", catalogue, source="prisme", kinds=(), suite=0)))
    intake.deliver("prisme", PRISME, iter(given.delivery("spells", source="prisme", kinds=())))
    assert rows(store, "catalogue").height == 1
    assert rows(store, "spells").is_empty()


def test_withdraw_takes_the_rows_out_and_is_idempotent(store: Snapshots, intake: Intake) -> None:
    parts = postings()
    delivery_id = intake.deliver("prisme", PRISME, iter(parts)).delivery.header.delivery_id
    assert intake.withdraw("prisme", delivery_id).delivery.state == DeliveryState.WITHDRAWN
    number = store.current().number
    assert intake.withdraw("prisme", delivery_id).delivery.state == DeliveryState.WITHDRAWN
    assert store.current().number == number
    assert rows(store, "postings").is_empty()
    with pytest.raises(ServiceError) as error:
        intake.deliver("prisme", PRISME, iter(parts))
    assert error.value.reason == "DELIVERY_WITHDRAWN"


def test_deliver_resumes_where_it_broke_off_also_after_a_restart(store: Snapshots, tmp_path: Path) -> None:
    frames = [given.postings(name) for name in "abc"]
    parts = postings(*frames)
    with pytest.raises(ConnectionError):
        given.intake(store, tmp_path).deliver("prisme", PRISME, given.stream(parts[:3], broken=True))
    restarted = given.intake(store, tmp_path)
    delivery_id = parts[0].delivery_id  # type: ignore[union-attr]
    held = restarted.get("prisme", delivery_id)
    assert (held.delivery.state, held.chunks_received) == (DeliveryState.RECEIVING, 2)
    assert rows(store, "postings").is_empty()
    begin = dataclasses.replace(parts[0], first_chunk=2)  # type: ignore[type-var]
    receipt = restarted.deliver("prisme", PRISME, iter([begin, *parts[3:]]))  # type: ignore[list-item]
    assert receipt.delivery.state == DeliveryState.ACCEPTED
    assert rows(store, "postings").height == 3


def test_deliver_says_where_to_resume_when_the_stream_ends_without_a_finish(intake: Intake) -> None:
    with pytest.raises(ServiceError) as error:
        intake.deliver("prisme", PRISME, iter(postings()[:-1]))
    assert (error.value.reason, error.value.metadata) == ("DELIVERY_INCOMPLETE", {"resume_at": "1"})


def test_deliver_forgets_a_delivery_that_broke_off_before_its_first_chunk(intake: Intake) -> None:
    """Else streams that break off at once would use up what a source may have unfinished."""
    for name in "abcdef":
        with pytest.raises(ConnectionError):
            intake.deliver("prisme", PRISME, given.stream(postings(given.postings(name))[:1], broken=True))
    assert list(intake.page("prisme", dataset=None, limit=10, before=None)) == []


def test_deliver_names_the_gap_when_resumed_too_late(intake: Intake) -> None:
    with pytest.raises(ServiceError) as error:
        intake.deliver("prisme", PRISME, iter(postings(first_chunk=1)))
    assert (error.value.reason, error.value.metadata) == ("CHUNK_GAP", {"resume_at": "0"})


def test_deliver_refuses_a_second_stream_of_the_same_delivery(intake: Intake) -> None:
    parts = postings()

    def nested() -> Any:
        yield from parts[:2]
        with pytest.raises(ServiceError) as error:
            intake.deliver("prisme", PRISME, iter(parts))
        assert error.value.reason == "DELIVERY_BUSY"
        yield parts[2]

    assert intake.deliver("prisme", PRISME, nested()).delivery.state == DeliveryState.ACCEPTED


def test_expire_forgets_deliveries_left_alone(store: Snapshots, tmp_path: Path) -> None:
    parts = postings()
    with pytest.raises(ConnectionError):
        given.intake(store, tmp_path).deliver("prisme", PRISME, given.stream(parts[:2], broken=True))
    assert staged(tmp_path)
    given.intake(store, tmp_path, abandoned_after_s=-1)
    assert staged(tmp_path) == []
    with read(store.engine) as connection:
        assert deliveries.in_state(connection, DeliveryState.RECEIVING) == []


def test_expire_does_not_forget_a_delivery_that_is_resumed_meanwhile(store: Snapshots, tmp_path: Path) -> None:
    class Resuming(Staging):
        """Resumes the delivery at the very moment it is about to be forgotten."""

        resumed = False

        def drop(self, key: DeliveryKey) -> None:
            super().drop(key)
            if not self.resumed:
                self.resumed = True
                with suppress(ServiceError):
                    late.deliver("prisme", PRISME, iter([begin, *parts[1:]]))

    parts = postings(given.postings("a"), given.postings("b"))
    begin = parts[0]
    with pytest.raises(ConnectionError):
        given.intake(store, tmp_path).deliver("prisme", PRISME, given.stream(parts[:2], broken=True))
    late = given.intake(store, tmp_path)
    late._staging, late._abandoned_after_s = Resuming(tmp_path / "staging"), 0.0
    late.expire()
    assert rows(store, "postings").is_empty()
    with pytest.raises(ServiceError, match="no delivery"):
        late.get("prisme", begin.delivery_id)  # type: ignore[union-attr]


def test_deliver_refuses_more_open_deliveries_than_the_limit(intake: Intake) -> None:
    for _ in range(3):
        with pytest.raises(ConnectionError):
            intake.deliver("prisme", PRISME, given.stream(postings()[:2], broken=True))
    with pytest.raises(ServiceError) as error:
        intake.deliver("prisme", PRISME, iter(postings()))
    assert error.value.reason == "TOO_MANY_OPEN_DELIVERIES"


def test_staging_takes_no_chunk_when_the_disk_would_have_less_than_the_reserve(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staging", reserve_bytes=1 << 62)
    with pytest.raises(ServiceError) as error:
        staging.put(("prisme", "a"), 0, b"chunk", given.postings("a"))
    assert error.value.reason == "STORAGE_LOW"
    assert staging.held(("prisme", "a")) == 0


def test_a_source_sees_only_its_own_deliveries(intake: Intake) -> None:
    mine = intake.deliver("prisme", PRISME, iter(postings())).delivery.header.delivery_id
    for attempt in (lambda: intake.get("ky", mine), lambda: intake.withdraw("ky", mine)):
        with pytest.raises(ServiceError) as error:
            attempt()
        assert error.value.reason == "DELIVERY_UNKNOWN"
    assert intake.page("ky", dataset=None, limit=10, before=None) == []
    assert intake.page("ky", dataset=None, limit=10, before=None, delivery_id=mine) == []
    [found] = intake.page("prisme", dataset=None, limit=10, before=None, delivery_id=mine)
    assert found.delivery.header.delivery_id == mine
    # The same id from another source is another delivery, and says nothing about the first.
    theirs = given.delivery("postings", given.postings("z", source="ky"), source="ky", delivery_id=mine)
    assert intake.deliver("ky", PRISME, iter(theirs)).delivery.source == "ky"


def test_entries_of_a_delivery_name_who_delivered_and_the_call(store: Snapshots, intake: Intake) -> None:
    caller = Caller("spiffe://kinlink.test/source/prisme", Role.SOURCE, "prisme")
    told = CURRENT.set(Call("Deliver", "a-request", caller=caller))
    try:
        receipt = intake.deliver("prisme", PRISME, iter(postings()))
        intake.withdraw("prisme", receipt.delivery.header.delivery_id)
    finally:
        CURRENT.reset(told)
    entries = [(e["rpc"], e["caller"], e["request_id"]) for e in AuditLog(store.engine).entries()]
    assert entries == [(what, caller.uri, "a-request") for what in ("delivery accepted", "delivery withdrawn")]


def test_page_lists_newest_first_without_gaps_or_repeats(intake: Intake) -> None:
    years = [(f"201{i}", given.postings("a", event_month=date(2010 + i, 1, 1))) for i in range(5)]
    made = [
        intake.deliver("prisme", PRISME, iter(postings(rows, period=period))).delivery.header.delivery_id
        for period, rows in years
    ]
    seen: list[str] = []
    before = None
    while page := intake.page("prisme", dataset="postings", limit=2, before=before):
        seen += [receipt.delivery.header.delivery_id for receipt in page]
        before = (page[-1].delivery.received_at, seen[-1])
    assert seen == made[::-1]
    assert intake.page("prisme", dataset="spells", limit=2, before=None) == []


BAD_ELEMENT = b"\xff" * 32
SPELL = {"department": "BIF", "service": "s", "start": date(2014, 5, 1), "end": date(2014, 5, 2)}
IDENTITY = b"\x00" * 32


def with_person(*elements: bytes) -> pl.DataFrame:
    return given.postings(*"abcd"[: len(elements)]).with_columns(person=pl.Series(elements, dtype=pl.Binary))


def chunk(data: bytes) -> list[Part]:
    parts = postings()
    return [dataclasses.replace(parts[0], digest=given.digest([data])), Chunk(0, data), Finish()]  # type: ignore[type-var]


GOOD = given.postings("a", "b")
# ruff: noqa: E501 - a table
REFUSED: dict[str, tuple[Callable[[], list[Part]], str, str]] = {
    # name: (parts, reason, a violation's field or a word of the message)
    "no header": (lambda: postings()[1:], "STREAM_INVALID", "header"),
    "two headers": (lambda: [*postings()[:1] * 2], "STREAM_INVALID", "one header"),
    "chunk out of order": (lambda: [postings()[0], Chunk(1, b""), Finish()], "STREAM_INVALID", "expected chunk 0"),
    "chunks without end": (
        lambda: [*(parts := postings())[:2], Chunk(1, parts[1].arrow_ipc)],  # type: ignore[union-attr]
        "STREAM_INVALID",
        "finish",
    ),
    "delivery id no UUID": (lambda: postings(delivery_id="x"), "HEADER_INVALID", "header.delivery_id"),
    "unknown dataset": (lambda: [dataclasses.replace(postings()[0], dataset="")], "HEADER_INVALID", "header.dataset"),  # type: ignore[type-var]
    "period empty": (lambda: postings(period=""), "HEADER_INVALID", "header.period"),
    "period impossible": (lambda: postings(period="2014-02-30"), "HEADER_INVALID", "header.period"),
    "postings of another year": (lambda: postings(period="2015"), "PERIOD_MISMATCH", "header.period"),
    "no spell in the period": (
        lambda: given.delivery("spells", given.frame("spells", [SPELL]), source="prisme", kinds=(), period="2013"),
        "PERIOD_MISMATCH",
        "header.period",
    ),
    "suite missing": (lambda: postings(suite=0), "HEADER_INVALID", "header.suite"),
    "suite not taken": (lambda: postings(suite=1), "HEADER_INVALID", "header.suite"),
    "digest short": (lambda: postings(digest=b"x"), "HEADER_INVALID", "header.digest"),
    "no chunks": (lambda: postings(chunks=0), "HEADER_INVALID", "header.chunks"),
    "key version 0": (
        lambda: postings(keys=[ClaimedKey("source/prisme", "cpr", 0)]), "HEADER_INVALID", "header.keys[0].version",
    ),
    "key of a kind not in the dataset": (
        lambda: postings(keys=[ClaimedKey("source/prisme", "address", 1)]), "HEADER_INVALID", "header.keys[0].kind",
    ),
    "kind twice": (lambda: postings(kinds=("cpr", "cpr")), "HEADER_INVALID", "header.keys[1].kind"),
    "key of another source": (
        lambda: postings(keys=[ClaimedKey("source/ky", "cpr", 1)]), "KEY_DOMAIN_NOT_OWN", "source/prisme",
    ),
    "dataset of the register": (
        lambda: given.delivery("persons", given.persons("a"), source="prisme"), "DATASET_NOT_ALLOWED", "persons",
    ),
    "too many rows announced": (lambda: postings(rows=1 << 40), "DELIVERY_TOO_LARGE", "rows"),
    "garbage": (lambda: chunk(b"\x00garbage" * 100), "CHUNK_INVALID", "arrow_ipc"),
    "empty chunk": (lambda: chunk(b""), "CHUNK_INVALID", "arrow_ipc"),
    "truncated chunk": (lambda: chunk(given.ipc(GOOD)[:-200]), "CHUNK_INVALID", "arrow_ipc"),
    "compressed chunk": (lambda: chunk(given.ipc(GOOD, compression="zstd")), "CHUNK_INVALID", "not be compressed"),
    "text as views, which may overlap": (
        lambda: chunk(given.ipc(GOOD, compat_level=pl.CompatLevel.newest())), "CHUNK_INVALID", "not as views",
    ),
    "chunk too large": (lambda: chunk(b"\x00" * ((1 << 20) + 1)), "CHUNK_INVALID", "at most 1048576 bytes"),
    "chunk without rows": (lambda: chunk(given.ipc(GOOD.head(0))), "CHUNK_INVALID", "at least one row"),
    "missing column": (lambda: postings(GOOD.drop("dranst")), "CHUNK_INVALID", "missing: dranst"),
    "other type": (lambda: postings(GOOD.cast({"amount_ore": pl.Float64})), "CHUNK_INVALID", "column amount_ore"),
    "columns in another order": (lambda: postings(GOOD.select(sorted(GOOD.columns))), "CHUNK_INVALID", "order"),
    "more rows than announced": (lambda: postings(rows=1), "CONTENT_MISMATCH", "more rows"),
    "fewer rows than announced": (lambda: postings(rows=3), "CONTENT_MISMATCH", "announced"),
    "other digest": (lambda: postings(digest=b"\x01" * 32), "CONTENT_MISMATCH", "announced"),
    "null in a required column": (lambda: postings(given.postings("a", amount_ore=None)), "ROWS_INVALID", "amount_ore[0]"),
    "value not allowed": (lambda: postings(GOOD, given.postings("a", cost_component="x")), "ROWS_INVALID", "cost_component[2]"),
    "not a first of month": (
        lambda: postings(given.postings("a", event_month=date(2014, 3, 2))), "ROWS_INVALID", "event_month[0]",
    ),
    "date of no calendar": (
        lambda: postings(GOOD.with_columns(event_month=pl.lit(2**31 - 1, pl.Int32).cast(pl.Date))), "ROWS_INVALID", "event_month[0]",
    ),
    "interval backwards": (
        lambda: given.delivery(
            "spells",
            given.frame("spells", [{"department": "BIF", "service": "s", "start": date(2014, 5, 2), "end": date(2014, 5, 1)}]),
            source="prisme", kinds=(),
        ),
        "ROWS_INVALID",
        "end[0]",
    ),
    "element short": (lambda: postings(with_person(b"x")), "ROWS_INVALID", "person[0]"),
    "element not canonical": (lambda: postings(GOOD, with_person(given.element("a"), BAD_ELEMENT)), "ROWS_INVALID", "person[3]"),
    "element is the identity": (lambda: postings(with_person(IDENTITY)), "ROWS_INVALID", "person[0]"),
    "kind without person": (lambda: postings(given.postings(None, person_kind="cpr")), "ROWS_INVALID", "person_kind[0]"),
    "person without kind": (lambda: postings(GOOD.with_columns(person_kind=pl.lit(None, pl.String))), "ROWS_INVALID", "person_kind[0]"),
    "kind without key": (lambda: postings(given.postings("a", kind=Kind.REPLACEMENT)), "ROWS_INVALID", "person_kind[0]"),
    "text too long": (lambda: postings(given.postings("a", service="x" * 501)), "ROWS_INVALID", "service[0]"),
    "CPR number in text": (
        lambda: postings(given.postings("a", encoding_id="sag 610180-0010")), "ROWS_INVALID", "encoding_id[0]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_deliver_refuses_and_keeps_nothing_when(name: str, store: Snapshots, intake: Intake, tmp_path: Path) -> None:
    parts, reason, where = REFUSED[name]
    made = parts()
    with pytest.raises(ServiceError) as error:
        intake.deliver("prisme", PRISME, iter(made))
    assert error.value.reason == reason
    text = " ".join([error.value.message, *(f"{v.field}: {v.description}" for v in error.value.violations)])
    assert where in text
    assert "0010" not in text
    assert store.current().number == 0
    assert staged(tmp_path) == []
    with read(store.engine) as connection:
        assert deliveries.in_state(connection, DeliveryState.RECEIVING) == []


def test_deliver_refuses_an_endless_stream_at_its_first_bad_chunk(intake: Intake) -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        yield dataclasses.replace(postings()[0], chunks=1000, rows=1000)  # type: ignore[type-var]
        while True:
            taken += 1
            yield Chunk(0, b"\x17" * 4096)

    with pytest.raises(ServiceError, match="chunk 0"):
        intake.deliver("prisme", PRISME, endless())
    assert taken == 1


def test_deliver_refuses_other_content_under_a_used_id_and_keeps_the_first(store: Snapshots, intake: Intake) -> None:
    delivery_id = str(uuid.uuid4())
    intake.deliver("prisme", PRISME, iter(postings(delivery_id=delivery_id)))
    with pytest.raises(ServiceError) as error:
        intake.deliver("prisme", PRISME, iter(postings(given.postings("x"), delivery_id=delivery_id)))
    assert error.value.reason == "DELIVERY_ID_REUSED"
    assert rows(store, "postings").height == 2
