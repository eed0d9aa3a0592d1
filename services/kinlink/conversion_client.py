"""Converts stored pseudonyms from one domain to another, blinded: the linker's client.

Knows elements only, never an identifier.
"""

from __future__ import annotations

import grpc

from kinlink.blinding import BATCH_SIZE, Progress, carry, unreported
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.types.v1.types_pb2 import KeyRef


class ConversionClient:
    """Asks a pseudonymizer to convert."""

    def __init__(self, channel: grpc.Channel, batch_size: int = BATCH_SIZE) -> None:
        """Use an open channel; `batch_size` is the elements in a message."""
        self._stub = PseudonymisationServiceStub(channel)
        self._batch_size = batch_size

    def convert(
        self, elements: bytes, source_key: KeyRef, target_key: KeyRef, progress: Progress = unreported
    ) -> tuple[bytes, KeyRef]:
        """Return the pseudonyms under the target key, in the order given, and that key with its version.

        `elements`: 32·n bytes under `source_key`, whose version is set; repeats are
        sent once. `target_key` with version 0 means the primary version. Deterministic.
        `progress` counts distinct elements. Raises KinlinkError when refused or when the
        service is away, ElementError (with an index among the distinct elements) for a bad one.
        """

        def request(blinded: bytes, version: int) -> pb.ConvertRequest:
            target = KeyRef(domain=target_key.domain, kind=target_key.kind, version=version)
            # `from` is a word of Python, so it is set by name
            return pb.ConvertRequest(**{"from": source_key, "to": target}, elements=blinded)

        return carry(
            self._stub.Convert,
            elements,
            request=request,
            key_of=lambda answer: answer.to,
            wanted=target_key,
            batch_size=self._batch_size,
            progress=progress,
        )
