"""Bad deliveries on the wire: the part of `test_bad_input.py` that a program, not a file, does wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import polars as pl
import pytest

from examples.stack import Stack
from kinlink.errors import InputError, KinlinkError, LimitError, RefusedError, from_rpc_error
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.types.v1 import types_pb2
from tests.acceptance.held import held, stored
from tests.acceptance.test_linker import channel, deliver, requests
from tests.unit import linker_fixtures as given


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("streams")
    with Stack(folder, settings={"linker": {"max_message_bytes": 2 << 20}}) as started:
        yield started


def two(**fields: Any) -> list[pb.DeliverRequest]:
    """Return a sound delivery of two rows in two chunks, but for some fields of its header."""
    return requests("dubu", "postings", given.postings("a"), given.postings("b"), **fields)


def one_chunk(chunk: bytes) -> list[pb.DeliverRequest]:
    return [two()[0], pb.DeliverRequest(chunk=pb.DeliveryChunk(arrow_ipc=chunk))]


@dataclass(frozen=True, slots=True)
class Stream:
    """What a program sends as source/dubu, and how it ends: class, reason, field at fault, words."""

    parts: Callable[[], list[pb.DeliverRequest]]
    error: type[KinlinkError]
    reason: str
    field: str = ""
    says: str = "Nothing was stored."
    source: str = "dubu"


STREAMS = {
    "the header lies of rows": Stream(lambda: two(rows=3), InputError, "CONTENT_MISMATCH"),
    "more rows come than the header says": Stream(
        lambda: requests("dubu", "postings", given.postings("a"), given.postings("b", "c"), rows=2),
        InputError, "CONTENT_MISMATCH",
    ),
    "the header lies of the digest": Stream(lambda: two(digest=bytes(32)), InputError, "CONTENT_MISMATCH"),
    "the header lies of chunks": Stream(lambda: two(chunks=1), InputError, "STREAM_INVALID"),
    "the period is not the rows'": Stream(lambda: two(period="2013"), InputError, "PERIOD_MISMATCH", "header.period"),
    "the period does not exist": Stream(lambda: two(period="2014-13"), InputError, "HEADER_INVALID", "header.period"),
    "the digest is short": Stream(lambda: two(digest=b"x"), InputError, "HEADER_INVALID", "header.digest"),
    "the suite is another deployment's": Stream(
        lambda: two(suite=types_pb2.SUITE_KINLINK_V1), InputError, "HEADER_INVALID", "header.suite"
    ),
    "the key is of no version": Stream(
        lambda: two(keys=[types_pb2.KeyRef(domain="source/dubu", kind=types_pb2.KIND_CPR)]),
        InputError, "HEADER_INVALID", "header.keys[0].version",
    ),
    "the key is of a kind that postings lack": Stream(
        lambda: two(keys=[types_pb2.KeyRef(domain="source/dubu", kind=types_pb2.KIND_ADDRESS, version=1)]),
        InputError, "HEADER_INVALID", "header.keys[0].kind",
    ),
    "the header names no key": Stream(lambda: two(keys=[]), InputError, "ROWS_INVALID", "person_kind[0]"),
    "the key is another source's": Stream(
        lambda: requests("prisme", "postings", given.postings("a")), RefusedError, "KEY_DOMAIN_NOT_OWN",
        says="one and the same certificate",
    ),
    "a source delivers persons": Stream(
        lambda: requests("dubu", "persons", given.persons("a", source="dubu")), RefusedError, "DATASET_NOT_ALLOWED",
        says="Check that the mapping and the certificate",
    ),
    "the register delivers postings": Stream(
        lambda: requests("folkeregister", "postings", given.postings("a", source="folkeregister")),
        RefusedError, "DATASET_NOT_ALLOWED", says="Check that the mapping", source="folkeregister",
    ),
    "an element is not canonical": Stream(
        lambda: requests(
            "dubu",
            "postings",
            given.postings("a", "b").with_columns(person=pl.Series([given.element("a"), b"\xff" * 32])),
        ),
        InputError, "ROWS_INVALID", "person[1]",
    ),
    "an element is the identity": Stream(
        lambda: requests("dubu", "postings", given.postings("a").with_columns(person=pl.Series([bytes(32)]))),
        InputError, "ROWS_INVALID", "person[0]",
    ),
    "a chunk is garbage": Stream(lambda: one_chunk(b"\x17" * 4096), InputError, "CHUNK_INVALID", "arrow_ipc"),
    "a chunk is cut off": Stream(
        lambda: one_chunk(two()[1].chunk.arrow_ipc[:-400]), InputError, "CHUNK_INVALID", "arrow_ipc"
    ),
    "a chunk holds another dataset": Stream(
        lambda: one_chunk(given.ipc(given.persons("a"))), InputError, "CHUNK_INVALID", "arrow_ipc"
    ),
    "chunks out of order": Stream(lambda: [two()[0], two()[2]], InputError, "STREAM_INVALID"),
    "no header": Stream(lambda: two()[1:], InputError, "STREAM_INVALID"),
    "two headers": Stream(lambda: [two()[0], *two()], InputError, "STREAM_INVALID"),
    "a message that is empty": Stream(lambda: [two()[0], pb.DeliverRequest()], InputError, "STREAM_INVALID"),
    "a message over the size limit": Stream(
        lambda: one_chunk(bytes(3 << 20)), LimitError, "MESSAGE_TOO_LARGE", says="Send smaller batches."
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_a_bad_stream_is_refused_and_leaves_nothing(stack: Stack, name: str) -> None:
    stream = STREAMS[name]
    before, parts = held(stack), stream.parts()
    with pytest.raises(stream.error) as caught:
        deliver(stack, stream.source, parts)
    error = caught.value
    assert (error.reason, stream.says in str(error)) == (stream.reason, True), str(error)
    assert [violation.field for violation in error.violations][:1] == ([stream.field] if stream.field else [])
    assert all(violation.description for violation in error.violations)
    assert held(stack) == before


ENDLESS = 1_000_000


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (lambda: one_chunk(b"\x17" * 4096), "CHUNK_INVALID"),
        (lambda: [two()[0], pb.DeliverRequest()], "STREAM_INVALID"),
        (lambda: [two()[0], two()[0]], "STREAM_INVALID"),
        (lambda: two()[:2], "STREAM_INVALID"),
    ],
    ids=["garbage", "nothing", "headers", "the same chunk"],
)  # fmt: skip
def test_garbage_without_end_is_ended_by_the_linker(
    stack: Stack, begin: Callable[[], list[pb.DeliverRequest]], reason: str
) -> None:
    before, sent = held(stack), 0
    first, again = begin()

    def parts() -> Iterator[pb.DeliverRequest]:
        nonlocal sent
        yield first
        for sent in range(ENDLESS):  # noqa: B007 - counted for the assertion
            yield again

    with channel(stack, "source/dubu") as opened, pytest.raises(grpc.RpcError) as caught:
        IntakeServiceStub(opened).Deliver(parts())
    assert from_rpc_error(caught.value).reason == reason
    assert sent < ENDLESS - 1
    assert held(stack) == before


def test_an_upload_that_breaks_off_is_resumed_and_shows_no_half(stack: Stack) -> None:
    before, parts = held(stack), two(period="2014-03")
    with pytest.raises(KinlinkError) as caught:
        deliver(stack, "dubu", parts[:2])
    assert (caught.value.reason, caught.value.exit_code) == ("DELIVERY_INCOMPLETE", 6)
    assert "resume with chunk 1" in str(caught.value)
    broken, delivery_id = held(stack), parts[0].header.delivery_id
    assert broken.deliveries - before.deliveries == {("dubu", delivery_id, "receiving")}
    assert (broken.snapshot, len(broken.staged - before.staged)) == (before.snapshot, 1)
    parts[0].header.first_chunk = 1
    assert deliver(stack, "dubu", [parts[0], *parts[2:]]).delivery.rows == 2
    after = held(stack)
    assert after.deliveries - before.deliveries == {("dubu", delivery_id, "accepted")}
    assert (after.snapshot, after.staged) == (before.snapshot + 1, before.staged)
    assert stored(stack).filter(pl.col("delivery_id") == delivery_id).height == 2
