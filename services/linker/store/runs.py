"""What is known of each run: one row a request id."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from linker.store.state import RUNS, RunState, now


class Stage(StrEnum):
    """The stages of a run, in order."""

    CONVERSION = "conversion"
    LINKAGE = "linkage"
    ALIASES = "aliases"
    FAMILIES = "families"
    TABLES = "tables"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands, of a year through a month, 1 to 12.

    `coverage`, `tables`, `quality` and `linkage_notes` are the result, empty until it succeeded.
    """

    run_id: str
    request_id: str
    reference_date: date
    year: int
    through_month: int
    state: RunState
    stage: Stage
    done: int
    total: int
    reason: str
    message: str
    snapshot: int | None
    coverage: Sequence[Mapping[str, Any]]
    tables: Sequence[Mapping[str, str]]
    quality: Sequence[Mapping[str, Any]]
    linkage_notes: Sequence[str]
    started_at: datetime
    ended_at: datetime | None


def _run(row: sa.Row[tuple[object, ...]]) -> Run:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return Run(state=RunState(values.pop("state")), stage=Stage(values.pop("stage")), **values)


def _find(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> Run | None:
    row = connection.execute(query).first()
    return None if row is None else _run(row)


def get(connection: sa.Connection, run_id: str) -> Run | None:
    """Return a run."""
    return _find(connection, sa.select(RUNS).where(RUNS.c.run_id == run_id))


def newest(connection: sa.Connection) -> Run | None:
    """Return the run that was started last."""
    return _find(connection, sa.select(RUNS).order_by(RUNS.c.started_at.desc()).limit(1))


def of_request(connection: sa.Connection, request_id: str) -> Run | None:
    """Return the run that this request started."""
    return _find(connection, sa.select(RUNS).where(RUNS.c.request_id == request_id))


def running(connection: sa.Connection) -> Run | None:
    """Return the run that is under way."""
    return _find(connection, sa.select(RUNS).where(RUNS.c.state == RunState.RUNNING))


def start(connection: sa.Connection, request_id: str, reference_date: date, year: int, through_month: int) -> str:
    """Note a new run; return its id."""
    run_id = str(uuid.uuid4())
    connection.execute(
        RUNS.insert().values(
            run_id=run_id,
            request_id=request_id,
            reference_date=reference_date,
            year=year,
            through_month=through_month,
            state=RunState.RUNNING,
            stage=Stage.CONVERSION,
            done=0,
            total=0,
            reason="",
            message="",
            coverage=[],
            tables=[],
            quality=[],
            linkage_notes=[],
            started_at=now(),
        )
    )
    return run_id


def change(connection: sa.Connection, run_id: str, **values: Any) -> None:
    """Set columns of a run."""
    connection.execute(RUNS.update().where(RUNS.c.run_id == run_id).values(**values))


def interrupt_all(connection: sa.Connection, reason: str, message: str) -> int:
    """Note that no run is under way any more; return how many were."""
    changed = connection.execute(
        RUNS.update()
        .where(RUNS.c.state == RunState.RUNNING)
        .values(state=RunState.INTERRUPTED, reason=reason, message=message)
    )
    return changed.rowcount
