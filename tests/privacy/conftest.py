"""A service whose keys people sign for, one a test unless a module shares it; and what a test says that it measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Callable[..., None]:
    """Print what was measured, for the threat model's table."""

    def said(**shares: float) -> None:
        with capsys.disabled():
            told = ", ".join(f"{what} {share:.3f}" for what, share in shares.items())
            print(f"\n{request.node.name}: {told}", end="")  # noqa: T201

    return said
