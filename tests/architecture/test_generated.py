"""Generated code is fresh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_python_code_is_what_the_protos_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_proto.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
