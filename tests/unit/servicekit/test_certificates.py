"""Certificates that TLS would let through and identity must not, and a client's that serves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinlink.channel import open_channel
from servicekit.certificates import Authenticator, DenyList
from servicekit.errors import UnauthenticatedError
from tests.running import identity

OURS = "spiffe://kinlink.test/source/prisme"


def certificate(names: list[str] | None, ends_in_days: int = 1) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=ends_in_days))
    )
    if names is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([*map(x509.UniformResourceIdentifier, names), x509.DNSName("prisme.test")]),
            False,
        )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (certificate(None), "IDENTITY_MISSING"),
        (certificate([]), "IDENTITY_MISSING"),
        (certificate([OURS, "spiffe://kinlink.test/operator/drift"]), "IDENTITY_MISSING"),
        (certificate([OURS, OURS]), "IDENTITY_MISSING"),
        (certificate(["https://kinlink.test/source/prisme"]), "IDENTITY_MALFORMED"),
        (certificate([OURS], ends_in_days=-1), "CERTIFICATE_EXPIRED"),  # its connection was opened before that
        (b"not a certificate", "IDENTITY_MALFORMED"),
    ],
)
def test_certificate_without_one_good_name_is_nobody(pem: bytes, reason: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        Authenticator("kinlink.test", DenyList(None)).authenticate(pem)
    assert caught.value.reason == reason


def test_certificate_with_one_uri_beside_other_names_is_its_caller() -> None:
    caller = Authenticator("kinlink.test", DenyList(None)).authenticate(certificate([OURS]))
    assert (caller.role, caller.name) == ("source", "prisme")


def test_clients_certificate_cannot_stand_in_for_a_service(certificates: Path) -> None:
    """A source that answers in the service's place is refused: its certificate is for clients only."""
    who = identity(certificates, "source-prisme")
    credentials = grpc.ssl_server_credentials([(who.key.read_bytes(), who.certificate.read_bytes())])
    impostor = grpc.server(ThreadPoolExecutor(1))
    port = impostor.add_secure_port("127.0.0.1:0", credentials)
    impostor.start()
    who = identity(certificates, "consumer-analyse")
    with open_channel(f"127.0.0.1:{port}", who) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/any/Call")(b"", timeout=20)
    impostor.stop(0).wait()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
