"""The linker is killed in the stage LINKAGE, at each of its steps: links, model and tables are those of a calm run."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from examples.stack import REGISTER, SERVICES, Stack
from kinlink.client_config import ClientConfig
from kinlink.linkage_client import LinkageClient
from linker.store import linkages
from servicekit.database import engine
from tests.acceptance.kills import Battered
from tests.acceptance.test_review import OPERATOR, told_all

STEPS = ("run/linkage", "run/linkage", "run/write", "run/sync", "run/commit", "run/linkage", "run/purge")
LINK = ("link", "run", "--reference-date", "2015-01-01", "--request-id")


def left(stack: Stack) -> dict[str, Any]:
    """Return what the newest run left: links, model, quality, notes, and what was released."""
    with ClientConfig.load(stack.client(OPERATOR)).linker_channel() as opened:
        run = LinkageClient(opened).get()
    database = engine(f"sqlite:///{stack.folder / 'linker/state.db'}")
    with database.connect() as connection:
        stored = linkages.newest(connection)
    database.dispose()
    assert stored is not None
    assert run.state == "succeeded"
    return {
        "links": pl.read_delta(str(stack.folder / "linker/store/links")).sort("source", "encoding_id").rows(),
        "model": stored.model,
        "notes": list(stored.notes),
        "quality": list(run.quality),
        "coverage": list(run.coverage),
        "tables": [(table.table_id, table.outcome) for table in run.tables],
    }


@pytest.mark.slow
def test_kills_in_the_stage_linkage_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("KINLINK_KILL_SEED") or secrets.randbelow(1 << 32))
    files, before = tmp_path / "files", tmp_path / "before"
    files.mkdir()
    with Stack(tmp_path / "stack", encoders=(REGISTER, "prisme")) as stack:
        told_all(stack, files)
        stop(stack)
        shutil.copytree(stack.folder, before)  # anchors too: services do not start on an older state than these know
        for service in SERVICES:
            stack.start(service)
        stack.run(OPERATOR, *LINK, str(uuid.uuid4()))
        calm = left(stack)
        stop(stack)
        shutil.rmtree(stack.folder)
        shutil.copytree(before, stack.folder)
        battered = Battered(stack, random.Random(seed))  # noqa: S311 - chooses moments, no secrets
        battered.order("linker", STEPS)
        for service in SERVICES:
            battered.start(service)
        battered.run(OPERATOR, *LINK, str(uuid.uuid4()))
        battered.finish()
        with capsys.disabled():
            print(f"\nKINLINK_KILL_SEED={seed}\n{battered.histogram()}")  # noqa: T201 - a failure is to be run again
        assert [death.phase for death in battered.deaths] == list(STEPS)
        assert battered.wrong == []
        assert len(calm["links"]) > 0
        assert calm["model"]
        assert left(stack) == calm


def stop(stack: Stack) -> None:
    for service in reversed(SERVICES):
        stack.stop(service)
