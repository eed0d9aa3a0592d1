"""Makes a CA and certificates for development: short-lived, unprotected keys, not for production.

1. One CA a folder, new each time. It may only sign names of the trust domain,
   localhost and the two services.
2. A caller's certificate holds its URI name and may be used as a client only; a
   service's holds its DNS names and 127.0.0.1 as well, and may be used as both.
3. Key files are readable by their owner only.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SOURCES = (
    "folkeregister", "prisme", "dubu", "voksen", "ky", "momentum",
    "institution", "elev", "sundhed", "kultur", "projekt",
)  # fmt: skip
DEFAULT_NAMES = (
    *(f"source/{name}" for name in SOURCES),
    "linker/familie",
    "consumer/analyse",
    "custodian/noegle-1",
    "custodian/noegle-2",
    "reviewer/revision",
    "dpo/dpo",
    "operator/drift",
)
SERVICES = ("pseudonymizer", "linker")


def make_certificates(
    out: Path,
    names: Sequence[str] = DEFAULT_NAMES,
    *,
    days: int = 7,
    trust_domain: str = "kinlink.test",
    expired: Collection[str] = (),
) -> list[Path]:
    """Write `ca.pem`, and `<role>-<name>.pem` and `.key` for each of `names` ("role/name") and both services.

    Those of `names` that are in `expired` ended yesterday: for trying what happens then. Returns the certificate
    files.

    Raises:
        ValueError: a name is not of the form role/name.
    """
    if wrong := [name for name in names if name.count("/") != 1 or not all(name.split("/"))]:
        raise ValueError(f"expected role/name: {', '.join(wrong)}")
    out.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    begins = now - timedelta(minutes=5)  # clocks differ
    ends = now + timedelta(days=days)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kinlink development CA {trust_domain}")])
    ca = _ca(ca_key, ca_name, trust_domain, begins, ends)
    written = [_write(out / "ca.pem", ca.public_bytes(serialization.Encoding.PEM), 0o644)]
    for name in dict.fromkeys((*names, *(f"service/{service}" for service in SERVICES))):
        key = ec.generate_private_key(ec.SECP256R1())
        late = timedelta(days=days + 1 if name in expired else 0)
        certificate = (
            _leaf(name, key.public_key(), trust_domain)
            .issuer_name(ca_name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins - late)
            .not_valid_after(ends - late)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        stem = name.replace("/", "-")
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(out / f"{stem}.key", secret, 0o600)
        written.append(_write(out / f"{stem}.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644))
    return written


def _ca(
    key: ec.EllipticCurvePrivateKey, name: x509.Name, trust_domain: str, begins: datetime, ends: datetime
) -> x509.Certificate:
    # No IP range: BoringSSL, which gRPC uses, refuses a CA with that kind of constraint.
    permitted: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(trust_domain),
        *(x509.DNSName(host) for host in ("localhost", *SERVICES, trust_domain)),
    ]
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(name: str, key: ec.EllipticCurvePublicKey, trust_domain: str) -> x509.CertificateBuilder:
    role, _, own = name.partition("/")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}/{name}")]
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role == "service":
        names += [x509.DNSName(host) for host in ("localhost", own, f"{own}.{trust_domain}")]
        names.append(x509.IPAddress(IPv4Address("127.0.0.1")))
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _write(path: Path, content: bytes, mode: int) -> Path:
    path.unlink(missing_ok=True)  # so that the mode is ours, not an older file's
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    return path
