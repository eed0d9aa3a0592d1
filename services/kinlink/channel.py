"""Opens channels: mutual TLS, own dates checked first, sizes, keepalive, retries.

1. The own certificate is checked before dialling: an expired one would only
   show as a broken handshake.
2. Calls that change nothing, or the same thing twice, are tried again when the
   service is away; streams are not: they resume where their protocol says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509

from kinlink.errors import CertificateExpiredError, InputError

MAX_MESSAGE_BYTES = 8 * 1024 * 1024

_RETRIED = {
    "kinlink.audit.v1.AuditService": ("GetCheckpoint", "GetInclusionProof", "GetConsistencyProof"),
    "kinlink.linker.v1.IntakeService": ("GetDelivery", "ListDeliveries", "WithdrawDelivery"),
    "kinlink.linker.v1.LinkageService": ("StartRun", "GetRun"),
    "kinlink.linker.v1.ReviewService": ("ListReview", "ExplainRecords"),
    "kinlink.linker.v1.StatisticsService": ("ListTables", "GetTable"),
    "kinlink.pseudonymizer.v1.EncodingKeyService": ("GetEncodingKey",),
    "kinlink.pseudonymizer.v1.KeyAdministrationService": (
        "ApplyChange",
        "GetPolicy",
        "ListChanges",
        "ListKeys",
        "ListRotations",
        "ListSigners",
    ),
}
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": service, "method": name} for service, names in _RETRIED.items() for name in names],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "3s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Paths of the PEM files that say who this side is, and whom it believes."""

    ca: Path
    certificate: Path
    key: Path


def check_dates(certificate: Path, now: datetime | None = None) -> None:
    """Check that a certificate holds at `now`.

    Raises:
        CertificateExpiredError: it has expired or is not valid yet; says since or from when, and what to do.
        InputError: the file cannot be read as a certificate.
    """
    at = now or datetime.now(UTC)
    try:
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as error:
        raise InputError(
            f"The certificate {certificate} cannot be read. Check certificate in kinlink.toml.", "CERTIFICATE_MISSING"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{certificate} is not a PEM certificate. Check certificate in kinlink.toml.", "CERTIFICATE_MALFORMED"
        ) from error
    if at >= parsed.not_valid_after_utc:
        ended = f"{parsed.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        message = (
            f"The certificate {certificate} expired on {ended}. Ask for a new one, "
            "or, in development, run `kinlink dev certs` again."
        )
        raise CertificateExpiredError(message, "CERTIFICATE_EXPIRED")
    if at < parsed.not_valid_before_utc:
        begins = f"{parsed.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        message = f"The certificate {certificate} is not valid before {begins}. Check this machine's clock."
        raise CertificateExpiredError(message, "CERTIFICATE_NOT_YET_VALID")


def open_channel(
    target: str, identity: Identity, interceptors: Sequence[Any] = (), server_name: str | None = None
) -> grpc.Channel:
    """Open a channel to `target`, "host:port"; connects at the first call.

    `server_name` is the name that the service's certificate must hold, where it is
    not the host dialled.

    Raises:
        CertificateExpiredError: the own certificate is outside its dates.
        InputError: a PEM file cannot be read.
    """
    check_dates(identity.certificate)
    try:
        credentials = grpc.ssl_channel_credentials(
            identity.ca.read_bytes(), identity.key.read_bytes(), identity.certificate.read_bytes()
        )
    except OSError as error:
        raise InputError(
            f"The file {error.filename} cannot be read. Check ca and key in kinlink.toml.", "CERTIFICATE_MISSING"
        ) from error
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", _SERVICE_CONFIG),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    channel = grpc.secure_channel(target, credentials, options)
    return grpc.intercept_channel(channel, *interceptors) if interceptors else channel
