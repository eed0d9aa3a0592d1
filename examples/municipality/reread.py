"""Reads the extracts back, slowly and obviously, knowing only the README: the generator's own check.

Nothing here is shared with the delivery client: agreement of the two is what the demo shows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from examples.municipality.profiles import codes

NOBODY = "0000000000"
YEAR = (date(2014, 1, 1), date(2015, 1, 1))


@dataclass(slots=True)
class Registered:
    """A person as the register has it; addresses are (from, municipality, key or None)."""

    status: int
    sex: str
    birth: date
    mother: str | None
    father: str | None
    civil: str = ""
    spouse: str | None = None
    addresses: list[tuple[date, str, str | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spell:
    """A spell; person None when it does not link exactly."""

    person: str | None
    service: str
    category: str
    start: date
    end: date
    price_ore: int | None


@dataclass(frozen=True, slots=True)
class Posting:
    """A posting; person None when it does not link exactly."""

    person: str | None
    service: str
    event_month: date
    amount_ore: int
    dranst: int


def cpr(text: str) -> str | None:
    """The ten digits of a synthetic number, or None for anything else."""
    digits = text.replace("'", "").replace("-", "").replace(" ", "")
    return digits if len(digits) == 10 and digits.isdigit() and 61 <= int(digits[:2]) <= 91 else None


def rounded_up(day: date) -> date:
    """The day, or the first of the next month."""
    return day if day.day == 1 else (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def register(folder: Path) -> tuple[dict[str, Registered], dict[str, str]]:
    """Persons by number (status 60 left out), and former -> current number, resolved through chains."""
    persons: dict[str, Registered] = {}
    aliases: dict[str, str] = {}
    content = (folder / "folkeregister" / "cpr_udtraek.txt").read_bytes()
    lines = content.decode("iso-8859-1").split("\r\n")
    if lines[-1] or int(lines[-2][13:21]) != len(lines) - 1:
        raise ValueError("the register's extract does not end with its number of lines")
    for line in lines[1:-2]:
        pnr = line[3:13]
        match line[:3]:
            case "001" if line[35:37] != "60":
                persons[pnr] = Registered(
                    int(line[35:37]),
                    line[66],
                    date.fromisoformat(line[67:77]),
                    _known(line[189:199]),
                    _known(line[291:301]),
                )
            case "025":
                fixed = line[33:37] < "9900" and line[29:33] != "0000"
                moved = date.fromisoformat(f"{line[97:101]}-{line[101:103]}-{line[103:105]}")
                persons[pnr].addresses.append((moved, line[29:33], line[29:47] if fixed else None))
            case "035":
                persons[pnr].civil, persons[pnr].spouse = line[29], _known(line[30:40])
            case "065":
                aliases[line[17:27]] = pnr
    resolved = {}
    for former in aliases:
        number = former
        while number in aliases:
            number = aliases[number]
        resolved[former] = number
    for person in persons.values():
        for name in ("mother", "father", "spouse"):
            number = getattr(person, name)
            setattr(person, name, resolved.get(number, number))
    return persons, resolved


def _known(number: str) -> str | None:
    return None if number == NOBODY else number


def table(path: Path, encoding: str, separator: str) -> list[dict[str, str]]:
    """The lines of a delimited file, identical ones once."""
    text = path.read_bytes().decode(encoding)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = next(rows)
    return [dict(zip(header, row, strict=True)) for row in dict.fromkeys(tuple(row) for row in rows)]


def ore(text: str) -> int:
    """Danish amount to øre: "1.234,56-" is -123456."""
    sign = -1 if text.endswith("-") or text.startswith("-") else 1
    kroner, _, rest = text.strip("-").replace(".", "").partition(",")
    return sign * (int(kroner) * 100 + int(rest or "0"))


def _day(text: str, form: str) -> date:
    match form:
        case "dmy":
            return date(int(text[6:10]), int(text[3:5]), int(text[:2]))
        case "dmyy":
            return date(2000 + int(text[6:8]), int(text[3:5]), int(text[:2]))
        case "ymd":
            return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
        case _:
            return date.fromisoformat(text)


def _after(text: str, form: str) -> date:
    """The day after a last day; far in the future for an open end."""
    return date.max if text in {"", "9999-12-31"} else _day(text, form) + timedelta(days=1)


def spells(folder: Path) -> Iterator[Spell]:
    """All spells of dubu, voksen, institution, elev and ky."""
    service = {code: row["service"] for code, row in codes("dubu_paragraf").items()}
    for row in table(folder / "dubu" / "dubu_sager.csv", "utf-8-sig", ","):
        price = round(float(row["PrisPrUge"]) * 100)
        start, end = _day(row["Start"], "iso"), _after(row["Slut"], "iso")
        yield Spell(cpr(row["BarnCPR"]), service[row["Paragraf"]], "", start, end, price)
    service = {code: row["service"] for code, row in codes("voksen_indsats").items()}
    for row in table(folder / "voksen" / "voksen_social.csv", "iso-8859-1", ";"):
        start, end = _day(row["Fra"], "dmyy"), _after(row["Til"], "dmyy")
        yield Spell(cpr(row["Cpr"]), service[row["Indsats"]], "", start, end, ore(row["Takst"]))
    service = {code: row["service"] for code, row in codes("institution_modul").items()}
    for name in ("nord", "syd"):
        for row in table(folder / "institution" / f"institution_{name}.csv", "utf-8", ";"):
            start, end = _day(row["Fra"], "dmy"), _after(row["Til"], "dmy")
            yield Spell(cpr(row["Barn"]), service[row["Modul"]], "", start, end, ore(row["Netto"]))
    service = {code: row["service"] for code, row in codes("elev_specialundervisning").items()}
    for row in table(folder / "elev" / "elev_2014.csv", "iso-8859-1", ";"):
        yield Spell(cpr(row["cpr"]), service[row["specialundervisning"]], "", *YEAR, ore(row["takst"]))
    visitation = {code: row["category"] for code, row in codes("ky_visitation").items()}
    for row, person, name in _ky(folder):
        start, end = _day(row["FRADATO"], "ymd"), _after(row["TILDATO"], "ymd")
        yield Spell(person, name, visitation.get(row["VISITATION"], ""), start, end, None)


def _ky(folder: Path) -> Iterator[tuple[dict[str, str], str | None, str]]:
    service = {code: row["service"] for code, row in codes("ky_ydelse").items()}
    for row in table(folder / "ky" / "ydelser_ky.csv", "ascii", ";"):
        yield row, cpr(row["PERSONNR"]), service[row["YDELSESKODE"]]


def postings(folder: Path) -> Iterator[Posting]:
    """All postings of prisme, sundhed, kultur and ky."""
    service = {code: row["service"] for code, row in codes("prisme_konto").items()}
    for row in table(folder / "prisme" / "posteringer_2014.csv", "windows-1252", ";"):
        account, period = row["Kontostreng"], row["Periode"]
        month = date(int(period[:4]), int(period[4:]), 1)
        person = cpr(row["Registrant"])
        yield Posting(person, service[account[7:14]], month, ore(row["Beløb"]), int(account[5]))
    service = {code: row["service"] for code, row in codes("sundhed_ydelse").items()}
    for row in table(folder / "sundhed" / "sundhed_2014.txt", "utf-8", "|"):
        month = _day(row["Dato"], "dmy").replace(day=1)
        amount = int(row["Antal"]) * ore(row["Enhedspris"])
        yield Posting(cpr(row["CPR"]), service[row["Ydelse"]], month, amount, 1)
    service = {code: row["service"] for code, row in codes("kultur_tilskud").items()}
    season = {code: date.fromisoformat(row["event_month"]) for code, row in codes("kultur_saeson").items()}
    for row in table(folder / "kultur" / "kultur_fritid.csv", "utf-8", ";"):
        yield Posting(cpr(row["Cpr"]), service[row["Tilskud"]], season[row["Sæson"]], ore(row["Beløb"]), 1)
    for row, person, name in _ky(folder):
        month = _day(row["FRADATO"], "ymd").replace(day=1)
        for amount, dranst in ((int(row["BRUTTO"]), 1), (-int(row["REFUSION"]), 2)):
            if amount:
                yield Posting(person, name, month, amount, dranst)


def days_covered(intervals: Iterable[tuple[date, date]], first: date, after: date) -> int:
    """Distinct days of half-open intervals within [first, after)."""
    covered, reached = 0, first
    for start, end in sorted(intervals):
        start, end = max(start, reached), min(end, after)  # noqa: PLW2901
        if end > start:
            covered += (end - start).days
            reached = end
    return covered
