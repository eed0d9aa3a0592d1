"""Reads a mapping file (TOML) and checks it against the dataset, before any extract is opened.

Every key is known or refused, with the nearest known one; a wrong mapping is a
sentence that names the key, not a surprise in the data.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from kinlink.delivery.datasets import DATASETS, Column, Dataset, Kind
from kinlink.delivery.encoding import ENCODINGS, MOJIBAKE
from kinlink.delivery.errors import MappingError
from kinlink.delivery.mapping import CodeList, ColumnRule, FileForm, Mapping, Records, Text
from kinlink.delivery.values import NumberForm

T = TypeVar("T")

_ALIASES = {"latin-1": "iso-8859-1", "cp1252": "windows-1252", "utf8": "utf-8"}
_ADDRESS_PARTS = 5


class _Section:
    """A table of the file, from which each key is taken once."""

    def __init__(self, place: str, values: dict[str, Any]) -> None:
        self.place = place
        self._values = dict(values)
        self._known: list[str] = []

    def take(self, key: str, kind: type[T], default: T | None = None, among: tuple[str, ...] = ()) -> T:
        """Return the value of `key`; without a default it must be there."""
        self._known.append(key)
        value = self._values.pop(key, default)
        if value is None:
            near = difflib.get_close_matches(key, self._values, 1)
            raise MappingError(f"{self.place} lacks {key}. {f'Did you write {near[0]} for it?' if near else 'Add it.'}")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise MappingError(f"{self.place}: {key} must be of type {kind.__name__}.")
        if among and value not in among:
            raise MappingError(f"{self.place}: {key} must be one of {', '.join(among)}.")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return one text or a list of texts as a tuple."""
        self._known.append(key)
        value = self._values.pop(key, list(default))
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise MappingError(f"{self.place}: {key} must be a text or a list of texts.")
        return tuple(found)

    def place_of(self, key: str) -> tuple[int, int] | None:
        """Return [start, length], counted from 1."""
        self._known.append(key)
        value = self._values.pop(key, None)
        return None if value is None else _place(f"{self.place}: {key}", value)

    def section(self, key: str) -> _Section:
        """Return a sub-table; an empty one when it is not there."""
        return _Section(f"{self.place} [{key}]", self.take(key, dict, {}))

    def sections(self) -> dict[str, _Section]:
        """Return everything as named sub-tables."""
        for name, value in self._values.items():
            if not isinstance(value, dict):
                raise MappingError(f'{self.place}: {name} must be a table, for example {{ from = "..." }}.')
        return {name: _Section(f"{self.place} {name}", value) for name, value in self._values.items()}

    def finish(self) -> None:
        """Refuse what was not taken."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(self._known)}."
            raise MappingError(f"{self.place}: {key} is not known. {hint}")


def _place(where: str, value: object) -> tuple[int, int]:
    match value:
        case [int() as start, int() as length] if start >= 1 and length >= 1:
            return start, length
    raise MappingError(f"{where} must be [start, length], both from 1.")


def load(path: Path) -> Mapping:
    """Read and check a mapping file. Paths in it are relative to it.

    Raises:
        MappingError: the file cannot be read, is not TOML, or says something that is
            not known or does not fit its dataset.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError:
        raise MappingError(f"The mapping {path} cannot be read. Check the path.", "MAPPING_MISSING") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"The mapping {path} is not TOML: {error}.") from None
    top = _Section(path.name, values)
    dataset = DATASETS[top.take("dataset", str, among=tuple(DATASETS))]
    texts = {name: _text(section) for name, section in top.section("texts").sections().items()}
    codes = {name: _codes(name, section, path) for name, section in top.section("codes").sections().items()}
    common = _rules(top.section("columns"), dataset)
    variants = [_rules(_Section(f"{path.name} [[each]]", each), dataset) for each in top.take("each", list, [{}])]
    mapping = Mapping(
        path=path,
        dataset=dataset,
        source=top.take("source", str, ""),
        period=top.take("period", str, ""),
        max_rejected_share=top.take("max_rejected_share", float, 0.01),
        file=_file(top.section("file")),
        numbers=_numbers(top.section("numbers")),
        texts=texts,
        codes=codes,
        variants=tuple({**common, **variant} for variant in variants),
    )
    top.finish()
    _check(mapping)
    return mapping


def _file(section: _Section) -> FileForm:
    encoding = section.take("encoding", str)
    form = FileForm(
        encoding=_ALIASES.get(encoding.lower(), encoding.lower()),
        separator=section.take("separator", str, ";"),
        quote=section.take("quote", str, '"'),
        skip_rows=section.take("skip_rows", int, 0),
        names=section.texts("names"),
        mojibake=section.take("mojibake", str, "", among=("", MOJIBAKE)),
        line_breaks_in_fields=section.take("line_breaks_in_fields", bool, False),
        last_row_ends_with_line_break=section.take("last_row_ends_with_line_break", bool, False),
        drop_duplicate_rows=section.take("drop_duplicate_rows", bool, False),
        records=_records(section.section("records")),
    )
    section.finish()
    if form.encoding not in ENCODINGS:
        raise MappingError(f"{section.place}: encoding must be one of {', '.join(ENCODINGS)}.")
    if len(form.separator) != 1 or len(form.quote) > 1:
        raise MappingError(f"{section.place}: separator is one sign, and quote one or none.")
    return form


