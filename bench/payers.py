"""How many postings without a CPR number find their payer: the synthetic municipality's, encoded and linked, by kroner.

The municipality is generated, its sources and its register encode, the linker links, and the truth judges. Precision
and recall are shares of absolute amounts; recall is over payers in the register of whom at least two of name, birth
date and address are given. The scenario (`examples/municipality/payers.toml`) was fixed before anything was fitted.
Prints one line of JSON; `load` is the machine's, and seconds under load are upper bounds.

    python -m bench.payers [--scale copenhagen] [--childless-to 650000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from examples.municipality.build import generate
from examples.municipality.payer_records import payers, registered, truth
from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import SECRET_BYTES, EncodingKey
from kinlink.encoding.schema import find
from linker.linkage.fuzzy.assignment import LINKED, Thresholds
from linker.linkage.fuzzy.evaluation import evaluate
from linker.linkage.fuzzy.linking import Linkage, link
from linker.linkage.fuzzy.plan import plan_of

SCHEMA = find("dk-person-1")
ENOUGH = 2  # of name, birth date and address


def main() -> None:
    """Print the figures of a scale."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", choices=["tiny", "town", "copenhagen"], default="copenhagen")
    parser.add_argument("--childless-to", type=int, metavar="PERSONS")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        generate(asked.scale, folder, residents=asked.childless_to, payers_too=True)
        load = os.getloadavg()[0]
        found, seconds, persons = linked(folder)
        line = {"bench": "payers", "scale": asked.scale, "persons": persons, **figures(found, truth(folder))}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({**line, "seconds": round(seconds, 1), "peak_mb": peak, "load": round(load, 1)}))


def linked(folder: Path) -> tuple[Linkage, float, int]:
    """Return the linkage of a municipality's payers, the linker's seconds, and how many persons are registered."""
    encoder = Encoder(SCHEMA, EncodingKey(bytes(range(1, SECRET_BYTES + 1)), "bench", 1))
    persons = pl.concat(encoder.batches(registered(folder).drop("cpr")))
    records = pl.concat(encoder.batches(payers(folder)))
    start = time.monotonic()
    found = link(plan_of(SCHEMA), records, persons, Thresholds(), weights=_weights(truth(folder)))
    return found, time.monotonic() - start, len(persons)


def figures(found: Linkage, known: pl.DataFrame) -> dict[str, Any]:
    """Return what is claimed of a linkage: by kroner, and where it says so by record."""
    weights = _weights(known)
    right = known.select("record", "person")
    everybody = evaluate(found.records, right, weights)
    by_record = evaluate(found.records, right)
    enough = known.filter((pl.col("given") >= ENOUGH) & pl.col("person").is_not_null())
    reachable = evaluate(found.records, enough.select("record", "person"), weights)
    outside = found.records.join(known.filter(pl.col("person").is_null()), on="record", how="semi")
    return {
        "records": len(found.records),
        "outside": len(outside),
        "pairs": found.pairs,
        "precision": round(everybody.precision, 4),
        "recall": round(reachable.recall, 4),
        "recall_of_all": round(everybody.recall, 4),
        "sure_wrong": round(everybody.sure_wrong, 4),
        "calibration_error": round(everybody.calibration_error, 4),
        "review": round(everybody.review, 4),
        "outside_linked": outside.filter(pl.col("status") == LINKED).height,
        "precision_by_record": round(by_record.precision, 4),
        "sure_wrong_by_record": round(by_record.sure_wrong, 4),
        "calibration_error_by_record": round(by_record.calibration_error, 4),
    }


def _weights(known: pl.DataFrame) -> pl.DataFrame:
    return known.select("record", pl.col("amount_ore").abs().alias("weight"))


if __name__ == "__main__":
    main()
