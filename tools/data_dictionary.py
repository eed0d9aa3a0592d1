"""The data dictionary, in English and in Danish: what is delivered, what is inside, what is released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from kinlink.delivery.dataset import Column
from kinlink.delivery.datasets import DATASETS
from linker import frames
from linker.tables import registry
from linker.tables.registered_table import Axis, PeriodType
from tools.markdown import NOTE, table

LINKER = Path(frames.__file__).parent

_TYPES: dict[str, tuple[str, str]] = {
    "String": ("text", "tekst"),
    "Date": ("date", "dato"),
    "Boolean": ("true/false", "sand/falsk"),
    "Binary": ("pseudonym", "pseudonym"),
    "List(String)": ("list of text", "liste af tekst"),
    "List(Binary)": ("list of encodings", "liste af koder"),
    "Float64": ("number", "tal"),
}
_PERIODS: dict[PeriodType, tuple[str, str]] = {
    PeriodType.YEAR: ("By year, once it is over", "Pr. år, når året er omme."),
    PeriodType.YEAR_TO_DATE: ("Every month, for the year to date", "Hver måned, for året til dato."),
    PeriodType.QUARTER: ("By quarter, once it is over", "Pr. kvartal, når kvartalet er omme."),
}

_FAMILY_TABLE: dict[str, tuple[str, str]] = {
    "row_id": ("an id of this release and this consumer only", "et id, der kun gælder denne udgivelse og modtager"),
    "children": ("children at home: 1, 2, ≥3", "hjemmeboende børn: 1, 2, ≥3"),
    "single_provider": ("single provider: yes, no", "enlig forsørger: yes, no"),
    "youngest_child": ("age of the youngest child, 5 years", "yngste barns alder, 5 år"),
    "persons": ("persons of the family: 1 to 4, ≥5", "familiens personer: 1 til 4, ≥5"),
    "departments": ("departments with a service that counts", "forvaltninger med en ydelse, der tæller"),
    "oldest_adult": ("age of the oldest adult, 10 years; none", "ældste voksnes alder, 10 år; none: ingen voksen"),
    "services": ("services that count", "ydelser, der tæller"),
    "spending": ("net spending in the year, kroner, in bands", "nettoudgift i året, kroner, i intervaller"),
    "spending_<department>": ("the same, of one department", "det samme, af én forvaltning"),
    "spending…_kr": (
        "rounded amount, kroner; only if the policy rounds, and empty where hidden",
        "afrundet beløb, kroner; kun hvis politikken afrunder, og tomt hvor det er skjult",
    ),
}


def dtype_words(dtype: pl.DataType) -> tuple[str, str]:
    """Return the type in English and in Danish; every integer type is an integer."""
    return ("integer", "heltal") if dtype.is_integer() else _TYPES[str(dtype)]


def _codes(column: Column) -> str:
    return ", ".join(f"`{value}`" for value in column.values)


def _pseudonym(column: Column, danish: bool) -> str:
    if column.kind:
        return f"pseudonym ({column.kind.value})"
    if column.kind_column:
        return f"pseudonym ({'art i' if danish else 'kind in'} `{column.kind_column}`)"
    return dtype_words(column.dtype)[danish]


def dictionary_en() -> Iterator[str]:
    """Yield the data dictionary: what sources deliver, what the linker makes of it, what is released."""
    yield "# Data dictionary"
    yield NOTE
    yield (
        "Amounts are integer øre. Intervals are half-open: the end is the first day after. A column of months holds "
        "first days of month. A pseudonym is a 32-byte group element under the key of the source that delivers it."
    )
    yield "\n## What a source delivers\n"
    for dataset in DATASETS.values():
        yield f"### `{dataset.name}`\n"
        yield f"A row is {dataset.row}." + (
            " Only the population register may deliver it." if dataset.register_only else ""
        )
        if dataset.encoded:
            yield "The delivery names the linkage schema, and the version of the encoding key."
        yield ""
        rows = (
            (f"`{c.name}`", _pseudonym(c, danish=False), "yes" if c.nullable else "", _codes(c), c.description)
            for c in dataset.columns
        )
        yield from table(("column", "type", "may be null", "codes", "meaning"), rows)
    yield from _released_en()
    yield "## Inside the linker\n"
    yield "No door returns these frames. Facts are the datasets above with each pseudonym `x` as the number `x_id`,"
    yield "and with `source` and `delivery_id`.\n"
    for name, comment in _frame_comments():
        schema = getattr(frames, name)
        yield f"### `{name}`\n"
        yield comment + "\n"
        yield from table(("column", "type"), ((f"`{c}`", dtype_words(t)[0]) for c, t in schema.items()))


def _frame_comments() -> Iterator[tuple[str, str]]:
    """Yield each upper-case schema of linker/frames.py with the comment above it."""
    lines = (LINKER / "frames.py").read_text(encoding="utf-8").splitlines()
    comment: list[str] = []
    for line in lines:
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        name = line.split(" = ")[0]
        if comment and isinstance(getattr(frames, name, None), pl.Schema):
            yield name, " ".join(comment)
        comment = []


def dictionary_da() -> Iterator[str]:
    """Yield the Danish data dictionary: deliveries and released tables."""
    yield "# Dataordbog"
    yield NOTE
    yield (
        "Beløb er hele øre. Perioder er halvåbne: slutdatoen er den første dag efter. En måned skrives som den 1. i "
        "måneden. Et pseudonym er 32 byte under nøglen for det fagsystem, der leverer."
    )
    yield "\n## Det et fagsystem leverer\n"
    for dataset in DATASETS.values():
        yield f"### `{dataset.name}`\n"
        yield f"En række er {dataset.row_da}." + (
            " Kun folkeregisteret må levere det." if dataset.register_only else ""
        )
        if dataset.encoded:
            yield "Leverancen nævner koblingsskemaet og kodenøglens version."
        yield ""
        rows = (
            (f"`{c.name}`", _pseudonym(c, danish=True), "ja" if c.nullable else "", _codes(c), c.description_da)
            for c in dataset.columns
        )
        yield from table(("kolonne", "type", "må være tom", "koder", "betydning"), rows)
    yield from _released_da()


def _released_en() -> Iterator[str]:
    yield "## What is released\n"
    yield "The closed list of tables (`services/linker/registry.toml`). A number that would be unsafe is hidden; what"
    yield "is unsafe, the disclosure policy says (`services/linker/disclosure.toml`).\n"
    for entry in registry.load(LINKER / "registry.toml"):
        yield f"### `{entry.table_id}`\n"
        period = _PERIODS[entry.period][0]
        yield f"{entry.title_en}. Version {entry.version}, over {entry.universe}. {period}; policy `{entry.policy}`.\n"
        axes = ((f"`{a.name}`", a.title_en, _categories(a)) for a in entry.axes)
        yield from table(("axis", "meaning", "categories, total last"), axes)
        measures = (
            (f"`{m.name}`", m.unit.value, f"`{m.column}`" + (f" / `{m.denominator}`" if m.denominator else ""))
            for m in entry.measures
        )
        yield from table(("measure", "unit", "computed from"), measures)
    yield "### The family table\n"
    yield (
        "A row a family with children, by year: pseudonymised personal data, only for whom the controller "
        "[grants it](../how-to/grant-a-family-table.md). Each row equals at least k - 1 others; `hidden` is not shown, "
        "`some` is an amount of a size that is not shown.\n"
    )
    yield from table(("column", "meaning"), ((f"`{name}`", words[0]) for name, words in _FAMILY_TABLE.items()))


def _released_da() -> Iterator[str]:
    yield "## Det der udgives\n"
    yield "Den lukkede liste af tabeller. Et tal skjules, hvis det er nødvendigt for at beskytte familierne.\n"
    for entry in registry.load(LINKER / "registry.toml"):
        yield f"### `{entry.table_id}`: {entry.title_da}\n"
        yield f"- {_PERIODS[entry.period][1]}"
        yield from (f"- {note}" for note in entry.notes_da)
        yield ""
        axes = ((f"`{a.name}`", a.title_da, _categories(a, danish=True)) for a in entry.axes)
        yield from table(("akse", "betydning", "kategorier, total sidst"), axes)
        units = {"count": "antal", "amount_ore": "øre", "mean_ore": "øre pr. familie", "share": "andel 0-1"}
        measures = ((f"`{m.name}`", m.title_da, units.get(m.unit.value, "gennemsnit")) for m in entry.measures)
        yield from table(("mål", "betydning", "enhed"), measures)
    yield "### Familietabellen\n"
    yield (
        "En række pr. børnefamilie, pr. år: pseudonymiserede personoplysninger, kun for den, som den dataansvarlige "
        "[giver adgang](../how-to/grant-a-family-table.md). Hver række er ens med mindst k - 1 andre; `hidden` er "
        "skjult, `some` er et beløb, hvis størrelse er skjult.\n"
    )
    yield from table(("kolonne", "betydning"), ((f"`{name}`", words[1]) for name, words in _FAMILY_TABLE.items()))


def _categories(axis: Axis, *, danish: bool = False) -> str:
    leaves = [axis.categories[0], "…", axis.categories[-1]] if axis.numeric else list(axis.categories)
    titles = axis.titles_da if danish else {}
    said = [f"`{name}` {titles.get(name, '')}".strip() if name != "…" else name for name in leaves]
    for name, parts in axis.subtotals.items():
        said.append(f"`{name}` {titles.get(name, '')}".strip() + f" = {' + '.join(f'`{part}`' for part in parts)}")
    if axis.total:
        said.append(f"`{axis.total}` {titles.get(axis.total, '')}".strip())
    return ", ".join(said)
