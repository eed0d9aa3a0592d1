"""Reads what a mapping says of texts, and of which of them make the columns that a linkage schema encodes."""

from __future__ import annotations

import polars as pl

from kinlink.delivery.dataset import Dataset
from kinlink.delivery.errors import MappingError
from kinlink.delivery.mapping import ColumnRule, Described, Text
from kinlink.delivery.section import Section
from kinlink.delivery.values import written_date
from kinlink.encoding.normalise import rules_of
from kinlink.encoding.schema import LinkageSchema, SchemaError, find

_DATE = "date"


def text_in(section: Section, *, named: bool = True) -> Text:
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


def read_described(top: Section, dataset: Dataset) -> Described | None:
    """Take `schema` and [fields]: needed by a dataset of encodings, and by no other.

    Raises:
        MappingError: no such linkage schema, or it has no such column.
    """
    name, section = top.take("schema", str, ""), top.section("fields")
    rules = section.sections()
    if not dataset.encoded:
        if name or rules:
            raise MappingError(f"{top.place}: {dataset.name} holds no encodings; leave schema and [fields] out.")
        return None
    try:
        schema = find(name)
    except SchemaError as error:
        raise MappingError(f"{top.place}: schema: {error}.") from None
    if not rules:
        raise MappingError(f"{section.place} lacks the columns of {schema.name}. Map those that the extract has.")
    described = Described(schema, _splits(schema), {})
    known = [*(field.name for field in schema.fields), *described.wholes]
    for column, rule in rules.items():
        if column not in known:
            raise MappingError(f"{section.place}: {schema.name} has no column {column}. It has {', '.join(known)}.")
        described.columns[column] = _rule(rule, is_date=column in _dates(schema))
    for whole, fields in described.wholes.items():
        if whole in rules and rules.keys() >= fields:
            raise MappingError(f"{section.place}: {whole} says what {', '.join(sorted(fields))} say. Leave it out.")
    return described


def _splits(schema: LinkageSchema) -> dict[str, frozenset[str]]:
    """Return the columns that hold several of the schema's fields in one text."""
    fields = {field.name for field in schema.fields}
    splits = {whole: fields & set(parts) for whole, parts in rules_of(schema).splits.items()}
    return {whole: frozenset(parts) for whole, parts in splits.items() if parts}


def _dates(schema: LinkageSchema) -> set[str]:
    return {field.name for field in schema.fields if field.kind == _DATE}


def _rule(section: Section, *, is_date: bool) -> ColumnRule:
    code, value = section.take("code", str, ""), section.take("value", str, "")
    rule = ColumnRule(
        text=None if code or value else text_in(section, named=False),
        code=(code, section.take("column", str)) if code else None,
        value=value or None,
        date=section.take("date", str, "") if is_date else "",
        pivot=section.number("pivot") if is_date else None,
    )
    section.finish()
    if rule.date:
        try:
            written_date(pl.lit(""), rule.date)
        except MappingError as error:
            raise MappingError(f"{section.place}: {error}.") from None
    return rule
