"""Carries stored pseudonyms from one version of a key to the next, blinded, and attests that it is done.

Knows elements only, never an identifier: a rotation needs none.
"""

from __future__ import annotations

import grpc

from kinlink import ristretto255
from kinlink.blinding import BATCH_SIZE, Progress, carry, unreported
from kinlink.errors import from_rpc_error
from kinlink.pseudonymizer.v1 import key_administration_service_pb2 as administration_pb
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import KeyAdministrationServiceStub
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.types.v1.types_pb2 import KeyRef

SAMPLE_SIZE: int = 64
"""Pseudonyms that an attestation shows; all of them where fewer are held."""


class RekeyingClient:
    """Asks a pseudonymizer to rekey."""

    def __init__(self, channel: grpc.Channel, batch_size: int = BATCH_SIZE) -> None:
        """Use an open channel; `batch_size` is the elements in a message."""
        self._stub = PseudonymisationServiceStub(channel)
        self._administration = KeyAdministrationServiceStub(channel)
        self._batch_size = batch_size

    def rekey(
        self, elements: bytes, from_key: KeyRef, to_key: KeyRef, progress: Progress = unreported
    ) -> tuple[bytes, KeyRef]:
        """Return the pseudonyms under the new version, in the order given, and that key with its version.

        `elements`: 32·n bytes under `from_key`, a retiring version; repeats are sent once.
        `to_key`: the same domain and kind; version 0 means the primary. Deterministic, so that
        what was cut short can be repeated. `progress` counts distinct elements. Raises KinlinkError
        when refused or when the service is away.
        """

        def request(blinded: bytes, version: int) -> pb.RekeyRequest:
            target = KeyRef(domain=to_key.domain, kind=to_key.kind, version=version)
            # `from` is a word of Python, so it is set by name
            return pb.RekeyRequest(**{"from": from_key, "to": target}, elements=blinded)

        return carry(
            self._stub.Rekey,
            elements,
            request=request,
            key_of=lambda answer: answer.to,
            wanted=to_key,
            batch_size=self._batch_size,
            progress=progress,
        )

    def attest(
        self,
        from_key: KeyRef,
        to_key: KeyRef | None,
        *,
        held: int,
        converted: int,
        sample_from: bytes = b"",
        sample_to: bytes = b"",
    ) -> int:
        """State that nothing of the caller's stands under `from_key` any more; return the sample's size as checked.

        `to_key`: what it stands under now, its version set; None when nothing was ever held. `sample_from`
        and `sample_to`: at least min(SAMPLE_SIZE, held) pseudonyms drawn at random, as they were
        and as they are, in the same order, 32·n bytes each; both are sent blinded by the same scalars.
        Raises KinlinkError when the service refuses, ValueError for lengths that differ.
        """
        scalars = ristretto255.random_scalars(len(sample_from) // ristretto255.SIZE)
        fields = {"from": from_key} | ({"to": to_key} if to_key is not None else {})
        request = administration_pb.AttestRekeyingRequest(
            **fields,
            held=held,
            converted=converted,
            sample_from=ristretto255.multiply_each(scalars, sample_from),
            sample_to=ristretto255.multiply_each(scalars, sample_to),
        )
        try:
            return int(self._administration.AttestRekeying(request).sample_size)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
