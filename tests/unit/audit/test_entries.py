"""Entries: one form each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinlink.audit.entry import Entry, EntryError, canonical, decode, encode, parse

AT = datetime(2026, 10, 1, 12, 0, 0, 5, tzinfo=UTC)
ENTRY = Entry(0, AT, "key.create", "", "ok", subject="linkage/familie", key_version=1)
BYTES = (
    b'{"index":0,"key_version":1,"outcome":"ok","recorded_at":"2026-10-01T12:00:00.000005+00:00",'
    b'"rpc":"key.create","subject":"linkage/familie"}'
)


def test_bytes_by_hand() -> None:
    """Keys sorted, no spaces, what is empty left out, the index never."""
    assert canonical(ENTRY) == BYTES
    assert parse(BYTES) == ENTRY


def test_instant_is_utc() -> None:
    local = AT.astimezone(timezone(timedelta(hours=2)))
    assert canonical(Entry(0, local, "key.create", "", "ok", subject="linkage/familie", key_version=1)) == BYTES


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 2**63 - 1)


@given(
    st.builds(
        Entry,
        index=numbers,
        recorded_at=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - made aware
        rpc=texts.filter(bool),
        caller=texts,
        outcome=st.sampled_from(["ok", "refused", "failed"]),
        reason=texts,
        subject=texts,
        kind=texts,
        key_version=numbers,
        count=numbers,
        grant=texts,
        request_id=texts,
        evidence=texts,
    )
)
def test_every_entry_reads_and_writes(entry: Entry) -> None:
    content = canonical(entry)
    assert parse(content) == entry
    assert canonical(parse(content)) == content
    assert b"\n" not in content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"[]",
        b"1",
        b"\xff",
        BYTES + b" ",
        BYTES.replace(b":", b": "),
        BYTES.replace(b'"index":0,', b"") + b"",
        BYTES.replace(b'"index":0', b'"index":"0"'),
        BYTES.replace(b'"index":0', b'"index":0.0'),
        BYTES.replace(b'"index":0', b'"index":true'),
        BYTES.replace(b'"key.create"', b"5"),
        BYTES.replace(b'"rpc"', b'"rpd"'),
        BYTES.replace(b"+00:00", b""),
        BYTES.replace(b"2026-10-01T", b"yesterday"),
        b'{"index":0,"index":0' + BYTES[10:],
        b"{" + BYTES[11:-1] + b',"index":0}',
        b"[" * 100_000,
    ],
)
def test_other_bytes_are_no_entry(content: bytes) -> None:
    with pytest.raises(EntryError):
        parse(content)


def test_younger_fields_are_allowed() -> None:
    younger = encode({**decode(BYTES), "weather": "rain"})
    assert parse(younger) == ENTRY


@pytest.mark.parametrize("value", [float("nan"), "\ud800"])
def test_what_has_no_bytes_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"float|surrogates"):
        encode({"a": value})
