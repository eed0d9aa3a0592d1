"""The real thing, once for all tests that need it: two processes, mTLS, ten sources, one run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.deliveries import DELIVERIES
from examples.stack import Stack


@dataclass(frozen=True, slots=True)
class Town:
    """A running stack that has linked and released a tiny synthetic municipality, and where that lies."""

    stack: Stack
    municipality: Path


@pytest.fixture(scope="session")
def municipality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracts and truth of the tiny synthetic municipality."""
    return made("tiny", tmp_path_factory.mktemp("municipality"))


def made(scale: str, folder: Path) -> Path:
    """Write extracts and truth of a synthetic municipality to `folder`."""
    command = [sys.executable, "-m", "examples.municipality", "--scale", scale, "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def town(municipality: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Deliver everything, link, release."""
    folder = tmp_path_factory.mktemp("stack")
    with Stack(folder) as stack:
        for delivery in DELIVERIES:
            said = stack.run(
                f"source/{delivery.source}", *delivery.arguments(municipality / "extracts", folder), check=False
            )
            assert said.returncode == 0, f"{delivery.mapping}: {said.stderr}"
        said = stack.run("operator/drift", "link", "run", "--reference-date", "2015-01-01", check=False)
        assert said.returncode == 0, said.stderr
        yield Town(stack, municipality)
