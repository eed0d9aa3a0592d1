"""Does the synthetic municipality keep its README and its calibration?"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from examples.municipality import check, reread
from examples.municipality.build import generate
from examples.municipality.calibration import HERE
from examples.municipality.near_misses import PLANS
from examples.municipality.profiles import PROFILES, SPELL_EXTRACTS, catalogue, codes
from examples.municipality.truth import digest
from kinlink.delivery.datasets import CATALOGUE


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    generate("tiny", folder)
    return folder


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town")
    generate("town", folder)
    return folder


def _text(folder: Path, name: str, encoding: str) -> str:
    return (folder / "extracts" / name).read_bytes().decode(encoding)


@pytest.mark.parametrize("scale", ["tiny", "town"])
def test_generation_is_byte_identical_when_repeated(scale: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    first: Path = request.getfixturevalue(scale)
    assert generate(scale, tmp_path) == digest(first)


def test_another_seed_gives_another_municipality_with_the_same_figures(tmp_path: Path, tiny: Path) -> None:
    assert generate("tiny", tmp_path, seed=7) != digest(tiny)
    check.calibration(tmp_path / "truth")
    assert check.from_extracts(tmp_path)["target"] == 612


@pytest.mark.parametrize(("scale", "families"), [("tiny", 692), ("town", 4612)])
def test_truth_and_extracts_meet_every_calibrated_figure(
    scale: str, families: int, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(scale)
    check.calibration(folder / "truth")
    counted = check.from_extracts(folder)
    assert (counted["families"], counted["target"]) == (families, 612)


@pytest.mark.slow
def test_copenhagen_has_the_published_counts_of_the_others_as_well(tmp_path: Path) -> None:
    generate("copenhagen", tmp_path)
    check.calibration(tmp_path / "truth")
    assert check.from_extracts(tmp_path)["families"] == 77_994


def test_town_has_the_stated_others(town: Path) -> None:
    others = json.loads((town / "truth" / "expected.json").read_text())["others"]
    table = pl.read_parquet(town / "truth" / "families.parquet").filter(~pl.col("target"))
    assert (others["families"], others["children"], others["adults"]) == (4000, 6390, 6440)
    assert others["single_providers"] == 1120
    assert table.filter((pl.col("n_adults") == 1) & ~pl.col("single_provider")).height == 440
    assert table.filter(pl.col("n_adults") == 2).height == 2440


def test_childless_to_fills_the_city_exactly(tmp_path: Path) -> None:
    generate("tiny", tmp_path, residents=3500)
    assert pl.read_parquet(tmp_path / "truth" / "persons.parquet")["resident"].sum() == 3500
    assert check.from_extracts(tmp_path)["families"] == 692


@pytest.mark.parametrize(
    ("name", "encoding", "find", "put"),
    [
        # one priced spell less: an amount differs
        ("elev/elev_2014.csv", "iso-8859-1", r"(?m)^\d{6}-\d{4};[^\n]*\n", ""),
        # all cases closed before the year: nobody qualifies
        ("dubu/dubu_sager.csv", "utf-8", r",(\d{4}-\d\d-\d\d)?,(?=[^,]*,[\d.]+\n)", ",2013-06-30,"),
        # a couple is parted
        ("folkeregister/cpr_udtraek.txt", "iso-8859-1", r"(?m)^(035\d{10} {16})G", r"\1F"),
    ],
)
def test_the_check_fails_when_an_extract_is_changed(
    name: str, encoding: str, find: str, put: str, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "copy")
    changed = re.sub(find, put, _text(tiny, name, encoding), count=0 if "dubu" in name else 400)
    (tmp_path / "copy" / "extracts" / name).write_bytes(changed.encode(encoding))
    with pytest.raises(check.CheckError):
        check.from_extracts(tmp_path / "copy")


def test_every_kind_of_near_miss_is_planted(tiny: Path, town: Path) -> None:
    for folder, times in ((tiny, 1), (town, 2)):
        planted = json.loads((folder / "truth" / "near_misses.json").read_text())
        assert Counter(one["label"] for one in planted) == dict.fromkeys(PLANS, times)


def test_numbers_are_synthetic_unique_and_fit_birth_date_and_sex(town: Path) -> None:
    persons, aliases = reread.register(town / "extracts")
    numbers = [*persons, *aliases]
    assert len(set(numbers)) == len(numbers)
    for number, person in persons.items():
        born = person.birth
        assert number[:6] == f"{born.day + 60}{born.month:02d}{born.year % 100:02d}"
        assert (int(number[6]) <= 3) == (born.year < 2000)
        assert (int(number[9]) % 2 == 1) == (person.sex == "M")


def test_no_extract_holds_a_number_that_could_be_somebodys(town: Path) -> None:
    real = re.compile(rb"(?<![\d'])(0[1-9]|[12]\d|3[01])(0[1-9]|1[0-2])\d{2}[- ]?\d{4}(?!\d)")
    for path in (town / "extracts").rglob("*"):
        if path.is_file():
            assert not real.search(path.read_bytes()), path.name


def test_exchanged_digits_are_nobodys_number(town: Path) -> None:
    persons, aliases = reread.register(town / "extracts")
    members = pl.read_parquet(town / "truth" / "members.parquet")["cpr"].to_list()
    known = {*persons, *aliases, *members}
    referred = {p for one in persons.values() for p in (one.mother, one.father, one.spouse) if p}
    rows = [*reread.spells(town / "extracts"), *reread.postings(town / "extracts")]
    strangers = {row.person for row in rows if row.person} - known
    assert strangers
    assert not strangers & referred


def test_catalogue_fits_the_dataset_and_the_published_table() -> None:
    header, *lines = (HERE / "catalogue.csv").read_text(encoding="utf-8").splitlines()
    assert header.split(";") == [column.name for column in CATALOGUE.columns]
    fixed: dict[str, set[tuple[str, ...]]] = {}
    for line in lines:
        cells = line.split(";")
        fixed.setdefault(cells[0], set()).add(tuple(cells[1:8]))
    assert all(len(values) == 1 for values in fixed.values())
    basis = {service: next(iter(values))[5] for service, values in fixed.items()}
    counting = [service for service, entry in catalogue().items() if entry.counts]
    assert len(counting) >= 26
    assert sum(catalogue()[service].department in {"BUF", "BIF", "SOF"} for service in counting) >= 21
    assert all(not e.counts for e in catalogue().values() if e.type in {"administration", "status"})
    for profile in PROFILES:
        assert basis[profile.service] == ("spell" if profile.extract in SPELL_EXTRACTS else "posting")
    listed = {row.get("service") for path in (HERE / "codes").glob("*.csv") for row in codes(path.stem).values()}
    assert set(catalogue()) - listed == {"BIF-JOBSTATUS"} | {
        s for s in catalogue() if s not in listed and basis[s] == ""
    }


def test_register_has_the_hard_cases(town: Path) -> None:
    lines = _text(town, "folkeregister/cpr_udtraek.txt", "iso-8859-1").split("\r\n")
    persons, _ = reread.register(town / "extracts")
    of_type = Counter(line[:3] for line in lines if line)
    assert set(of_type) == {"000", "001", "015", "025", "035", "046", "065", "999"}
    former = {line[17:27]: line[3:13] for line in lines if line.startswith("065")}
    assert any(former[one] in former for one in former), "no chain"
    assert any(line[189:199] in former or line[291:301] in former for line in lines if line.startswith("001"))
    assert {person.status for person in persons.values()} == {1, 3, 80, 90}
    homeless = [one for one in persons.values() if one.status == 3]
    assert 0.002 < len(homeless) / len(persons) < 0.006
    assert any(persons[one.mother].status == 3 for one in homeless if one.mother in persons), (
        "no child without an address"
    )
    here = check.residents(persons)
    protected = {line[3:13] for line in lines if line.startswith("015") and not line[46:56].strip()}
    assert 0.015 < len(protected & set(here)) / len(here) < 0.035
    assert any(len(one.addresses) == 2 and one.addresses[1][0] > date(2015, 1, 1) for one in persons.values())
    apart = [
        one
        for pnr, one in persons.items()
        if one.mother and one.father and one.birth > date(1997, 1, 1) and one.status == 1 and pnr in here
        if here.get(one.mother) != here.get(one.father)
    ]
    assert len(apart) > 100


def test_prisme_has_the_quirks_of_the_accounts(town: Path) -> None:
    text = _text(town, "prisme/posteringer_2014.csv", "windows-1252")
    assert text.startswith("Bilagsnr;Bogføringsdato;Periode;Kontostreng;Registrant;Tekst;Beløb;Momskode\r\n")
    assert "–" in text, "nothing tells Windows-1252 from ISO-8859-1"
    rows = reread.table(town / "extracts" / "prisme" / "posteringer_2014.csv", "windows-1252", ";")
    repeated = text.count("\r\n") - 1 - len(rows)
    assert 0.003 < repeated / len(rows) < 0.007
    without = [row for row in rows if reread.cpr(row["Registrant"]) is None]
    assert 0.08 <= len(without) / len(rows) <= 0.10
    assert any(re.fullmatch(r"\d{8}", row["Registrant"]) for row in without)
    late = [row for row in rows if row["Bogføringsdato"][3:5] != row["Periode"][4:]]
    assert 0.13 < len(late) / len(rows) < 0.17
    assert any(re.fullmatch(r"\d{1,3}\.\d{3},\d\d-", row["Beløb"]) for row in rows)
    assert all(re.fullmatch(r"\d{16}", row["Kontostreng"]) for row in rows)
    assert {row["Kontostreng"][5] for row in rows} == {"1", "2", "5"}
    assert any(re.search(r"\d{10}", row["Tekst"]) for row in rows)
    wrong = [row for row in rows if row["Tekst"].startswith("Fejlkontering")]
    signed = Counter(
        (row["Tekst"], row["Kontostreng"], row["Beløb"].strip("-"), row["Beløb"][-1] == "-") for row in wrong
    )
    assert wrong
    assert all(signed[*key[:3], not key[3]] == count for key, count in signed.items()), "a reversal without its pair"
    assert {row["Periode"][:4] for row in rows} == {"2013", "2014", "2015"}


def test_other_extracts_have_their_formats_and_dirt(town: Path) -> None:
    extracts = town / "extracts"
    assert (extracts / "dubu" / "dubu_sager.csv").read_bytes().startswith(b"\xef\xbb\xbfSagsID,BarnCPR")
    cases = reread.table(extracts / "dubu" / "dubu_sager.csv", "utf-8-sig", ",")
    assert {"", "9999-12-31"} < {row["Slut"] for row in cases}
    assert all((row["Paragraf"][:2] == "BL") == (row["Start"] >= "2024") for row in cases)
    assert any(row["BarnCPR"] == "" for row in cases)
    adults = reread.table(extracts / "voksen" / "voksen_social.csv", "iso-8859-1", ";")
    assert all(re.fullmatch(r"\d\d\.\d\d\.\d\d", row["Fra"]) for row in adults)
    north, south = (_text(town, f"institution/institution_{name}.csv", "utf-8") for name in ("nord", "syd"))
    assert "Børnehave" in north
    assert "BÃ¸rnehave" in south
    assert "ø" not in south
    assert re.search(r"(?m)^'\d{10};", north)
    assert re.search(r"(?m)^\d{8}\|", _text(town, "sundhed/sundhed_2014.txt", "utf-8")), "no damaged number"
    assert re.search(r"(?m)^\d{6}[A-Z]{2}\d\d;", _text(town, "kultur/kultur_fritid.csv", "utf-8"))
    weeks = {
        (row["aar"], row["uge"]) for row in reread.table(extracts / "momentum" / "momentum_uger.csv", "utf-8", ";")
    }
    assert {("2009", "53"), ("2015", "53")} < weeks
    benefits = reread.table(extracts / "ky" / "ydelser_ky.csv", "ascii", ";")
    assert {row["BRUTTO"] for row in benefits if row["TILDATO"] < "20140101"} == {"0"}
    hyphens = [row["Cpr"] for row in adults if reread.cpr(row["Cpr"])]
    unusual = sum(not re.fullmatch(r"\d{6}-\d{4}", text) for text in hyphens)
    assert 0.02 < unusual / len(hyphens) < 0.09
