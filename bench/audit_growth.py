"""What appending costs at ten million entries, over what it costs at ten thousand.

Two logs are filled without the product's own appending, which would take hours, and are then
appended to in turns by `AuditLog.append`, one transaction an entry. The filled tree is the real one: the
first checkpoint afterwards is signed over it. Needs some 5 GB beside `--folder`.

    python -m bench.audit_growth [--database postgresql] [--large 10000000] [--folder /var/tmp]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, text

from servicekit import database
from servicekit.audit import AuditEntry, AuditLog
from servicekit.audit.checkpoints import Checkpoints
from tests import postgres

ROUNDS, APPENDS = 40, 50
AT = "2026-11-01T00:00:00.000000+00:00"
ENTRY = (
    '{"caller":"spiffe://kinlink.test/source/prisme","count":8192,"grant":"source/prisme","index":%d,"key_version":1,'
    f'"kind":"cpr","outcome":"ok","recorded_at":"{AT}","request_id":"5dcfd640-be48-4ebe-b7f8-2b112034afdb",'
    '"rpc":"kinlink.pseudonymizer.v1.PseudonymisationService/Evaluate","subject":"source/prisme"}'
)
ROW = "INSERT INTO audit_entries (entry_index, recorded_at, entry, hashes) VALUES (?, ?, ?, ?)"


def rows(size: int, stack: list[bytes]) -> Iterator[tuple[int, str, bytes, bytes]]:
    """Yield the rows of a log; leaves the subtrees that it consists of on `stack`."""
    for index in range(size):
        entry = (ENTRY % index).encode()
        carried = sha256(b"\x00" + entry).digest()
        completed, ones = [carried], index
        while ones & 1:
            carried = sha256(b"\x01" + stack.pop() + carried).digest()
            completed.append(carried)
            ones >>= 1
        stack.append(carried)
        yield index, AT, entry, b"".join(completed)


def fill(engine: Engine, size: int) -> None:
    """Write a log of `size` entries."""
    stack: list[bytes] = []
    with engine.begin() as connection, without_triggers(connection):
        driver = connection.connection.cursor()
        if engine.dialect.name == "sqlite":
            driver.executemany(ROW, rows(size, stack))
        else:
            with driver.copy("COPY audit_entries FROM STDIN (FORMAT BINARY)") as copy:  # type: ignore[attr-defined]
                copy.set_types(["int8", "text", "bytea", "bytea"])
                for row in rows(size, stack):
                    copy.write_row(row)
        head = {"size": size, "hashes": b"".join(stack), "at": AT}
        connection.execute(text("UPDATE audit_head SET size = :size, hashes = :hashes, recorded_at = :at"), head)


@contextmanager
def without_triggers(connection: Connection) -> Iterator[None]:
    """Take the triggers that keep the log append-only away for a while."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET session_replication_role = replica"))
        yield
        connection.execute(text("SET session_replication_role = origin"))
        return
    found = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
    for name, _ in found:
        connection.execute(text(f"DROP TRIGGER {name}"))
    yield
    for _, sql in found:
        connection.execute(text(sql))


def turn(log: AuditLog) -> tuple[float, float]:
    """Append some entries; return seconds of the clock and of this process's processors, an entry."""
    entry = AuditEntry("bench", "spiffe://kinlink.test/source/prisme", "ok", subject="source/prisme", count=8192)
    start, worked = time.monotonic(), time.process_time()
    for _ in range(APPENDS):
        log.append(entry)
    return (time.monotonic() - start) / APPENDS, (time.process_time() - worked) / APPENDS


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    logs = []
    with ExitStack() as stack:
        for size in (asked.small, asked.large):
            if asked.database == "sqlite":
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir=asked.folder))
                url = f"sqlite:///{folder}/state.db"
            else:
                url = stack.enter_context(postgres.cluster())
            engine = database.engine(url)
            stack.callback(engine.dispose)
            database.migrate(engine, "servicekit")
            fill(engine, size)
            log = AuditLog(engine)
            started = time.monotonic()
            Checkpoints(engine, log, Ed25519PrivateKey.generate(), "bench/log").sign()
            logs.append((log, time.monotonic() - started))
        for log, _ in logs:
            turn(log)
        spans: list[list[tuple[float, float]]] = [[], []]
        for number in range(ROUNDS):
            for side in (0, 1) if number % 2 else (1, 0):
                spans[side].append(turn(logs[side][0]))
    small, large = ([statistics.median(column) for column in zip(*side, strict=True)] for side in spans)
    figures = {
        "ratio": round(large[0] / small[0], 2),
        "processor_ratio": round(large[1] / small[1], 2),
        "small_ms": round(1000 * small[0], 3),
        "large_ms": round(1000 * large[0], 3),
        "sign_large_ms": round(1000 * logs[1][1], 1),
    }
    sizes = {"small": asked.small, "large": asked.large, "appends": ROUNDS * APPENDS}
    print(json.dumps({"bench": "audit_growth", "database": asked.database, **figures, **sizes}))


if __name__ == "__main__":
    main()