def _records(section: _Section) -> Records | None:
    rows = section.take("rows", str, "")
    if not rows:
        section.finish()
        return None
    end = section.take("end", str, "")
    lines = section.place_of("end_lines")
    records = Records(
        rows=rows,
        key=section.take("key", str),
        type_place=section.place_of("type") or (1, 3),
        fields={
            name: {field: _place(f"{section.place}: {field}", value) for field, value in fields.items()}
            for name, fields in section.take("fields", dict).items()
        },
        end=(end, lines) if end and lines else None,
    )
    section.finish()
    for name, fields in records.fields.items():
        if records.key not in fields:
            raise MappingError(f"{section.place}: record {name} lacks the key {records.key}.")
    if rows not in records.fields:
        raise MappingError(f"{section.place}: rows = {rows!r} has no fields.")
    return records


def _numbers(section: _Section) -> NumberForm:
    form = NumberForm(
        decimal=section.take("decimal", str, ",", among=(",", ".")),
        thousands=section.take("thousands", str, "", among=("", ".", ",", " ", "'")),
        trailing_minus=section.take("trailing_minus", bool, False),
    )
    section.finish()
    if form.decimal == form.thousands:
        raise MappingError(f"{section.place}: decimal and thousands must differ.")
    return form


def _text(section: _Section, *, named: bool = True) -> Text:
    """Read a text: a named one of [texts] may look to the next row, a column's own may replace."""
    when = section.take("when", dict, {})
    text = Text(
        of=section.texts("from"),
        slice=section.place_of("slice"),
        absent=section.texts("absent"),
        replace={} if named else {str(old): str(new) for old, new in section.take("replace", dict, {}).items()},
        when={name: (texts,) if isinstance(texts, str) else tuple(texts) for name, texts in when.items()},
        next_by=section.take("next_by", str, "") if named else "",
    )
    if named:
        section.finish()
    if not text.of:
        raise MappingError(f"{section.place} lacks from.")
    return text


def _codes(name: str, section: _Section, path: Path) -> CodeList:
    codes = CodeList(
        name=name,
        path=path.parent / section.take("file", str),
        of=section.texts("from"),
        key=section.texts("key", ("code",)),
        separator=section.take("separator", str, ";"),
        unknown=section.take("unknown", str, "refuse", among=("refuse", "reject", "null")),
    )
    section.finish()
    if len(codes.of) != len(codes.key):
        raise MappingError(f"{section.place}: from and key must name equally many columns.")
    return codes


def _rules(section: _Section, dataset: Dataset) -> dict[str, ColumnRule]:
    known = {column.name for column in dataset.columns if column.name != "person_kind"}
    rules = {}
    for name, rule in section.sections().items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise MappingError(f"{section.place}: {dataset.name} has no column {name} to be mapped.{hint}")
        rules[name] = _rule(rule, name)
    return rules


def _rule(section: _Section, name: str) -> ColumnRule:
    code = section.take("code", str, "")
    # a constant may be written as TOML's number or date as well
    value = str(section.take("value", object, ""))
    period = section.take("period", str, "", among=("", "start", "end"))
    from_extract = not (code or value or period)
    latest = section.texts("latest")
    rule = ColumnRule(
        text=_text(section, named=False) if from_extract else None,
        code=(code, section.take("column", str, name)) if code else None,
        value=value or None,
        period=period or None,
        date=section.take("date", str, "yyyy-mm-dd"),
        pivot=section.take("pivot", int, -1),
        add_days=section.take("add_days", int, 0),
        latest=latest,
        unit=section.take("unit", str, "kroner", among=("kroner", "øre")),
        times=section.take("times", str, "") or None,
        negative=section.take("negative", bool, False),
        drop_zero=section.take("drop_zero", bool, False),
        split=section.take("split", str, ","),
        not_a_person=section.texts("not_a_person"),
    )
    section.finish()
    return rule


def _check(mapping: Mapping) -> None:
    """Check what can only be told from the whole: columns against the dataset, names against each other."""
    place = mapping.path.name
    if not 0 <= mapping.max_rejected_share <= 1:
        raise MappingError(f"{place}: max_rejected_share is a share, from 0.0 to 1.0.")
    for rules in mapping.variants:
        for column in mapping.dataset.columns:
            if column.name == "person_kind":
                continue
            if column.name not in rules:
                if not column.nullable and column.kind_column is None:
                    raise MappingError(f"{place}: {mapping.dataset.name} needs the column {column.name}; map it.")
                continue
            _check_rule(mapping, column, rules[column.name])


def _check_rule(mapping: Mapping, column: Column, rule: ColumnRule) -> None:
    where = f"{mapping.path.name}: {column.name}"
    if rule.code and rule.code[0] not in mapping.codes:
        raise MappingError(f"{where} names the code list {rule.code[0]}, which is not among [codes].")
    if column.kind or column.kind_column:
        if not rule.text:
            raise MappingError(f"{where} is an identifier and must come from a column of the extract.")
        expected = _ADDRESS_PARTS if column.kind is Kind.ADDRESS else 1
        if len(rule.text.of) != expected:
            raise MappingError(f"{where} takes {expected} column(s) in from, in the order of its description.")
    if rule.period and column.dtype != pl.Date():
        raise MappingError(f"{where} is no date, so it has no period.")
