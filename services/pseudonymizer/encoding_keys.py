"""Encoding keys: what a source that may encode for a purpose is handed, for one linkage schema.

1. Only the active version of a linkage domain's encoding key, by grant; each handing out is an entry in the log, which
   names the schema as well, and counts as one element of the caller's budget.
2. What leaves is HKDF-SHA256 (RFC 5869) of the key, its info the schema's id: it gives neither the key nor what
   another schema has. Whoever holds it, and what the linker holds, can try names.
3. Where the keys changed meanwhile, it is done again with those that are: no version leaves once the log says that it
   retired or was found compromised.

It does not know gRPC, nor what a schema says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kinlink.change_document import canonical
from kinlink.pseudonyms import Kind
from pseudonymizer.doors import Keys
from pseudonymizer.keyset import Key, KeyName
from pseudonymizer.ledger import KeysUsed, Ledger
from pseudonymizer.policy import Operation, Policy, Route
from servicekit.errors import FieldViolation, InvalidError, UnavailableError
from servicekit.identity import Caller

SERVICE: Final = "kinlink.pseudonymizer.v1.EncodingKeyService"
_RPC: Final = f"{SERVICE}/GetEncodingKey"
_SALT: Final = b"kinlink-encoding-key-v1"
_SIZE: Final = 32
# At most five digits in the name, so that it holds no date and no number: the id stands in the log.
_SCHEMA_ID: Final = re.compile(r"(?!([^.]*[0-9]){6})[a-z][a-z0-9_-]{0,63}\.[0-9a-f]{16}")
_ATTEMPTS: Final = 3  # keys change a few times a year


@dataclass(frozen=True, slots=True, repr=False)
class HandedOut:
    """The secret of one schema, 32 bytes, and the key version that it is of."""

    key: KeyName
    secret: bytes

    def __repr__(self) -> str:
        return f"HandedOut({self.key})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


class EncodingKeys:
    """Hands encoding keys out, over one policy and one key store."""

    def __init__(self, policy: Policy, keys: Keys, ledger: Ledger) -> None:
        """Serve `keys` under `policy`."""
        self._policy = policy
        self._keys = keys
        self._ledger = ledger

    def hand_out(self, caller: Caller, wanted: KeyName, schema_id: str) -> HandedOut:
        """Return the secret of a schema under the active version of an encoding key; `wanted` may name that version.

        Raises:
            DeniedError: GRANT_MISSING. InvalidError: KIND_MISMATCH, SCHEMA_ID_MALFORMED.
            PreconditionError: KEY_VERSION_UNKNOWN, KEY_VERSION_INACTIVE, or KEY_MISSING when nothing is active.
            ExhaustedError: budget. UnavailableError: the keys are being changed, or a part of the service is away.
        """
        name = f"{caller.role}/{caller.name}"
        with self._ledger.message(_RPC, caller, 1) as message:
            message.note(subject=wanted.domain if self._policy.knows(wanted.domain) else "?", kind=wanted.kind)
            if wanted.kind is not Kind.ENCODING:
                raise InvalidError("key.kind must be the kind encoding; no other key leaves here", "KIND_MISMATCH")
            route = Route(name, Operation.ENCODE, wanted.domain, "", wanted.kind)
            message.note(grant=self._policy.authorise(route))
            _check_schema_id(schema_id)
            message.note(evidence=canonical({"schema_id": schema_id}).decode())
            limit = self._policy.budget(name)
            generation = message.check_budget(limit)
            for _ in range(_ATTEMPTS):
                keyset = self._keys.at(generation)
                key = keyset.for_handing_out(wanted)
                message.note(key_version=key.name.version)
                generation = message.settle(limit, KeysUsed(keyset.generation, ()))
                if generation == keyset.generation:
                    return HandedOut(key.name, _derived(key, schema_id))
            raise UnavailableError("the keys are being changed; try again", "KEYS_CHANGING")


def _check_schema_id(schema_id: str) -> None:
    if not _SCHEMA_ID.fullmatch(schema_id):
        expected = "expected a linkage schema's id, its name, a dot and 16 hexadecimal digits"
        violation = FieldViolation("schema_id", expected)
        raise InvalidError(f"schema_id: {expected}", "SCHEMA_ID_MALFORMED", (violation,))


def _derived(key: Key, schema_id: str) -> bytes:
    return HKDF(SHA256(), _SIZE, _SALT, schema_id.encode()).derive(key.scalar)
