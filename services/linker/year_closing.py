"""Erase what releases were made of when its retention ends, and refuse years that are closed.

1. All bases of a year go in one transaction, with an entry in the log. Then they are wiped from the database's files;
   if that could not be done, the next look does it.
2. Released tables stay, and so do the releases' records: neither is about a person.

It does not know how long they are kept: that is the disclosure policy's (`disclosure.closing`).
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
import structlog

from linker.disclosure.closing import ClosedYearError, Retention, check_open, due
from linker.store.releases import Releases
from linker.store.state import now
from servicekit.audit import AuditEntry, AuditLog
from servicekit.errors import PreconditionError
from servicekit.identity import caller_uri, request_id

_log = structlog.get_logger(__name__)


def erase_due(engine: sa.Engine, releases: Releases, retention: Retention, audit: AuditLog) -> int:
    """Erase the bases whose retention ended, and wipe those that were erased; return how many went."""
    gone: dict[int, int] = {}
    if years := due(releases.years(), retention, now()):
        with engine.begin() as connection:
            gone = releases.erase(years, connection)
            for year, count in sorted(gone.items()):
                who, call = caller_uri(), request_id()
                entry = AuditEntry("bases erased", who, "ok", subject=str(year), count=count, request_id=call)
                audit.append(entry, connection)
    if not releases.wipe():
        _log.warning(
            "erased bases are still in the database's files: others read it, or its disk is full; tried hourly"
        )
    return sum(gone.values())


def refuse_closed(year: int, reference_date: date, releases: Releases, retention: Retention) -> None:
    """Refuse to release a year that is closed.

    Raises:
        PreconditionError: YEAR_CLOSED, and why.
    """
    try:
        check_open(year, reference_date, releases.years(), retention, now())
    except ClosedYearError as error:
        raise PreconditionError(str(error), "YEAR_CLOSED") from None
