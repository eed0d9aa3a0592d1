"""The rekeying client against a service that keeps what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from kinlink import ristretto255
from kinlink.errors import ConflictError
from kinlink.pseudonymizer.v1 import key_administration_service_pb2 as administration_pb
from kinlink.pseudonymizer.v1 import key_administration_service_pb2_grpc as administration_grpc
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2_grpc as pb_grpc
from kinlink.rekeying_client import RekeyingClient
from kinlink.types.v1.types_pb2 import KIND_CPR, KeyRef

_SIZE = ristretto255.SIZE
_OLD, _NEW, _PRIMARY = (KeyRef(domain="source/prisme", kind=KIND_CPR, version=version) for version in (1, 2, 0))
_ELEMENTS = ristretto255.hash_to_group([b"%d" % number for number in range(70)], b"test")


class Recorder(pb_grpc.PseudonymisationServiceServicer, administration_grpc.KeyAdministrationServiceServicer):
    """A pseudonymizer of one key line, elsewhere."""

    def __init__(self) -> None:
        self.factor = ristretto255.random_scalars(1)
        self.rekeyed: list[bytes] = []
        self.versions: list[int] = []
        self.attested: list[administration_pb.AttestRekeyingRequest] = []

    def Rekey(self, request_iterator: Iterator[pb.RekeyRequest], context: object) -> Iterator[pb.RekeyResponse]:
        for request in request_iterator:
            self.rekeyed.append(request.elements)
            self.versions.append(request.to.version)
            elements = ristretto255.multiply(self.factor, request.elements)
            yield pb.RekeyResponse(**{"from": getattr(request, "from"), "to": _NEW}, elements=elements)

    def AttestRekeying(
        self, request: administration_pb.AttestRekeyingRequest, context: grpc.ServicerContext
    ) -> administration_pb.AttestRekeyingResponse:
        self.attested.append(request)
        if ristretto255.multiply(self.factor, request.sample_from) != request.sample_to:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the sample does not fit")
        return administration_pb.AttestRekeyingResponse(sample_size=len(request.sample_from) // _SIZE)


@pytest.fixture
def service() -> Iterator[tuple[Recorder, RekeyingClient]]:
    recorder, server = Recorder(), grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_PseudonymisationServiceServicer_to_server(recorder, server)
    administration_grpc.add_KeyAdministrationServiceServicer_to_server(recorder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield recorder, RekeyingClient(channel, batch_size=16)
    server.stop(None).wait()


def _pieces(packed: bytes) -> list[bytes]:
    return [packed[at : at + _SIZE] for at in range(0, len(packed), _SIZE)]


def test_pseudonyms_are_rekeyed_blinded_in_order_and_once(service: tuple[Recorder, RekeyingClient]) -> None:
    recorder, client = service
    seen: list[tuple[int, int]] = []
    twice = _ELEMENTS + _ELEMENTS[:_SIZE]
    new, key = client.rekey(twice, _OLD, _PRIMARY, progress=lambda done, total: seen.append((done, total)))
    assert new == ristretto255.multiply(recorder.factor, twice)
    assert key == _NEW
    assert seen[-1] == (70, 70)
    sent = [element for batch in recorder.rekeyed for element in _pieces(batch)]
    assert len(sent) == 70
    assert not {*sent} & {*_pieces(_ELEMENTS)}
    assert recorder.versions == [0, 2, 2, 2, 2]  # the first answer pins the version
    assert client.rekey(_ELEMENTS, _OLD, _PRIMARY)[0] == new[:-_SIZE]
    assert client.rekey(b"", _OLD, _NEW) == (b"", _NEW)


def test_a_sample_is_shown_blinded_by_the_same_scalars(service: tuple[Recorder, RekeyingClient]) -> None:
    recorder, client = service
    old, new = _ELEMENTS[: 64 * _SIZE], ristretto255.multiply(recorder.factor, _ELEMENTS[: 64 * _SIZE])
    assert client.attest(_OLD, _NEW, held=70, converted=70, sample_from=old, sample_to=new) == 64
    (request,) = recorder.attested
    assert (getattr(request, "from"), request.to, request.held, request.converted) == (_OLD, _NEW, 70, 70)
    shown = {*_pieces(request.sample_from), *_pieces(request.sample_to)}
    assert len(shown) == 128
    assert not shown & {*_pieces(old), *_pieces(new)}


def test_nothing_held_needs_no_key_and_no_sample(service: tuple[Recorder, RekeyingClient]) -> None:
    recorder, client = service
    assert client.attest(_OLD, None, held=0, converted=0) == 0
    assert not recorder.attested[0].HasField("to")


def test_refusals_and_samples_that_do_not_pair_are_errors(service: tuple[Recorder, RekeyingClient]) -> None:
    _, client = service
    with pytest.raises(ConflictError):
        client.attest(_OLD, _NEW, held=1, converted=1, sample_from=_ELEMENTS[:_SIZE], sample_to=_ELEMENTS[:_SIZE])
    with pytest.raises(ValueError, match="as many scalars"):
        client.attest(_OLD, _NEW, held=1, converted=1, sample_from=_ELEMENTS[:_SIZE])
