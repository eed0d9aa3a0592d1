"""Linkage quality and cost: kinlink encoded and hardened beside Splink, recordlinkage (clear text) and clkhash.

Data are FEBRL's sets 1 to 3, each a file with itself; what every system does is fixed in `linkage.toml`. Each runs in a
process of its own, Splink and clkhash + anonlink in environments that uv makes (without uv they are left out, and
that is said). One line of JSON each; seconds are from reading records to pairs, without imports. kinlink's contain
the encoding.

    python -m bench.linkage [--system NAME] [--dataset febrl3]
    python -m bench.linkage --left a.csv --right b.csv --truth t.csv

The second links two files of anybody's to each other, as payers to persons: columns as in --schema (febrl-1), ids in
`record`, else the first column, `t.csv` with the ids of left and right. It prints a line of JSON, with the model's own
estimate beside what is true.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import polars as pl

from bench import record_linkage
from bench.record_linkage import Pairs, febrl, ordered, quality
from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import SECRET_BYTES, EncodingKey
from kinlink.encoding.schema import LinkageSchema, find
from linker.linkage.fuzzy.assignment import LINKED, Thresholds, assign
from linker.linkage.fuzzy.blocking import CAPS
from linker.linkage.fuzzy.classes import CLASSES, PairClass
from linker.linkage.fuzzy.comparison import Compared, compare
from linker.linkage.fuzzy.encodings import Encoded, encoded
from linker.linkage.fuzzy.estimates import estimate
from linker.linkage.fuzzy.evaluation import evaluate
from linker.linkage.fuzzy.fitting import fit
from linker.linkage.fuzzy.linking import sampled
from linker.linkage.fuzzy.plan import plan_of
from linker.linkage.fuzzy.scoring import score

FIXED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
PEERS = Path(__file__).parent / "linkage_peers"
DATASETS = ("febrl1", "febrl2", "febrl3")
SYSTEMS = ("kinlink", "splink", "recordlinkage", "clkhash")
LIMIT_S = 600
KEY = EncodingKey(bytes(range(1, SECRET_BYTES + 1)), "bench", 1)


def main() -> None:
    """Print a line of JSON for each system and data set, or for two files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", choices=SYSTEMS)
    parser.add_argument("--dataset", choices=DATASETS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--schema", default=FIXED["kinlink"]["schema"])
    for name in ("left", "right", "truth"):
        parser.add_argument(f"--{name}", type=Path)
    asked = parser.parse_args()
    if asked.left:
        print(json.dumps(two_files(asked.left, asked.right, asked.truth, find(asked.schema))))
        return
    if asked.inside:
        _inside(asked.system, asked.dataset)
        return
    for dataset in [asked.dataset] if asked.dataset else DATASETS:
        records, truth = febrl(dataset)
        for system in [asked.system] if asked.system else SYSTEMS:
            _measure(system, dataset, records, truth)


def _measure(system: str, dataset: str, records: pl.DataFrame, truth: Pairs) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.csv"
        records.write_csv(file)
        command = _command(system, dataset, file)
        if not command:
            print(f"{system}: not measured, there is no uv", file=sys.stderr)
            return
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        print(f"{system}: not measured\n{done.stderr}", file=sys.stderr)
        return
    found = {ordered(a, b) for a, b in csv.reader(done.stdout.splitlines())}
    result = quality(truth, found)
    line = {"bench": "linkage", "system": system, "dataset": dataset}
    shares = {name: round(getattr(result, name), 4) for name in ("precision", "recall", "f1")}
    print(json.dumps({**line, **shares, **json.loads(done.stderr.splitlines()[-1])}), flush=True)


def _command(system: str, dataset: str, file: Path) -> list[str]:
    if system in {"kinlink", "recordlinkage"}:
        return [sys.executable, "-m", "bench.linkage", "--inside", "--system", system, "--dataset", dataset]
    uv = shutil.which("uv") or shutil.which(".tools/uv/bin/uv")
    if not uv:
        return []
    fixed = FIXED[system]
    packages = [part for package in fixed["packages"] for part in ("--with", package)]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    script = [str(PEERS / f"with_{system}.py"), str(file), str(fixed["threshold"])]
    return [uv, "run", "--no-project", "--python", python, *packages, "python", *script]


def _inside(system: str, dataset: str) -> None:
    records, _ = febrl(dataset)
    start = time.monotonic()
    pairs = linked_with_kinlink(records) if system == "kinlink" else _with_recordlinkage(records)
    cost = {"seconds": round(time.monotonic() - start, 2), "peak_mb": _peak_mb()}
    csv.writer(sys.stdout).writerows(sorted(pairs))
    print(json.dumps(cost), file=sys.stderr)


def linked_with_kinlink(records: pl.DataFrame) -> Pairs:
    """Return the pairs of a file with itself that are linked, encoded as the fixed schema says."""
    schema, fixed = find(FIXED["kinlink"]["schema"]), FIXED["kinlink"]
    file = records.select("record", *(field.name for field in schema.fields))
    both = encoded(plan_of(schema), Encoder(schema, KEY).encode(file))
    scored, _ = _scored(both, compare(both, CAPS), _classes(fixed["classes"]))
    likely = scored.filter(pl.col("probability") > fixed["probability"])
    ids = both.left
    return {
        ordered(a, b)
        for a, b in zip(ids.gather(likely["left"]).to_list(), ids.gather(likely["right"]).to_list(), strict=True)
    }


def _with_recordlinkage(records: pl.DataFrame) -> Pairs:
    fixed = FIXED["recordlinkage"]
    return record_linkage.linked(
        records,
        dict.fromkeys(fixed["texts"], fixed["text_threshold"]),
        dict.fromkeys(fixed["digits"], fixed["digit_threshold"]),
        fixed["probability"],
    )


def two_files(left: Path, right: Path, truth: Path, schema: LinkageSchema) -> dict[str, Any]:
    """Return the line of JSON for two CSV files and the ids of their true pairs."""
    fixed = FIXED["two_files"]
    start = time.monotonic()
    encoder = Encoder(schema, KEY)
    both = encoded(plan_of(schema), *(encoder.encode(_file(path, schema)) for path in (left, right)))
    compared = compare(both, CAPS)
    scored, matches = _scored(both, compared, _classes(fixed["classes"]))
    limits = Thresholds(fixed["expected_error"], FIXED["kinlink"]["probability"], fixed["margin"])
    assigned = assign(both, scored, limits)
    seconds = time.monotonic() - start
    known = pl.read_csv(truth, infer_schema=False)
    right_of = pl.DataFrame({"record": known[:, 0], "person": known[:, 1]})
    result = evaluate(assigned, pl.DataFrame({"record": both.left}).join(right_of, on="record", how="left"))
    expected = estimate(assigned).row(0, named=True)
    return {
        "bench": "linkage",
        "system": "kinlink",
        "dataset": f"{left.name} to {right.name}",
        "precision": round(result.precision, 4),
        "recall": round(result.recall, 4),
        "f1": round(result.f1, 4),
        "seconds": round(seconds, 2),
        "peak_mb": _peak_mb(),
        "linked": len(assigned.filter(pl.col("status") == LINKED)),
        "review_share": round(result.review, 4),
        "calibration_error": round(result.calibration_error, 4),
        "estimated_precision": expected["precision"] and round(expected["precision"], 4),
        "estimated_recall": expected["recall"] and round(expected["recall"], 4),
        "expected_matches": round(matches),
    }


def _scored(both: Encoded, compared: Compared, classes: tuple[PairClass, ...]) -> tuple[pl.DataFrame, float]:
    model = fit(sampled(both, compared), classes)
    matches = model.records * sum(model.per_record[c.name] for c in classes if c.match)
    return score(both, compared, model, classes), matches


def _classes(names: list[str]) -> tuple[PairClass, ...]:
    by_name = {c.name: c for c in CLASSES}
    return tuple(by_name[name] for name in names)


def _file(path: Path, schema: LinkageSchema) -> pl.DataFrame:
    """Return a CSV's columns of the schema; those that it lacks are null."""
    table = pl.read_csv(path, infer_schema=False, null_values=[""]).rename(str.strip)
    identifier = "record" if "record" in table.columns else table.columns[0]
    columns = [
        pl.col(f.name).str.strip_chars() if f.name in table.columns else pl.lit(None, pl.String).alias(f.name)
        for f in schema.fields
    ]
    return table.select(pl.col(identifier).str.strip_chars().alias("record"), *columns)


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
