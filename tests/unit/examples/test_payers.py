"""Does an extract with payers hold what the source's ordinary one does, and outsiders' rows on top?"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from examples.deliveries import DELIVERIES, ENCODINGS, MAPPINGS, WITH_PAYERS, Delivery
from examples.municipality import reread
from examples.municipality.build import generate
from examples.municipality.payer_extracts import LAYOUTS, PAYER_COLUMNS
from examples.municipality.payer_records import payers, registered, truth
from examples.municipality.truth import digest
from kinlink.delivery.examine import validated
from kinlink.delivery.mapping_file import load
from kinlink.delivery.period import Period

MAPPED = {"prisme", "sundhed", "kultur", "ky_postings"}
ORDINARY = {delivery.source: delivery for delivery in DELIVERIES if delivery.mapping in MAPPED}
PAYER = list(PAYER_COLUMNS.values())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    generate("tiny", folder, payers_too=True)
    return folder


def _lines(folder: Path, source: str, file: str) -> pl.DataFrame:
    layout = LAYOUTS[source]
    rows = reread.table(folder / "extracts" / source / file, layout.encoding, layout.separator)
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.mark.parametrize("source", LAYOUTS)
def test_delivered_instead_of_the_ordinary_extract_it_loses_and_doubles_nothing(source: str, tiny: Path) -> None:
    ordinary, written = _lines(tiny, source, ORDINARY[source].files[0]), _lines(tiny, source, LAYOUTS[source].file)
    assert written.columns == [*ordinary.columns, *PAYER]
    known = pl.read_parquet(tiny / "truth/payers.parquet").filter(source=source)
    _, aliases = reread.register(tiny / "extracts")
    number = LAYOUTS[source].number
    outside = known.filter(pl.col("cpr").is_null())["record"]
    rows = written.filter(~pl.col("Løbenr").is_in(outside.implode()))
    assert written.height - rows.height == len(outside) > 0
    whose = rows.join(known, left_on="Løbenr", right_on="record", how="left", maintain_order="left")["cpr"]
    said = [line | {number: cpr or line[number]} for cpr, line in zip(whose, rows.drop(PAYER).to_dicts(), strict=True)]
    assert _counted(said, number, aliases) == _counted(ordinary.to_dicts(), number, aliases)
    assert 0.08 < whose.count() / len(rows) <= 0.10


def _counted(lines: list[dict[str, str]], number: str, aliases: dict[str, str]) -> Counter[tuple[str, ...]]:
    """Count equal lines; a person's former numbers are the current one."""

    def current(text: str) -> str:
        cpr = reread.cpr(text)
        return aliases.get(cpr, cpr) if cpr else text

    return Counter(tuple((line | {number: current(line[number])}).values()) for line in lines)


@pytest.mark.parametrize("source", LAYOUTS)
def test_a_row_has_a_number_or_a_record_of_its_payer(source: str, tiny: Path) -> None:
    written = _lines(tiny, source, LAYOUTS[source].file)
    records = written.filter(pl.col("Løbenr") != "")
    assert records["Løbenr"].is_unique().all()
    assert (records[LAYOUTS[source].number] == "").all()
    assert (written.filter(pl.col("Løbenr") == "").select(PAYER).to_numpy() == "").all()


def test_the_truth_knows_every_record(tiny: Path) -> None:
    assert sorted(payers(tiny)["record"]) == sorted(truth(tiny)["record"])


def test_no_extract_with_payers_holds_a_number_that_could_be_somebodys(tiny: Path) -> None:
    real = re.compile(rb"(?<![\d'])(0[1-9]|[12]\d|3[01])(0[1-9]|1[0-2])\d{2}[- ]?\d{4}(?!\d)")
    for path in (tiny / "extracts").rglob("*"):
        assert not path.is_file() or not real.search(path.read_bytes()), path.name


def test_all_else_stays_as_it_is_without_payers(tiny: Path, tmp_path: Path) -> None:
    without = generate("tiny", tmp_path)
    for path in sorted((tmp_path).rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tiny / path.relative_to(tmp_path)).read_bytes(), path.name
    assert without != digest(tiny)


def _delivered(delivery: Delivery, folder: Path) -> tuple[pl.DataFrame, int]:
    """Return the rows that a delivery's mapping makes of its extract, and how many are rejected."""
    mapping = load(MAPPINGS / f"{delivery.mapping}.toml")
    paths = [folder / "extracts" / delivery.source / file for file in delivery.files]
    found = [
        batch
        for batch, _, _ in validated(paths, mapping, Period.parse(mapping.period), lambda *_: None, synthetic=True)
    ]
    rejects = pl.concat([batch.rejects for batch in found])
    return pl.concat([batch.rows for batch in found]), rejects.select("file", "row").n_unique()


@pytest.mark.parametrize("delivery", WITH_PAYERS, ids=lambda each: each.source)
def test_postings_name_a_record_where_they_have_no_number(delivery: Delivery, tiny: Path) -> None:
    rows, rejected = _delivered(delivery, tiny)
    known = pl.read_parquet(tiny / "truth/payers.parquet").filter(source=delivery.source)
    assert rejected <= 0.002 * len(rows)
    described = rows.filter(pl.col("encoding_id").is_not_null())
    assert described["person"].null_count() == len(described)
    assert set(described["encoding_id"]) == set(known["record"])
    outside = described.join(
        known.filter(pl.col("cpr").is_null()), left_on="encoding_id", right_on="record", how="semi"
    )
    ordinary, _ = _delivered(ORDINARY[delivery.source], tiny)
    assert rows["amount_ore"].sum() - outside["amount_ore"].sum() == ordinary["amount_ore"].sum()


@pytest.mark.parametrize("delivery", ENCODINGS, ids=lambda each: each.source)
def test_everybody_who_is_to_be_compared_is_described(delivery: Delivery, tiny: Path) -> None:
    rows, rejected = _delivered(delivery, tiny)
    assert rejected <= 0.02 * len(rows)
    if delivery.source == "folkeregister":
        assert len(rows) == len(registered(tiny))
    else:
        records = pl.read_parquet(tiny / "truth/payers.parquet").filter(source=delivery.source)["record"]
        assert sorted(rows["encoding_id"]) == sorted(records)
