"""A linker that is killed in the stage LINKAGE: the next run finds what an undisturbed one does."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl

from linker.linkage_stage import LinkageStage
from linker.store import linkages
from linker.store.linkages import StoredLinkage
from linker.store.tables import LINKS
from servicekit.database import read
from tests.unit import linker_fixtures as given
from tests.unit.linkage_fixtures import POLICY, TODAY, deliver, town


def made(folder: Path) -> tuple[pl.DataFrame, StoredLinkage | None]:
    """Run the stage; return the links, and what is stored of them."""
    store = given.store(folder)
    LinkageStage(store, POLICY)(TODAY, lambda *_: None)
    with store.pin() as pinned, read(store.engine) as connection:
        found = pinned.scan(LINKS).sort("source", "encoding_id").collect(), linkages.newest(connection)
    store.engine.dispose()
    return found


def files(folder: Path) -> int:
    return len(list((folder / "store" / LINKS).rglob("*.parquet")))


def test_a_kill_when_links_are_written_and_not_yet_named_leaves_none_and_the_next_run_makes_them(
    tmp_path: Path,
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    store = given.store(calm)
    deliver(store, "person_encodings", town().persons, source="folkeregister")
    deliver(store, "payer_encodings", town().records)
    store.engine.dispose()
    shutil.copytree(calm, killed)
    ended = subprocess.run([sys.executable, "-m", "tests.unit.linkage_killed", str(killed)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert files(killed) > 0, "it died with its links on the disk"
    store = given.store(killed)
    with store.pin() as pinned, read(store.engine) as connection:
        assert pinned.scan(LINKS).collect().is_empty()
        assert linkages.newest(connection) is None
    store.engine.dispose()
    assert files(killed) == 0, "what nobody names is gone"
    (links, linkage), (again, other) = made(calm), made(killed)
    assert links.height == town().records.height
    assert links.equals(again)
    assert linkage == other
