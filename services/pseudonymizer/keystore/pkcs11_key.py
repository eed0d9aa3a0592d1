"""A key-encryption key in a hardware module or smart card, by PKCS#11: AES-256-GCM inside the token.

1. `pkcs11:token=<label>;object=<label>[;id=<bytes>]?module-path=<library>&pin-source=<file>`, as RFC 7512 says;
   bytes are percent-encoded. `pin-value` is refused: settings are no place for a PIN.
2. The key is an AES key of 256 bits that can encrypt and decrypt, with an id, sensitive and not extractable; any
   other is refused.
3. A rotation is a second key in the same token, named in the URI by its object label or id. What the first one
   wrapped is unwrapped as long as it is in the token.
4. Asked rarely, so that each question opens its own session: a token that was away meanwhile is no special case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, NoReturn, Self
from urllib.parse import quote, unquote_to_bytes

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import Session

from pseudonymizer.keystore.encryption_keys import (
    DATA_KEY_SIZE,
    PURPOSE,
    KeyStoreError,
    ProviderUnavailableError,
    framed,
    refuse_changed,
    refuse_other,
    unframed,
)

_NONCE_SIZE: Final = 12
_TAG_BITS: Final = 128
_KNOWN: Final = {"token", "object", "id", "type", "module-path", "pin-source"}
_EXPECTED: Final = "kek: expected pkcs11:token=…;object=…[;id=…]?module-path=…&pin-source=…"
_REFUSED: Final = (  # error -> what to do
    (pkcs11.PinLocked, "the PIN is locked; have the token's security officer unlock it"),
    ((pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange), "the PIN in pin-source is not the token's"),
    (pkcs11.NoSuchToken, "there is no token of that label; is it plugged in, or its server up?"),
    (pkcs11.NoSuchKey, "the token has no such key; make it, or restore it: docs/how-to/key-encryption-keys.md"),
    (pkcs11.MultipleObjectsReturned, "the token has several such keys; name one with id="),
    (pkcs11.MultipleTokensReturned, "there are several tokens of that label; rename one"),
)
_ALTERED: Final = (
    pkcs11.EncryptedDataInvalid,
    pkcs11.EncryptedDataLenRange,
    pkcs11.FunctionFailed,
    pkcs11.GeneralError,
    pkcs11.ArgumentsBad,
)
_one_at_a_time = Lock()  # a login counts for all sessions of the process


@dataclass(frozen=True, slots=True)
class _Object:
    """Which key in the token. Without an id: the only one of that label."""

    token: str
    label: str
    id: bytes | None

    def __str__(self) -> str:
        identifier = "" if self.id is None else ";id=" + "".join(f"%{byte:02X}" for byte in self.id)
        return f"pkcs11:token={quote(self.token, safe='')};object={quote(self.label, safe='')}{identifier}"


class TokenKey:
    """A key in a PKCS#11 token."""

    @classmethod
    def open(cls, rest: str, folder: Path, *, create: bool) -> Self:  # noqa: ARG003 - keys are made in the token
        """Open what follows the scheme; see `open_key_encryption_key`."""
        parts = _parse(rest)
        if not {"module-path", "pin-source"} <= parts.keys():
            raise KeyStoreError(_EXPECTED)
        return cls(_named(parts), folder / parts["module-path"], folder / parts["pin-source"].removeprefix("file:"))

    def __init__(self, named: _Object, module: Path, pin: Path) -> None:
        """Check that the key is there and fit.

        Raises:
            KeyStoreError: the module, the token, the PIN or the key is not usable.
        """
        self._named, self._module, self._pin = named, module, pin
        with self._key(named) as key:
            _check(key)

    @property
    def version(self) -> str:
        """The key's URI with its id."""
        with self._key(self._named) as key:
            return self._version(key)

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt under a random nonce, which stands in front."""
        nonce = os.urandom(_NONCE_SIZE)
        with self._key(self._named) as key:
            sealed = key.encrypt(data_key, mechanism=Mechanism.AES_GCM, mechanism_param=_parameters(nonce))
            return framed(self._version(key), nonce + bytes(sealed))

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt; see KeyEncryptionKey."""
        version, sealed = unframed(wrapped)
        scheme, _, rest = version.partition(":")
        if scheme != "pkcs11":
            refuse_other(version, str(self._named))
        named = _named(_parse(rest))
        if named.token != self._named.token:
            refuse_other(version, str(self._named))
        nonce, ciphertext = sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:]
        with self._key(named) as key:
            try:
                data_key = bytes(
                    key.decrypt(ciphertext, mechanism=Mechanism.AES_GCM, mechanism_param=_parameters(nonce))
                )
            except _ALTERED as error:
                refuse_changed(error)
        if len(data_key) != DATA_KEY_SIZE:
            refuse_changed()
        return data_key

    def _version(self, key: Any) -> str:
        return str(_Object(self._named.token, self._named.label, bytes(key[Attribute.ID])))

    @contextmanager
    def _key(self, named: _Object) -> Iterator[Any]:
        """Yield the key, logged in; every error of the token becomes ours."""
        try:
            with _one_at_a_time, self._session() as session:
                yield _only(session, named)
        except PKCS11Error as error:
            _refuse(error, named)

    def _session(self) -> Session:
        try:
            pin = self._pin.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyStoreError(f"kek: the PIN file {self._pin} cannot be read; see pin-source") from error
        try:
            library = pkcs11.lib(str(self._module))
        except (RuntimeError, OSError) as error:
            raise KeyStoreError(f"kek: the library {self._module} cannot be loaded; see module-path") from error
        return library.get_token(token_label=self._named.token).open(user_pin=pin)


