"""The page of linkage schemas: what each encodes, and by which tokens records are brought together."""

from __future__ import annotations

from collections.abc import Iterator

from kinlink.encoding.schema import LinkageSchema, Part, TokenRule, find, names
from tools.markdown import NOTE, table


def linkage_schemas() -> Iterator[str]:
    """Yield the page."""
    yield "# Linkage schemas"
    yield NOTE
    yield (
        "A source encodes under one of these and names it in its delivery: a mapping by its name, the delivery by its "
        "id, which changes with anything that the schema or its normalisation says. What the words mean: "
        "[linkage by encodings](../spec/encoded-linkage.md)."
    )
    for name in names():
        yield from _schema(find(name))


def _schema(schema: LinkageSchema) -> Iterator[str]:
    yield f"\n## {schema.name}\n"
    yield (
        f"Id `{schema.id}`. Normalisation `{schema.normalisation}`. Each bit is the exclusive or of {schema.taps} bits "
        f"of a filter. Compared crosswise as well: {'; '.join(' with '.join(pair) for pair in schema.swapped)}.\n"
    )
    rows = (
        (
            f"`{field.name}`",
            str(field.describes),
            f"{field.gram} in place" if field.positional else str(field.gram),
            str(field.bits),
            str(field.hashes),
            f"`{field.key}`",
        )
        for field in schema.fields
    )
    yield from table(("field", "describes", "characters a gram", "bits", "hashes a gram", "key"), rows)
    yield "Blocking tokens, by rule; parts in brackets in either order:\n"
    yield from table(("rule", "parts"), ((f"`{rule.name}`", _parts(rule)) for rule in schema.tokens))


def _parts(rule: TokenRule) -> str:
    unordered = [f"[{', '.join(map(_part, rule.unordered))}]"] if rule.unordered else []
    return ", ".join([*unordered, *map(_part, rule.parts)])


def _part(part: Part) -> str:
    return f"{part.field}.{part.form}"
