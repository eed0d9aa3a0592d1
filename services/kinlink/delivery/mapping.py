"""What a mapping says: how an extract is laid out, and how its columns become a dataset's.

1. One mapping makes one dataset of one kind of extract; an extract that holds two
   datasets is read twice.
2. A column of the dataset takes its text from a column of the extract, a code
   list, a constant or the period; the dataset's type tells how it is read.
3. A column that no mapping names is never read: free text stays where it is.

`mapping_file` reads these from TOML and checks them against the dataset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kinlink.delivery.dataset import Column, Dataset
from kinlink.delivery.datasets import POSTINGS
from kinlink.delivery.encoded_datasets import PAYER_ENCODINGS
from kinlink.delivery.values import NumberForm
from kinlink.encoding.schema import LinkageSchema


@dataclass(frozen=True, slots=True)
class Records:
    """A fixed-width extract of several record types that belong together by a key.

    `fields` holds, for each record type, the name, start (from 1) and length of its
    fields. Every record of type `rows` gives a row, and takes the fields of the other
    types from the records with the same `key`; of several, the last holds. A person's
    records stand together. `end` is the type of the last line, and where in it the
    number of lines stands.
    """

    rows: str
    key: str
    type_place: tuple[int, int]
    fields: dict[str, dict[str, tuple[int, int]]]
    end: tuple[str, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class FileForm:
    """How the extract is written. `names` stand for a header that the file lacks."""

    encoding: str
    separator: str = ";"
    quote: str = '"'
    skip_rows: int = 0
    names: tuple[str, ...] = ()
    mojibake: str = ""
    line_breaks_in_fields: bool = False
    last_row_ends_with_line_break: bool = False
    drop_duplicate_rows: bool = False
    records: Records | None = None

    @property
    def fixed_width(self) -> bool:
        """Whether fields stand at fixed places rather than between separators."""
        return self.records is not None


@dataclass(frozen=True, slots=True)
class Text:
    """A text made of the extract's columns.

    The columns in `of`, joined by a hyphen; `slice` is start (from 1) and length;
    texts in `absent` mean nothing; `replace` swaps whole texts and makes others
    bad; `when` keeps the text only where other columns hold one of the texts named
    ("" is blank). `next_by` takes the text from the next row with the same value there.
    """

    of: tuple[str, ...]
    slice: tuple[int, int] | None = None
    absent: tuple[str, ...] = ()
    replace: dict[str, str] = field(default_factory=dict)
    when: dict[str, tuple[str, ...]] = field(default_factory=dict)
    next_by: str = ""


@dataclass(frozen=True, slots=True)
class CodeList:
    """A file that says what the extract's codes mean: `key` columns of the list equal `of` texts of the extract.

    `unknown` says what a code that the list lacks does: refuse the extract, reject the
    row, or stand as null.
    """

    name: str
    path: Path
    of: tuple[str, ...]
    key: tuple[str, ...]
    separator: str
    unknown: str


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """How one column of the dataset is made.

    Just one of `text`, `code` (list and column), `value` and `period` ("start" or
    "end") is set; `latest` holds further texts, of which the latest date is taken.
    """

    text: Text | None = None
    code: tuple[str, str] | None = None
    value: str | None = None
    period: str | None = None
    date: str = "yyyy-mm-dd"
    pivot: int | None = None
    add_days: int = 0
    latest: tuple[str, ...] = ()
    unit: str = "kroner"
    times: str | None = None
    negative: bool = False
    drop_zero: bool = False
    split: str = ","
    not_a_person: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """What an extract tells of persons, in the columns that a linkage schema encodes.

    `wholes` are columns that hold several of the schema's fields in one text, by name. `columns` are the rules, by
    column of the schema or by whole; the date form "" leaves it to the schema how a date is written.
    """

    schema: LinkageSchema
    wholes: dict[str, frozenset[str]]
    columns: dict[str, ColumnRule]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns to encode: those mapped, and, without any value, the fields that none of them tells."""
        told = set(self.columns).union(*(self.wholes[name] for name in self.columns if name in self.wholes))
        return (*self.columns, *(field.name for field in self.schema.fields if field.name not in told))


def columns_of(dataset: Dataset) -> tuple[Column, ...]:
    """Return the columns that a mapping makes, by rules.

    Of the dataset's they are those without encodings and without kinds of person. The number by which an extract names
    a payer is none of payer_encodings' and is made as in postings: it tells which rows are left out.
    """
    made = tuple(column for column in dataset.columns if column.name not in ("person_kind", "fields", "tokens"))
    return (POSTINGS.columns[0], *made) if dataset is PAYER_ENCODINGS else made


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping, checked. `variants` has one set of rules for each row that an extract's row gives.

    `source` is the system whose extract it reads; "" when the mapping does not say.
    """

    path: Path
    dataset: Dataset
    source: str
    period: str
    max_rejected_share: float
    file: FileForm
    numbers: NumberForm
    texts: dict[str, Text]
    codes: dict[str, CodeList]
    variants: tuple[dict[str, ColumnRule], ...]
    described: Described | None = None

    def wanted(self) -> tuple[str, ...]:
        """Return the columns of the extract that are read, sorted."""
        names: set[str] = set()
        for text in self.texts.values():
            names |= {*text.of, *text.when, *([text.next_by] if text.next_by else [])}
        for codes in self.codes.values():
            names |= set(codes.of)
        for rules in (*self.variants, self.described.columns if self.described else {}):
            for rule in rules.values():
                if rule.text:
                    names |= {*rule.text.of, *rule.text.when}
                names |= {*rule.latest, *([rule.times] if rule.times else [])}
        return tuple(sorted(names - set(self.texts)))

    def label(self, of: tuple[str, ...]) -> str:
        """Return the columns of the extract behind texts, as the source's owner knows them."""
        bases = [base for name in of for base in (self.texts[name].of if name in self.texts else (name,))]
        return "+".join(dict.fromkeys(bases))
