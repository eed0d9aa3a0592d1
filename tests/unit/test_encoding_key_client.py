"""The client of encoding keys, asked of a service that answers what it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from kinlink.encoding_key_client import EncodingKeyClient
from kinlink.errors import InternalError
from kinlink.pseudonymizer.v1 import encoding_key_service_pb2 as pb
from kinlink.pseudonymizer.v1.encoding_key_service_pb2_grpc import (
    EncodingKeyServiceServicer,
    add_EncodingKeyServiceServicer_to_server,
)
from kinlink.types.v1.types_pb2 import KIND_CPR, KIND_ENCODING, KeyRef

SCHEMA = "dk-person-1.0123456789abcdef"
SECRET = bytes(range(1, 33))
Serve = Callable[[KeyRef, bytes], EncodingKeyClient]


class Foreign(EncodingKeyServiceServicer):
    """Another's service."""

    def __init__(self, answer: pb.GetEncodingKeyResponse) -> None:
        self.answer = answer
        self.asked: list[pb.GetEncodingKeyRequest] = []

    def GetEncodingKey(
        self, request: pb.GetEncodingKeyRequest, _context: grpc.ServicerContext
    ) -> pb.GetEncodingKeyResponse:
        self.asked.append(request)
        return self.answer


@pytest.fixture
def serve() -> Iterator[Serve]:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("localhost:0")
    server.start()
    channels = []

    def begin(key: KeyRef, secret: bytes) -> EncodingKeyClient:
        add_EncodingKeyServiceServicer_to_server(Foreign(pb.GetEncodingKeyResponse(key=key, secret=secret)), server)
        channels.append(grpc.insecure_channel(f"localhost:{port}"))
        return EncodingKeyClient(channels[-1], "familie")

    yield begin
    for channel in channels:
        channel.close()
    server.stop(None).wait()


def key(version: int = 3, domain: str = "linkage/familie", kind: int = KIND_ENCODING) -> KeyRef:
    return KeyRef(domain=domain, kind=kind, version=version)  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [0, 3])
def test_the_key_is_of_the_purpose_and_version_and_shows_nothing(serve: Serve, asked: int) -> None:
    found, name = serve(key(), SECRET).fetch(SCHEMA, asked)
    assert (found.purpose, found.version, name) == ("familie", 3, key())
    assert repr(found) == "EncodingKey(familie, version 3)"


@pytest.mark.parametrize(
    ("named", "secret", "asked"),
    [
        (key(domain="linkage/andet"), SECRET, 0),
        (key(kind=KIND_CPR), SECRET, 0),
        (key(version=0), SECRET, 0),
        (key(version=3), SECRET, 2),
        (key(), SECRET[:31], 0),
        (key(), b"", 0),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_not_shown(
    serve: Serve, named: KeyRef, secret: bytes, asked: int
) -> None:
    with pytest.raises(InternalError) as refused:
        serve(named, secret).fetch(SCHEMA, asked)
    assert refused.value.reason == "ANSWER_MISMATCH"
    assert not secret or secret.hex() not in repr(refused.value)
    assert not secret or repr(secret)[2:-1] not in str(refused.value)
