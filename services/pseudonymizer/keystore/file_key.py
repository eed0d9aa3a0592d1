"""A key-encryption key in a file: for development, or a secret mounted read-only.

1. `file:<path>`: 32 random bytes in base64, readable by its owner only. It is made when it is missing and
   nothing was sealed yet.
2. A file holds one version. A rotation is a second file, with the first as `kek_previous` until the rewrapping.
"""

from __future__ import annotations

import os
import tempfile
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pseudonymizer.keystore.encryption_keys import (
    DATA_KEY_SIZE,
    PURPOSE,
    KeyStoreError,
    framed,
    refuse_changed,
    refuse_other,
    unframed,
)

_NONCE_SIZE: Final = 12
_ADVICE: Final = {True: "name a file in a folder that can be written", False: "keys are sealed under it: restore it"}


class FileKey:
    """A key-encryption key in a file."""

    @classmethod
    def open(cls, rest: str, folder: Path, *, create: bool) -> Self:
        """Open what follows the scheme; see `open_key_encryption_key`."""
        return cls(folder / rest, create=create)

    def __init__(self, path: Path, *, create: bool) -> None:
        """Read the file, or make it when it is missing and `create` is set.

        Raises:
            KeyStoreError: it is missing, ill-formed or readable by others.
        """
        try:
            if create and not path.exists():
                _create(path)
            status = path.stat()
            key = b64decode(path.read_text(encoding="ascii").strip(), validate=True)
        except OSError as error:
            raise KeyStoreError(f"kek: {path} cannot be {'made' if create else 'read'}; {_ADVICE[create]}") from error
        except ValueError as error:
            raise KeyStoreError(f"kek: {path} must hold {DATA_KEY_SIZE} bytes in base64") from error
        if len(key) != DATA_KEY_SIZE:
            raise KeyStoreError(f"kek: {path} must hold {DATA_KEY_SIZE} bytes in base64")
        if status.st_mode & 0o007:
            raise KeyStoreError(f"kek: {path} is readable by everybody; run `chmod 600 {path}`")
        self._cipher = AESGCM(key)
        self.version = f"file-{sha256(b'kinlink kek version' + key).hexdigest()[:16]}"

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt with AES-256-GCM under a random nonce, which stands in front."""
        nonce = os.urandom(_NONCE_SIZE)
        return framed(self.version, nonce + self._cipher.encrypt(nonce, data_key, PURPOSE))

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt; see KeyEncryptionKey."""
        version, sealed = unframed(wrapped)
        if version != self.version:
            refuse_other(version, self.version)
        try:
            return self._cipher.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], PURPOSE)
        except (InvalidTag, ValueError) as error:
            refuse_changed(error)


def _create(path: Path) -> None:
    """Make the file, whole and synced when it has its name: a start that was cut short can be repeated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its owner's only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b64encode(os.urandom(DATA_KEY_SIZE)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # fails when another process made it meanwhile
    finally:
        Path(part).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
