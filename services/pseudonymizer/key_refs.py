"""Names of keys on the wire, and inside."""

from __future__ import annotations

from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef
from pseudonymizer.keyset import KeyName
from servicekit.errors import InvalidError


def name_of(ref: KeyRef, field: str) -> KeyName:
    """Return the name that `field` of a request holds. Raises InvalidError KIND_UNSPECIFIED."""
    kind = Kind.of_wire(ref.kind)
    if kind is None:
        raise InvalidError(f"{field}.kind is not set", "KIND_UNSPECIFIED")
    return KeyName(ref.domain, kind, ref.version)


def ref_of(name: KeyName) -> KeyRef:
    """Return a name as it goes on the wire."""
    return KeyRef(domain=name.domain, kind=name.kind.wire, version=name.version)
