"""How the linker's cost grows: 10,000 to 200,000 encoded payers against 650,000 persons of a made-up town.

Encoding is measured apart, on one thread of polars and on `--threads`, per second of processor and by the clock: it is
the source's. Each size is linked on `--threads`, from frames in memory to each record's person; peak memory is the
whole process, frames included. A process and a line of JSON each, and a plot. `load` is the machine's before: what the
clock says under load is worse than it is.

    python -m bench.linkage_growth [--persons 650000] [--sizes 10000 50000 200000] [--threads 2] [--plot growth.svg]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polars as pl

from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import SECRET_BYTES, EncodingKey
from kinlink.encoding.schema import find
from linker.linkage.fuzzy.assignment import Thresholds
from linker.linkage.fuzzy.evaluation import evaluate
from linker.linkage.fuzzy.linking import link
from linker.linkage.fuzzy.plan import plan_of
from tests.payer_town import town

SCHEMA, SEED = find("dk-person-1"), 5
WIDTH, HEIGHT, MARGIN = 640, 360, 60


def main() -> None:
    """Print a line of JSON for the encoding and each size; write the plot if asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--persons", type=int, default=650_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 25_000, 50_000, 100_000, 200_000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--link", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(_link(asked.inside, asked.link) if asked.link else _encode(asked.inside)))
        return
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        made = town(asked.persons, max(asked.sizes), SEED)
        for name in ("records", "persons", "truth"):
            getattr(made, name).write_ipc(folder / f"{name}.clear.arrow")
        del made
        for threads in sorted({1, asked.threads}):
            _inside(folder, threads)
        lines = [_inside(folder, asked.threads, size) for size in sorted(asked.sizes)]
    if asked.plot:
        asked.plot.write_text(_plot(lines), encoding="utf-8")


def _inside(folder: Path, threads: int, size: int | None = None) -> dict[str, Any]:
    """Encode, or link so many records, in a process of its own."""
    command = [sys.executable, "-m", "bench.linkage_growth", "--inside", str(folder)]
    command += ["--link", str(size)] if size else []
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    line: dict[str, Any] = json.loads(done.stdout)
    print(json.dumps(line), flush=True)
    return line


def _encode(folder: Path) -> dict[str, Any]:
    encoder = Encoder(SCHEMA, EncodingKey(bytes(range(1, SECRET_BYTES + 1)), "bench", 1))
    load, rows, seconds, processor = os.getloadavg()[0], 0, 0.0, 0.0
    for name in ("records", "persons"):
        clear = pl.read_ipc(folder / f"{name}.clear.arrow")
        start, used = time.monotonic(), time.process_time()
        made = pl.concat(encoder.batches(clear))
        seconds, processor = seconds + time.monotonic() - start, processor + time.process_time() - used
        rows += len(clear)
        made.write_ipc(folder / f"{name}.arrow")
    return {
        "bench": "linkage_encoding",
        "rows": rows,
        "threads": pl.thread_pool_size(),
        "rows_per_core_second": round(rows / processor),
        "rows_per_second": round(rows / seconds),
        "load": round(load, 1),
    }


def _link(folder: Path, size: int) -> dict[str, Any]:
    records, persons = (pl.read_ipc(folder / f"{name}.arrow") for name in ("records", "persons"))
    truth = pl.read_ipc(folder / "truth.clear.arrow")
    load, start = os.getloadavg()[0], time.monotonic()
    found = link(plan_of(SCHEMA), records.head(size), persons, Thresholds())
    seconds = time.monotonic() - start
    result = evaluate(found.records, truth)
    return {
        "bench": "linkage_growth",
        "records": size,
        "persons": len(persons),
        "pairs": found.pairs,
        "seconds": round(seconds, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "precision": round(result.precision, 4),
        "recall": round(result.recall, 4),
        "calibration_error": round(result.calibration_error, 4),
        "sure_wrong": round(result.sure_wrong, 4),
        "load": round(load, 1),
    }


def _plot(lines: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of seconds by records, which holds the figures of the run as well."""
    most, longest = lines[-1]["records"], max(line["seconds"] for line in lines)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if step * 6 >= longest)
    top = step * math.ceil(longest / step)

    def at(records: float, seconds: float) -> tuple[float, float]:
        across, up = (WIDTH - 2 * MARGIN) * records / most, (HEIGHT - 2 * MARGIN) * seconds / top
        return round(MARGIN + across), round(HEIGHT - MARGIN - up)

    grid = "".join(
        f'<path d="M{MARGIN} {at(0, seconds)[1]}H{WIDTH - MARGIN}" stroke="#ccc"/>'
        f'<text x="{MARGIN - 8}" y="{at(0, seconds)[1] + 4}" text-anchor="end">{seconds} s</text>'
        for seconds in range(0, top + 1, step)
    )
    points = [(*at(line["records"], line["seconds"]), line) for line in lines]
    marks = "".join(
        f'<circle cx="{x}" cy="{y}" r="4" fill="#246"/><text x="{x}" y="{y - 10}">{line["seconds"]:.1f}</text>'
        f'<text x="{x}" y="{HEIGHT - MARGIN + 18}">{line["records"] // 1000:,}</text>'
        for x, y, line in points
    )
    path = " ".join(f"{x},{y}" for x, y, _ in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" text-anchor="middle"><desc>{escape(json.dumps(lines))}</desc>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<text x="{WIDTH // 2}" y="28" font-size="14">Seconds to link records to {lines[0]["persons"]:,} persons'
        "</text>"
        f'<text x="{WIDTH // 2}" y="{HEIGHT - 16}">records, thousands</text>'
        f'{grid}<polyline points="{path}" fill="none" stroke="#246" stroke-width="2"/>{marks}</svg>\n'
    )


if __name__ == "__main__":
    main()
