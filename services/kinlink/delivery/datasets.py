"""The datasets that a source can deliver: columns, types, units, which may be null.

This is the contract between a source's client and the linker's intake; both
read it from here, and the data dictionary is generated from it.

1. A pseudonym column holds 32-byte ristretto255 elements under the source's own
   key, and names the kind of identifier it stands for.
2. Dates are days; a column ending in `month` and the age anchor are always a
   first of month. Intervals are half-open: `valid_to` and `end` are the first
   day after.
3. Amounts are integer øre.
4. It does not know how an extract is laid out (that is the mapping), nor what
   the linker makes of a dataset.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl

from kinlink.delivery.dataset import Column, Dataset
from kinlink.delivery.encoded_datasets import PAYER_ENCODINGS, PERSON_ENCODINGS, REVIEW_ANSWERS
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.pseudonyms import Kind


class PersonKind(StrEnum):
    """How a payer or recipient is identified in `person`."""

    CPR = "cpr"
    REPLACEMENT = "replacement"


_TEXT, _DATE, _ELEMENT = pl.String(), pl.Date(), pl.Binary()
_PERSON_KIND = Column(
    "person_kind",
    _TEXT,
    "cpr, or replacement for a number made by the source itself; null when there is no person",
    "cpr, eller replacement for et erstatningspersonnummer; tom uden person",
    nullable=True,
    values=tuple(PersonKind),
)


def _cpr(name: str, description: str, description_da: str, *, nullable: bool = False) -> Column:
    return Column(name, _ELEMENT, description, description_da, nullable=nullable, kind=Kind.CPR)


def _person(description: str, description_da: str, *, nullable: bool = False) -> Column:
    return Column("person", _ELEMENT, description, description_da, nullable=nullable, kind_column="person_kind")


PERSONS = Dataset(
    "persons",
    pb.DATASET_PERSONS,
    "a registered person over a validity interval",
    "en registreret person i en gyldighedsperiode",
    (
        _cpr("person", "the person", "personen"),
        _cpr("mother", "registered mother; null when unknown", "registreret mor; tom hvis ukendt", nullable=True),
        _cpr("father", "registered father; null when unknown", "registreret far; tom hvis ukendt", nullable=True),
        _cpr("spouse", "spouse or registered partner; null when none", "ægtefælle; tom hvis ingen", nullable=True),
        Column(
            "address",
            _ELEMENT,
            "registered address; null for road codes 9900-9999 and when unknown; null never equals null",
            "bopælsadresse; tom for vejkode 9900-9999 og ukendt; to tomme er aldrig ens",
            nullable=True,
            kind=Kind.ADDRESS,
        ),
        Column(
            "age_anchor",
            _DATE,
            "birth date rounded up to a first of month",
            "fødselsdato rundet op til den 1.",
            first_of_month=True,
        ),
        Column("sex", _TEXT, "f or m", "k/m som f eller m", values=("f", "m")),
        Column("civil_status", _TEXT, "CPR code U G F E D P O L", "CPR-kode U G F E D P O L", values=tuple("UGFEDPOL")),
        Column(
            "status", pl.Int16(), "CPR status code, for example 1, 3, 60, 80, 90", "CPR-statuskode, fx 1, 3, 60, 80, 90"
        ),
        Column(
            "municipality", pl.Int16(), "municipality code; null abroad", "kommunekode; tom i udlandet", nullable=True
        ),
        Column(
            "district",
            _TEXT,
            "coarse district; null when protected or unknown",
            "bydel; tom hvis beskyttet eller ukendt",
            nullable=True,
        ),
        Column(
            "valid_from",
            _DATE,
            "from this day, rounded up to a first of month",
            "fra og med, rundet op til den 1.",
            first_of_month=True,
        ),
        Column(
            "valid_to",
            _DATE,
            "before this day; null while current",
            "til (ikke med); tom hvis gældende",
            nullable=True,
            first_of_month=True,
        ),
    ),
    register_only=True,
)

ALIASES = Dataset(
    "aliases",
    pb.DATASET_ALIASES,
    "a change of number",
    "et skift af personnummer",
    (
        _cpr("former", "the former number", "det tidligere nummer"),
        _cpr("current", "the number that replaced it", "det nye nummer"),
    ),
    register_only=True,
)

POSTINGS = Dataset(
    "postings",
    pb.DATASET_POSTINGS,
    "an amount posted in the accounts",
    "en postering",
    (
        _person(
            "whom it concerns; null when the posting names nobody", "hvem den vedrører; tom uden person", nullable=True
        ),
        _PERSON_KIND,
        Column(
            "encoding_id",
            _TEXT,
            "the source's own record id for a payer without CPR; null otherwise",
            "kildens eget post-id uden CPR; ellers tom",
            nullable=True,
        ),
        Column(
            "event_month", _DATE, "the month the support concerns", "den måned ydelsen vedrører", first_of_month=True
        ),
        Column("booked_month", _DATE, "the month it was posted", "den måned den er bogført", first_of_month=True),
        Column(
            "amount_ore",
            pl.Int64(),
            "signed amount, øre; income is negative",
            "beløb i øre med fortegn; indtægt er negativ",
        ),
        Column(
            "dranst",
            pl.Int8(),
            "1 operation, 2 state refund; net is the signed sum of 1 and 2",
            "1 drift, 2 statsrefusion; netto er summen af 1 og 2",
        ),
        Column("department", _TEXT, "department, for example SOF", "forvaltning, fx SOF"),
        Column("service", _TEXT, "internal service code of the catalogue", "intern ydelseskode i kataloget"),
        Column(
            "account_function",
            _TEXT,
            "account function, for example 5.57.73; null when unknown",
            "funktion, fx 5.57.73; tom hvis ukendt",
            nullable=True,
        ),
        Column(
            "cost_component",
            _TEXT,
            "service, or administration of it",
            "service (ydelsen) eller administration",
            values=("service", "administration"),
        ),
    ),
)

SPELLS = Dataset(
    "spells",
    pb.DATASET_SPELLS,
    "a service, case, benefit or job status over time",
    "en ydelse, sag eller status i en periode",
    (
        _person("who receives it; null when not identified", "modtageren; tom hvis ikke identificeret", nullable=True),
        _PERSON_KIND,
        Column("department", _TEXT, "department, for example BIF", "forvaltning, fx BIF"),
        Column("service", _TEXT, "internal service code of the catalogue", "intern ydelseskode i kataloget"),
        Column(
            "category",
            _TEXT,
            "a visitation category, for example aktivitetsparat; null when none",
            "visitationskategori, fx aktivitetsparat; ellers tom",
            nullable=True,
        ),
        Column("start", _DATE, "from this day", "fra og med"),
        Column("end", _DATE, "before this day; null while open", "til (ikke med); tom hvis åben", nullable=True),
        Column(
            "price_per_week_ore",
            pl.Int64(),
            "net price per week, øre; null when cost is posted",
            "nettopris pr. uge i øre; tom når udgiften bogføres",
            nullable=True,
        ),
    ),
)

CATALOGUE = Dataset(
    "catalogue",
    pb.DATASET_CATALOGUE,
    "what a service code means under one legal code over a period",
    "hvad en ydelseskode betyder efter én hjemmel i en periode",
    (
        Column("service", _TEXT, "internal code, the key", "intern kode, nøglen"),
        Column("name_da", _TEXT, "Danish name", "navn"),
        Column("department", _TEXT, "department that pays, for example BUF", "forvaltning, fx BUF"),
        Column(
            "type",
            _TEXT,
            "offer, transfer, administration or status",
            "tilbud, overførsel, administration eller status",
            values=("offer", "transfer", "administration", "status"),
        ),
        Column(
            "area",
            _TEXT,
            "general (almen) or special; null outside offers",
            "almen eller special; tom uden for tilbud",
            nullable=True,
            values=("general", "special"),
        ),
        Column("counts", pl.Boolean(), "whether it counts as a service of a family", "om den tæller som ydelse"),
        Column(
            "cost_basis",
            _TEXT,
            "where its cost comes from, never both",
            "hvor udgiften kommer fra, aldrig begge",
            values=("posting", "spell", "none"),
        ),
        Column(
            "flags",
            pl.List(pl.String()),
            "public_support, su, social_child_case, job_status, ... in any number",
            "public_support, su, social_child_case, job_status, ... nul eller flere",
        ),
        Column(
            "legal_code",
            _TEXT,
            "paragraph, for example SEL § 52, stk. 3, nr. 3; null when none",
            "hjemmel; tom hvis ingen",
            nullable=True,
        ),
        Column("valid_from", _DATE, "the legal code applies from this day", "hjemlen gælder fra"),
        Column(
            "valid_to", _DATE, "before this day; null while current", "til (ikke med); tom hvis gældende", nullable=True
        ),
    ),
)

CONSENTS = Dataset(
    "consents",
    pb.DATASET_CONSENTS,
    "a consent to a named project",
    "et samtykke til et navngivet projekt",
    (
        _cpr("person", "who consented", "hvem der har givet samtykke"),
        Column("project", _TEXT, "the project", "projektet"),
        Column("given", _DATE, "from this day", "givet"),
        Column(
            "withdrawn",
            _DATE,
            "withdrawn on this day; null while it stands",
            "tilbagekaldt; tom hvis gældende",
            nullable=True,
        ),
    ),
)

EXCLUSIONS = Dataset(
    "exclusions",
    pb.DATASET_EXCLUSIONS,
    "an objection, erasure or restriction",
    "en indsigelse, sletning eller begrænsning",
    (
        _cpr("person", "whom it protects", "hvem den beskytter"),
        Column(
            "scope",
            _TEXT,
            "objection, erasure or restriction",
            "indsigelse, sletning eller begrænsning",
            values=("objection", "erasure", "restriction"),
        ),
        Column("valid_from", _DATE, "from this day", "fra og med"),
    ),
    register_only=True,
)

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        PERSONS,
        ALIASES,
        POSTINGS,
        SPELLS,
        CATALOGUE,
        CONSENTS,
        EXCLUSIONS,
        PERSON_ENCODINGS,
        PAYER_ENCODINGS,
        REVIEW_ANSWERS,
    )
}
BY_NUMBER: dict[int, Dataset] = {int(dataset.number): dataset for dataset in DATASETS.values()}
