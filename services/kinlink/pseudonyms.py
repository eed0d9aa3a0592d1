"""The words around a pseudonym: its kind, its hash tag, its text form.

1. A kind is what the pseudonym stands for; the tag that an identifier is hashed
   under is the suite's prefix and the kind. Keys of kind `encoding` make no pseudonyms.
2. Real and synthetic identifiers are hashed under different tags, so that a
   synthetic number can never meet a real one.
3. In a file a pseudonym is written `kl1.<domain>.<version>.<base64url>`.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum

from kinlink.types.v1 import types_pb2 as pb


class Kind(StrEnum):
    """What a key is for: what its pseudonyms stand for, the value being the word in the hash tag; or encoding."""

    CPR = "cpr"
    ADDRESS = "address"
    REPLACEMENT = "replacement"
    ENCODING = "encoding"

    @property
    def wire(self) -> pb.Kind.ValueType:
        """The number on the wire."""
        return _WIRE_KINDS[self]

    @classmethod
    def of_wire(cls, number: int) -> Kind | None:
        """Return the kind of a wire number, None for unset and unknown ones."""
        return next((kind for kind, wire in _WIRE_KINDS.items() if wire == number), None)


class Suite(StrEnum):
    """The group and the hash tag; the value is the word in configuration files."""

    KINLINK_V1 = "kinlink-v1"
    SYNTHETIC = "synthetic"

    @property
    def wire(self) -> pb.Suite.ValueType:
        """The number on the wire."""
        return _WIRE_SUITES[self]

    @property
    def synthetic(self) -> bool:
        """Whether identifiers are synthetic ones (day + 60)."""
        return self is Suite.SYNTHETIC

    @classmethod
    def of_wire(cls, number: int) -> Suite | None:
        """Return the suite of a wire number, None for unset and unknown ones."""
        return next((suite for suite, wire in _WIRE_SUITES.items() if wire == number), None)

    def tag(self, kind: Kind) -> bytes:
        """Return the tag that identifiers of this kind are hashed under."""
        prefix = "kinlink-synthetic-v1-" if self.synthetic else "kinlink-v1-"
        return f"{prefix}{kind}".encode()


_WIRE_KINDS = {
    Kind.CPR: pb.KIND_CPR,
    Kind.ADDRESS: pb.KIND_ADDRESS,
    Kind.REPLACEMENT: pb.KIND_REPLACEMENT,
    Kind.ENCODING: pb.KIND_ENCODING,
}
PSEUDONYM_KINDS = (Kind.CPR, Kind.ADDRESS, Kind.REPLACEMENT)
"""The kinds of which there are pseudonyms."""
_WIRE_SUITES = {
    Suite.KINLINK_V1: pb.SUITE_KINLINK_V1,
    Suite.SYNTHETIC: pb.SUITE_KINLINK_SYNTHETIC_V1,
}


def to_text(domain: str, version: int, element: bytes) -> str:
    """Write a pseudonym for a file: `kl1.<domain>.<version>.<base64url without padding>`."""
    return f"kl1.{domain}.{version}.{urlsafe_b64encode(element).rstrip(b'=').decode()}"


def from_text(text: str) -> tuple[str, int, bytes]:
    """Read `to_text` back: domain, version, 32-byte element. Raises ValueError, naming no value."""
    match text.split("."):
        case ["kl1", domain, version, encoded] if version.isdecimal() and len(encoded) == 43:
            return domain, int(version), urlsafe_b64decode(encoded + "=")
    raise ValueError("expected a pseudonym: kl1.<domain>.<version>.<43 base64url characters>")
