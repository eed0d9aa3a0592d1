"""The datasets that a source can deliver: columns, types, units, which may be null.

This is the contract between a source's client and the linker's intake; both
read it from here, and the data dictionary is generated from it.

1. A pseudonym column holds 32-byte ristretto255 elements under the source's own
   key, and names the kind of identifier it stands for.
2. Dates are days; a column ending in `month` and the age anchor are always a
   first of month. Intervals are half-open: `valid_to` and `end` are the first
   day after.
3. Amounts are integer øre.
4. Encodings (`kinlink.encoding`) are filters in the order of their linkage schema's fields, and blocking tokens; the
   delivery's header names the schema and the encoding key's version.
5. It does not know how an extract is laid out (that is the mapping), nor what
   the linker makes of a dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.pseudonyms import Kind as Kind  # noqa: PLC0414 - also read from here

# Ten digits as in a CPR number (day, also + 60, month, year, serial), however they are parted. The syntax is polars'.
_GAP = r"[\s./\-\u{a0}\u{2010}-\u{2015}]"
CPR_IN_TEXT = (
    rf"(?:^|[^0-9])(?:0[1-9]|[12][0-9]|3[01]|6[1-9]|[78][0-9]|9[01]){_GAP}?(?:0[1-9]|1[0-2])"
    rf"{_GAP}?[0-9]{{2}}{_GAP}{{0,3}}[0-9]{{4}}(?:[^0-9]|$)"
)
"""Text in which this stands is refused in every column, by the client and again by the intake."""

RECORD_NUMBER = r"^\S*[0-9]\S*$"
"""What an `encoding_id` looks like: a digit in it, and no blank, so that no name is taken for one."""

MAX_PERSON_AMOUNT_ORE = 100_000_000_00
"""More is posted on no person; a CPR number read as kroner is always more."""


class PersonKind(StrEnum):
    """How a payer or recipient is identified in `person`."""

    CPR = "cpr"
    REPLACEMENT = "replacement"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset.

    `kind` is set when the column holds pseudonyms; `kind_column` names the column
    that tells the kind row by row, for persons who may stand under a CPR or a
    replacement number. `values` are the allowed codes. `first_of_month` dates are
    refused on any other day.
    """

    name: str
    dtype: pl.DataType
    description: str
    description_da: str
    nullable: bool = False
    kind: Kind | None = None
    kind_column: str | None = None
    values: tuple[str, ...] = ()
    first_of_month: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """A deliverable dataset: its name, its wire number, what a row is, its columns.

    `encoded`: it holds encodings, and its header names a linkage schema and a key of kind encoding.
    """

    name: str
    number: pb.Dataset.ValueType
    row: str
    row_da: str
    columns: tuple[Column, ...]
    register_only: bool = False
    encoded: bool = False

    @property
    def schema(self) -> pl.Schema:
        """The polars schema, in column order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def pseudonym_columns(self) -> tuple[Column, ...]:
        """The columns that hold pseudonyms."""
        return tuple(column for column in self.columns if column.kind or column.kind_column)


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

_ENCODING_ID = Column(
    "encoding_id",
    _TEXT,
    "the source's own record id, unique in the delivery",
    "kildens eget post-id, entydigt i leverancen",
)
_ENCODINGS = (
    Column(
        "fields",
        pl.List(pl.Binary()),
        "one keyed filter a field of the linkage schema, in its order; null where the value is missing or unusable",
        "et nøglet filter pr. felt i koblingsskemaet, i dets rækkefølge; tom hvor værdien mangler eller er ubrugelig",
    ),
    Column(
        "tokens",
        pl.List(pl.Binary()),
        "keyed blocking tokens, 8 bytes each; none when nothing usable is known",
        "nøglede bloknøgler på 8 bytes; ingen når intet brugbart kendes",
    ),
)

PERSON_ENCODINGS = Dataset(
    "person_encodings",
    pb.DATASET_PERSON_ENCODINGS,
    "a registered person's name, birth date and address, encoded",
    "en registreret persons navn, fødselsdato og adresse, kodet",
    (_cpr("person", "the person", "personen"), *_ENCODINGS),
    register_only=True,
    encoded=True,
)

PAYER_ENCODINGS = Dataset(
    "payer_encodings",
    pb.DATASET_PAYER_ENCODINGS,
    "what a record without a usable CPR number knows of its payer, encoded",
    "hvad en post uden brugbart personnummer ved om betaleren, kodet",
    (_ENCODING_ID, *_ENCODINGS),
    encoded=True,
)

REVIEW_ANSWERS = Dataset(
    "review_answers",
    pb.DATASET_REVIEW_ANSWERS,
    "a source's answer about one of its own records in review",
    "kildens svar om en af dens egne poster til gennemsyn",
    (
        _ENCODING_ID,
        _cpr(
            "person",
            "who it is; null when it is nobody in the register",
            "hvem det er; tom når ingen i registret er det",
            nullable=True,
        ),
    ),
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
