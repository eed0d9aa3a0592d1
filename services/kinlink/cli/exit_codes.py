"""The exit codes of every kinlink command. Stable: scripts and schedulers branch on them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Why a command ended; the number is the process's exit status."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    BAD_INPUT = 3
    REFUSED = 4
    UNAVAILABLE = 5
    CONFLICT = 6
    OVER_LIMIT = 7
    INTERRUPTED = 130
