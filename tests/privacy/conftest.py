"""A service whose keys people sign for; one a test, unless a module shares it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kinlink.dev_certificates import make_certificates
from tests.privacy.signing_service import OTHERS, PEOPLE, SigningService, started


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, (*PEOPLE, *OTHERS))
    return folder


@pytest.fixture
def service(tmp_path: Path, certificates: Path) -> Iterator[SigningService]:
    yield from started(tmp_path, certificates)
