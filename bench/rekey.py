"""A source's file of stored pseudonyms to the next key version: seconds, and what the arithmetic alone would take.

`kinlink keys rekey` as it is run, in a process of its own, against the service over mutual TLS after a rotation
with all its approvals; blinding, the second reading, the sample and the synced file included. The limit is three
multiplications a pseudonym (blind, rekey, unblind) on all cores, by libsodium in a bare loop, timed before and
after in the same run. With a terminal the command shows its progress bar.

    python -m bench.rekey
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import libsodium
from examples.rotation import Rotation
from examples.stack import Stack
from kinlink import ristretto255
from kinlink.pseudonyms import to_text

ELEMENTS = 700_000
SOURCE = "source/prisme"
_TIMED = 120_000  # multiplications a turn of libsodium


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--elements", type=int, default=ELEMENTS)
    count = parser.parse_args().elements
    with tempfile.TemporaryDirectory() as name, libsodium.workers() as workers:
        folder = Path(name)
        held = folder / "borgere.csv"
        _write(held, count)
        with Stack(folder) as stack:
            Rotation(stack.run, SOURCE).activate()
            service = stack.processes["pseudonymizer"].popen.pid
            before = libsodium.rate(workers, libsodium.multiplications, _TIMED)
            start = time.monotonic()
            command = stack.command("keys", "rekey", held, "--column", "cpr", "--complete")
            subprocess.run(command, env=stack.environment(SOURCE), check=True, stdout=subprocess.DEVNULL)
            seconds = time.monotonic() - start
            client_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
            after = libsodium.rate(workers, libsodium.multiplications, _TIMED)
            service_peak = _peak_bytes(service)
        with held.open() as rows:
            next(rows)
            assert sum(row.partition(";")[2].startswith(f"kl1.{SOURCE}.2.") for row in rows) == count
    print(
        json.dumps(
            {
                "bench": "rekey",
                "elements": count,
                "seconds": round(seconds, 1),
                "libsodium_seconds": round(3 * count / ((before + after) / 2), 1),
                "client_peak_mb": round(client_peak / 1e6),
                "service_peak_mb": round(service_peak / 1e6),
                "cores": libsodium.CORES,
            }
        )
    )


def _write(path: Path, count: int) -> None:
    """Write a file of `count` distinct pseudonyms; any elements are as good as a source's own."""
    with ristretto255.new_pool() as pool, path.open("w") as out:
        out.write("number;cpr\n")
        for number, element in enumerate(_elements(count, pool)):
            out.write(f"{number};{to_text(SOURCE, 1, element)}\n")


def _elements(count: int, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    size = ristretto255.SIZE
    for start in range(0, count, 8192):
        names = [b"%d" % number for number in range(start, min(start + 8192, count))]
        batch = ristretto255.hash_to_group(names, b"bench", pool)
        yield from (batch[at : at + size] for at in range(0, len(batch), size))


def _peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(os.strerror(3))


if __name__ == "__main__":
    main()
