"""SIGTERM and SIGINT, waited for.

A handler runs in the main thread, wherever that is. One that sets a `threading.Event` on which the main thread
waits may find the event's lock taken by the very thread that it interrupted, and neither goes on: the service then
never ends. So the handler takes no lock: it writes to a pipe.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress


class StopSignal:
    """Make it in the main thread; from then on the signals end nothing by themselves."""

    def __init__(self) -> None:
        """Catch the signals."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a signal; return whether one came. One that another thread took is seen after `timeout_s`."""
        return bool(select.select([self._read], [], [], timeout_s)[0])

    def _came(self, *_: object) -> None:
        with suppress(BlockingIOError):  # full: it is known
            os.write(self._write, b"\0")
