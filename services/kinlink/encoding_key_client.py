"""Fetches the key that a source encodes its records under, for one purpose and schema: a granted source's client.

1. Only the active version is handed out. What was encoded under an earlier one is encoded anew: nothing converts it.
2. The key stays in memory: it shows nothing of itself, is not pickled, and no error holds it. Nothing is claimed about
   wiping it.
"""

from __future__ import annotations

from typing import Final

import grpc

from kinlink.encoding.keys import SECRET_BYTES, EncodingKey
from kinlink.errors import InternalError, from_rpc_error
from kinlink.pseudonymizer.v1 import encoding_key_service_pb2 as pb
from kinlink.pseudonymizer.v1.encoding_key_service_pb2_grpc import EncodingKeyServiceStub
from kinlink.types.v1.types_pb2 import KIND_ENCODING, KeyRef

_LINKAGE: Final = "linkage/"


class EncodingKeyClient:
    """Asks a pseudonymizer for encoding keys of one purpose."""

    def __init__(self, channel: grpc.Channel, purpose: str) -> None:
        """Use an open channel; `purpose` is the name in the domain linkage/<purpose>, such as "familie"."""
        self._stub = EncodingKeyServiceStub(channel)
        self._purpose = purpose.removeprefix(_LINKAGE)

    def fetch(self, schema_id: str, version: int = 0) -> tuple[EncodingKey, KeyRef]:
        """Return the key to encode by a schema under, and its name with the version, for the delivery to name.

        Use it for this schema only: other sources' key of another schema is another one. Version 0 means the active
        one; another version is refused. The same question has the same answer until the key is rotated.
        Raises KinlinkError when refused or when the service is away.
        """
        key = KeyRef(domain=f"{_LINKAGE}{self._purpose}", kind=KIND_ENCODING, version=version)
        try:
            answer = self._stub.GetEncodingKey(pb.GetEncodingKeyRequest(key=key, schema_id=schema_id))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        found: KeyRef = answer.key
        is_asked = (found.domain, found.kind) == (key.domain, key.kind) and version in (0, found.version)
        if not (is_asked and found.version and len(answer.secret) == SECRET_BYTES):
            text = "The service answered with another key than was asked for. Client and service may not fit together."
            raise InternalError(text, "ANSWER_MISMATCH")
        return EncodingKey(answer.secret, self._purpose, found.version), found