def _only(session: Session, named: _Object) -> Any:
    wanted: dict[Attribute, Any] = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.AES,
        Attribute.LABEL: named.label,
    }
    found = list(session.get_objects(wanted if named.id is None else {**wanted, Attribute.ID: named.id}))
    if len(found) != 1:
        raise pkcs11.MultipleObjectsReturned if found else pkcs11.NoSuchKey
    return found[0]


def _refuse(error: PKCS11Error, named: _Object) -> NoReturn:
    kind = type(error).__name__
    for kinds, advice in _REFUSED:
        if isinstance(error, kinds):
            raise KeyStoreError(f"kek: {named}: {advice}") from error
    raise ProviderUnavailableError(f"kek: {named}: the token does not answer as it should ({kind})") from error


def _check(key: Any) -> None:
    """Refuse a key that could leave the token, or that versions could not be told apart by."""
    wanted = ((Attribute.SENSITIVE, True), (Attribute.EXTRACTABLE, False), (Attribute.ENCRYPT, True))
    if any(key[attribute] is not value for attribute, value in wanted) or key[Attribute.VALUE_LEN] != DATA_KEY_SIZE:
        raise KeyStoreError("kek: the token's key must be AES-256, sensitive, not extractable, and able to encrypt")
    if not key[Attribute.ID]:
        raise KeyStoreError("kek: the token's key has no id (CKA_ID); give it one, so that versions can be told apart")


def _parameters(nonce: bytes) -> GCMParams:
    return GCMParams(nonce, PURPOSE, _TAG_BITS)


def _parse(rest: str) -> dict[str, str]:
    """Split a URI by RFC 7512 section 2.3; values are left percent-encoded, but for paths."""
    path, _, query = rest.partition("?")
    parts: dict[str, str] = {}
    for piece in [*path.split(";"), *(query.split("&") if query else ())]:
        name, _, value = piece.partition("=")
        if name not in _KNOWN or name in parts or not value:
            raise KeyStoreError(_EXPECTED)
        parts[name] = value if name == "id" else unquote_to_bytes(value).decode("utf-8", "replace")
    if parts.get("type", "secret-key") != "secret-key":
        raise KeyStoreError(_EXPECTED)
    return parts


def _named(parts: dict[str, str]) -> _Object:
    if not {"token", "object"} <= parts.keys():
        raise KeyStoreError(_EXPECTED)
    identifier = parts.get("id")
    return _Object(parts["token"], parts["object"], None if identifier is None else unquote_to_bytes(identifier))
