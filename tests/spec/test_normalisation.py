"""What is the rule? The tables of tests/spec/linkage hold: how Danish names, dates and addresses are written alike."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from kinlink.encoding.normalise import rules_of
from kinlink.encoding.schema import find

SCHEMA = find("dk-person-1")
RULES = rules_of(SCHEMA)


def read_cases() -> list[tuple[str, ...]]:
    cases = []
    for file in sorted((Path(__file__).parent / "linkage").glob("*.md")):
        for table in file.read_text(encoding="utf-8").split("\n### ")[1:]:
            lines = [line for line in table.splitlines() if line[:1] == "|"]
            head, _, *rows = [tuple(cell.strip() for cell in line[1:-1].split("|")) for line in lines]
            cases += [(head[0], *row) for row in rows]
    return cases


CASES = read_cases()


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_rule(case: tuple[str, ...]) -> None:
    what, name, written, *rest = case
    values = pl.Series([written, None])
    match what:
        case "kind":
            found = RULES.normalise(values, name)
        case "form":
            found = RULES.form(values, name)
        case _:
            field = SCHEMA.field(rest[0])
            found = RULES.normalise(RULES.split(values, name, field.name), field.kind)
    assert found.to_list() == [rest[-1] or None, None]


def test_each_rule_that_a_schema_uses_has_a_case() -> None:
    covered = {(what, name) for what, name, *_ in CASES}
    assert {("kind", field.kind) for field in SCHEMA.fields} <= covered
    parts = [part for rule in SCHEMA.tokens for part in rule.parts + rule.unordered]
    assert {("form", part.form) for part in parts} <= covered
    assert {("column", column) for column in RULES.splits} <= covered


def test_what_is_normal_stays() -> None:
    for what, name, _, *rest in CASES:
        if what == "kind" and rest[-1] and "_" not in rest[-1]:
            assert RULES.normalise(pl.Series([rest[-1]]), name).to_list() == [rest[-1]], (name, rest[-1])
