"""Look after retention: whatever is due goes at the start, and every hour, whether anybody starts a run or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

_log = structlog.get_logger(__name__)
_EVERY_S = 3600.0


@contextmanager
def looked_after(jobs: Sequence[Callable[[], object]], every_s: float = _EVERY_S) -> Iterator[None]:
    """Do each of the jobs now, and again as long as the block runs.

    Raises what goes wrong now; what goes wrong later is logged, and tried again.
    """
    for job in jobs:
        job()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(every_s):
            for job in jobs:
                try:
                    job()
                except Exception as error:  # noqa: BLE001 - of the database, the disk or the log; the next round tries again
                    _log.warning("what is past its retention could not be deleted", exc_info=error)

    worker = threading.Thread(target=work, name="retention", daemon=True)
    worker.start()
    try:
        yield
    finally:
        stopped.set()
        worker.join()
