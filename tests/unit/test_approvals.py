"""Who must sign, and what a signature holds for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kinlink import genesis
from kinlink.approval_keys import new_key, public_bytes, read_key, write_key
from kinlink.approvals import RULES, Missing, Verb, can_change, conflict, missing, sign, verify
from kinlink.change_document import Action, Change, KeyVersionName, Signer, SignerRole
from kinlink.errors import ConflictError, InputError, RefusedError
from kinlink.pseudonyms import Kind

_NOW = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
_CHANGE = Change(
    "4d0f9f0c-6a7c-4c2e-8a52-0e6c7a4f9a11",
    "kinlink.test/pseudonymizer",
    Action.ACTIVATE,
    "Yearly rotation",
    "custodian/a",
    _NOW,
    _NOW + timedelta(days=7),
    keys=(KeyVersionName("source/prisme", Kind.CPR, 2),),
)


def _signer(name: str) -> Signer:
    return Signer(name, SignerRole(name.partition("/")[0]), name.encode().ljust(32, b"."))


def _signers(*names: str) -> list[Signer]:
    return [_signer(name) for name in names]


def test_a_signature_holds_for_its_document_verb_signer_and_key_only() -> None:
    key, document = new_key(), _CHANGE.document()
    signature = sign(key, Verb.APPROVE, "custodian/b", document)
    public = public_bytes(key)
    assert verify(public, Verb.APPROVE, "custodian/b", document, signature)
    assert not verify(public, Verb.PROPOSE, "custodian/b", document, signature)
    assert not verify(public, Verb.APPROVE, "custodian/a", document, signature)
    assert not verify(public_bytes(new_key()), Verb.APPROVE, "custodian/b", document, signature)
    other = replace(_CHANGE, log="kinlink.prod/pseudonymizer").document()
    assert not verify(public, Verb.APPROVE, "custodian/b", other, signature)
    for damaged in (b"", signature[:-1], signature + b"\0", bytes([signature[0] ^ 1]) + signature[1:]):
        assert not verify(public, Verb.APPROVE, "custodian/b", document, damaged)
    assert not verify(b"short", Verb.APPROVE, "custodian/b", document, signature)


def test_a_signature_is_what_the_design_says() -> None:
    """By hand: RFC 8032 with a fixed key over the message spelled out."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    signature = sign(key, Verb.APPROVE, "reviewer/revision", b"{}")
    hashed = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256 of {}
    key.public_key().verify(signature, b"kinlink change v1\napprove\nreviewer/revision\n" + bytes.fromhex(hashed))


@pytest.mark.parametrize(
    ("approvers", "reason"),
    [
        ((), "APPROVALS_MISSING"),
        (("reviewer/r",), "APPROVALS_MISSING"),
        (("custodian/a", "reviewer/r"), "APPROVALS_MISSING"),  # the proposer's own
        (("custodian/b", "custodian/b", "custodian/b"), "APPROVALS_MISSING"),
        (("custodian/b", "custodian/c"), "REVIEWER_MISSING"),
        (("custodian/b", "custodian/c", "custodian/d"), "REVIEWER_MISSING"),
        (("custodian/b", "reviewer/r"), None),
        (("reviewer/r", "reviewer/s"), None),
        (("custodian/a", "custodian/b", "reviewer/r"), None),
    ],
)
def test_two_others_approve_one_of_them_a_reviewer(approvers: tuple[str, ...], reason: str | None) -> None:
    for action in Action:
        found = missing(replace(_CHANGE, action=action), _signers(*approvers))
        expected = None if action is Action.COMPROMISE else reason
        assert (found.reason if found else None) == expected


@pytest.mark.parametrize(
    ("approvers", "sentence"),
    [
        ((), "2 more approvals, one of them by a reviewer"),
        (("custodian/b",), "1 more approval, by a reviewer"),
        (("reviewer/r",), "1 more approval"),
    ],
)
def test_what_is_missing_is_said_in_words(approvers: tuple[str, ...], sentence: str) -> None:
    assert missing(_CHANGE, _signers(*approvers)) == Missing("APPROVALS_MISSING", sentence)


def test_only_marking_a_key_compromised_takes_one_person() -> None:
    assert {action for action, rule in RULES.items() if rule.approvals < 2} == {Action.COMPROMISE}
    assert all(rule.proposers == (SignerRole.CUSTODIAN,) for rule in RULES.values())
    assert set(RULES) == set(Action)


@pytest.mark.parametrize(
    ("names", "enough"),
    [
        (("custodian/a", "custodian/b", "reviewer/r"), True),
        (("custodian/a", "reviewer/r", "reviewer/s"), True),
        (("custodian/a", "custodian/b"), False),
        (("custodian/a", "reviewer/r"), False),
        (("custodian/a", "custodian/b", "custodian/c"), False),
        (("reviewer/r", "reviewer/s", "reviewer/t"), False),
    ],
)
def test_some_people_are_too_few_to_change_anything(names: tuple[str, ...], enough: bool) -> None:
    assert can_change(_signers(*names)) is enough


def test_one_person_has_one_name_and_one_key() -> None:
    assert conflict(_signer("custodian/b"), _signers("custodian/a", "reviewer/r")) is None
    assert conflict(_signer("custodian/a"), _signers("custodian/a")) is not None
    assert conflict(_signer("reviewer/a"), _signers("custodian/a")) is not None
    same_key = replace(_signer("custodian/b"), public_key=_signer("custodian/a").public_key)
    assert conflict(same_key, _signers("custodian/a")) is not None


def test_a_genesis_file_is_read_back() -> None:
    people = _signers("custodian/a", "custodian/b", "reviewer/r")
    found = genesis.parse(genesis.file_of(people).encode())
    assert found.signers == tuple(people)


_THREE = genesis.file_of(_signers("custodian/a", "custodian/b", "reviewer/r"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("=", "not TOML"),
        ("", "must hold"),
        (_THREE + "\nmore = 1", "signer 3"),
        (_THREE.replace('role = "reviewer"', 'role = "custodian"'), "signer 3: name"),
        (_THREE.replace("reviewer", "operator"), "signer 3: name"),
        (_THREE.replace("custodian/b", "custodian/a"), "signer 2: custodian/a"),
        (genesis.file_of(_signers("custodian/a", "custodian/b")), "three people"),
        (_THREE.replace('public_key = "', 'public_key = "A', 1), "signer 1: public_key"),
    ],
)
def test_a_wrong_genesis_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(genesis.GenesisError, match=said):
        genesis.parse(text.encode())


def test_a_key_file_is_its_owners_only_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    key = new_key()
    write_key(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_bytes(read_key(path, lambda: pytest.fail("no passphrase is needed"))) == public_bytes(key)
    with pytest.raises(ConflictError) as exists:
        write_key(path, new_key())
    assert exists.value.reason == "KEY_FILE_EXISTS"
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(RefusedError) as readable:
            read_key(path, str)
        assert readable.value.reason == "KEY_FILE_READABLE"


def test_a_key_file_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    key = new_key()
    write_key(path, key, "a long passphrase")
    assert b"ENCRYPTED" in path.read_bytes()
    assert public_bytes(read_key(path, lambda: "a long passphrase")) == public_bytes(key)
    for wrong in ("another", ""):
        with pytest.raises(InputError):
            read_key(path, lambda wrong=wrong: wrong)  # type: ignore[misc]
    path.write_bytes(b"nothing")
    with pytest.raises(InputError):
        read_key(path, str)
    with pytest.raises(InputError):
        read_key(path.with_name("none"), str)
