"""Converted facts of the synthetic municipality, without pseudonyms: numbers become dense ids directly.

What a benchmark of the steps after conversion needs: the extracts are read by the mappings as in
a delivery, identifiers become ids in order of arrival, number changes are resolved, and the facts are
written through the linker's own store. Nothing here is pseudonymised: synthetic numbers only.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import polars as pl

from kinlink.delivery import mapping_file
from kinlink.delivery.examine import validated
from kinlink.delivery.period import Period
from linker import frames
from linker.linkage import aliases, register
from linker.store.delta import DeltaTables
from linker.store.tables import facts

ROOT = Path(__file__).parent.parent
MUNICIPALITY = ROOT / "examples" / "municipality"
EXTRACTS = (
    ("folkeregister", "folkeregister_persons", ("folkeregister/cpr_udtraek.txt",)),
    ("folkeregister", "folkeregister_aliases", ("folkeregister/cpr_udtraek.txt",)),
    ("prisme", "catalogue", ("prisme/catalogue.csv",)),
    ("prisme", "prisme", ("prisme/posteringer_2014.csv",)),
    ("dubu", "dubu", ("dubu/dubu_sager.csv",)),
    ("voksen", "voksen", ("voksen/voksen_social.csv",)),
    ("ky", "ky_spells", ("ky/ydelser_ky.csv",)),
    ("ky", "ky_postings", ("ky/ydelser_ky.csv",)),
    ("momentum", "momentum", ("momentum/momentum_uger.csv",)),
    ("institution", "institution", ("institution/institution_nord.csv", "institution/institution_syd.csv")),
    ("elev", "elev", ("elev/elev_2014.csv",)),
    ("sundhed", "sundhed", ("sundhed/sundhed_2014.txt",)),
    ("kultur", "kultur", ("kultur/kultur_fritid.csv",)),
)
DATASETS = ("persons", "postings", "spells", "catalogue")


def generate(folder: Path, *arguments: str) -> None:
    """Write the synthetic municipality to `folder`."""
    command = [sys.executable, "-m", "examples.municipality", *arguments, "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def read_facts(extracts: Path) -> dict[str, pl.DataFrame]:
    """Return FACTS by dataset, number changes resolved; persons and addresses numbered from 1."""
    delivered: dict[str, list[pl.DataFrame]] = {name: [] for name in frames.FACTS}
    for source, name, files in EXTRACTS:
        mapping = mapping_file.load(MUNICIPALITY / "mappings" / f"{name}.toml")
        paths = [extracts / file for file in files]
        batches = validated(
            paths, mapping, Period.parse(mapping.period or "2014"), lambda _done, _of: None, synthetic=True
        )
        origin = {"source": pl.lit(source), "delivery_id": pl.lit(name)}
        delivered[mapping.dataset.name] += [
            batch.rows.with_columns(**origin) for batch, _, _ in batches if batch.rows.height
        ]
    raw = {name: pl.concat(parts) for name, parts in delivered.items() if parts}
    numbered = _numbered(raw)
    resolved = aliases.resolve(numbered["aliases"].lazy()).resolved
    empty = {name: pl.LazyFrame(schema=schema) for name, schema in frames.FACTS.items()}
    known = register.read(
        lambda name: numbered[name].lazy() if name in numbered else empty[name], resolved, datetime.date(2015, 2, 1)
    )
    return {name: known[name].collect() for name in DATASETS}


def _numbered(raw: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Replace identifiers by ids. A replacement number is known by its source as well."""
    places = {}
    for name, rows in raw.items():
        for column, dtype in frames.FACTS[name].items():
            text = column.removesuffix("_id")
            if dtype == frames.ID and text in rows.columns:
                key = pl.col(text).cast(pl.String)
                if "person_kind" in rows.columns:
                    key = (
                        pl.when(pl.col("person_kind") == "replacement")
                        .then(pl.col("source") + ":" + key)
                        .otherwise(key)
                    )
                places[name, column] = rows.select(key.alias("key"))
    ids = pl.concat(list(places.values())).drop_nulls().unique(maintain_order=True).with_row_index("id", offset=1)
    result = {}
    for name, rows in raw.items():
        columns = {
            column: keys.join(ids, on="key", how="left", maintain_order="left")["id"]
            for (dataset, column), keys in places.items()
            if dataset == name
        }
        result[name] = rows.with_columns(**columns).match_to_schema(frames.FACTS[name], extra_columns="ignore")
    return result


def store(tables: DeltaTables, extracts: Path) -> dict[str, int]:
    """Write the facts, one Delta table a dataset; return rows by dataset."""
    found = read_facts(extracts)
    for name, rows in found.items():
        tables.write(facts(name), None, append=rows.lazy())
    return {name: rows.height for name, rows in found.items()}
