"""`make demo`: the real thing, from ten dirty extracts to protected family tables, and a rotation of the keys behind.

Makes the synthetic municipality, starts both services as processes over mTLS,
delivers every extract with `kinlink deliver`, links, prints the released tables, writes
them to demo-out/, and compares what lies behind them with the truth. Then the year is
corrected and released again, one consumer reads the family table, and postings without a CPR number are linked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape

from examples.comparison import as_text, compare, failed
from examples.corrections import PRICES_UP_PERCENT, ROWS_CORRECTED, corrected
from examples.deliveries import DELIVERIES, Delivery
from examples.exact import exact
from examples.last_act import last_act
from examples.payers_act import payers_act
from examples.stack import CONSUMER, ENCODERS, FAMILY_CONSUMER, Stack

REFERENCE_DATE = date(2015, 1, 1)
YEAR = 2014
ROOT = Path(__file__).resolve().parent.parent
FORMATS = {"text": "txt", "csv": "csv", "json": "json", "arrow": "arrow", "parquet": "parquet", "xlsx": "xlsx"}
OPERATOR = "operator/drift"
PATTERN_OF, CORRECTED_TABLE = "services_by_departments", "spending_to_date"
SHOWN_OF_FAMILIES = ("children", "youngest_child", "departments", "spending", "spending_SOF", "spending_BUF")

console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)


def main() -> None:
    """Run the demo; exit with 1 when a figure is not what it must be."""
    parser = argparse.ArgumentParser(prog="make demo", description="Run kinlink on a synthetic municipality.")
    parser.add_argument("--scale", choices=("tiny", "town", "copenhagen"), default="town")
    parser.add_argument("--out", type=Path, default=ROOT / "demo-out", help="where the tables go")
    options = parser.parse_args()
    started = time.monotonic()
    work = ROOT / ".demo" / options.scale
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)

    _heading(f"1. A synthetic municipality ({options.scale})")
    municipality = work / "municipality"
    command = [sys.executable, "-m", "examples.municipality", "--payers", "--scale", options.scale, "--out"]
    subprocess.run([*command, str(municipality)], check=True, stdout=subprocess.DEVNULL)
    _say(f"{len({d.source for d in DELIVERIES})} source systems, extracts in {_shown(municipality / 'extracts')}")

    _heading("2. Two services, each a process of its own, over mTLS")
    with Stack(work / "stack", encoders=ENCODERS) as stack:
        for name, process in stack.processes.items():
            _say(f"{name:<14} {process.address}   log {_shown(process.log)}")
        _heading("3. Deliveries: pseudonymised at the source, accepted when they are on disk")
        for delivery in DELIVERIES:
            _deliver(stack, delivery, municipality / "extracts", work / "rejects")
        _heading("4. Linkage: people, households, families; then the gate")
        link = ("link", "run", "--reference-date", REFERENCE_DATE.isoformat(), "--year", str(YEAR))
        _kinlink(stack, OPERATOR, *link)
        _heading("5. Released tables, as a consumer reads them")
        tables = _tables(stack, options.out)
        _say(f"Why there are holes in the cross-tab: kinlink release show {PATTERN_OF}\n")
        _kinlink(stack, CONSUMER, "release", "show", PATTERN_OF)
        _heading("6. Behind the tables: exact figures beside the published ones and the truth")
        holds = _compare(stack, municipality, options.out)
        _heading("7. A month later: corrections, and the same year's tables again")
        holds &= _released_again(stack, municipality / "extracts", work, link)
        _heading("8. A row a family, for the one consumer to whom the controller granted it")
        _families(stack, options.out)
        _heading("9. Postings without a CPR number: payers linked by name, birth date and address, encoded")
        holds &= payers_act(
            stack,
            municipality,
            link,
            look=lambda: exact(stack.folder, REFERENCE_DATE, YEAR),
            deliver=lambda delivery: _deliver(stack, delivery, municipality / "extracts", work / "rejects"),
            out=options.out,
            say=_say,
        )
        _heading("10. The linkage key is replaced: three people sign, the tables stay, the log proves it")
        holds &= last_act(stack, tables, link, work / "kept", options.out, _say)
    _say(f"\nTables are in {_shown(options.out)}. {time.monotonic() - started:.0f} seconds.")
    _say("`make services` starts the services again, with these data, to try commands against.")
    sys.exit(0 if holds else 1)


def _deliver(stack: Stack, delivery: Delivery, extracts: Path, rejects: Path) -> None:
    rejects.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    party = f"source/{delivery.source}"
    said = subprocess.run(
        stack.command(*delivery.arguments(extracts, rejects)),
        env=stack.environment(party),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if said.returncode:
        console.print(said.stdout)
        raise SystemExit(f"kinlink deliver of {delivery.mapping} ended with {said.returncode}")
    facts = dict(line.split(maxsplit=1) for line in said.stdout.splitlines() if len(line.split(maxsplit=1)) == 2)
    rows, rejected = facts.get("to", "?").removeprefix("deliver").strip(), facts.get("rejected", "0")
    _say(
        f"{delivery.source:<13} {delivery.mapping:<21} {rows:>12}, rejected {rejected:<12} "
        f"{time.monotonic() - started:6.1f} s"
    )


def _tables(stack: Stack, out: Path) -> int:
    listed = json.loads(stack.run(CONSUMER, "table", "list", "--json").stdout)
    released = [table for table in listed if table["periods"]]
    for table in released:
        _kinlink(stack, CONSUMER, "table", "get", table["table_id"])
        console.print()
        for form, suffix in FORMATS.items():
            file = out / f"{table['table_id']}.{suffix}"
            stack.run(CONSUMER, "table", "get", table["table_id"], "--format", form, "--out", file)
    return len(released)


def _compare(stack: Stack, municipality: Path, out: Path) -> bool:
    lines = compare(exact(stack.folder, REFERENCE_DATE, YEAR), stack, municipality)
    text = as_text(lines)
    _say(text)
    (out / "comparison.txt").write_text(text, encoding="utf-8")
    (out / "comparison.json").write_text(
        json.dumps([asdict(line) for line in lines], ensure_ascii=False, indent=1),
        encoding="utf-8",
    )
    return not failed(lines)


def _released_again(stack: Stack, extracts: Path, work: Path, link: Sequence[str]) -> bool:
    """Correct two sources, run again, and read a table whose smallest changes are withheld."""
    _say(f"sundhed: every price {PRICES_UP_PERCENT} % up. kultur: {ROWS_CORRECTED} rows doubled.")
    for delivery in corrected(extracts, work / "corrected"):
        _deliver(stack, delivery, work / "corrected", work / "rejects")
    said = stack.run(OPERATOR, *link).stdout
    again = said.count("released: ")
    _say(f"Released again: {again} tables; those that say the same stand. A number marked r1 is of revision 1: how it")
    _say("changed would tell about few families, so the old one stays.\n")
    _kinlink(stack, CONSUMER, "table", "get", CORRECTED_TABLE)
    cells = json.loads(stack.run(CONSUMER, "table", "get", CORRECTED_TABLE, "--format", "json").stdout)["cells"]
    return {"published", "carried"} <= {cell["status"] for cell in cells}


def _families(stack: Stack, out: Path) -> None:
    file = out / "families.parquet"
    _say(stack.run(FAMILY_CONSUMER, "table", "families", "--out", file).stderr.strip())
    rows = pl.read_parquet(file)
    with pl.Config(tbl_rows=5, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_width_chars=100):
        _say(escape(str(rows.select(SHOWN_OF_FAMILIES).head(5))))
    listed = json.loads(stack.run(FAMILY_CONSUMER, "table", "list", "--json").stdout)
    names = ", ".join(table["table_id"] for table in listed if table["periods"])
    _say(f"It gets no other tables than those made of the same rows: {names}")


def _kinlink(stack: Stack, party: str, *arguments: str) -> None:
    sys.stdout.flush()
    subprocess.run(stack.command(*arguments), env=stack.environment(party), check=True)


def _heading(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def _say(text: str) -> None:
    console.print(text)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    main()
