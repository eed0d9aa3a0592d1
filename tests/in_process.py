"""`kinlink` run in this process: what a test needs many times over and where another process shows nothing more."""

from __future__ import annotations

import io
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from examples.stack import Stack
from kinlink.cli.__main__ import run


@dataclass(frozen=True, slots=True)
class InProcess:
    """Runs `kinlink` as a party of a stack, one call at a time; `examples.rotation.Run`."""

    stack: Stack

    def __call__(self, party: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Return what it said. Raises CalledProcessError when it does not end with 0."""
        told, out, err = [str(argument) for argument in arguments], io.StringIO(), io.StringIO()
        environment = {"KINLINK_CONFIG": str(self.stack.client(party))}
        with patch.dict(os.environ, environment), redirect_stdout(out), redirect_stderr(err):
            code = run(told)
        done = subprocess.CompletedProcess(told, code, out.getvalue(), err.getvalue())
        done.check_returncode()
        return done
