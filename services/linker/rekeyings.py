"""Rekeyings: started by request, one at a time, in the background, resumable.

1. A request id is one rekeying, for ever: the same again returns it, or resumes it when it
   was interrupted.
2. A rekeying that stops before its end is INTERRUPTED with a reason; what it did stays, also
   for a later rekeying under another request id.
3. After a restart nothing is under way: what was RUNNING is INTERRUPTED.

It does not know the work (`linkage.rekeying`), nor how work goes on in the background.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from linker.background import Background, Report, is_request_id
from linker.store import rekeyings
from linker.store.rekeyings import Rekeying, Stage
from linker.store.state import RunState, now
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read
from servicekit.errors import FieldViolation, InvalidError, NotFoundError, PreconditionError
from servicekit.identity import caller_uri

Work = Callable[[str, Report], None]
"""Called with the rekeying's id; what it raises interrupts or fails the rekeying."""


class Rekeyings:
    """The use cases of an operator. All methods may be called from many threads."""

    def __init__(self, engine: sa.Engine, audit: AuditLog) -> None:
        self._engine = engine
        self._audit = audit
        self._starting = threading.Lock()
        self._background = Background("rekeying", self._save)
        self.wait = self._background.wait

    def open(self, work: Work) -> None:
        """Take what does the work, and note that whatever ran when the service ended was interrupted."""
        self._work = work
        with self._engine.begin() as connection:
            message = "the service was restarted; start the rekeying again with the same request id"
            rekeyings.interrupt_all(connection, "SERVICE_RESTARTED", message)

    def close(self) -> None:
        """Interrupt the rekeying under way, and wait for it a little."""
        self._background.close()

    def start(self, request_id: str) -> Rekeying:
        """Start a rekeying, or resume or return the one of this request.

        Raises:
            InvalidError: REQUEST_INVALID.
            PreconditionError: REKEYING_IN_PROGRESS, another one is under way; SERVICE_STOPPING.
        """
        if not is_request_id(request_id):
            violation = FieldViolation("request_id", "expected a UUID")
            raise InvalidError("request_id: expected a UUID", "REQUEST_INVALID", [violation])
        with self._starting:
            self._background.check_open()
            with self._engine.begin() as connection:
                if self._background.idle:  # it ended and could not write so
                    message = "the rekeying's end could not be noted; start it again"
                    rekeyings.interrupt_all(connection, "SERVICE_FAILED", message)
                known = rekeyings.of_request(connection, request_id)
                if known is not None and known.state != RunState.INTERRUPTED:
                    return known
                other = rekeyings.running(connection)
                if other is not None:
                    message = "another rekeying is under way; watch it, or try again when it has ended"
                    metadata = {"rekeying_id": other.rekeying_id}
                    raise PreconditionError(message, "REKEYING_IN_PROGRESS", metadata=metadata)
                if known is None:
                    rekeying_id = rekeyings.start(connection, request_id)
                else:
                    rekeying_id = known.rekeying_id
                    again = {"state": RunState.RUNNING, "reason": "", "message": "", "done": 0, "total": 0}
                    rekeyings.change(connection, rekeying_id, **again, stage=Stage.CONVERSION)
                event = "rekeying started" if known is None else "rekeying resumed"
                entry = AuditEntry(event, caller_uri(), "ok", subject=f"rekeying/{rekeying_id}")
                self._audit.append(entry, connection)
            self._background.start(rekeying_id, lambda report: self._do(rekeying_id, report))
        return self.get(rekeying_id)

    def get(self, rekeying_id: str) -> Rekeying:
        """Return a rekeying; the newest when the id is empty.

        Raises:
            NotFoundError: REKEYING_UNKNOWN.
        """
        with read(self._engine) as connection:
            found = rekeyings.get(connection, rekeying_id)
        if found is None:
            raise NotFoundError("there is no such rekeying", "REKEYING_UNKNOWN")
        return found

    def watch(self, rekeying_id: str, watching: Callable[[], bool] = lambda: True) -> Iterator[Rekeying]:
        """Yield the rekeying now and whenever it has changed, until it is not RUNNING or nobody is `watching`.

        Raises:
            NotFoundError: REKEYING_UNKNOWN.
        """
        yield from self._background.watch(lambda: self.get(rekeying_id), watching)

    def _do(self, rekeying_id: str, report: Report) -> None:
        self._work(rekeying_id, report)
        self._save(rekeying_id, state=RunState.SUCCEEDED, ended_at=now())

    def _save(self, rekeying_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            rekeyings.change(connection, rekeying_id, **values)
