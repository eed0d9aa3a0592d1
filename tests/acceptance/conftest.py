"""What the acceptance tests know of the running town; the fixture `town` is in `tests/conftest.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Town as Town  # noqa: PLC0414 - read from here
from tests.conftest import made


@pytest.fixture(params=["tiny", pytest.param("town", marks=pytest.mark.slow)])
def inhabited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracts and truth of a synthetic municipality, of either size."""
    if request.param == "tiny":
        folder: Path = request.getfixturevalue("municipality")
        return folder
    return made(request.param, tmp_path_factory.mktemp(request.param))
