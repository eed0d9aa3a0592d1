"""Disclosure control: the carried table of 1,144 cells, and a generated one of about 10,000.

Each in a process of its own, from reading or generating cells to a pattern whose certificate was checked. The progress
is on standard error. `load` is the machine's, before and after: a figure under load is no figure.

    python -m bench.release
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from linker.disclosure.linking import CrossTable, link
from linker.disclosure.suppression import protect
from linker.disclosure.system import Flags, LinkedSystem
from tests.disclosure import TOWN_POLICY, flat, town_cells

SHAPE, FAMILIES = (24, 12, 30), 77_000


def main() -> None:
    """Print a line of JSON for each table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", choices=CASES)
    parser.add_argument("--only", choices=CASES, help="this table alone")
    asked = parser.parse_args()
    if asked.table:
        print(json.dumps(_measure(asked.table)))
        return
    for name in [asked.only] if asked.only else CASES:
        subprocess.run([sys.executable, "-m", "bench.release", "--table", name], check=True)


def _measure(name: str) -> dict[str, object]:
    before, start = os.getloadavg()[0], time.monotonic()
    system, inner = CASES[name]()
    built = time.monotonic()
    pattern = protect(system, TOWN_POLICY, progress=_Stages(start).show)
    seconds = time.monotonic() - start
    spent = system.values[inner]
    return {
        "bench": "release",
        "table": name,
        "cells": len(system),
        "primary": int(pattern.needs.primary.sum()),
        "secondary": int(pattern.secondary(system).sum()),
        "interval_failures": len(pattern.failures),
        "unchecked": len(pattern.unchecked),
        "programs": pattern.programs,
        "inner_published_percent": round(100 * float(spent[~pattern.hidden[inner]].sum() / spent.sum()), 1),
        "build_seconds": round(built - start, 1),
        "seconds": round(seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
    }


def _town() -> tuple[LinkedSystem, Flags]:
    with tempfile.TemporaryDirectory() as folder:
        file = town_cells(Path(folder))
    return file.system, file.inner


def _city() -> tuple[LinkedSystem, Flags]:
    """Return districts × departments × services of families with log-normal spending; generated with seed 1."""
    random = np.random.default_rng(1)
    districts, departments, services = SHAPE
    lives_in = random.choice(districts, FAMILIES, p=random.dirichlet(np.full(districts, 5.0)))
    received = 1 + random.poisson(3.0, FAMILIES)
    family = np.repeat(np.arange(FAMILIES), received)
    popular = random.dirichlet(np.full(departments * services, 0.35))
    service = random.choice(departments * services, len(family), p=popular)
    price = np.exp(random.normal(0, 1.0, departments * services))
    amount = np.round(price[service] * np.exp(random.normal(9.5, 1.4, len(family)))) + 100
    names = ("district", "department", "service")
    codes = (lives_in[family], service // services, service % services)
    facts = {name: [f"{code:02}" for code in column] for name, column in zip(names, codes, strict=True)}
    frame = pl.DataFrame({**facts, "contributor": family, "amount": amount.astype(np.int64)})
    leaves = [[f"{code:02}" for code in range(size)] for size in SHAPE]
    axes = tuple(flat(name, each) for name, each in zip(names, leaves, strict=True))
    system = link([CrossTable("city", axes)], frame)
    inner = np.zeros([size + 1 for size in SHAPE], bool)
    inner[:-1, :-1, :-1] = True
    flags = np.zeros(len(system), bool)
    flags[system.tables["city"][inner.ravel()]] = True
    return system, flags


class _Stages:
    """Tells on standard error when a stage begins, and how far it is every tenth."""

    def __init__(self, start: float) -> None:
        self._start, self._last = start, ("", -1)

    def show(self, stage: str, done: int, total: int) -> None:
        now = (stage, 10 * done // max(total, 1))
        if now != self._last:
            self._last = now
            seconds = time.monotonic() - self._start
            print(f"{seconds:7.1f} s  {stage} {done}/{total}", file=sys.stderr, flush=True)


CASES: dict[str, Callable[[], tuple[LinkedSystem, Flags]]] = {"town": _town, "city": _city}


if __name__ == "__main__":
    main()
