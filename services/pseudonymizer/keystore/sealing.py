"""How a key is sealed at rest, and the store as a whole.

1. Each key is random, independent of all others, and sealed with AES-256-GCM under a data key of its own,
   which the key-encryption key wraps. A key is sealed under a new data key whenever its row changes.
2. The associated data is (domain, kind, version, suite, state, generation): a row moved, renamed, turned
   back or put back does not open.
3. A public check value stands beside each key (`key_material`), so that an opened key is proven the right one.
4. The manifest over all rows carries an HMAC-SHA-256 under a key that is wrapped likewise.

Knows no database.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import Key, KeyName
from pseudonymizer.keystore.encryption_keys import KeyEncryptionKey, KeyStoreError, wrapping_version
from pseudonymizer.keystore.key_material import check_value
from pseudonymizer.keystore.manifest import Manifest
from pseudonymizer.lifecycle import KeyState

_NONCE_SIZE: Final = 12


class Sealer:
    """Seals and opens under one key-encryption key."""

    def __init__(self, kek: KeyEncryptionKey) -> None:
        """Use `kek`."""
        self._kek = kek
        self._mac_key: tuple[bytes, bytes] = b"", b""  # as wrapped, and the key

    def seal(self, row: Mapping[Any, Any], scalar: bytes) -> dict[str, Any]:
        """Return the row with its key sealed to its own names, state and generation."""
        data_key, nonce = AESGCM.generate_key(256), os.urandom(_NONCE_SIZE)
        wrapped = self._kek.wrap(data_key)
        sealed = nonce + AESGCM(data_key).encrypt(nonce, scalar, _associated(row))
        return {**row, "wrapped_key": wrapped, "wrapping_version": wrapping_version(wrapped), "sealed": sealed}

    def unseal(self, row: Mapping[Any, Any]) -> Key:
        """Open a row.

        Raises:
            KeyStoreError: it was changed; or the key-encryption key is another one, or away.
        """
        name = KeyName(row["domain"], Kind(row["kind"]), row["version"])
        what = f"{name.domain} ({name.kind}, version {name.version})"
        try:
            data_key, sealed = self._kek.unwrap(bytes(row["wrapped_key"])), bytes(row["sealed"])
            scalar = AESGCM(data_key).decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], _associated(row))
        except (InvalidTag, ValueError, TypeError) as error:
            raise KeyStoreError(f"the sealed key of {what} was changed; restore a backup") from error
        if not hmac.compare_digest(check_value(name.kind, scalar), bytes(row["check_value"])):
            raise KeyStoreError(f"the key of {what} is not the one its check value names; restore a backup")
        return Key(name, KeyState(row["state"]), scalar, leaked=row["compromised_at"] is not None)

    def new_head(self) -> dict[str, Any]:
        """Return a head row for a store that holds nothing yet, with a key for its manifests."""
        wrapped = self._kek.wrap(AESGCM.generate_key(256))
        return {"generation": 0, "wrapped_key": wrapped, "wrapping_version": wrapping_version(wrapped)}

    def mac(self, head: Mapping[Any, Any], manifest: Manifest) -> bytes:
        """Return the manifest's HMAC under the head's key. Raises KeyStoreError when that does not open."""
        wrapped = bytes(head["wrapped_key"])
        if self._mac_key[0] != wrapped:
            self._mac_key = wrapped, self._kek.unwrap(wrapped)
        return hmac.digest(self._mac_key[1], manifest.content, "sha256")


def _associated(row: Mapping[Any, Any]) -> bytes:
    names = ("domain", "kind", "version", "suite", "state", "generation")
    return "\n".join(("kinlink key", *(str(row[name]) for name in names))).encode()
