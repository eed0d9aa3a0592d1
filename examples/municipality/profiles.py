"""How the generator uses each service: who can have it, how often, at what price, and through which extract.

1. Prices are relative: amounts are scaled to the calibrated totals afterwards (`ledger`).
2. What a service *is* (department, type, area, counts) stands in `catalogue.csv` only.
3. `others` is the chance that an eligible person outside the target group has it in 2014; what needs a social case or
   support is drawn within families that have one. `weight` is the relative chance within the target group.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from examples.municipality.calibration import HERE

SPELL_EXTRACTS = ("dubu", "voksen", "institution", "elev")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalogue says about a service."""

    department: str
    type: str
    area: str
    counts: bool
    flags: frozenset[str]

    @property
    def component(self) -> str:
        """The cost component that its amounts are scaled in; "" when it has no cost of its own."""
        return self.area or self.type


@cache
def catalogue() -> dict[str, Entry]:
    """Service -> entry, from `catalogue.csv`, in its order."""
    with (HERE / "catalogue.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["service"]: Entry(
                row["department"],
                row["type"],
                row["area"],
                row["counts"] == "true",
                frozenset(filter(None, row["flags"].split(","))),
            )
            for row in csv.DictReader(file, delimiter=";")
        }


@cache
def codes(name: str) -> dict[str, dict[str, str]]:
    """A code list: code -> its row."""
    with (HERE / "codes" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {row["code"]: row for row in csv.DictReader(file, delimiter=";")}


@dataclass(frozen=True, slots=True)
class Profile:
    """A service's use. Ages are whole years, both ends in. price: kr. per week, or per posting."""

    service: str
    extract: str
    who: str
    youngest: int
    oldest: int
    others: float
    weight: float
    price: float
    postings: int = 1


def _profile(line: str) -> Profile:
    service, extract, who, ages, others, weight, price, postings = line.split()
    youngest, oldest = ages.split("-")
    return Profile(
        service, extract, who, int(youngest), int(oldest), float(others), float(weight), float(price), int(postings)
    )


# service                  extract     who   ages   others weight price postings
_LINES = """
BUF-VUGGESTUE              institution child 0-2    0.55   4      2600  1
BUF-DAGPLEJE               institution child 0-2    0.10   1      2300  1
BUF-BOERNEHAVE             institution child 3-5    0.93   6      1500  1
BUF-FRITIDSHJEM            institution child 6-9    0.75   5      600   1
BUF-KLUB                   institution child 10-17  0.40   3      250   1
BUF-FOLKESKOLE             elev        child 6-16   0.80   9      1250  1
BUF-UU                     prisme      child 14-17  0.15   1.5    900   2
BUF-SPECIALUNDERVISNING    elev        child 6-16   0.03   2      800   1
BUF-SPECIALKLASSE          elev        child 6-16   0.02   1.5    5200  1
BUF-PPR                    prisme      child 1-16   0.02   3      2400  3
BUF-TALEHOERE              prisme      child 1-12   0.02   1.5    1800  4
BUF-STOETTEPAED            prisme      child 1-6    0.02   1.5    6500  8
BUF-ADM                    prisme      child 0-17   0.02   0      1500  1
BIF-ENKELTYDELSE           ky          adult 18-70  0.00   3      3500  2
BIF-SAERLIGSTOETTE         ky          adult 18-70  0.00   3      2100  8
BIF-UDDANNELSESHJAELP      ky          adult 18-29  0.00   1      7000  3
BIF-KONTANTHJAELP          ky          adult 18-70  0.00   2      13500 3
BIF-SYGEDAGPENGE           ky          adult 18-70  0.00   2      12500 2
BIF-RESSOURCEFORLOEB       ky          adult 18-70  0.00   0.7    13000 3
BIF-REVALIDERING           ky          adult 18-70  0.00   0.7    14000 3
BIF-LEDIGHEDSYDELSE        ky          adult 18-70  0.00   0.7    13000 3
BIF-MENTOR                 prisme      adult 18-70  0.006  3      3800  8
BIF-VIRKPRAKTIK            prisme      adult 18-70  0.008  2.5    1700  3
BIF-LOENTILSKUD            prisme      adult 18-70  0.004  1      6000  4
BIF-NYTTEJOB               prisme      adult 18-70  0.004  1.5    1500  3
BIF-VEJLEDNING             prisme      adult 18-70  0.02   4      4500  4
BIF-ADM                    prisme      adult 18-70  0.02   0      2200  4
SOF-UNDERSOEGELSE          dubu        case  0-17   0.30   3      2600  1
SOF-DAGBEHANDLING          dubu        case  4-16   0.08   1.2    7500  1
SOF-PAEDSTOETTE            dubu        case  0-17   0.25   3      1900  1
SOF-FAMILIEBEHANDLING      dubu        case  0-17   0.30   3.5    2500  1
SOF-FAMILIEOPHOLD          dubu        case  0-10   0.02   0.5    14000 1
SOF-AFLASTNING             dubu        case  1-17   0.20   2.5    2300  1
SOF-KONTAKTPERSON          dubu        case  7-17   0.30   3      1600  1
SOF-PRAKTIK                dubu        case  15-17  0.05   0.7    900   1
SOF-RAADGIVNING            dubu        child 0-17   0.02   2      300   1
SOF-OEKSTOETTE             dubu        child 0-17   0.01   1.5    500   1
SOF-MERUDGIFT              prisme      child 0-17   0.015  1.2    1900  6
SOF-TABTARB                prisme      adult 18-65  0.006  0.7    6500  6
SOF-BOSTOETTE              voksen      adult 18-80  0.008  1.5    1500  1
SOF-STOETTEKONTAKT         voksen      adult 18-80  0.004  1.2    900   1
SOF-MISBRUG                voksen      adult 18-80  0.005  0.8    1700  1
SOF-KRISECENTER            voksen      adult 18-60  0.002  0.4    5500  1
SOF-STOETTEPERSON          voksen      adult 18-60  0.002  1.5    1100  1
SOF-ADM                    prisme      case  0-17   0.30   0      2800  4
SUF-SUNDHEDSPLEJE          sundhed     child 0-16   0.45   5      850   2
SUF-TANDPLEJE              sundhed     child 1-17   0.70   6      600   2
SUF-GENOPTRAENING          sundhed     any   3-90   0.02   1.2    700   4
SUF-HJEMMESYGEPLEJE        sundhed     adult 18-99  0.02   0.7    450   8
SUF-FAMILIEAMB             sundhed     child 0-6    0.01   1.2    1900  3
KFF-BABYSVOEM              kultur      child 0-4    0.05   1.5    300   1
KFF-FERIETILBUD            kultur      child 3-17   0.08   2      400   1
KFF-FRITIDSPAS             kultur      child 3-17   0.03   4      700   2
KFF-MUSIKSKOLE             kultur      child 5-17   0.06   1      1500  2
KFF-FORENING               kultur      child 3-17   0.25   4      500   2
"""
PROFILES = tuple(_profile(line) for line in _LINES.strip().splitlines())
BY_SERVICE = {profile.service: profile for profile in PROFILES}
# The benefits that the third criterion of the target group asks for, with the visitation code that it needs.
CRITERION = {"BIF-KONTANTHJAELP": "AP", "BIF-SYGEDAGPENGE": "", "BIF-RESSOURCEFORLOEB": ""}
REFUND_SHARE = {"BIF-KONTANTHJAELP": 0.3, "BIF-UDDANNELSESHJAELP": 0.3, "BIF-SYGEDAGPENGE": 0.5}
