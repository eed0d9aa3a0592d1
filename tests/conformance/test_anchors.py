"""Second places: one suite over a folder and an object store (moto's HTTP server plays S3)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import requests

from servicekit.anchors import Anchor, AnchorConflictError, AnchorError, open_anchors
from tests import object_store

Open = Callable[[], Anchor]
NAMES = [f"linker/checkpoint/{size:020}" for size in (9, 10, 100)]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with object_store.served() as address:
        yield address


@pytest.fixture
def environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in object_store.environment(s3).items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(params=["file", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return how to open one and the same place, as each replica does."""
    uri = "file:far/away"
    if request.param == "s3":
        uri = "s3://anchors/kommune/log"
        endpoint = request.getfixturevalue("environment")
        requests.post(f"{endpoint}/moto-api/reset", timeout=10)
        object_store.make_bucket(endpoint, "anchors")
    return lambda: open_anchors([uri], tmp_path)[0]


def test_newest_has_the_greatest_name_of_its_prefix(opened: Open) -> None:
    anchor = opened()
    assert anchor.newest("linker/checkpoint/") is None
    for name in (NAMES[1], NAMES[0]):
        anchor.write(name, name.encode())
    anchor.write("pseudonymizer/checkpoint/" + "9" * 20, b"another service's")
    anchor.write("linker/keystore/" + "9" * 20, b"another thing")
    assert anchor.newest("linker/checkpoint/") == opened().newest("linker/checkpoint/") == (NAMES[1], NAMES[1].encode())
    opened().write(NAMES[2], b"from another replica")
    assert anchor.newest("linker/checkpoint/") == (NAMES[2], b"from another replica")


def test_what_is_written_stays(opened: Open) -> None:
    opened().write(NAMES[0], b"first")
    opened().write(NAMES[0], b"first")
    with pytest.raises(AnchorConflictError, match="holds other content"):
        opened().write(NAMES[0], b"second")
    assert opened().newest("linker/checkpoint/") == (NAMES[0], b"first")


def test_of_two_histories_written_at_once_one_stays(opened: Open) -> None:
    start = Barrier(4)

    def write(n: int) -> bool:
        anchor = opened()
        start.wait()
        try:
            anchor.write(NAMES[0], b"%d" % n)
        except AnchorConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(write, range(4)))
    assert sum(won) == 1
    assert opened().newest("linker/checkpoint/") == (NAMES[0], b"%d" % won.index(True))


def test_place_that_is_away_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    (tmp_path / "file").write_text("no folder")
    missing = open_anchors(["file:file"], tmp_path)[0], open_anchors(["s3://no-such-bucket"], tmp_path)[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for anchor in (*missing, *open_anchors(["s3://anchors"], tmp_path)):
        with pytest.raises(AnchorError, match=f"^{anchor.uri}: cannot be written"):
            anchor.write(NAMES[0], b"")
    with pytest.raises(AnchorError, match="cannot be read"):
        missing[1].newest("linker/checkpoint/")


def test_files_are_their_owners_only_and_no_half_one_is_left(tmp_path: Path) -> None:
    anchor = open_anchors(["file:far"], tmp_path)[0]
    anchor.write(NAMES[0], b"first")
    with pytest.raises(AnchorConflictError):
        anchor.write(NAMES[0], b"second")
    found = {Path(folder, name) for folder, _, names in os.walk(tmp_path) for name in names}
    assert found == {tmp_path / "far" / NAMES[0]}
    assert stat.S_IMODE((tmp_path / "far" / NAMES[0]).stat().st_mode) == 0o600


@pytest.mark.parametrize("uri", ["", "file:", "file://host/path", "s3://", "https://host", "far/away"])
def test_place_of_another_form_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(AnchorError, match=r"expected file:<folder> or s3://"):
        open_anchors([uri], tmp_path)
