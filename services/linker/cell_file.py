"""A table of cells from any program, read as a system to protect.

1. The cells are a CSV file with a column for each classification, in which one code is the total, a value, a count of
   contributors and, where a rule needs them, the two largest contributions.
2. A combination of leaves without a row has no contributor. A sum without a row is not shown, but holds all the same.
   Each axis has a row of its total: a total under another code would be taken for a leaf, and give hidden cells back.
3. Values are decimals of any scale; arithmetic is exact.

It does not know how cells are hidden.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from linker import cell_policy
from linker.cell_policy import CellFileError, TableForm
from linker.cell_system import as_system, inner_cells, insiders_of
from linker.disclosure.attackers import Attacker
from linker.disclosure.classification import Classification, ClassificationError
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.system import Flags, Integers, LinkedSystem

HIDDEN = ".."


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
    rules = cell_policy.read(policy)
    form = rules.form
    rows = _rows(cells, form)
    axes = tuple(_axis(form, name, rows) for name in form.axes)
    numbers = _numbers(cells.name, form, rows)
    _agree(cells.name, form, numbers)
    scale = 10 ** max(_decimals(number) for column in numbers.values() for number in column)
    places = _places(cells.name, axes, rows)
    system = as_system(form, axes, places, {name: _whole(column, scale) for name, column in numbers.items()})
    return CellFile(
        system,
        rules.at(scale),
        insiders_of(form, axes, system),
        (*form.axes, form.value),
        tuple((tuple(row[a] for a in form.axes), row[form.value], n) for row, n in zip(rows, places, strict=True)),
        inner_cells(axes),
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
        found = "; this file has one column: save it with commas between columns" if len(rows[0]) == 1 else ""
        raise CellFileError(f"{path.name}: the header lacks {', '.join(missing)}, which the policy file names{found}")
    for axis in form.axes:
        if all(row[axis] != form.total for row in rows):
            raise CellFileError(
                f"{path.name}: no row is a total of {axis}: {form.total}, the code that [table] total names, is not in "
                "that column. Correct the code, or add the rows"
            )
    return rows


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
