"""What the tests of parties share: dialling as one of them, and their calls."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from examples.stack import PURPOSE, Stack
from kinlink.channel import open_channel
from kinlink.conversion_client import ConversionClient
from kinlink.delivery.datasets import BY_NUMBER
from kinlink.encoding.schema import find
from kinlink.errors import KinlinkError, from_rpc_error
from kinlink.linker.v1 import intake_service_pb2 as intake
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1 import types_pb2
from kinlink.types.v1.types_pb2 import KeyRef
from servicekit import database
from servicekit.audit import AuditLog
from tests.running import identity

LINKAGE = KeyRef(domain=f"linkage/{PURPOSE}", kind=Kind.CPR.wire)
EVALUATE, CONVERT, PLAIN, REKEY = (
    f"kinlink.pseudonymizer.v1.PseudonymisationService/{name}"
    for name in ("Evaluate", "Convert", "Pseudonymise", "Rekey")
)


def dial(stack: Stack, service: str, party: str) -> grpc.Channel:
    return open_channel(stack.processes[service].address, identity(stack.folder / "certs", party.replace("/", "-")))


def evaluate(stack: Stack, source: str, numbers: Sequence[str]) -> tuple[list[bytes], KeyRef]:
    with dial(stack, "pseudonymizer", f"source/{source}") as channel:
        client = PseudonymizerClient(channel, domain=f"source/{source}", suite=Suite.SYNTHETIC)
        packed, key = client.evaluate(numbers, Kind.CPR)
    return pieces(packed), key


def convert(stack: Stack, elements: Sequence[bytes], key: KeyRef) -> list[bytes]:
    with dial(stack, "pseudonymizer", f"linker/{PURPOSE}") as channel:
        return pieces(ConversionClient(channel).convert(b"".join(elements), key, LINKAGE)[0])


def pieces(packed: bytes) -> list[bytes]:
    return [packed[start : start + 32] for start in range(0, len(packed), 32)]


def refused(channel: grpc.Channel, rpc: str, *messages: Any) -> KinlinkError:
    """Send messages on a stream as they are; return the error it ends in."""
    call = channel.stream_stream(f"/{rpc}")
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([message.SerializeToString() for message in messages]), timeout=30))
    return from_rpc_error(caught.value)  # type: ignore[return-value]


def audited(stack: Stack, service: str, after: int = -1) -> list[dict[str, Any]]:
    engine = database.engine(f"sqlite:///{stack.folder / service / 'state.db'}")
    try:
        return AuditLog(engine).entries(after, limit=100_000)
    finally:
        engine.dispose()


def delivery(source: str, dataset: int, *chunks: bytes, **fields: Any) -> Iterator[intake.DeliverRequest]:
    """Yield the messages of a delivery, one chunk a row; `fields` are of its header."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)).digest()
    values = {
        "delivery_id": str(uuid.uuid4()), "dataset": dataset, "period": "2014-03", "digest": digest,
        "suite": types_pb2.SUITE_KINLINK_SYNTHETIC_V1 if dataset != intake.DATASET_CATALOGUE else 0,
        "keys": [KeyRef(domain=f"source/{source}", kind=types_pb2.KIND_CPR, version=1)] if chunks else [],
        "rows": len(chunks), "chunks": len(chunks),
        "schema_id": find("dk-person-1").id if BY_NUMBER[dataset].encoded else "",
    }  # fmt: skip
    header = intake.DeliveryHeader(**{**values, **fields})  # type: ignore[arg-type]
    yield intake.DeliverRequest(header=header)
    for index in range(header.first_chunk, len(chunks)):
        yield intake.DeliverRequest(chunk=intake.DeliveryChunk(index=index, arrow_ipc=chunks[index]))
    yield intake.DeliverRequest(finish=intake.DeliveryFinish())
