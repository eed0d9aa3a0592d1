"""The gRPC door: proto to values, one use case, values to proto."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Final

import grpc

from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceServicer
from pseudonymizer.doors import Doors
from pseudonymizer.key_refs import name_of, ref_of
from pseudonymizer.keyset import KeyName
from servicekit.identity import current_caller

LONGEST_BEGUN_S: Final = 86_400.0
"""How long after its begin a call may go on under a version that retires meanwhile. Long deliveries take hours."""


class _Begun:
    """The keys that one call was answered under."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + LONGEST_BEGUN_S
        self._keys: set[KeyName] = set()

    @property
    def keys(self) -> Collection[KeyName]:
        return self._keys if self._clock() <= self._until else ()

    def add(self, key: KeyName) -> None:
        self._keys.add(key)


class PseudonymisationApi(PseudonymisationServiceServicer):
    """Serves the four streams; every message is authorised, counted and logged by itself.

    A call remembers the keys that it was answered under while they were active: it may end under them, within
    `LONGEST_BEGUN_S` of its begin. So nobody goes on under a retiring version by keeping a call open.
    """

    def __init__(self, doors: Doors, clock: Callable[[], float] = time.monotonic) -> None:
        """Serve `doors`; `clock` counts seconds."""
        self._doors = doors
        self._clock = clock

    def Evaluate(
        self, request_iterator: Iterator[pb.EvaluateRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.EvaluateResponse]:
        """See the proto."""
        begun = _Begun(self._clock)
        for request in request_iterator:
            answer = self._doors.evaluate(
                current_caller(), name_of(request.key, "key"), request.suite, request.elements, begun.keys
            )
            begun.add(answer.key)
            yield pb.EvaluateResponse(key=ref_of(answer.key), elements=answer.elements)

    def Pseudonymise(
        self, request_iterator: Iterator[pb.PseudonymiseRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.PseudonymiseResponse]:
        """See the proto."""
        begun = _Begun(self._clock)
        for request in request_iterator:
            answer = self._doors.pseudonymise(
                current_caller(), name_of(request.key, "key"), request.suite, list(request.identifiers), begun.keys
            )
            begun.add(answer.key)
            yield pb.PseudonymiseResponse(key=ref_of(answer.key), elements=answer.elements)

    def Convert(
        self, request_iterator: Iterator[pb.ConvertRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.ConvertResponse]:
        """See the proto."""
        for request in request_iterator:
            source = getattr(request, "from")  # a word of Python
            answer = self._doors.convert(
                current_caller(), name_of(source, "from"), name_of(request.to, "to"), request.elements
            )
            yield pb.ConvertResponse(**{"from": source, "to": ref_of(answer.key)}, elements=answer.elements)

    def Rekey(
        self, request_iterator: Iterator[pb.RekeyRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.RekeyResponse]:
        """See the proto."""
        for request in request_iterator:
            source = getattr(request, "from")  # a word of Python
            answer = self._doors.rekey(
                current_caller(), name_of(source, "from"), name_of(request.to, "to"), request.elements
            )
            yield pb.RekeyResponse(**{"from": source, "to": ref_of(answer.key)}, elements=answer.elements)
