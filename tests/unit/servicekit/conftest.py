"""Certificates once a session, and servers that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kinlink.dev_certificates import make_certificates
from tests import running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture
def serve(tmp_path: Path, certificates: Path) -> Iterator[Callable[..., running.Served]]:
    started: list[running.Served] = []

    def start(register: Callable[[grpc.Server], None], services: list[str], access: str, **more: Any) -> running.Served:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(
            running.start(folder, more.pop("certificates", certificates), register, services, access, **more)
        )
        return started[-1]

    yield start
    for served in started:
        served.running.stop(0)
        served.engine.dispose()
