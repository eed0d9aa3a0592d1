"""Reads callers from peer certificates, and refuses those on the deny list.

1. TLS has proven the chain and the dates at the handshake; the date is checked
   again at each call, since a connection may outlive its certificate.
2. Exactly one URI SAN names the caller.
3. The deny list is read again when the file changes. When it cannot be read,
   everybody is refused: an unreadable list may hold anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock

from cryptography import x509

from servicekit.errors import UnauthenticatedError, UnavailableError
from servicekit.identity import Caller, parse_uri

_SERIAL = re.compile(r"[0-9a-f]{1,40}")


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What identity needs of a certificate: serial in lower-case hex, URI SANs, end of validity."""

    serial: str
    uris: tuple[str, ...]
    expires_at: datetime


@lru_cache(maxsize=1024)
def read_certificate(pem: bytes) -> PeerCertificate:
    """Read a PEM certificate.

    Raises:
        ValueError: it is not one.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        uris = ()
    return PeerCertificate(f"{certificate.serial_number:x}", uris, certificate.not_valid_after_utc)


class DenyList:
    """Serial numbers (hex) and URIs, one a line; `#` starts a comment."""

    def __init__(self, path: Path | None) -> None:
        """Watch the file at `path`; None denies nobody."""
        self._path = path
        self._lock = Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._entries: frozenset[str] = frozenset()

    def denies(self, certificate: PeerCertificate) -> bool:
        """Say whether the certificate's serial or one of its URIs is listed.

        Raises:
            UnavailableError: DENY_LIST_UNREADABLE.
        """
        entries = self._current()
        return certificate.serial in entries or any(uri in entries for uri in certificate.uris)

    def _current(self) -> frozenset[str]:
        if self._path is None:
            return frozenset()
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            with self._lock:
                if stamp != self._stamp:
                    self._entries = _parse(self._path.read_text(encoding="utf-8"))
                    self._stamp = stamp
                return self._entries
        except (OSError, ValueError) as error:
            message = "the deny list cannot be read; ask the service's operator"
            raise UnavailableError(message, "DENY_LIST_UNREADABLE") from error


def _parse(text: str) -> frozenset[str]:
    entries = set()
    for line in text.splitlines():
        entry = line.partition("#")[0].strip()
        if entry.startswith("spiffe://"):
            entries.add(entry)
        elif entry:
            serial = entry.lower().replace(":", "").lstrip("0")
            if not _SERIAL.fullmatch(serial):
                raise ValueError("expected a serial number in hex or a spiffe:// URI")
            entries.add(serial)
    return frozenset(entries)


class Authenticator:
    """Turns a peer certificate into a caller."""

    def __init__(self, trust_domain: str, deny_list: DenyList) -> None:
        """Accept `trust_domain` only, and nobody on the deny list."""
        self._trust_domain = trust_domain
        self._deny_list = deny_list

    def authenticate(self, pem: bytes) -> Caller:
        """Return the certificate's caller.

        Raises:
            UnauthenticatedError: IDENTITY_MISSING, CERTIFICATE_EXPIRED, CERTIFICATE_DENIED, or as `parse_uri` does.
            UnavailableError: the deny list cannot be read.
        """
        try:
            certificate = read_certificate(pem)
        except ValueError as error:
            raise UnauthenticatedError("the certificate cannot be read", "IDENTITY_MALFORMED") from error
        if len(certificate.uris) != 1:
            raise UnauthenticatedError("the certificate must hold exactly one URI name", "IDENTITY_MISSING")
        if certificate.expires_at <= datetime.now(UTC):
            message = f"the certificate expired at {certificate.expires_at:%Y-%m-%d %H:%M} UTC; renew it"
            raise UnauthenticatedError(message, "CERTIFICATE_EXPIRED")
        if self._deny_list.denies(certificate):
            raise UnauthenticatedError("the certificate was revoked; ask for a new one", "CERTIFICATE_DENIED")
        return parse_uri(certificate.uris[0], self._trust_domain)
