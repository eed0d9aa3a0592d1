"""A release's basis: what a later release is compared with. Pseudonymised personal data, never served.

1. It holds the facts, who the contributors were, the views, the policies that protected them, and how far from its true
   value each cell was proven to be possible: 0 both ways where it was shown.
2. One ZIP of Parquet files and a JSON document; the same content gives the same bytes.

It does not know what is unsafe.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from linker.disclosure.classification import Classification
from linker.disclosure.facts import FactFrame
from linker.disclosure.policy import TablePolicy
from linker.disclosure.system import Numbers
from linker.disclosure.views import View

_DOCUMENT = "basis.json"


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """What was released from, and what was known.

    `policies`: those that the views name. `up`, `down`: by the name of a view, how far above and below its true value
    the outsider had to find each cell possible, in the order of the view's codes.
    """

    year: int
    through_month: int
    facts: tuple[FactFrame, ...]
    views: tuple[View, ...]
    policies: Mapping[str, TablePolicy]
    up: Mapping[str, Numbers]
    down: Mapping[str, Numbers]


def write(basis: Basis) -> bytes:
    """Return the basis as bytes."""
    document = {
        "year": basis.year,
        "through_month": basis.through_month,
        "facts": [_frame_document(frame) for frame in basis.facts],
        "views": [_view_document(view) for view in basis.views],
        "policies": {name: policy.document() for name, policy in basis.policies.items()},
    }
    known = pl.concat(
        [
            pl.DataFrame(
                {
                    "view": [view.name] * len(basis.up[view.name]),
                    "up": basis.up[view.name],
                    "down": basis.down[view.name],
                }
            )
            for view in basis.views
        ]
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(zipfile.ZipInfo(_DOCUMENT), json.dumps(document, sort_keys=True))
        _put(file, "known", known)
        for frame in basis.facts:
            _put(file, f"facts/{frame.name}", frame.frame.select(*frame.schema).sort(pl.all()))
            _put(file, f"members/{frame.name}", frame.members.select("person", "contributor").sort(pl.all()))
    return content.getvalue()


def outline(content: bytes) -> Basis:
    """Read back what `write` wrote without the facts, which are nearly all of it."""
    return _read(content, with_facts=False)


def read(content: bytes) -> Basis:
    """Read back what `write` wrote."""
    return _read(content, with_facts=True)


def protected_by(content: bytes) -> dict[str, TablePolicy]:
    """Return the policy that protected each table that was shown, of what `write` wrote."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        document = json.loads(file.read(_DOCUMENT))
    policies = _policies(document)
    return {entry["table_id"]: policies[entry["policy"]] for entry in document["views"] if entry["shown"]}


def _policies(document: Mapping[str, Any]) -> dict[str, TablePolicy]:
    return {name: TablePolicy.from_document(entry) for name, entry in document["policies"].items()}


def _read(content: bytes, *, with_facts: bool) -> Basis:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        document = json.loads(file.read(_DOCUMENT))
        known = {name: rows for (name,), rows in _get(file, "known").group_by(["view"], maintain_order=True)}
        facts = tuple(
            FactFrame(
                name=entry["name"],
                frame=_get(file, f"facts/{entry['name']}"),
                axes=tuple(entry["axes"]),
                columns=tuple(entry["columns"]),
                counted=frozenset(entry["counted"]),
                nonnegative=frozenset(entry["nonnegative"]),
                flow=entry["flow"],
                members=_get(file, f"members/{entry['name']}"),
            )
            for entry in (document["facts"] if with_facts else ())
        )
    views = tuple(_view(entry) for entry in document["views"])
    return Basis(
        document["year"],
        document["through_month"],
        facts,
        views,
        _policies(document),
        {view.name: known[view.name]["up"].to_numpy() for view in views},
        {view.name: known[view.name]["down"].to_numpy() for view in views},
    )


def _put(file: zipfile.ZipFile, name: str, frame: pl.DataFrame) -> None:
    content = io.BytesIO()
    frame.write_parquet(content, compression="zstd", statistics=False)
    file.writestr(zipfile.ZipInfo(f"{name}.parquet"), content.getvalue())


def _get(file: zipfile.ZipFile, name: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(file.read(f"{name}.parquet")))


def _frame_document(frame: FactFrame) -> dict[str, object]:
    return {
        "name": frame.name,
        "axes": frame.axes,
        "columns": frame.columns,
        "counted": sorted(frame.counted),
        "nonnegative": sorted(frame.nonnegative),
        "flow": frame.flow,
    }


def _view_document(view: View) -> dict[str, object]:
    return {
        "table_id": view.table_id,
        "column": view.column,
        "axes": [[axis.name, axis.leaves, list(axis.sums.items())] for axis in view.axes],
        "within": dict(view.within),
        "months": view.months,
        "policy": view.policy,
        "shown": view.shown,
    }


def _view(entry: dict[str, object]) -> View:
    def axis(name: str, leaves: list[str], sums: list[tuple[str, list[str]]]) -> Classification:
        return Classification(name, tuple(leaves), {code: tuple(members) for code, members in sums})

    return View(
        table_id=str(entry["table_id"]),
        column=str(entry["column"]),
        axes=tuple(axis(*each) for each in entry["axes"]),  # type: ignore[attr-defined]
        within={name: tuple(leaves) for name, leaves in entry["within"].items()},  # type: ignore[attr-defined]
        months=tuple(entry["months"]),  # type: ignore[arg-type]
        policy=str(entry["policy"]),
        shown=bool(entry["shown"]),
    )
