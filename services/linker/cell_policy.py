"""The policy file of a table of cells: what its columns mean, and the rules it is protected by.

1. A key that means nothing is refused: misspelt, it would be a rule that is not there.
2. Rules that judge contributions need columns of the largest, and amounts that cannot be negative.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from operator import index
from pathlib import Path
from typing import Any

from linker.disclosure.needs import ProtectionPolicy

_TABLE_KEYS = ("axes", "total", "subtotals", "value", "count", "largest", "counted", "can_be_negative", "insiders_of")
_PROTECTION_KEYS = (
    "threshold",
    "p_percent",
    "dominance",
    "interval_percent",
    "interval_minimum",
    "zeros_are_disclosive",
    "singletons",
)


class CellFileError(ValueError):
    """A file is not of the form that is needed; names file, line or key and the expected form, never a value."""


@dataclass(frozen=True, slots=True)
class TableForm:
    """What the columns of a cell file mean, from the policy file."""

    axes: tuple[str, ...]
    total: str
    subtotals: Mapping[str, Mapping[str, tuple[str, ...]]]
    value: str
    count: str
    largest: tuple[str, str] | None
    counted: bool
    nonnegative: bool
    insiders_of: str | None


@dataclass(frozen=True, slots=True)
class CellPolicy:
    """A policy file. `interval_minimum` is in the unit of the values as written; that of `rules` is not used."""

    form: TableForm
    rules: ProtectionPolicy
    interval_minimum: Decimal

    def at(self, scale: int) -> ProtectionPolicy:
        """Return the rules for values in units of 1 / `scale`."""
        return replace(self.rules, interval_minimum=int(self.interval_minimum * scale))


def read(path: Path) -> CellPolicy:
    """Read a policy file.

    Raises:
        CellFileError: it is not TOML; a key is missing, unknown or of another form; rules do not go together.
        OSError: it cannot be read.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CellFileError(f"{path.name}: not a TOML file: {error}") from None
    return CellPolicy(_form(document), *_rules(document))


def _known(name: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse a key that means nothing: misspelt, it would be a rule that is not there."""
    if not isinstance(table, Mapping):
        raise CellFileError(f"policy file: [{name}] must be a table of keys: {', '.join(keys)}")
    if unknown := sorted(set(table) - set(keys)):
        raise CellFileError(f"policy file: [{name}] has no key {', '.join(unknown)}; its keys: {', '.join(keys)}")


def _form(document: Mapping[str, Any]) -> TableForm:
    _known("table", document.get("table", {}), _TABLE_KEYS)
    try:
        table = document["table"]
        largest = table.get("largest")
        form = TableForm(
            tuple(table["axes"]),
            table.get("total", "Total"),
            {
                axis: {code: tuple(leaves) for code, leaves in sums.items()}
                for axis, sums in table.get("subtotals", {}).items()
            },
            table["value"],
            table["count"],
            (largest[0], largest[1]) if largest else None,
            bool(table.get("counted", False)),
            not table.get("can_be_negative", False),
            table.get("insiders_of"),
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CellFileError(
            f"policy file: [table] needs axes, value and count, largest has two columns: {error}"
        ) from None
    if not form.axes or {*form.subtotals, *filter(None, [form.insiders_of])} - set(form.axes):
        raise CellFileError(
            "policy file: [table] axes names no column, or subtotals and insiders_of one that is no axis"
        )
    rules = document.get("protection", {})
    judged = "p_percent" in rules or rules.get("dominance")
    if judged and not form.counted and form.largest is None:
        raise CellFileError("policy file: p_percent and dominance need [table] largest, the columns of the two largest")
    if judged and not form.nonnegative:
        raise CellFileError("policy file: p_percent and dominance need amounts that cannot be negative")
    return form


def _rules(document: Mapping[str, Any]) -> tuple[ProtectionPolicy, Decimal]:
    _known("protection", document.get("protection", {}), _PROTECTION_KEYS)
    try:
        rules = document["protection"]
        policy = ProtectionPolicy(
            threshold=index(rules["threshold"]),
            p_percent=index(rules["p_percent"]) if "p_percent" in rules else None,
            dominance=tuple((index(n), index(k)) for n, k in rules.get("dominance", ())),
            interval_percent=index(rules["interval_percent"]),
            interval_minimum=0,
            zeros_are_disclosive=bool(rules["zeros_are_disclosive"]),
            singletons=bool(rules["singletons"]),
        )
        interval_minimum = Decimal(str(rules["interval_minimum"]))
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise CellFileError(
            "policy file: [protection] needs threshold, interval_percent, interval_minimum, zeros_are_disclosive and "
            f"singletons, and may have p_percent and dominance; percentages are whole (15, not 0.15): {error}"
        ) from None
    if policy.threshold < 1 or interval_minimum < 0 or not {n for n, _ in policy.dominance} <= {1, 2}:
        raise CellFileError("policy file: threshold is at least 1, interval_minimum not negative, dominance of 1 or 2")
    return policy, interval_minimum
