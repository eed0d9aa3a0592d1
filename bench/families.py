"""From converted facts to families and the spending table: the linker against DuckDB SQL written by hand.

Both sides read the same versions of the same Delta tables and make the members, the families with
children and the spending of those families; the results must be equal. Each round is a fresh process;
sides take turns; seconds are from opening the tables to the last frame, without imports. Conversion
is outside and shown beside it: the distinct pseudonyms that these facts' deliveries hold, the rate at
which the service converts a sample of elements, and their quotient. The facts themselves are numbered
directly, as nothing here is pseudonymised.

    python -m bench.families [--scale copenhagen] [--childless-to 650000] [--facts DIR]

With --facts the facts are kept in DIR and used again by the next run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import polars as pl
import pysodium
from deltalake import DeltaTable

from bench import facts as bench_facts
from bench import running
from examples.stack import PURPOSE
from kinlink.conversion_client import ConversionClient
from kinlink.types.v1.types_pb2 import KIND_CPR, KeyRef
from linker import frames
from linker.families.c_family import c_family_members
from linker.families.families import families_with_children
from linker.families.residents import residents
from linker.store.delta import DeltaTables
from linker.store.tables import facts as table
from linker.tables.spending import family_spending

ROUNDS, SAMPLE = 5, 65_536
SOURCE = "prisme"
DAY, YEAR, MUNICIPALITY = datetime.date(2015, 1, 1), 2014, 101
SQL = Path(__file__).with_suffix(".sql")
RESULTS = {
    "members": ["person_id"],
    "families": ["family_id"],
    "spending": ["family_id", "department", "type", "area"],
}


def with_linker(facts: Path) -> dict[str, pl.DataFrame]:
    """Return the results as a run computes them."""
    store = DeltaTables(facts)
    known = {name: store.scan(table(name), 1) for name in ("persons", "postings", "spells", "catalogue")}
    resident = residents(known["persons"], DAY, MUNICIPALITY)
    parents = known["persons"].select("person_id", "mother_id", "father_id")
    members = c_family_members(resident, parents, DAY).collect(engine="streaming")
    families = families_with_children(members.lazy()).collect(engine="streaming")
    relatives = members.lazy().join(families.lazy(), on="family_id", how="semi")
    spending = family_spending(relatives, known["postings"], known["spells"], known["catalogue"], YEAR)
    cells = pl.col("amount_ore").sum()
    years = spending.group_by(RESULTS["spending"]).agg(cells).filter(pl.col("amount_ore") != 0)  # a run keeps months
    return {"members": members, "families": families, "spending": years.collect(engine="streaming")}


def with_duckdb(facts: Path) -> dict[str, pl.DataFrame]:
    """Return the results of the SQL."""
    connection = duckdb.connect()
    for name in ("persons", "postings", "spells", "catalogue"):
        files = DeltaTable(str(facts / "facts" / name), version=1).file_uris()
        connection.read_parquet(files, hive_partitioning=False).create_view(name)
    values = {
        "$day": f"DATE '{DAY}'",
        "$municipality": str(MUNICIPALITY),
        "$from": f"DATE '{YEAR}-01-01'",
        "$to": f"DATE '{YEAR + 1}-01-01'",
    }
    text = SQL.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(name, value)
    connection.execute(text)
    return {name: connection.table(name).pl() for name in RESULTS}


SIDES = {"linker": with_linker, "duckdb": with_duckdb}


def measure(side: str, facts: Path, out: Path) -> None:
    """Run one side once; write its results, sorted, and print what it took."""
    run = SIDES[side]
    start = time.monotonic()
    results = run(facts)
    seconds = time.monotonic() - start
    peak = peak_mb()
    for name, key in RESULTS.items():
        results[name].sort(key).write_parquet(out / f"{side}_{name}.parquet")
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def peak_mb() -> float:
    """Return this process's peak memory. Not ru_maxrss on Linux: a child's begins at its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def assert_equal(out: Path) -> dict[str, int]:
    """Compare the results of both sides; return their rows."""
    rows = {}
    for name in RESULTS:
        one, other = (pl.read_parquet(out / f"{side}_{name}.parquet") for side in SIDES)
        assert one.height > 0
        same = other.select(pl.col(column).cast(one.schema[column]) for column in one.columns)
        assert one.equals(same), f"{name} differs"
        rows[name] = one.height
    return rows


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="copenhagen")
    parser.add_argument("--childless-to", default="650000", help="residents in all; 0 for families with children only")
    parser.add_argument("--facts", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        measure(given.side, given.facts, given.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        facts = given.facts or Path(folder) / "facts"
        made = prepare(facts, Path(folder), given.scale, given.childless_to)
        beside = conversion(facts, Path(folder) / "stack")
        taken: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        rows: dict[str, int] = {}
        for _ in range(ROUNDS):
            for side, figures in taken.items():
                command = [sys.executable, "-m", "bench.families", "--side", side, "--facts", facts, "--out", folder]
                answer = subprocess.run(command, check=True, capture_output=True, text=True)
                figures.append(json.loads(answer.stdout))
            rows = assert_equal(Path(folder))
    linker, duckdb = ([figures["seconds"] for figures in taken[side]] for side in SIDES)
    ratios = [mine / theirs for mine, theirs in zip(linker, duckdb, strict=True)]
    print(
        json.dumps(
            {
                "bench": "families",
                "seconds": round(statistics.median(linker), 3),
                "duckdb_seconds": round(statistics.median(duckdb), 3),
                "ratio": round(statistics.median(ratios), 3),
                "peak_mb": round(max(figures["peak_mb"] for figures in taken["linker"])),
                "duckdb_peak_mb": round(max(figures["peak_mb"] for figures in taken["duckdb"])),
                "ratios": [round(ratio, 3) for ratio in ratios],
                "rows": rows,
                "conversion": beside,
                **made,
            }
        )
    )


def conversion(facts: Path, folder: Path) -> dict[str, float]:
    """Return the distinct pseudonyms of each source's facts, the measured rate, and the seconds they would take."""
    store = DeltaTables(facts)
    elements = 0
    for name in ("persons", "postings", "spells"):
        rows = store.scan(table(name), 1)
        ids = [column for column, dtype in frames.FACTS[name].items() if dtype == frames.ID]
        pairs = rows.select("source", *ids).unpivot(ids, index="source", value_name="id").drop_nulls("id")
        elements += pairs.select(pl.struct("source", "id").n_unique()).collect().item()
    sample = b"".join(pysodium.crypto_core_ristretto255_random() for _ in range(SAMPLE))
    domains = f"source/{SOURCE}", f"linkage/{PURPOSE}"
    keys = [KeyRef(domain=domain, kind=KIND_CPR, version=1) for domain in domains]
    with running.pseudonymizer(folder, f"linker/{PURPOSE}") as channel:
        start = time.monotonic()
        ConversionClient(channel).convert(sample, *keys)
        rate = SAMPLE / (time.monotonic() - start)
    return {"elements": elements, "elements_per_s": round(rate), "seconds": round(elements / rate, 1)}


def prepare(facts: Path, folder: Path, scale: str, childless_to: str) -> dict[str, object]:
    """Make the facts unless they are there; return their rows and what reading, numbering and writing took."""
    note = facts / "made.json"
    if not note.is_file():
        bench_facts.generate(
            folder / "city", "--scale", scale, *(["--childless-to", childless_to] if childless_to != "0" else [])
        )
        start = time.monotonic()
        rows = bench_facts.store(DeltaTables(facts), folder / "city" / "extracts")
        note.write_text(json.dumps({"facts": rows, "preparing_seconds": round(time.monotonic() - start, 1)}))
    return dict(json.loads(note.read_text()))


if __name__ == "__main__":
    main()
