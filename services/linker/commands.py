"""`kinlink release protect`: a table of cells from any program, protected and proven, without any service.

Joins the command line by the entry point group `kinlink.commands`. What it says is for the operator: it tells how many
cells are primary. Only the file that it writes may leave.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from linker.cell_file import CellFile, load
from linker.cell_policy import CellFileError
from linker.disclosure.pattern import Pattern
from linker.disclosure.suppression import protect
from linker.disclosure.system import NotAdditiveError

_OK, _BAD_INPUT, _REFUSED = 0, 3, 4
_NAMED = 5  # cells named in a refusal
_BAR = 30


def release(arguments: Sequence[str]) -> int:
    """Run a command line after `kinlink release` and return its exit code."""
    asked = _parser().parse_args(arguments)
    if asked.out.resolve() in {asked.cells.resolve(), asked.policy.resolve()}:
        return _say(f"{asked.out}: is what is read; name another file to write", _BAD_INPUT)
    try:
        cells = load(asked.cells, asked.policy)
    except (CellFileError, NotAdditiveError) as error:
        more = ". Correct the rows: a sum is that of its leaves" if isinstance(error, NotAdditiveError) else ""
        return _say(f"{error}{more}", _BAD_INPUT)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return _say(f"{error.filename} cannot be read: {why}. Check the path and its permissions", _BAD_INPUT)
    started = time.monotonic()
    with _Bar() as bar:
        pattern = protect(cells.system, cells.policy, insiders=cells.insiders, progress=bar.show)
    seconds = time.monotonic() - started
    for line in _summary(cells, pattern, seconds):
        sys.stdout.write(line + "\n")
    if not pattern.proven:
        return _say(_refusal(cells, pattern), _REFUSED)
    try:
        with asked.out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(cells.lines(pattern.hidden))
    except OSError as error:
        why = error.strerror or type(error).__name__
        return _say(f"{error.filename} cannot be written: {why}. Nothing was written; give another --out", _BAD_INPUT)
    sys.stdout.write(f"{asked.out}: written; it may be shown to anyone\n")
    return _OK


def _summary(cells: CellFile, pattern: Pattern, seconds: float) -> list[str]:
    system = cells.system
    primary, secondary = int(pattern.needs.primary.sum()), int(pattern.secondary(system).sum())
    listed = np.zeros(len(system), bool)
    listed[[cell for *_, cell in cells.rows]] = True
    shown = int((listed & ~pattern.hidden).sum())
    whole = int(np.abs(system.values[cells.inner]).sum())
    kept = int(np.abs(system.values[cells.inner & ~pattern.hidden]).sum())
    share = f"{100 * kept / whole:.1f} %" if whole else "all"
    names = sorted({attacker.name for attacker in pattern.attackers})
    counted = [f"{sum(each.name == name for each in pattern.attackers)} × {name}" for name in names]
    return [
        f"{len(cells.rows)} cells: {shown} shown, {primary} hidden by the rules, {secondary} hidden for their sake",
        f"of the inner cells' total, {share} is shown",
        f"attackers: {', '.join(counted)}",
        f"{pattern.programs} linear programs, {len(pattern.witnesses)} witnesses, {seconds:.1f} s",
        f"{len(pattern.failures)} failures, {len(pattern.unchecked)} unchecked",
    ]


def _refusal(cells: CellFile, pattern: Pattern) -> str:
    found = [*pattern.failures, *pattern.unchecked]
    names = list(dict.fromkeys(cells.system.labels[demand.cell] for demand in found))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"refused: not proven for {'; '.join(names[:_NAMED])}{more}. Nothing was written. Next: coarsen the axis "
        "of these cells, or drop a sum that holds few of them"
    )


class _Bar:
    """A bar on a terminal, one line, its stage named; nothing elsewhere."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")

    def show(self, stage: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            full = _BAR * done // max(total, 1)
            bar = "█" * full + "░" * (_BAR - full)
            sys.stderr.write(f"\r\x1b[K{stage:<32} {bar} {done}/{total}")
            sys.stderr.flush()


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"kinlink: {message}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kinlink release", description="Disclosure control for released tables.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "Protect a table of cells: hide what the policy must hide, and prove that nothing gives it back."
    made = commands.add_parser("protect", help=text, description=text)
    made.add_argument("cells", type=Path, help="CSV: classifications, value, count, and the two largest contributions")
    made.add_argument("--policy", type=Path, required=True, help="TOML: [protection] and [table]")
    made.add_argument("-o", "--out", type=Path, required=True, help="CSV: classifications and value, or ..")
    return parser
