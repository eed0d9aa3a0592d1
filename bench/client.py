"""A CPR column in, a pseudonym column out: persons a second, against what the arithmetic alone would take.

The limit is one hash to the group and three multiplications a person (blind, evaluate,
unblind) on all cores, by libsodium in a bare loop. The client and the service share those
cores here; everything else (normalising, deduplicating, shuffling, inverses, protobuf, TLS,
audit, budget) is the difference. Both sides in turns in one run; the ratio is the median of the rounds' ratios.

    python -m bench.client
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import polars as pl

from bench import libsodium, running
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Suite

ROUNDS, PERSONS = 11, 25_000  # short turns, so that what else runs on the machine meets both sides alike


def main() -> None:
    """Print one line of JSON."""
    numbers = [f"{61 + n % 28}{1 + n // 28 % 12:02}{60 + n // 336 % 40}{n // 13_440:04}" for n in range(PERSONS)]
    frame = pl.DataFrame({"cpr": numbers})
    assert frame["cpr"].n_unique() == PERSONS
    client_rates, limits = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        libsodium.workers() as workers,
        running.pseudonymizer(Path(folder)) as channel,
    ):
        client = PseudonymizerClient(channel, domain="source/prisme", suite=Suite.SYNTHETIC)
        client.pseudonymise(frame[:100], "cpr")
        for _ in range(ROUNDS):
            limits.append(libsodium.rate(workers, libsodium.persons, PERSONS))
            start = time.monotonic()
            result, _ = client.pseudonymise(frame, "cpr")
            client_rates.append(PERSONS / (time.monotonic() - start))
            assert result["cpr"].n_unique() == PERSONS
    print(
        json.dumps(
            {
                "bench": "client",
                "persons_per_s": round(statistics.median(client_rates)),
                "limit_per_s": round(statistics.median(limits)),
                "ratio": round(statistics.median(c / m for c, m in zip(client_rates, limits, strict=True)), 3),
                "ratios": [round(c / m, 3) for c, m in zip(client_rates, limits, strict=True)],
                "cores": libsodium.CORES,
            }
        )
    )


if __name__ == "__main__":
    main()
