"""A key-encryption key in Azure Key Vault: RSA-OAEP-256 through its wrapKey and unwrapKey.

1. `azurekv:https://<vault>.vault.azure.net/keys/<name>`. The service's identity is whatever azure-identity's
   DefaultAzureCredential finds: a managed identity, a workload identity, or a service principal in the environment.
   It needs `get`, `wrapKey` and `unwrapKey`.
2. A rotation is the vault's own: wrapping uses the newest version, whose id stands in front; unwrapping any that is
   enabled.
3. RSA wraps with the public half: that a wrapped key opens does not show who wrapped it. What shows that a key of the
   store is the one that was made there is the anchored manifest. (AES key wrap needs a managed HSM.)

Checked with Microsoft's own client library against a server written from the REST documentation; never against
Azure itself, which could not be reached where this was built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NoReturn, Self
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient, KeyType
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm

from pseudonymizer.keystore.encryption_keys import (
    DATA_KEY_SIZE,
    KeyStoreError,
    ProviderUnavailableError,
    framed,
    refuse_changed,
    refuse_other,
    unframed,
)

_ALGORITHM: Final = KeyWrapAlgorithm.rsa_oaep_256
_TRANSPORT: Final = {"connection_timeout": 10, "read_timeout": 10, "retry_total": 2, "logging_enable": False}
_EXPECTED: Final = "kek: expected azurekv:https://<vault>.vault.azure.net/keys/<name>"


class AzureKey:
    """A key of a key vault."""

    @classmethod
    def open(cls, rest: str, folder: Path, *, create: bool) -> Self:  # noqa: ARG003 - nothing of it is a file of ours
        """Open what follows the scheme; see `open_key_encryption_key`."""
        try:
            parts = urlsplit(rest)
            has_port = parts.port is not None
        except ValueError as error:
            raise KeyStoreError(_EXPECTED) from error
        match parts.path.split("/"):
            case ["", "keys", name] if name and parts.scheme == "https" and parts.hostname and not has_port:
                pass
            case _:
                raise KeyStoreError(_EXPECTED)
        if parts.query or parts.fragment or parts.username is not None:
            raise KeyStoreError(_EXPECTED)
        return cls(f"https://{parts.hostname}", name)

    def __init__(self, vault: str, name: str) -> None:
        """Check that the key is there and fit.

        Raises:
            KeyStoreError: it cannot be reached or used.
        """
        self._name, self._line = name, f"{vault}/keys/{name}"
        self._credential = DefaultAzureCredential()
        self._keys = KeyClient(vault, self._credential, **_TRANSPORT)
        self._clients: dict[str, CryptographyClient] = {}  # by version
        self._id()

    @property
    def version(self) -> str:
        """The id of the newest version."""
        return self._id()

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt with RSA-OAEP-256 under the newest version; see KeyEncryptionKey."""
        version = self._id()
        try:
            wrapped = self._at(version).wrap_key(_ALGORITHM, data_key)
        except AzureError as error:
            self._refuse(error)
        return framed(version, wrapped.encrypted_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt; see KeyEncryptionKey."""
        version, ciphertext = unframed(wrapped)
        line, _, number = version.rpartition("/")
        if line != self._line or not number:
            refuse_other(version, self._line)
        try:
            data_key = bytes(self._at(version).unwrap_key(_ALGORITHM, ciphertext).key)
        except HttpResponseError as error:
            if error.status_code == 400:  # "BadParameter": it does not decrypt
                refuse_changed(error)
            self._refuse(error)
        except AzureError as error:
            self._refuse(error)
        if len(data_key) != DATA_KEY_SIZE:
            refuse_changed()
        return data_key

    def _id(self) -> str:
        try:
            key = self._keys.get_key(self._name)
        except AzureError as error:
            self._refuse(error)
        if key.key_type not in {KeyType.rsa, KeyType.rsa_hsm}:
            raise KeyStoreError(f"kek: {self._line} must be an RSA key")
        return str(key.id)

    def _at(self, version: str) -> CryptographyClient:
        if version not in self._clients:
            self._clients[version] = CryptographyClient(version, self._credential, **_TRANSPORT)
        return self._clients[version]

    def _refuse(self, error: AzureError) -> NoReturn:
        """Raise ours; the library's text may repeat what was sent."""
        status = error.status_code if isinstance(error, HttpResponseError) else None
        if isinstance(error, ResourceNotFoundError):
            message = f"kek: the vault has no {self._line}, or not that version any more; restore it there"
            raise KeyStoreError(message) from error
        if isinstance(error, ClientAuthenticationError) or status in {401, 403}:
            message = f"kek: {self._line}: the vault refuses this identity, or the version is disabled; it needs get, "
            raise KeyStoreError(message + "wrapKey and unwrapKey") from error
        kind = type(error).__name__ if status is None else f"HTTP {status}"
        raise ProviderUnavailableError(f"kek: {self._line} cannot be reached ({kind}); try again later") from error
