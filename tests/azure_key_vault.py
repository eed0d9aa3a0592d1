"""A server that answers as Azure Key Vault's REST documentation says, for Microsoft's own client library.

What it keeps of the documentation (learn.microsoft.com/rest/api/keyvault/keys, api-version 7.x):
- a request without a bearer token gets 401 and a `WWW-Authenticate: Bearer` challenge naming authority and resource;
- `GET /keys/{name}[/{version}]`, `POST /keys/{name}/{version}/wrapkey` and `…/unwrapkey` with `alg` and `value`
  (base64url), answered by `kid` and `value`; errors as `{"error": {"code", "message"}}`.

The library is used as it is: real host names through a proxy that ends TLS here, and a token from the managed-identity
endpoint that an App Service offers on loopback.
"""

from __future__ import annotations

import json
import secrets
import ssl
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class FakeKeyVault:
    """The vault's state."""

    def __init__(self) -> None:
        self.host = f"kinlink-{secrets.token_hex(4)}.vault.azure.net"  # the library remembers challenges by host
        self.url = f"https://{self.host}"
        self.token = "token-7405"
        self.keys: dict[str, list[tuple[str, rsa.RSAPrivateKey]]] = {}
        self.disabled: set[str] = set()  # versions
        self.status = 0  # what every request gets, if not 0
        self.asked: list[tuple[str, str, int]] = []  # (method, path, status)

    def make(self, name: str) -> None:
        """Make the next version of a key."""
        versions = self.keys.setdefault(name, [])
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        versions.append((f"{len(versions) + 1:032x}", key))

    def answer(self, method: str, path: str, authorization: str | None, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer one request."""
        if self.status:
            return self.status, _error("ServiceUnavailable")
        if authorization != f"Bearer {self.token}":
            return 401, _error("Unauthorized")
        parts = path.strip("/").split("/")
        versions = dict(self.keys.get(parts[1], ())) if parts[0] == "keys" and len(parts) > 1 else {}
        version = parts[2] if len(parts) > 2 and parts[2] else next(reversed(versions), "")
        if version not in versions:
            return 404, _error("KeyNotFound")
        kid, key = f"{self.url}/keys/{parts[1]}/{version}", versions[version]
        match method, parts[3:]:
            case "GET", []:
                return 200, self._bundle(kid, key, version)
            case "POST", ["wrapkey" | "unwrapkey" as operation]:
                return self._operate(operation, kid, key, json.loads(body))
        return 405, _error("MethodNotAllowed")

    def _operate(self, operation: str, kid: str, key: rsa.RSAPrivateKey, asked: Any) -> tuple[int, dict[str, Any]]:
        if kid.rpartition("/")[2] in self.disabled:
            return 403, _error("Forbidden")
        if asked["alg"] != "RSA-OAEP-256":
            return 400, _error("BadParameter")
        value = _decode(asked["value"])
        try:
            done = key.public_key().encrypt(value, _OAEP) if operation == "wrapkey" else key.decrypt(value, _OAEP)
        except ValueError:
            return 400, _error("BadParameter")
        return 200, {"kid": kid, "value": _encode(done)}

    def _bundle(self, kid: str, key: rsa.RSAPrivateKey, version: str) -> dict[str, Any]:
        numbers = key.public_key().public_numbers()
        attributes = {"enabled": version not in self.disabled, "created": 1_700_000_000, "updated": 1_700_000_000}
        public = {
            "kid": kid,
            "kty": "RSA",
            "key_ops": ["wrapKey", "unwrapKey"],
            "n": _encode(numbers.n.to_bytes(256, "big")),
            "e": _encode(numbers.e.to_bytes(3, "big")),
        }
        return {"key": public, "attributes": {**attributes, "recoveryLevel": "Recoverable+Purgeable"}}


@contextmanager
def key_vault(folder: Path) -> Iterator[FakeKeyVault]:
    """Serve a vault, and let this process's Azure libraries reach it and have an identity."""
    vault = FakeKeyVault()
    context = _tls(folder, vault.host)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            assert self.path == f"{vault.host}:443"
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
            self.close_connection = False

        def do_GET(self) -> None:
            if self.path.startswith("/identity?"):  # plain, on loopback, as an App Service has it
                assert self.headers["X-IDENTITY-HEADER"] == "header-7405"
                token = {"access_token": vault.token, "expires_on": str(int(time.time()) + 3600)}
                self._send(200, {**token, "resource": "https://vault.azure.net", "token_type": "Bearer"})
            else:
                self._ask_vault()

        def do_POST(self) -> None:
            self._ask_vault()

        def finish(self) -> None:
            super().finish()
            self.connection.close()

        def _ask_vault(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            status, answer = vault.answer(self.command, path, self.headers["Authorization"], body)
            vault.asked.append((self.command, path, status))
            self._send(status, answer)

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            if status == 401:
                authority = "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000"
                challenge = f'Bearer authorization="{authority}", resource="https://vault.azure.net"'
                self.send_header("WWW-Authenticate", challenge)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("HTTPS_PROXY", address)
            patched.setenv("NO_PROXY", "127.0.0.1")
            patched.setenv("REQUESTS_CA_BUNDLE", str(folder / "vault-ca.pem"))
            patched.setenv("IDENTITY_ENDPOINT", f"{address}/identity")
            patched.setenv("IDENTITY_HEADER", "header-7405")
            yield vault
    finally:
        server.shutdown()
        server.server_close()


def _tls(folder: Path, host: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "vault-ca.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "vault.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "vault.pem")
    return context


def _error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": f"{code}: as the documentation words it"}}


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
