"""Key-encryption keys: what wraps the data keys that seal the keys at rest.

1. A provider is chosen by URI: `file:<path>`. Others (pkcs11, azurekv, vault) join here.
2. A provider wraps and unwraps 32 bytes and says which version of its key it uses. It
   is asked at start and at key changes only.
3. `file:` is for development, or a secret mounted read-only: 32 random bytes in base64, readable by
   its owner only. It is made when it is missing and nothing was sealed yet.
"""

from __future__ import annotations

import os
import tempfile
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_SIZE: Final = 32
_NONCE_SIZE: Final = 12
_ADVICE: Final = {True: "name a file in a folder that can be written", False: "keys are sealed under it: restore it"}


class KeyStoreError(Exception):
    """The key store cannot be opened; says what to do. Stops the start."""


class KeyEncryptionKey(Protocol):
    """A provider."""

    @property
    def version(self) -> str:
        """Name the version that `wrap` uses; stored beside what it wrapped."""
        ...

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt 32 bytes."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt. Raises KeyStoreError when this is not the key that wrapped it."""
        ...


def open_key_encryption_key(uri: str, folder: Path, *, first_start: bool) -> KeyEncryptionKey:
    """Open the provider that a URI names; a relative path stands for a file in `folder`.

    Raises:
        KeyStoreError: the scheme is unknown, or the key is missing, ill-formed or readable by others.
    """
    scheme, _, rest = uri.partition(":")
    if scheme != "file" or not rest:
        raise KeyStoreError("kek: expected file:<path>")
    return FileKey(folder / rest, create=first_start)


class FileKey:
    """A key-encryption key in a file."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Read the file, or make it when it is missing and `create` is set.

        Raises:
            KeyStoreError: as `open_key_encryption_key`.
        """
        try:
            if create and not path.exists():
                _create(path)
            status = path.stat()
            key = b64decode(path.read_text(encoding="ascii").strip(), validate=True)
        except OSError as error:
            raise KeyStoreError(f"kek: {path} cannot be {'made' if create else 'read'}; {_ADVICE[create]}") from error
        except ValueError as error:
            raise KeyStoreError(f"kek: {path} must hold {_KEY_SIZE} bytes in base64") from error
        if len(key) != _KEY_SIZE:
            raise KeyStoreError(f"kek: {path} must hold {_KEY_SIZE} bytes in base64")
        if status.st_mode & 0o007:
            raise KeyStoreError(f"kek: {path} is readable by everybody; run `chmod 600 {path}`")
        self._cipher = AESGCM(key)
        self.version = f"file-{sha256(b'kinlink kek version' + key).hexdigest()[:16]}"

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt with AES-256-GCM under a random nonce, which stands in front."""
        nonce = os.urandom(_NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, data_key, self.version.encode())

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt; see KeyEncryptionKey."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_SIZE], wrapped[_NONCE_SIZE:], self.version.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyStoreError(
                "kek: it does not open the key store; use the one the keys were sealed under"
            ) from error


def _create(path: Path) -> None:
    """Make the file, whole and synced when it has its name: a start that was cut short can be repeated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its owner's only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b64encode(os.urandom(_KEY_SIZE)) + b"\n")
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
