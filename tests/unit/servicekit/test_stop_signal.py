"""Does a service end when it is told to, wherever the signal finds it?"""

from __future__ import annotations

import subprocess
import sys

# A wait of no length keeps the main thread in the waiting's own code, where the signal is to find it.
_PROGRAM = """
import os, signal, threading
from servicekit.stop_signal import StopSignal

for _ in range(300):
    stop, waiting = StopSignal(), threading.Event()
    threading.Thread(target=lambda: (waiting.wait(), os.kill(os.getpid(), signal.SIGTERM))).start()
    waiting.set()
    while not stop.wait(0):
        pass
print("ended")
"""


def test_a_signal_in_the_middle_of_waiting_ends_the_wait() -> None:
    """An event set by the handler hung here, for ever."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "ended\n"
