"""The pseudonymizer without its log, to measure what the log costs. Only `bench.audit` starts it, as a wrapper
around the command that starts the real one; the product has no such switch.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pseudonymizer.__main__ import serve
from servicekit.audit import AuditEntry, AuditLog


def _nothing(_log: AuditLog, _entry: AuditEntry, _connection: object = None) -> int:
    return 0


if __name__ == "__main__":
    AuditLog.append = _nothing  # type: ignore[assignment,method-assign]
    serve(Path(sys.argv[-1]))
