"""The blind door against libsodium: elements a second through gRPC and mutual TLS, audit and budget on.

The client's work is done beforehand: its blinded batches are made, and it only sends and
receives. Service and libsodium are measured in turns in one run, on the same cores, and the
ratio is the median of the rounds' ratios. What shares the cores with the service: this
process's sending and receiving, TLS on both ends, and one synced transaction a message.

    python -m bench.evaluate
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from bench import libsodium, running
from kinlink import ristretto255
from kinlink.blinding import BATCH_SIZE
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.pseudonyms import Suite
from kinlink.types.v1.types_pb2 import KIND_CPR, KeyRef

ROUNDS, MESSAGES = 11, 6  # short turns, so that what else runs on the machine meets both sides alike


def main() -> None:
    """Print one line of JSON."""
    with ristretto255.new_pool() as pool:
        hashed = ristretto255.hash_to_group([b"%d" % n for n in range(BATCH_SIZE)], b"bench", pool)
        batches = [
            ristretto255.multiply_each(ristretto255.random_scalars(BATCH_SIZE), hashed, pool) for _ in range(MESSAGES)
        ]
    key = KeyRef(domain="source/prisme", kind=KIND_CPR)
    requests = [pb.EvaluateRequest(key=key, suite=Suite.SYNTHETIC.wire, elements=batch) for batch in batches]
    count = MESSAGES * BATCH_SIZE
    service, raw = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        libsodium.workers() as workers,
        running.pseudonymizer(Path(folder)) as channel,
    ):
        stub = PseudonymisationServiceStub(channel)
        list(stub.Evaluate(iter(requests[:1])))
        for _ in range(ROUNDS):
            raw.append(libsodium.rate(workers, libsodium.multiplications, count))
            start = time.monotonic()
            answered = sum(len(answer.elements) for answer in stub.Evaluate(iter(requests))) // ristretto255.SIZE
            service.append(answered / (time.monotonic() - start))
            assert answered == count
    print(
        json.dumps(
            {
                "bench": "evaluate",
                "elements_per_s": round(statistics.median(service)),
                "libsodium_per_s": round(statistics.median(raw)),
                "ratio": round(statistics.median(s / r for s, r in zip(service, raw, strict=True)), 3),
                "ratios": [round(s / r, 3) for s, r in zip(service, raw, strict=True)],
                "cores": libsodium.CORES,
                "batch": BATCH_SIZE,
            }
        )
    )


if __name__ == "__main__":
    main()
