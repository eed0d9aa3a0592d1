"""Normalisation: one way of writing each name, date and address, and the forms of it that go into tokens.

1. The rules are data (`normalisation/*.toml`): lists of steps, each a pattern and what stands in its place; a digest
   of them is part of the schema's id.
2. Text is brought to NFKC and lower case, each list's steps are done in order, then runs of spaces become one.
3. A value that says that it is missing, or has not the form that its kind must have, is null: nothing is compared
   on it. Empty text is null.
4. A form of a value is null where it cannot be told, such as the year of half a date.
5. Columns that hold several fields in one text, such as a whole name, are split by patterns of the same file.

Whoever calls gives distinct values: every step runs over all of them, in polars. It knows no keys and no bits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import polars as pl

from kinlink.encoding.schema import LinkageSchema, SchemaError, rules_text

_SPARE: Final = "spare"


@dataclass(frozen=True, slots=True)
class Step:
    """A pattern (Rust's regular expressions) and its replacement. `spare`: a text that would be empty is left alone."""

    pattern: str
    replacement: str
    spare: bool


@dataclass(frozen=True, slots=True)
class Form:
    """Lists of steps, and what is a value after them: not `missing`, matching `must`; `is_sorted` by character."""

    steps: tuple[tuple[Step, ...], ...]
    missing: str
    must: str
    is_sorted: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """What a normalisation says. `kinds` by kind of field, `forms` by name, `splits` by column, then by field."""

    kinds: Mapping[str, Form]
    forms: Mapping[str, Form]
    split_steps: Mapping[str, Form]
    splits: Mapping[str, Mapping[str, str]]

    def normalise(self, values: pl.Series, kind: str) -> pl.Series:
        """Return String values, as many and in the same order, null where there is nothing to compare."""
        text = values.cast(pl.String).str.normalize("NFKC").str.to_lowercase()
        return _apply(self.kinds[kind], _squeezed(text))

    def form(self, values: pl.Series, form: str) -> pl.Series:
        """Return the form of normalised values, null where it cannot be told."""
        return _apply(self.forms[form], values)

    def split(self, values: pl.Series, column: str, field: str) -> pl.Series:
        """Return a field's part of values of a column that holds several, not yet normalised."""
        text = _squeezed(values.cast(pl.String).str.normalize("NFKC").str.to_lowercase())
        text = _apply(self.split_steps[column], text)
        groups = text.str.extract_groups(self.splits[column][field]).struct.unnest()
        return pl.select(pl.coalesce(groups.get_columns())).to_series()


@cache
def rules_of(schema: LinkageSchema) -> Rules:
    """Return the rules that a schema names.

    Raises:
        SchemaError: they lack a kind or a form that the schema uses, or a pattern is no pattern.
    """
    rules = read_rules(rules_text(schema.normalisation))
    for field in schema.fields:
        if field.kind not in rules.kinds:
            raise SchemaError(f"field {field.name}: kind {field.kind} is unknown; expected {', '.join(rules.kinds)}")
    for rule in schema.tokens:
        for part in rule.parts + rule.unordered:
            if part.form not in rules.forms:
                raise SchemaError(f"token {rule.name}: form {part.form} is unknown; expected {', '.join(rules.forms)}")
    return rules


def read_rules(text: str) -> Rules:
    """Read normalisation rules.

    Raises:
        SchemaError: a step is not a step, or a pattern is no pattern; names its place.
    """
    document = tomllib.loads(text)
    lists = {
        name: tuple(_step(entry, f"lists.{name}") for entry in entries) for name, entries in document["lists"].items()
    }
    kinds = {name: _form(entry, lists, f"kinds.{name}") for name, entry in document["kinds"].items()}
    forms = {name: _form(entry, lists, f"forms.{name}") for name, entry in document["forms"].items()}
    splits: dict[str, dict[str, str]] = {}
    split_steps: dict[str, Form] = {}
    for column, entry in document.get("splits", {}).items():
        split_steps[column] = _form({"steps": entry["steps"]}, lists, f"splits.{column}")
        splits[column] = {field: _pattern(p, f"splits.{column}") for field, p in entry.items() if field != "steps"}
    return Rules(kinds, forms, split_steps, splits)


def _form(entry: Mapping[str, Any], lists: Mapping[str, tuple[Step, ...]], place: str) -> Form:
    names: Sequence[str] = entry.get("steps", [])
    if unknown := [name for name in names if name not in lists]:
        raise SchemaError(f"{place}: list {unknown[0]} is unknown")
    return Form(
        tuple(lists[name] for name in names),
        _pattern(entry.get("missing", ""), place),
        _pattern(entry.get("must", ""), place),
        bool(entry.get("sorted", False)),
    )


def _step(entry: Sequence[str], place: str) -> Step:
    if len(entry) not in {2, 3} or entry[2:] not in ([], [_SPARE]):
        raise SchemaError(f"{place}: a step is a pattern, its replacement, and perhaps {_SPARE!r}")
    return Step(_pattern(entry[0], place), entry[1], len(entry) == 3)


def _pattern(pattern: str, place: str) -> str:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError:
        raise SchemaError(f"{place}: {pattern} is not a pattern of Rust's regular expressions") from None
    return pattern


def _apply(form: Form, text: pl.Series) -> pl.Series:
    for steps in form.steps:
        for step in steps:
            text = _stepped(step, text)
        text = _squeezed(text)
    if form.is_sorted:
        text = text.str.split("").list.sort().list.join("")
    is_value = text != ""
    if form.missing:
        is_value &= ~text.str.contains(form.missing)
    if form.must:
        is_value &= text.str.contains(form.must)
    return text.set(~is_value, None)


def _stepped(step: Step, text: pl.Series) -> pl.Series:
    if not step.pattern:
        return text
    changed = text.str.replace_all(step.pattern, step.replacement)
    if not step.spare:
        return changed
    return changed.set(changed.str.strip_chars() == "", None).fill_null(text) if changed.len() else changed


def _squeezed(text: pl.Series) -> pl.Series:
    return text.str.replace_all(r"\s+", " ").str.strip_chars()
