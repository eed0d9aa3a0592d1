"""Do postings without a CPR number find their payers? The synthetic municipality at town scale, encoded and linked."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from bench.payers import figures, linked, lost, plot
from examples.municipality.build import generate
from examples.municipality.payer_records import payers, registered, truth
from examples.municipality.payers import FORMER_MEMBER, REGISTERED, STRANGER, TWIN, scenario
from linker.linkage.fuzzy.evaluation import BINS
from linker.linkage.fuzzy.linking import Linkage

LEAST_RECALL = 0.95  # of kroner, where two of name, birth date and address are told


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town")
    generate("town", folder, payers_too=True)
    return folder


def test_payers_are_described_as_the_scenario_says(town: Path) -> None:
    known, told, rates = truth(town), payers(town), scenario()
    outside = known["person"].is_null()
    assert outside.sum() / len(known) == pytest.approx(rates["postings"]["outside"], abs=0.02)
    assert known.filter(outside)["kind"].unique().sort().to_list() == [FORMER_MEMBER, STRANGER, TWIN]
    assert known.filter(~outside)["kind"].unique().to_list() == [REGISTERED]
    assert told["full_name"].null_count() / len(told) == pytest.approx(rates["missing"]["name"], abs=0.01)
    assert told["birth_date"].null_count() / len(told) == pytest.approx(rates["missing"]["birth_date"], abs=0.02)
    assert (known["given"] >= 2).sum() > 0.9 * len(known)


def test_nobody_outside_is_registered_by_name_and_birth_date(town: Path) -> None:
    """Twins and former members are like somebody registered, and are nobody who is."""
    persons = registered(town)
    assert persons["record"].is_unique().all()
    assert persons.select("given_name", "family_name", "birth_date").is_duplicated().sum() < 0.001 * len(persons)


def reaches_its_aims(found: Linkage, folder: Path) -> None:
    reached = figures(found, truth(folder))
    assert reached["precision"] >= 0.995
    assert reached["sure_wrong"] <= 0.01
    assert reached["recall"] >= LEAST_RECALL
    assert reached["calibration_error"] <= 0.02
    assert sum(lost(found, folder).values()) == pytest.approx(1 - reached["recall"], abs=0.01)
    assert found.records.filter(pl.col("status") == "linked").height > 0.6 * len(found.records)


def test_town_finds_its_payers(town: Path) -> None:
    found, _, _ = linked(town)
    reaches_its_aims(found, town)
    assert plot(found, truth(town)).count("<circle") == BINS, "one for each tenth of stated probability"


@pytest.mark.slow
def test_city_finds_its_payers(tmp_path: Path) -> None:
    generate("copenhagen", tmp_path, payers_too=True)
    reaches_its_aims(linked(tmp_path)[0], tmp_path)
