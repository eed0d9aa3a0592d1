"""A key-encryption key in the transit engine of OpenBao or HashiCorp Vault.

1. `vault:https://<host>:<port>/<mount>/<key>?token-file=<file>` or, for AppRole, `?role-id-file=…&secret-id-file=…`;
   also `ca=<file>` and `namespace=<name>`. Plain http is taken on the loopback interface only.
2. The key never leaves the engine: it is of an authenticated kind, not exportable, not derived. Its name and our
   purpose are associated data.
3. A rotation is the engine's own (`transit/keys/<key>/rotate`): wrapping uses the newest version, unwrapping any that
   `min_decryption_version` allows.
4. The files are read at each login, so that an agent may renew them; a token that ended is followed by one login.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized, VaultError
from requests.exceptions import RequestException

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

_TIMEOUT_S: Final = 10
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_AUTHENTICATED: Final = {"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"}
_OPTIONS: Final = {"token-file", "role-id-file", "secret-id-file", "ca", "namespace"}
_LOGINS: Final = ({"token-file"}, {"role-id-file", "secret-id-file"})
_EXPECTED: Final = (
    "kek: expected vault:https://<host>:<port>/<mount>/<key>?token-file=… (or role-id-file=…&secret-id-file=…)"
)


class TransitKey:
    """A key of a transit engine."""

    @classmethod
    def open(cls, rest: str, folder: Path, *, create: bool) -> Self:  # noqa: ARG003 - keys are made in the engine
        """Open what follows the scheme; see `open_key_encryption_key`."""
        try:
            parts = urlsplit(rest)
            address = f"{parts.scheme}://{parts.netloc}"
            options = dict(parse_qsl(parts.query, strict_parsing=True))
        except ValueError as error:
            raise KeyStoreError(_EXPECTED) from error
        mount, _, name = parts.path.strip("/").rpartition("/")
        if not (parts.hostname and mount and name) or parts.username is not None or options.keys() - _OPTIONS:
            raise KeyStoreError(_EXPECTED)
        if options.keys() - {"ca", "namespace"} not in _LOGINS:
            raise KeyStoreError(_EXPECTED)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise KeyStoreError("kek: vault: needs https://, as its answers are keys")
        return cls(address, mount, name, {k: str(folder / v) if k != "namespace" else v for k, v in options.items()})

    def __init__(self, address: str, mount: str, name: str, options: dict[str, str]) -> None:
        """Log in and check that the key is there and fit.

        Raises:
            KeyStoreError: it cannot be reached or used.
        """
        self._name, self._mount, self._options = name, mount, options
        self._line = f"vault:{mount}/{name}"
        self._associated = _text(PURPOSE + b"\n" + self._line.encode())
        self._client = hvac.Client(
            url=address,
            verify=options.get("ca", True),
            namespace=options.get("namespace"),
            timeout=_TIMEOUT_S,
            token="",  # never one from the environment or the home folder
        )
        told = self._read()
        if told["type"] not in _AUTHENTICATED or told["exportable"] or told["derived"]:
            raise KeyStoreError(f"kek: {self._line} must be of type aes256-gcm96, not exportable and not derived")

    @property
    def version(self) -> str:
        """The mount, the key and its newest version."""
        return f"{self._line}:v{self._read()['latest_version']}"

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt under the newest version; see KeyEncryptionKey."""
        transit = self._client.secrets.transit
        answer = self._ask(
            lambda: transit.encrypt_data(
                self._name, plaintext=_text(data_key), associated_data=self._associated, mount_point=self._mount
            )
        )
        ciphertext = str(answer["ciphertext"])  # "vault:v<version>:<base64>"
        return framed(f"{self._line}:{ciphertext.split(':')[1]}", ciphertext.encode())

    def unwrap(self, wrapped: bytes) -> bytes:
        """Decrypt; see KeyEncryptionKey."""
        version, ciphertext = unframed(wrapped)
        line, _, number = version.rpartition(":")
        if line != self._line:
            refuse_other(version, self._line)
        if not ciphertext.startswith(b"vault:" + number.encode() + b":"):
            refuse_changed()
        self._check_open(version)
        transit = self._client.secrets.transit
        try:
            answer = self._ask(
                lambda: transit.decrypt_data(
                    self._name,
                    ciphertext=ciphertext.decode("ascii", "replace"),
                    associated_data=self._associated,
                    mount_point=self._mount,
                )
            )
        except _RefusedError as error:
            refuse_changed(error)
        try:
            data_key = b64decode(answer["plaintext"], validate=True)
        except Base64Error as error:
            refuse_changed(error)
        if len(data_key) != DATA_KEY_SIZE:
            refuse_changed()
        return data_key

    def _check_open(self, version: str) -> None:
        """Say by name that the version is closed or gone; the engine's own answer is only "no"."""
        told, number = self._read(), version.rpartition(":v")[2]
        if not number.isdigit() or int(number) > told["latest_version"]:
            raise KeyStoreError(f"kek: there is no {version}; is this another server's key of the same name?")
        if int(number) < told["min_decryption_version"]:
            raise KeyStoreError(
                f"kek: {version} is closed by min_decryption_version; lower it if you can, run "
                "`kinlink keystore rewrap`, then raise it again; where the version is gone, so is what it sealed"
            )

    def _read(self) -> dict[str, Any]:
        return self._ask(lambda: self._client.secrets.transit.read_key(self._name, mount_point=self._mount))

    def _ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Ask, logging in when there is no token or it has ended; every error becomes ours."""
        try:
            if not self._client.token:
                self._log_in()
            try:
                answer = question()
            except (Forbidden, Unauthorized):
                self._log_in()
                answer = question()
        except (Forbidden, Unauthorized) as error:
            message = f"kek: {self._line}: the server refuses the login, or its policy this key; see token-file"
            raise KeyStoreError(message) from error
        except InvalidPath as error:
            raise KeyStoreError(f"kek: there is no {self._line}; make the key, or correct the setting") from error
        except InvalidRequest as error:
            raise _RefusedError(f"kek: {self._line}: the server refuses; is it a transit engine?") from error
        except (RequestException, VaultError) as error:
            kind = type(error).__name__
            message = f"kek: {self._line}: the server cannot be reached, or is sealed ({kind}); try again later"
            raise ProviderUnavailableError(message) from error
        if not (isinstance(answer, dict) and isinstance(answer.get("data"), dict)):
            raise ProviderUnavailableError(f"kek: {self._line}: this is not a Vault or OpenBao server")
        data: dict[str, Any] = answer["data"]
        return data

    def _log_in(self) -> None:
        if "token-file" in self._options:
            self._client.token = self._secret("token-file")
        else:
            role, secret = self._secret("role-id-file"), self._secret("secret-id-file")
            self._client.auth.approle.login(role_id=role, secret_id=secret)

    def _secret(self, option: str) -> str:
        try:
            return Path(self._options[option]).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyStoreError(f"kek: {self._options[option]} cannot be read; see {option}") from error


class _RefusedError(KeyStoreError):
    """The engine said 400."""


def _text(data: bytes) -> str:
    return b64encode(data).decode()
