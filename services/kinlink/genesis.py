"""The genesis file: the people who may sign before anybody could approve them.

    [[signer]]
    name = "custodian/noegle-1"
    role = "custodian"
    public_key = "…"                        # base64, as `kinlink approvals enrol` prints it

1. Its SHA-256 is the first entry of the service's log; whoever kept the file can prove who the first signers were.
2. The people in it can make every change together, and no two are one person or have one key.

Pure. Everybody later is enrolled by a change (`approvals`).
"""

from __future__ import annotations

import tomllib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from kinlink.approvals import can_change, conflict
from kinlink.change_document import Signer, SignerRole, is_signer_name
from kinlink.ed25519 import is_usable

_KEYS = {"name", "role", "public_key"}


class GenesisError(ValueError):
    """The genesis file cannot be used; says what to change."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """The first signers, and the SHA-256 of the file that names them."""

    signers: tuple[Signer, ...]
    sha256: bytes


def parse(content: bytes) -> Genesis:
    """Read a genesis file. Raises GenesisError naming the signer's place in the file, 1 the first, and the field."""
    try:
        values = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise GenesisError("is not TOML") from None
    entries = values.pop("signer", None)
    if values or not isinstance(entries, list) or not entries:
        raise GenesisError("must hold [[signer]] tables and nothing else; `kinlink approvals enrol` prints them")
    signers: list[Signer] = []
    for number, entry in enumerate(entries, start=1):
        signer = _signer(entry, number)
        if against := conflict(signer, signers):
            raise GenesisError(f"signer {number}: {against}")
        signers.append(signer)
    if not can_change(signers):
        raise GenesisError("needs three people or more, a custodian and a reviewer among them: else nothing can change")
    return Genesis(tuple(signers), sha256(content).digest())


def snippet(signer: Signer) -> str:
    """Return the lines that enrol a person in a genesis file."""
    return (
        f'[[signer]]\nname = "{signer.name}"\nrole = "{signer.role}"\n'
        f'public_key = "{b64encode(signer.public_key).decode()}"\n'
    )


def file_of(signers: Iterable[Signer]) -> str:
    """Return a genesis file of these people."""
    return "\n".join(map(snippet, signers))


def _signer(entry: object, number: int) -> Signer:
    if not isinstance(entry, dict) or set(entry) != _KEYS or not all(isinstance(v, str) for v in entry.values()):
        raise GenesisError(f"signer {number}: holds exactly {', '.join(sorted(_KEYS))}, all text")
    name, role = entry["name"], entry["role"]
    if not is_signer_name(name) or name.partition("/")[0] != role:
        raise GenesisError(f"signer {number}: name is <role>/<name>, role is custodian or reviewer")
    try:
        key = b64decode(entry["public_key"], validate=True)
    except ValueError:
        key = b""
    if not is_usable(key):
        raise GenesisError(f"signer {number}: public_key is an Ed25519 key, 32 bytes in base64")
    return Signer(name, SignerRole(role), key)
