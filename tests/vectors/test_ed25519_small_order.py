"""Is any key taken under which a stranger's signature verifies?

The points of small order are computed here from the curve's equation, -x² + y² = 1 + d·x²·y² (RFC 8032, 5.1).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kinlink import genesis
from kinlink.approval_keys import new_key, public_bytes
from kinlink.approvals import Verb, verify
from kinlink.audit.note import NoteError, VerifierKey
from kinlink.change_document import Action, Change, ChangeError, Signer, SignerRole, parse
from kinlink.ed25519 import is_usable

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


def _root(square: int) -> int | None:
    root = pow(square, (_P + 3) // 8, _P)
    root = root if root * root % _P == square % _P else root * pow(2, (_P - 1) // 4, _P) % _P
    return root if root * root % _P == square % _P else None


def _small() -> list[int]:
    """Return y of the points of order 1, 2, 4; and of order 8, where doubling gives y = 0: d·y⁴ + 2·y² = 1."""
    found = [1, _P - 1, 0]
    half = _root(1 + _D)
    assert half is not None
    for sign in (1, -1):
        y = _root((sign * half - 1) * pow(_D, -1, _P))
        found += [y, _P - y] if y is not None else []
    assert len(found) == 5
    return found


KEYS = [
    (y | sign << 255).to_bytes(32, "little") for y in (*_small(), _P, _P + 1, 2**255 - 1) for sign in (0, 1)
]  # the last three are not canonical
ONE_FOR_ALL = b"\x01" + bytes(63)  # R the neutral element, s = 0


@pytest.mark.parametrize("public", KEYS, ids=lambda key: key.hex()[:4] + key.hex()[-2:])
def test_a_key_of_small_order_is_no_signers_and_no_logs(public: bytes) -> None:
    assert not is_usable(public)
    documents = [b"%d" % number for number in range(64)]
    taken = [d for d in documents if verify(public, Verb.APPROVE, "reviewer/r", d, ONE_FOR_ALL)]
    assert taken == [], "a signature that nobody made"
    with pytest.raises(NoteError):
        VerifierKey("kinlink.test/pseudonymizer", public)
    people = [Signer(f"custodian/{name}", SignerRole.CUSTODIAN, public_bytes(new_key())) for name in "ab"]
    whole = [*people, Signer("reviewer/r", SignerRole.REVIEWER, public)]
    with pytest.raises(genesis.GenesisError, match="signer 3: public_key"):
        genesis.parse(genesis.file_of(whole).encode())
    at = datetime(2026, 10, 1, tzinfo=UTC)
    fields = (Action.ENROL, "A colleague", "custodian/a", at, at + timedelta(days=1))
    enrolment = Change("4d0f9f0c-6a7c-4c2e-8a52-0e6c7a4f9a11", "kinlink.test/pseudonymizer", *fields, signer=whole[2])
    with pytest.raises(ChangeError, match=r"signer\.public_key"):
        parse(enrolment.document())


def test_keys_that_people_make_are_taken() -> None:
    assert all(is_usable(public_bytes(new_key())) for _ in range(100))
    for length in (0, 31, 33):
        assert not is_usable(b"\x05" * length)
