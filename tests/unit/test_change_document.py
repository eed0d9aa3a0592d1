"""The document of a change: one spelling, every field checked, no identifier in it."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kinlink.change_document import (
    MAX_BYTES,
    MAX_KEYS,
    Action,
    Change,
    ChangeError,
    KeyVersionName,
    Signer,
    SignerRole,
    canonical,
    parse,
)
from kinlink.pseudonyms import Kind

_NOW = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
_CHANGE = Change(
    "4d0f9f0c-6a7c-4c2e-8a52-0e6c7a4f9a11",
    "kinlink.test/pseudonymizer",
    Action.ACTIVATE,
    "Årlig rotation",
    "custodian/noegle-1",
    _NOW,
    _NOW + timedelta(days=7),
    keys=(KeyVersionName("source/prisme", Kind.CPR, 2), KeyVersionName("source/prisme", Kind.REPLACEMENT, 2)),
)
_SIGNER = Signer("reviewer/revision", SignerRole.REVIEWER, bytes(range(32)))


def _document(**changed: Any) -> bytes:
    """Return the document of _CHANGE with other fields; None takes one away."""
    values = {**json.loads(_CHANGE.document()), **changed}
    return canonical({name: value for name, value in values.items() if value is not None})


def test_the_document_is_what_the_design_says() -> None:
    assert _CHANGE.document().decode() == (
        '{"action":"activate","change_id":"4d0f9f0c-6a7c-4c2e-8a52-0e6c7a4f9a11","created_at":"2026-10-01T12:00:00Z",'
        '"expires_at":"2026-10-08T12:00:00Z","form":"kinlink-change-v1","keys":[{"domain":"source/prisme",'
        '"kind":"cpr","version":2},{"domain":"source/prisme","kind":"replacement","version":2}],'
        '"log":"kinlink.test/pseudonymizer","proposer":"custodian/noegle-1","reason":"Årlig rotation"}'
    )


@pytest.mark.parametrize(
    "change",
    [
        _CHANGE,
        replace(_CHANGE, action=Action.DESTROY, accept_loss=True),
        replace(_CHANGE, action=Action.ENROL, keys=(), signer=_SIGNER),
        replace(_CHANGE, action=Action.RESTORE, keys=(), store={"generation": 7, "manifest": "ab" * 32}),
    ],
    ids=lambda change: change.action,
)
def test_what_is_written_is_read_back(change: Change) -> None:
    assert parse(change.document()) == change


KEY = {"domain": "source/prisme", "kind": "cpr", "version": 2}
PERSON = {"name": "reviewer/revision", "role": "reviewer", "public_key": b64encode(bytes(32)).decode()}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "other form": ({"form": "kinlink-change-v2"}, "form"),
    "no id": ({"change_id": None}, "change_id"),
    "id in capitals": ({"change_id": _CHANGE.change_id.upper()}, "change_id"),
    "unknown action": ({"action": "export"}, "action"),
    "action of another type": ({"action": 1}, "action"),
    "unknown field": ({"note": "x"}, "document"),
    "log without service": ({"log": "kinlink.test"}, "log"),
    "empty reason": ({"reason": " "}, "reason"),
    "long reason": ({"reason": "x" * 501}, "reason"),
    "reason of two lines": ({"reason": "a\nb"}, "reason"),
    "reason that moves the cursor": ({"reason": "fine\x1b[2K"}, "reason"),
    "reason that turns the writing": ({"reason": "a\u202eb"}, "reason"),
    "proposer without role": ({"proposer": "noegle-1"}, "proposer"),
    "proposer of another role": ({"proposer": "operator/drift"}, "proposer"),
    "instant with another zone": ({"created_at": "2026-10-01T12:00:00+01:00"}, "created_at"),
    "instant that is none": ({"expires_at": "2026-02-30T12:00:00Z"}, "expires_at"),
    "longer than its life": ({"expires_at": "2026-10-15T12:00:01Z"}, "expires_at"),
    "ends before it begins": ({"expires_at": "2026-10-01T12:00:00Z"}, "expires_at"),
    "no keys": ({"keys": None}, "keys"),
    "empty keys": ({"keys": []}, "keys"),
    "too many keys": ({"keys": [{**KEY, "version": n} for n in range(1, MAX_KEYS + 2)]}, "keys"),
    "a key twice": ({"keys": [KEY, KEY]}, "keys"),
    "a key of another form": ({"keys": ["source/prisme"]}, "keys[0]"),
    "a key with a field more": ({"keys": [{**KEY, "state": "active"}]}, "keys[0]"),
    "version 0": ({"keys": [{**KEY, "version": 0}]}, "keys[0].version"),
    "version true": ({"keys": [{**KEY, "version": True}]}, "keys[0].version"),
    "version with a point": ({"keys": [{**KEY, "version": 2.0}]}, "keys[0].version"),
    "unknown kind": ({"keys": [{**KEY, "kind": "name"}]}, "keys[0].kind"),
    "domain of another form": ({"keys": [{**KEY, "domain": "prisme"}]}, "keys[0].domain"),
    "keys out of order": ({"keys": [{**KEY, "kind": "replacement"}, KEY]}, "document"),
    "loss accepted elsewhere": ({"accept_loss": True}, "document"),
    "loss not accepted, said": ({"action": "destroy", "accept_loss": False}, "document"),
    "loss in words": ({"action": "destroy", "accept_loss": "yes"}, "accept_loss"),
    "a signer among keys": ({"signer": PERSON}, "document"),
    "no signer": ({"action": "enrol", "keys": None}, "signer"),
    "role of another": ({"action": "enrol", "keys": None, "signer": {**PERSON, "role": "custodian"}}, "signer.role"),
    "short key": ({"action": "enrol", "keys": None, "signer": {**PERSON, "public_key": "AAAA"}}, "signer.public_key"),
    "no store": ({"action": "restore", "keys": None}, "store"),
    "a store of lists": ({"action": "restore", "keys": None, "store": {"keys": []}}, "store"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_named_and_no_value(case: str) -> None:
    changed, field = WRONG[case]
    with pytest.raises(ChangeError) as refused:
        parse(_document(**changed))
    assert (refused.value.field, refused.value.reason) == (field, "CHANGE_INVALID")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * MAX_BYTES,
        b" " * (MAX_BYTES + 1),
        b"9" * 5_000,
        _CHANGE.document() + b"\n",
        json.dumps(json.loads(_CHANGE.document()), sort_keys=True).encode(),
        json.dumps(json.loads(_CHANGE.document()), separators=(",", ":")).encode(),
        _CHANGE.document().replace("Å".encode(), b"\\u00c5"),
        _CHANGE.document().replace(b'{"action"', b'{"action":"destroy","action"'),
        _CHANGE.document().replace(b'"version":2', b'"version":2e0'),
    ],
    ids=lambda document: document[:12].decode(errors="replace"),
)
def test_another_spelling_is_no_document(document: bytes) -> None:
    with pytest.raises(ChangeError):
        parse(document)


@pytest.mark.parametrize(
    "reason",
    [
        "om 6101804321",
        "om 610180-4321",
        "om 61 01 80 43 21".replace("43 21", "4321"),
        "om 61.01.80-4321.",
        "６１０１８０４３２１",
        "kl1.source/prisme.1.AAAA",
    ],
)
def test_an_identifier_in_the_reason_is_refused(reason: str) -> None:
    with pytest.raises(ChangeError) as refused:
        parse(_document(reason=reason))
    assert (refused.value.field, refused.value.reason) == ("reason", "REASON_IDENTIFIER")
    assert reason not in str(refused.value)


@pytest.mark.parametrize("reason", ["case 2026-4711", "yearly, 2026-10-01", "sag 26/012345", "key of 1. Oct. 2026"])
def test_dates_and_case_numbers_are_fine_reasons(reason: str) -> None:
    assert parse(_document(reason=reason)).reason == reason
