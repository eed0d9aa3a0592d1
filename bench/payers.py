"""How many postings without a CPR number find their payer: the synthetic municipality's, encoded and linked, by kroner.

The municipality is generated, its sources and its register encode, the linker links, and the truth judges. Precision
and recall are shares of absolute amounts; recall is over payers in the register of whom at least two of name, birth
date and address are given. The scenario (`examples/municipality/payers.toml`) was fixed before anything was fitted.
Prints one line of JSON; `load` is the machine's, and seconds under load are upper bounds. `lost` is where recall is
lost: shares of the same kroner, by what is wrong with name, birth date and address. `--svg` draws stated probabilities
beside how many of them are right.

    python -m bench.payers [--scale copenhagen] [--childless-to 650000] [--svg calibration.svg]
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
from kinlink.encoding.encode import Encoder, normalise_records
from kinlink.encoding.keys import SECRET_BYTES, EncodingKey
from kinlink.encoding.schema import find
from linker.linkage.fuzzy.assignment import LINKED, Thresholds
from linker.linkage.fuzzy.evaluation import evaluate
from linker.linkage.fuzzy.linking import Linkage, link
from linker.linkage.fuzzy.plan import plan_of

SCHEMA = find("dk-person-1")
ENOUGH = 2  # of name, birth date and address
DESCRIBED = {
    "name": ["given_name", "family_name"],
    "birth date": ["birth_date"],
    "address": ["street", "house_number"],
}
MOST_LOST = 8
SIDE, MARGIN = 360, 50


def main() -> None:
    """Print the figures of a scale."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", choices=["tiny", "town", "copenhagen"], default="copenhagen")
    parser.add_argument("--childless-to", type=int, metavar="PERSONS")
    parser.add_argument("--svg", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        generate(asked.scale, folder, residents=asked.childless_to, payers_too=True)
        load = os.getloadavg()[0]
        found, seconds, persons = linked(folder)
        line = {"bench": "payers", "scale": asked.scale, "persons": persons, **figures(found, truth(folder))}
        line["lost"] = lost(found, folder)
        if asked.svg:
            asked.svg.write_text(plot(found, truth(folder)), encoding="utf-8")
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


def lost(found: Linkage, folder: Path) -> dict[str, float]:
    """Return the share of the kroner of recall that was not linked, by what is wrong with the description, most first.

    Each of name, birth date and address is "same" as the register's after normalisation, "other" or "none".
    """
    persons = normalise_records(registered(folder).drop("cpr"), SCHEMA).rename({"record": "person"})
    told = normalise_records(payers(folder), SCHEMA)
    known = (
        truth(folder).filter(pl.col("given") >= ENOUGH).join(told, on="record").join(persons, on="person", suffix="_")
    )
    damage = [pl.format(f"{what} {{}}", _damage(fields)) for what, fields in DESCRIBED.items()]
    links = found.records.select("record", "status", pl.col("person").alias("linked"))
    known = known.join(links, on="record").select(
        pl.concat_str(damage, separator=", ").alias("damage"),
        pl.col("amount_ore").abs().alias("weight"),
        (pl.col("status").eq(LINKED) & pl.col("linked").eq_missing(pl.col("person"))).alias("is_found"),
    )
    missed = known.filter(~pl.col("is_found")).group_by("damage").agg(pl.col("weight").sum() / known["weight"].sum())
    most = missed.sort("weight", "damage", descending=[True, False]).head(MOST_LOST)
    return {damage: round(share, 4) for damage, share in most.iter_rows()}


def _damage(fields: list[str]) -> pl.Expr:
    """Return "none" where no field has a value, "same" where each is the register's or missing, else "other"."""
    same = [pl.col(name).eq(pl.col(f"{name}_")).fill_null(True) for name in fields]
    return (
        pl.when(pl.all_horizontal(pl.col(*fields).is_null()))
        .then(pl.lit("none"))
        .when(pl.all_horizontal(same))
        .then(pl.lit("same"))
        .otherwise(pl.lit("other"))
    )


def plot(found: Linkage, known: pl.DataFrame) -> str:
    """Return an SVG: for each tenth of stated probability, the share of kroner that is right; areas by kroner."""
    result = evaluate(found.records, known.select("record", "person"), _weights(known))
    whole, size = sum(weight for _, _, weight in result.calibration), SIDE - 2 * MARGIN

    def at(stated: float, right: float) -> tuple[float, float]:
        return MARGIN + size * stated, SIDE - MARGIN - size * right

    circles = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 14 * (weight / whole) ** 0.5:.1f}"/>'
        for (x, y), weight in ((at(stated, right), weight) for stated, right, weight in result.calibration)
    )
    ticks = "".join(
        f'<text x="{at(share, 0)[0]:.0f}" y="{SIDE - MARGIN + 18}">{share:g}</text>'
        f'<text x="{MARGIN - 16}" y="{at(0, share)[1] + 4:.0f}">{share:g}</text>'
        for share in (0, 0.5, 1)
    )
    (left, bottom), (right, top) = at(0, 0), at(1, 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" font-family="sans-serif" '
        f'font-size="12" text-anchor="middle"><rect width="{SIDE}" height="{SIDE}" fill="#fff"/>'
        f'<text x="{SIDE / 2:.0f}" y="20">{len(found.records):,} records, expected calibration error '
        f"{result.calibration_error:.3f}</text>"
        f'<path d="M{left:.0f} {top:.0f}V{bottom:.0f}H{right:.0f}" fill="none" stroke="#999"/>'
        f'<path d="M{left:.0f} {bottom:.0f}L{right:.0f} {top:.0f}" stroke="#999" stroke-dasharray="4"/>'
        f'<g fill="#246" fill-opacity="0.6">{circles}</g>{ticks}'
        f'<text x="{SIDE / 2:.0f}" y="{SIDE - 10}">stated probability</text>'
        f'<text transform="translate(14 {SIDE / 2:.0f}) rotate(-90)">share of kroner that is right</text></svg>\n'
    )


def _weights(known: pl.DataFrame) -> pl.DataFrame:
    return known.select("record", pl.col("amount_ore").abs().alias("weight"))


if __name__ == "__main__":
    main()
