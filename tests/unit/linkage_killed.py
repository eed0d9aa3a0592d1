"""Run the stage LINKAGE on a store, and die by SIGKILL when its links are written and no snapshot names them.

python -m tests.unit.linkage_killed <folder>
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from linker.linkage_stage import LinkageStage
from linker.store.delta import DeltaTables
from linker.store.tables import LINKS
from tests.unit import linker_fixtures as given
from tests.unit.linkage_fixtures import POLICY, TODAY


class MortalTables(DeltaTables):
    """Delta tables in a process that dies when it has written links."""

    def write(self, table: str, base: int | None, **what: Any) -> int:
        """Write, and die."""
        version = super().write(table, base, **what)
        if table == LINKS:
            os.kill(os.getpid(), signal.SIGKILL)
        return version


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    LinkageStage(given.store(folder, MortalTables(folder / "store")), POLICY)(TODAY, lambda *_: None)
