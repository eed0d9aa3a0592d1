"""A table of cells from any program, as a system to protect, and the policy it is protected by.

1. The cells are a CSV file with a column for each classification, in which one code is the total, a value, a count of
   contributors and, where a rule needs them, the two largest contributions.
2. A combination of leaves without a row has no contributor. A sum without a row is not shown, but holds all the same.
   Each axis has a row of its total: a total under another code would be taken for a leaf, and give hidden cells back.
3. Values are decimals of any scale; arithmetic is exact.
4. Nothing tells who contributes: a lone contributor is taken to be the same one wherever the counts say so.

It does not know how cells are hidden.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from linker.disclosure.attackers import Attacker, insiders
from linker.disclosure.classification import Classification, ClassificationError, grid_equations, product
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.system import Flags, Integers, LinkedSystem, summed_by

HIDDEN = ".."
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


@dataclass(frozen=True, slots=True, eq=False)
class CellFile:
    """Cells as read: the system, and for each row of the file, in its order, codes, value as written, and cell."""

    system: LinkedSystem
    policy: ProtectionPolicy
    insiders: tuple[Attacker, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], str, int], ...]
    inner: Flags

    def lines(self, hidden: Flags) -> Iterable[tuple[str, ...]]:
        """Return header and rows of what may leave: codes, and the value or `..`; neither counts nor contributions."""
        yield self.header
        for codes, value, cell in self.rows:
            yield (*codes, HIDDEN if hidden[cell] else value)


def load(cells: Path, policy: Path) -> CellFile:
    """Read a table and its policy.

    Raises:
        CellFileError: a file is not of the form that is needed, or a row's code, value or count is not.
        NotAdditiveError: a sum is not the sum of its leaves.
        OSError: a file cannot be read.
    """
    document = _toml(policy)
    form = _form(document)
    rows = _rows(cells, form)
    axes = tuple(_axis(form, name, rows) for name in form.axes)
    numbers = _numbers(cells.name, form, rows)
    _agree(cells.name, form, numbers)
    scale = 10 ** max(_decimals(number) for column in numbers.values() for number in column)
    places = _places(cells.name, axes, rows)
    system = _system(form, axes, places, {name: _whole(column, scale) for name, column in numbers.items()})
    width = 1
    inner = np.ones(len(system), bool)
    for axis in reversed(axes):
        inner &= np.arange(len(system)) // width % len(axis.codes) < len(axis.leaves)
        width *= len(axis.codes)
    return CellFile(
        system,
        _policy(document, scale),
        _insiders(form, axes, system),
        (*form.axes, form.value),
        tuple((tuple(row[a] for a in form.axes), row[form.value], n) for row, n in zip(rows, places, strict=True)),
        inner,
    )


def _rows(path: Path, form: TableForm) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError:
        raise CellFileError(f"{path.name}: must be UTF-8; in Excel, save as CSV UTF-8") from None
    if not rows:
        raise CellFileError(f"{path.name}: there is no row; a header and at least one cell are needed")
    wanted = {*form.axes, form.value, form.count, *(form.largest or ())}
    if missing := sorted(wanted - set(rows[0])):
        found = "; columns are separated by commas, and this file has one column" if len(rows[0]) == 1 else ""
        raise CellFileError(f"{path.name}: the header lacks {', '.join(missing)}, which the policy file names{found}")
    for axis in form.axes:
        if all(row[axis] != form.total for row in rows):
            raise CellFileError(
                f"{path.name}: no row is a total of {axis}: {form.total}, the code that [table] total names, is not in "
                "that column. Correct the code, or add the rows"
            )
    return rows


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CellFileError(f"{path.name}: not a TOML file: {error}") from None


def _known(name: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse a key that means nothing: misspelt, it would be a rule that is not there."""
    if unknown := sorted(set(table) - set(keys)):
        raise CellFileError(f"policy file: [{name}] has no key {', '.join(unknown)}; its keys: {', '.join(keys)}")


def _form(document: Mapping[str, Any]) -> TableForm:
    try:
        table = document["table"]
        _known("table", table, _TABLE_KEYS)
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


