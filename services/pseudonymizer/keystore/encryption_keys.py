"""Key-encryption keys: what wraps the data keys that seal the keys at rest.

1. A provider is chosen by the URI's scheme: `file:`, `pkcs11:`, `vault:`, `azurekv:`. What it needs
   beyond the standard installation is imported when its scheme is used.
2. A provider wraps and unwraps data keys of 32 bytes. It is asked at start and when keys change, never per call.
3. What was wrapped says under which version, in front: a provider whose key was rotated unwraps what
   its older versions wrapped, and nobody has to remember which.
4. No message holds key material, a PIN or a token; a library's own text is never repeated.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn, Protocol

import structlog

from kinlink.pseudonyms import Suite

DATA_KEY_SIZE: Final = 32
PURPOSE: Final = b"kinlink data key v1"  # associated data, where a provider takes it: never another use's ciphertext
_PROVIDERS: Final = {  # scheme -> (module, class, what to install)
    "file": ("file_key", "FileKey", ""),
    "pkcs11": ("pkcs11_key", "TokenKey", "kinlink[pkcs11]"),
    "vault": ("vault_key", "TransitKey", "kinlink[vault]"),
    "azurekv": ("azure_key", "AzureKey", "kinlink[azurekv]"),
}
_FILE_ONLY: Final = (
    "kek is a file, which is for development: whoever copies it and the database has every key. "
    "Set kek to pkcs11:, vault: or azurekv:, and run `kinlink keystore rewrap`"
)
_log = structlog.get_logger(__name__)


class KeyStoreError(Exception):
    """The key store cannot be opened; says what to do. Stops the start."""


class OtherKeyError(KeyStoreError):
    """This was wrapped by another key-encryption key."""


class ProviderUnavailableError(KeyStoreError):
    """The provider does not answer: try again later."""


class KeyEncryptionKey(Protocol):
    """A provider."""

    @property
    def version(self) -> str:
        """Name the version that `wrap` uses now: unique to the key, public, one line.

        Raises:
            KeyStoreError: as `wrap`.
        """
        ...

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt 32 bytes; `wrapping_version` of the answer says under which version.

        Raises:
            ProviderUnavailableError: it does not answer.
            KeyStoreError: it refuses; the message says what to do.
        """
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt what `wrap` made, under its newest or an older version.

        Raises:
            OtherKeyError: another key wrapped it.
            ProviderUnavailableError: it does not answer.
            KeyStoreError: it was changed, or its version is gone or closed.
        """
        ...


def open_key_encryption_key(
    uri: str, folder: Path, *, first_start: bool, previous_uri: str | None = None
) -> KeyEncryptionKey:
    """Open the provider that a URI names; a relative path stands for a file in `folder`.

    With `previous_uri`, what that one wrapped is unwrapped as well; nothing is wrapped by it.

    Raises:
        KeyStoreError: the scheme is unknown, its package is missing, or the key cannot be used.
    """
    current = _open(uri, folder, create=first_start)
    return current if previous_uri is None else WithPrevious(current, _open(previous_uri, folder, create=False))


def warn_of_a_key_in_a_file(uri: str, suite: Suite) -> None:
    """Say, in the log and in plain words on standard error, that a file is all that protects real identifiers."""
    if uri.startswith("file:") and suite is not Suite.SYNTHETIC:
        _log.warning(_FILE_ONLY, setting="kek")
        sys.stderr.write(f"pseudonymizer: WARNING: {_FILE_ONLY}\n")


def framed(version: str, ciphertext: bytes) -> bytes:
    """Put the version in front of what was wrapped under it."""
    return version.encode() + b"\n" + ciphertext


def unframed(wrapped: bytes) -> tuple[str, bytes]:
    """Return (version, ciphertext). Raises KeyStoreError when this is not what `framed` made."""
    version, separator, ciphertext = wrapped.partition(b"\n")
    try:
        text = version.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not (separator and text and text.isprintable()):
        refuse_changed()
    return text, ciphertext


def wrapping_version(wrapped: bytes) -> str:
    """Return the version under which something was wrapped. Raises KeyStoreError as `unframed`."""
    return unframed(wrapped)[0]


def refuse_changed(cause: Exception | None = None) -> NoReturn:
    """Raise the error of every provider for what does not decrypt."""
    message = "kek: a wrapped key does not open: it was changed, or its key-encryption key replaced; restore a backup"
    raise KeyStoreError(message) from cause


def refuse_other(wrapped_under: str, own: str) -> NoReturn:
    """Raise the error of every provider for what another one wrapped."""
    raise OtherKeyError(
        f"kek: keys are sealed under another key-encryption key, {wrapped_under}, and this is {own}; "
        "use that one, or name it in kek_previous"
    )


def _open(uri: str, folder: Path, *, create: bool) -> KeyEncryptionKey:
    scheme, _, rest = uri.partition(":")
    if scheme not in _PROVIDERS or not rest:
        raise KeyStoreError("kek: expected file:<path>, pkcs11:…, vault:https://… or azurekv:https://…")
    module, name, extra = _PROVIDERS[scheme]
    try:
        provider = getattr(import_module(f"pseudonymizer.keystore.{module}"), name)
    except ImportError as error:
        raise KeyStoreError(f"kek: {scheme}: needs a package; install {extra}") from error
    opened: KeyEncryptionKey = provider.open(rest, folder, create=create)
    return opened


class WithPrevious:
    """Wraps with one key, unwraps what it or its predecessor wrapped."""

    def __init__(self, current: KeyEncryptionKey, previous: KeyEncryptionKey) -> None:
        """Use both."""
        self._current, self._previous = current, previous

    @property
    def version(self) -> str:
        """See KeyEncryptionKey."""
        return self._current.version

    def wrap(self, data_key: bytes) -> bytes:
        """See KeyEncryptionKey."""
        return self._current.wrap(data_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """See KeyEncryptionKey."""
        try:
            return self._current.unwrap(wrapped)
        except OtherKeyError:
            return self._previous.unwrap(wrapped)
