"""Reads a mapping file (TOML) and checks it against the dataset, before any extract is opened.

Every key is known or refused, with the nearest known one; a wrong mapping is a
sentence that names the key, not a surprise in the data.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

import polars as pl

from kinlink.delivery.dataset import Column, Dataset
from kinlink.delivery.datasets import DATASETS
from kinlink.delivery.encoding import ENCODINGS, MOJIBAKE
from kinlink.delivery.errors import MappingError
from kinlink.delivery.mapping import CodeList, ColumnRule, FileForm, Mapping, Records, columns_of
from kinlink.delivery.mapping_fields import read_described, text_in
from kinlink.delivery.section import Section, place
from kinlink.delivery.values import NumberForm, parse_date
from kinlink.pseudonyms import Kind

_ALIASES = {"latin-1": "iso-8859-1", "cp1252": "windows-1252", "utf8": "utf-8"}
_ADDRESS_PARTS = 5


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
    top = Section(path.name, values)
    dataset = DATASETS[top.take("dataset", str, among=tuple(DATASETS))]
    texts = {name: text_in(section) for name, section in top.section("texts").sections().items()}
    codes = {name: _codes(name, section, path) for name, section in top.section("codes").sections().items()}
    common = _rules(top.section("columns"), dataset)
    described = read_described(top, dataset)
    variants = [_rules(Section(f"{path.name} [[each]]", each), dataset) for each in top.take("each", list, [{}])]
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
        described=described,
    )
    top.finish()
    _check(mapping)
    return mapping


def _file(section: Section) -> FileForm:
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


def _records(section: Section) -> Records | None:
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
            name: {field: place(f"{section.place}: {field}", value) for field, value in fields.items()}
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


def _numbers(section: Section) -> NumberForm:
    form = NumberForm(
        decimal=section.take("decimal", str, ",", among=(",", ".")),
        thousands=section.take("thousands", str, "", among=("", ".", ",", " ", "'")),
        trailing_minus=section.take("trailing_minus", bool, False),
    )
    section.finish()
    if form.decimal == form.thousands:
        raise MappingError(f"{section.place}: decimal and thousands must differ.")
    return form


def _codes(name: str, section: Section, path: Path) -> CodeList:
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


def _rules(section: Section, dataset: Dataset) -> dict[str, ColumnRule]:
    known = {column.name for column in columns_of(dataset)}
    rules = {}
    for name, rule in section.sections().items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise MappingError(f"{section.place}: {dataset.name} has no column {name} to be mapped.{hint}")
        rules[name] = _rule(rule, name)
    return rules


def _rule(section: Section, name: str) -> ColumnRule:
    code = section.take("code", str, "")
    # a constant may be written as TOML's number or date as well
    value = str(section.take("value", object, ""))
    period = section.take("period", str, "", among=("", "start", "end"))
    from_extract = not (code or value or period)
    latest = section.texts("latest")
    rule = ColumnRule(
        text=text_in(section, named=False) if from_extract else None,
        code=(code, section.take("column", str, name)) if code else None,
        value=value or None,
        period=period or None,
        date=section.take("date", str, "yyyy-mm-dd"),
        pivot=section.number("pivot"),
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
    file = mapping.path.name
    if not 0 <= mapping.max_rejected_share <= 1:
        raise MappingError(f"{file}: max_rejected_share is a share, from 0.0 to 1.0.")
    for rules in mapping.variants:
        for column in columns_of(mapping.dataset):
            if column.name not in rules:
                if not column.nullable and column.kind_column is None:
                    raise MappingError(f"{file}: {mapping.dataset.name} needs the column {column.name}; map it.")
                continue
            _check_rule(mapping, column, rules[column.name])
    for name, rule in (mapping.described.columns if mapping.described else {}).items():
        _check_code(mapping, name, rule)


def _check_code(mapping: Mapping, name: str, rule: ColumnRule) -> None:
    if rule.code and rule.code[0] not in mapping.codes:
        where = f"{mapping.path.name}: {name}"
        raise MappingError(f"{where} names the code list {rule.code[0]}, which is not among [codes].")


def _check_rule(mapping: Mapping, column: Column, rule: ColumnRule) -> None:
    where = f"{mapping.path.name}: {column.name}"
    _check_code(mapping, column.name, rule)
    if column.kind or column.kind_column:
        if not rule.text:
            raise MappingError(f"{where} is an identifier and must come from a column of the extract.")
        expected = _ADDRESS_PARTS if column.kind is Kind.ADDRESS else 1
        if len(rule.text.of) != expected:
            raise MappingError(f"{where} takes {expected} column(s) in from, in the order of its description.")
    if rule.period and column.dtype != pl.Date():
        raise MappingError(f"{where} is no date, so it has no period.")
    if column.dtype == pl.Date() and not rule.period:
        try:
            parse_date(pl.lit(""), rule.date, rule.pivot)
        except MappingError as error:
            raise MappingError(f"{where}: {error}.") from None