def _policy(document: Mapping[str, Any], scale: int) -> ProtectionPolicy:
    try:
        rules = document["protection"]
        _known("protection", rules, _PROTECTION_KEYS)
        policy = ProtectionPolicy(
            threshold=index(rules["threshold"]),
            p_percent=index(rules["p_percent"]) if "p_percent" in rules else None,
            dominance=tuple((index(n), index(k)) for n, k in rules.get("dominance", ())),
            interval_percent=index(rules["interval_percent"]),
            interval_minimum=int(Decimal(str(rules["interval_minimum"])) * scale),
            zeros_are_disclosive=bool(rules["zeros_are_disclosive"]),
            singletons=bool(rules["singletons"]),
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise CellFileError(
            "policy file: [protection] needs threshold, interval_percent, interval_minimum, zeros_are_disclosive and "
            f"singletons, and may have p_percent and dominance; percentages are whole (15, not 0.15): {error}"
        ) from None
    if policy.threshold < 1 or policy.interval_minimum < 0 or not {n for n, _ in policy.dominance} <= {1, 2}:
        raise CellFileError("policy file: threshold is at least 1, interval_minimum not negative, dominance of 1 or 2")
    return policy


def _axis(form: TableForm, name: str, rows: Sequence[Mapping[str, str]]) -> Classification:
    subtotals = form.subtotals.get(name, {})
    leaves = {row[name] for row in rows} | {leaf for members in subtotals.values() for leaf in members}
    leaves -= {form.total, *subtotals}
    try:
        return Classification(name, tuple(sorted(leaves)), {**subtotals, form.total: tuple(sorted(leaves))})
    except ClassificationError as error:
        raise CellFileError(
            f"{error}; only leaves, subtotals of the policy file and {form.total} can stand there"
        ) from None


def _numbers(name: str, form: TableForm, rows: Sequence[Mapping[str, str]]) -> dict[str, list[Decimal]]:
    columns = {"values": form.value, "contributors": form.count}
    if form.largest:
        columns |= {"largest": form.largest[0], "second": form.largest[1]}
    found: dict[str, list[Decimal]] = {}
    for field, column in columns.items():
        found[field] = []
        for line, row in enumerate(rows, start=2):
            try:
                number = Decimal(row[column])
            except (InvalidOperation, TypeError):
                raise CellFileError(f"{name}: line {line}: {column} must be a number with a decimal point") from None
            signed = field == "values" and not form.nonnegative
            if not number.is_finite() or (number < 0 and not signed) or (field == "contributors" and number % 1):
                raise CellFileError(f"{name}: line {line}: {column} is negative, or a count that is not whole")
            found[field].append(number)
    return found


def _agree(name: str, form: TableForm, numbers: Mapping[str, Sequence[Decimal]]) -> None:
    """Refuse rows whose numbers cannot be of the same contributors: a rule would then judge something else."""
    for line, (value, count) in enumerate(zip(numbers["values"], numbers["contributors"], strict=True), start=2):
        if value and not count:
            raise CellFileError(f"{name}: line {line}: {form.value} is not 0, but {form.count} is: nobody contributes")
    if form.largest is None or not form.nonnegative:
        return
    first, second = form.largest
    unit = Decimal(1).scaleb(-max(_decimals(number) for column in numbers.values() for number in column))
    rows = zip(numbers["values"], numbers["contributors"], numbers["largest"], numbers["second"], strict=True)
    for line, (value, count, largest, next_largest) in enumerate(rows, start=2):
        if next_largest > largest or largest > value:
            raise CellFileError(
                f"{name}: line {line}: {second} is more than {first}, or {first} more than {form.value}"
            )
        if value > count * (largest + unit):
            raise CellFileError(
                f"{name}: line {line}: {form.count} contributors of at most {first} cannot be {form.value}; are both "
                "in the same unit?"
            )


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _whole(numbers: Sequence[Decimal], scale: int) -> Integers:
    return np.array([int(number * scale) for number in numbers], np.int64)


def _places(name: str, axes: Sequence[Classification], rows: Sequence[Mapping[str, str]]) -> list[int]:
    codes = [{code: place for place, code in enumerate(axis.codes)} for axis in axes]
    seen: dict[int, int] = {}
    for line, row in enumerate(rows, start=2):
        place = 0
        for axis, numbers in zip(axes, codes, strict=True):
            place = place * len(numbers) + numbers[row[axis.name]]
        if place in seen:
            raise CellFileError(f"{name}: line {line} is the same cell as line {seen[place]}")
        seen[place] = line
    return list(seen)


def _system(
    form: TableForm, axes: tuple[Classification, ...], places: Sequence[int], numbers: Mapping[str, Integers]
) -> LinkedSystem:
    atoms = product([axis.membership() for axis in axes]).tocsc()
    size = atoms.shape[1]
    listed = np.zeros(size, bool)
    listed[list(places)] = True
    full = {name: np.zeros(size, np.int64) for name in ("values", "contributors", "largest", "second")}
    for name, column in numbers.items():
        full[name][list(places)] = column
    leaves = _leaves(atoms)
    sums = atoms.T.astype(np.int64) @ full["values"][leaves]
    values = np.where(listed, full["values"], sums)
    populated = np.flatnonzero((full["contributors"][leaves] > 0) | (values[leaves] != 0))
    shown = listed.copy()
    shown[leaves] = True
    sole = _sole(atoms, full["contributors"], leaves)
    owners = np.unique(sole[leaves[populated]])
    owners = owners[owners >= 0]
    return LinkedSystem(
        tables={"cells": np.arange(size)},
        labels=_labels(axes),
        values=values,
        contributors=full["contributors"],
        absolute=np.abs(values),
        largest=full["largest"],
        second=full["second"],
        sole=sole,
        counted=np.full(size, form.counted),
        nonnegative=np.full(size, form.nonnegative),
        shown=shown,
        equations=grid_equations(axes),
        atoms=atoms[populated].tocsc(),
        owners=owners,
        given=summed_by(
            sole[leaves[populated]], sp.diags(values[leaves[populated]], dtype=np.int64, format="csr"), owners
        ),
    )


def _leaves(atoms: sp.csc_matrix) -> Integers:
    """Return the cell that is each atom: the first, as a sum of one leaf comes after it."""
    single = np.flatnonzero(np.diff(atoms.indptr) == 1)[::-1]
    leaves = np.zeros(atoms.shape[0], np.int64)
    leaves[atoms.indices[atoms.indptr[single]]] = single
    return leaves


def _labels(axes: Sequence[Classification]) -> tuple[str, ...]:
    labels = [""]
    for axis in axes:
        labels = [f"{label}, {code}" if label else code for label in labels for code in axis.codes]
    return tuple(labels)


def _sole(atoms: sp.csc_matrix, contributors: Integers, leaves: Integers) -> Integers:
    """Return a number for the lone contributor of each cell that has one; leaves within one such cell share it."""
    number = np.where(contributors[leaves] == 1, np.arange(len(leaves)), -1)
    lone = np.flatnonzero(contributors == 1)
    within = {int(cell): atoms.indices[atoms.indptr[cell] : atoms.indptr[cell + 1]] for cell in lone}
    populated = {cell: rows[contributors[leaves[rows]] > 0] for cell, rows in within.items()}
    for _ in range(len(leaves)):
        before = number.copy()
        for rows in populated.values():
            if len(rows):
                number[rows] = number[rows].min()
        if np.array_equal(before, number):
            break
    sole = np.full(len(contributors), -1, np.int64)
    for cell, rows in populated.items():
        sole[cell] = number[rows[0]] if len(rows) else -1
    return sole


def _insiders(form: TableForm, axes: tuple[Classification, ...], system: LinkedSystem) -> tuple[Attacker, ...]:
    """Return an attacker for each leaf of the axis that the policy names, who knows all cells of it."""
    if form.insiders_of is None:
        return ()
    known: dict[str, Flags] = {}
    for axis in axes:
        if axis.name == form.insiders_of:
            for place, leaf in enumerate(axis.leaves):
                ones = [
                    sp.csr_matrix((np.arange(len(each.codes)) == place) if each is axis else np.ones(len(each.codes)))
                    for each in axes
                ]
                known[leaf] = product(ones).toarray()[0] > 0
    return insiders(system, known)
