"""`kinlink.toml`: where the services are, and who this side is."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509

from kinlink.channel import Identity, check_dates, open_channel
from kinlink.errors import InputError, RefusedError
from kinlink.pseudonyms import Suite

_KEYS = ("pseudonymizer", "linker", "ca", "certificate", "key", "suite")
_OPTIONAL = ("approval_key", "purpose")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Targets are "host:port"; `identity` holds this side's certificate; `suite` the hash tag of the deployment.

    `approval_key` is the file of a custodian's or reviewer's own key, None where there is none. `purpose` is what a
    source encodes records for, the name in the domain linkage/<purpose>; "" where it encodes none.
    """

    pseudonymizer: str
    linker: str
    identity: Identity
    suite: Suite
    approval_key: Path | None = None
    purpose: str = ""

    @classmethod
    def load(cls, path: Path | None = None) -> ClientConfig:
        """Read `path`, else what KINLINK_CONFIG names, else ./kinlink.toml. Paths in it are relative to it.

        Raises:
            InputError: the file cannot be read, lacks a key, or has one that is not known.
        """
        found = path or Path(os.environ.get("KINLINK_CONFIG") or "kinlink.toml")
        try:
            values = tomllib.loads(found.read_text("utf-8"))
        except OSError:
            message = f"The configuration {found} cannot be read. Give --config, or set KINLINK_CONFIG."
            raise InputError(message, "CONFIG_MISSING") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"The configuration {found} is not TOML: {error}.", "BAD_CONFIG") from None
        missing = [key for key in _KEYS if not isinstance(values.get(key), str)]
        unknown = sorted(set(values) - {*_KEYS, *_OPTIONAL})
        missing += [key for key in _OPTIONAL if not isinstance(values.get(key, ""), str)]
        if missing or unknown:
            said = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}, which is not known"
            raise InputError(f"The configuration {found} {said}. It holds {', '.join(_KEYS)}, as text.", "BAD_CONFIG")
        if values["suite"] not in set(Suite):
            raise InputError(f"The configuration {found}: suite is one of {', '.join(Suite)}.", "BAD_CONFIG")
        folder = found.parent
        return cls(
            pseudonymizer=values["pseudonymizer"],
            linker=values["linker"],
            identity=Identity(*(folder / values[key] for key in ("ca", "certificate", "key"))),
            suite=Suite(values["suite"]),
            approval_key=folder / values["approval_key"] if values.get("approval_key") else None,
            purpose=values.get("purpose", ""),
        )

    def pseudonymizer_channel(self) -> grpc.Channel:
        """Open a channel to the pseudonymizer. Raises CertificateExpiredError, InputError."""
        return open_channel(self.pseudonymizer, self.identity)

    def linker_channel(self) -> grpc.Channel:
        """Open a channel to the linker. Raises CertificateExpiredError, InputError."""
        return open_channel(self.linker, self.identity)

    def source(self) -> str:
        """Return the source system that this side's certificate names.

        Raises:
            CertificateExpiredError: the certificate is outside its dates: said before an extract is read.
            InputError: the certificate cannot be read.
            RefusedError: it is no source's.
        """
        _, role, name = self.caller()
        if role == "source":
            return name
        raise RefusedError(
            f"The certificate {self.identity.certificate} is not a source system's. Set certificate and key in "
            "kinlink.toml to a source's.",
            "NOT_A_SOURCE",
        )

    def caller(self) -> tuple[str, str, str]:
        """Return whom this side's certificate names: trust domain, role, name.

        Raises:
            CertificateExpiredError: the certificate is outside its dates.
            InputError: the certificate cannot be read, or names nobody.
        """
        path = self.identity.certificate
        check_dates(path)
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound):
            names = x509.SubjectAlternativeName([])
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
            match uri.split("/"):
                case ["spiffe:", "", domain, role, name]:
                    return domain, role, name
        message = f"{path} is not a certificate that names a caller. Ask the service's operator for one."
        raise InputError(message, "CERTIFICATE_MALFORMED")
