"""What a key is made of, by kind: a new one, and the public value that proves an opened one to be the right one.

1. A pseudonymisation key is a scalar k of ristretto255; its check value is k·G.
2. An encoding key is 32 random bytes; its check value is HKDF-SHA256 (RFC 5869) of it, of an info that nothing else
   uses. From neither check value the key follows.
"""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kinlink import ristretto255
from kinlink.pseudonyms import Kind

_SIZE: Final = 32
_INFO: Final = b"kinlink-encoding-key-check-v1"


def new_secret(kind: Kind) -> bytes:
    """Return a new random key, 32 bytes."""
    return secrets.token_bytes(_SIZE) if kind is Kind.ENCODING else ristretto255.random_scalars(1)


def check_value(kind: Kind, secret: bytes) -> bytes:
    """Return the public check value of a key, 32 bytes."""
    if kind is Kind.ENCODING:
        return HKDF(SHA256(), _SIZE, None, _INFO).derive(secret)
    return ristretto255.multiply_base(secret)
