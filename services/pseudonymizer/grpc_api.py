"""The gRPC door: proto to values, one use case, values to proto."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceServicer
from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef
from pseudonymizer.doors import Doors
from pseudonymizer.keyset import KeyName
from servicekit.errors import InvalidError
from servicekit.identity import current_caller


class PseudonymisationApi(PseudonymisationServiceServicer):
    """Serves the three streams; every message is authorised, counted and logged by itself."""

    def __init__(self, doors: Doors) -> None:
        """Serve `doors`."""
        self._doors = doors

    def Evaluate(
        self, request_iterator: Iterator[pb.EvaluateRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.EvaluateResponse]:
        """See the proto."""
        for request in request_iterator:
            key, elements = self._doors.evaluate(
                current_caller(), _name(request.key, "key"), request.suite, request.elements
            )
            yield pb.EvaluateResponse(key=_ref(key), elements=elements)

    def Pseudonymise(
        self, request_iterator: Iterator[pb.PseudonymiseRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.PseudonymiseResponse]:
        """See the proto."""
        for request in request_iterator:
            key, elements = self._doors.pseudonymise(
                current_caller(), _name(request.key, "key"), request.suite, list(request.identifiers)
            )
            yield pb.PseudonymiseResponse(key=_ref(key), elements=elements)

    def Convert(
        self, request_iterator: Iterator[pb.ConvertRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.ConvertResponse]:
        """See the proto."""
        for request in request_iterator:
            source = getattr(request, "from")  # a word of Python
            key, elements = self._doors.convert(
                current_caller(), _name(source, "from"), _name(request.to, "to"), request.elements
            )
            yield pb.ConvertResponse(**{"from": source, "to": _ref(key)}, elements=elements)


def _name(ref: KeyRef, field: str) -> KeyName:
    kind = Kind.of_wire(ref.kind)
    if kind is None:
        raise InvalidError(f"{field}.kind is not set", "KIND_UNSPECIFIED")
    return KeyName(ref.domain, kind, ref.version)


def _ref(name: KeyName) -> KeyRef:
    return KeyRef(domain=name.domain, kind=name.kind.wire, version=name.version)
