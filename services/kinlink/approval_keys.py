"""A person's own key for approvals: made on their machine, kept in a file, never sent.

1. The file is PKCS#8 PEM, readable by its owner only, encrypted under a passphrase unless none was wanted.
2. A file that others can read is refused: whoever can read it can sign.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kinlink.errors import ConflictError, InputError, RefusedError


def new_key() -> Ed25519PrivateKey:
    """Make a key."""
    return Ed25519PrivateKey.generate()


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the public key, 32 bytes."""
    return key.public_key().public_bytes_raw()


def write_key(path: Path, key: Ed25519PrivateKey, passphrase: str = "") -> None:
    """Write a key to a new file that only its owner can read; without a passphrase it is not encrypted.

    Raises:
        ConflictError: KEY_FILE_EXISTS; a key is never overwritten.
        InputError: the file cannot be written.
    """
    protection: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        message = f"{path} exists already, and a key is never overwritten. Give --key another name, or use that key."
        raise ConflictError(message, "KEY_FILE_EXISTS") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Give --key another place.", "KEY_FILE") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path, ask_passphrase: Callable[[], str]) -> Ed25519PrivateKey:
    """Read a key; `ask_passphrase` is called only when the file is encrypted.

    Raises:
        InputError: the file cannot be read, holds no Ed25519 key, or the passphrase is wrong.
        RefusedError: KEY_FILE_READABLE, others than its owner can read it.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                message = f"{path} can be read by others, so anybody of them could sign. Run: chmod 600 {path}"
                raise RefusedError(message, "KEY_FILE_READABLE")
            content = file.read()
    except OSError:
        message = f"The approval key {path} cannot be read. Check approval_key in kinlink.toml, or give --key."
        raise InputError(message, "KEY_FILE") from None
    try:
        key = _loaded(content, None)
        if key is None:
            key = _loaded(content, ask_passphrase().encode())
    except ValueError:
        message = f"{path} does not open: it is not a PEM file of a private key, or the passphrase is wrong."
        raise InputError(message, "KEY_FILE") from None
    if not isinstance(key, Ed25519PrivateKey):
        message = f"{path} holds another kind of key. Make one with `kinlink approvals enrol`."
        raise InputError(message, "KEY_FILE")
    return key


def _loaded(content: bytes, passphrase: bytes | None) -> object | None:
    """Return the key, None when it is encrypted and no passphrase was given."""
    try:
        return serialization.load_pem_private_key(content, passphrase)
    except TypeError:
        if passphrase is None:
            return None
        raise ValueError from None
