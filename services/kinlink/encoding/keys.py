"""Encoding keys: what a source needs to encode, derived from one secret that the pseudonymizer hands out.

1. A secret is of one purpose and one version. Rotating it means encoding anew: nothing converts encodings.
2. Every use has a key of its own by HKDF-SHA256 (RFC 5869), bound to purpose, version, schema id, kind of use and name:
   the bits and the diffusion of each field, each blocking token. So encodings of two purposes, or under two schemas,
   have nothing in common.
3. A secret shows nothing of itself and is not pickled. Nothing is claimed about wiping it from memory.

It does not know who may have a secret.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES: Final = 32
_SALT: Final = b"kinlink-encoding-v1"


class EncodingKeyError(ValueError):
    """A secret is not one; says the expected form."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class EncodingKey:
    """The secret of a purpose, 32 bytes, and its version."""

    _secret: bytes
    purpose: str
    version: int

    def __post_init__(self) -> None:
        if len(self._secret) != SECRET_BYTES:
            raise EncodingKeyError(f"the secret of encodings has {SECRET_BYTES} bytes")
        if not any(self._secret):
            raise EncodingKeyError("the secret of encodings is all zeros: it was not generated")
        if not self.purpose:
            raise EncodingKeyError("a secret of encodings is of a purpose: give its name")

    def __repr__(self) -> str:
        return f"EncodingKey({self.purpose}, version {self.version})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EncodingKey):
            return NotImplemented
        same = hmac.compare_digest(self._secret, other._secret)
        return same and (self.purpose, self.version) == (other.purpose, other.version)

    def __hash__(self) -> int:
        return hash((self.purpose, self.version))

    def __reduce__(self) -> NoReturn:
        raise TypeError("an encoding key is not pickled")

    def derive(self, schema_id: str, use: str, name: str) -> bytes:
        """Return the 32-byte key of one use, such as "bits", of a field or token under a schema."""
        words = (self.purpose, str(self.version), schema_id, use, name)
        info = b"".join(len(word.encode()).to_bytes(4, "big") + word.encode() for word in words)
        return HKDF(SHA256(), 32, _SALT, info).derive(self._secret)
