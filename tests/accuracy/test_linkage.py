"""Is encoded linkage good enough? On FEBRL's published data, with what `bench/linkage.toml` has written down."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from bench.linkage import linked_with_kinlink, two_files
from bench.record_linkage import febrl, ordered, quality
from kinlink.encoding.schema import find
from linker.linkage.fuzzy.assignment import LINKED, UNLINKED
from linker.linkage.fuzzy.evaluation import completeness, evaluate

LEAST_F1 = {"febrl1": 0.995, "febrl2": 0.995, "febrl3": 0.990}


@pytest.mark.parametrize("dataset", LEAST_F1)
def test_encoded_febrl_is_found(dataset: str) -> None:
    records, truth = febrl(dataset)
    assert quality(truth, linked_with_kinlink(records)).f1 >= LEAST_F1[dataset]


def test_two_files_are_linked_as_a_whole(tmp_path: Path) -> None:
    """FEBRL 1 apart: originals as the register, duplicates as the records."""
    records, truth = febrl("febrl1")
    original = pl.col("record").str.ends_with("org")
    records.filter(~original).write_csv(tmp_path / "left.csv")
    records.filter(original).write_csv(tmp_path / "right.csv")
    pl.DataFrame(sorted(truth), schema=["left", "right"], orient="row").write_csv(tmp_path / "truth.csv")
    line = two_files(*(tmp_path / f"{name}.csv" for name in ("left", "right", "truth")), find("febrl-1"))
    assert line["precision"] >= 0.99
    assert line["recall"] >= 0.95
    assert line["estimated_precision"] >= 0.99


def test_measures_are_those_of_the_toolkit() -> None:
    rows = [("a", "p1", "p1"), ("b", "p2", "p3"), ("c", "p4", "p4"), ("d", None, "p5"), ("e", "p6", None)]
    assigned = pl.DataFrame(
        [(r, LINKED if p else UNLINKED, p, 0.95 if p else 0.0) for r, p, _ in rows],
        schema={"record": str, "status": str, "person": str, "probability": float},
        orient="row",
    )
    truth = pl.DataFrame([(r, t) for r, _, t in rows], schema={"record": str, "person": str}, orient="row")
    ours = evaluate(assigned, truth)
    theirs = quality({ordered(r, t) for r, _, t in rows if t}, {ordered(r, p) for r, p, _ in rows if p})
    assert (ours.precision, ours.recall) == (theirs.precision, theirs.recall) == (0.5, 0.5)
    assert ours.f1 == pytest.approx(theirs.f1)
    assert ours.calibration_error == pytest.approx(0.45)  # .95 said, half of them right
    assert completeness(assigned.select("record", "person"), truth) == 0.5


def test_amounts_weigh() -> None:
    assigned = pl.DataFrame(
        {"record": ["a", "b"], "status": [LINKED] * 2, "person": ["p", "q"], "probability": [0.999, 0.999]}
    )
    truth = pl.DataFrame({"record": ["a", "b"], "person": ["p", "x"]})
    weighed = evaluate(assigned, truth, pl.DataFrame({"record": ["a", "b"], "weight": [900, 100]}))
    assert (weighed.precision, weighed.recall) == (0.9, 0.9)
    assert weighed.sure_wrong == pytest.approx(0.1)


def test_calibration_is_looked_at_by_range() -> None:
    """.95 said and wrong, .35 said and right: on the average that looks well."""
    assigned = pl.DataFrame(
        {"record": ["a", "b"], "status": [LINKED, UNLINKED], "person": ["p", "q"], "probability": [0.95, 0.35]}
    )
    truth = pl.DataFrame({"record": ["a", "b"], "person": ["x", "q"]})
    assert evaluate(assigned, truth).calibration_error == pytest.approx(0.8)
