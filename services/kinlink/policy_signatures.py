"""Signatures of a disclosure policy: beside the file, by the people whom the linker's settings name.

    [[signature]]
    signer = "custodian/noegle-1"
    signature = "…"                         # base64

1. A signature is Ed25519 over the signer's name and the SHA-256 of the file's bytes. It holds for no other file, no
   other signer and nothing but a disclosure policy.
2. Everybody who is named must have signed. What others signed counts for nothing.

Pure. Keys are those of `kinlink approvals enrol`; the command is `kinlink approvals sign-policy`.
"""

from __future__ import annotations

import tomllib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kinlink.ed25519 import is_usable

SUFFIX = ".signatures"
"""What the file of signatures is called after the policy's name."""


class PolicySignatureError(ValueError):
    """A file of signatures is not one; says what is expected."""


def sign(key: Ed25519PrivateKey, signer: str, policy: bytes) -> bytes:
    """Return the signature of `signer` for a policy file, 64 bytes."""
    return key.sign(_message(signer, policy))


def verify(public_key: bytes, signer: str, policy: bytes, signature: bytes) -> bool:
    """Say whether this is the signature of `signer`, who has this key, for just this policy file."""
    if not is_usable(public_key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _message(signer, policy))
    except (InvalidSignature, ValueError):
        return False
    return True


def parse(content: bytes) -> dict[str, bytes]:
    """Return the signatures of a file, by signer.

    Raises:
        PolicySignatureError: it is not TOML, or not of the form above; names the place in the file, 1 the first.
    """
    try:
        values = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise PolicySignatureError("is not TOML") from None
    entries = values.pop("signature", [])
    if values or not isinstance(entries, list):
        raise PolicySignatureError("must hold [[signature]] tables and nothing else")
    found: dict[str, bytes] = {}
    for number, entry in enumerate(entries, start=1):
        if (
            not isinstance(entry, dict)
            or set(entry) != {"signer", "signature"}
            or not all(isinstance(value, str) for value in entry.values())
            or entry["signer"] in found
        ):
            raise PolicySignatureError(f"signature {number}: holds signer and signature, both text; each signer once")
        try:
            found[entry["signer"]] = b64decode(entry["signature"], validate=True)
        except ValueError:
            raise PolicySignatureError(f"signature {number}: signature is base64") from None
    return found


def file_of(signatures: Mapping[str, bytes]) -> str:
    """Return a file of these signatures, by signer's name."""
    return "\n".join(
        f'[[signature]]\nsigner = "{signer}"\nsignature = "{b64encode(signature).decode()}"\n'
        for signer, signature in sorted(signatures.items())
    )


def _message(signer: str, policy: bytes) -> bytes:
    return b"kinlink disclosure policy v1\n" + signer.encode() + b"\n" + sha256(policy).digest()
