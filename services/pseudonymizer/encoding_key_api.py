"""The gRPC door to encoding keys: proto to values, one use case, values to proto."""

from __future__ import annotations

import grpc

from kinlink.pseudonymizer.v1 import encoding_key_service_pb2 as pb
from kinlink.pseudonymizer.v1.encoding_key_service_pb2_grpc import EncodingKeyServiceServicer
from pseudonymizer.encoding_keys import EncodingKeys
from pseudonymizer.key_refs import name_of, ref_of
from servicekit.identity import current_caller


class EncodingKeyApi(EncodingKeyServiceServicer):
    """Serves sources that encode; each call is authorised, counted and logged by the use case."""

    def __init__(self, keys: EncodingKeys) -> None:
        """Serve `keys`."""
        self._keys = keys

    def GetEncodingKey(
        self, request: pb.GetEncodingKeyRequest, _context: grpc.ServicerContext
    ) -> pb.GetEncodingKeyResponse:
        """See the proto."""
        found = self._keys.hand_out(current_caller(), name_of(request.key, "key"), request.schema_id)
        return pb.GetEncodingKeyResponse(key=ref_of(found.key), secret=found.secret)
