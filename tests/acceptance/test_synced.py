"""Accepted means on disk: shown by the system calls of a linker that accepts a delivery."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.stack import Stack
from tests.acceptance.phases import wrapper
from tests.acceptance.synced import STRACE, Trace, faults, traced
from tests.acceptance.test_linker import deliver, requests
from tests.unit import linker_fixtures as given

pytestmark = pytest.mark.skipif(not traced(), reason="strace is not installed, or may not trace")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(tmp_path_factory.mktemp("synced"))
    started.prepare()
    started.start("pseudonymizer")
    yield started
    started.stop("pseudonymizer")


# fault put into the linker: what is seen of it
CASES = {
    "": set(),
    "folders are not synced": {"not synced before it was named"},
    "the database does not sync": {"not synced before the answer"},
    "the snapshot is named before its files are written": {"not synced before it was named"},
}


@pytest.mark.parametrize("fault", CASES)
def test_an_accepted_delivery_was_on_disk_before_it_was_named_and_named_before_the_answer(
    stack: Stack, tmp_path: Path, fault: str
) -> None:
    """Every file of a new table, all folders up to the store, then the database; each fault put in is seen."""
    root = stack.folder / "linker"
    for part in set(root.iterdir()) - {*root.glob("disclosure.toml*"), root / "access.toml"}:
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    shutil.rmtree(stack.folder / "anchors/linker", ignore_errors=True)  # a new linker, with a log of its own
    traces = tmp_path / "traces"
    traces.mkdir()
    told = wrapper("linker", tmp_path / "phases", fault)
    stack.start("linker", wrapper=(*STRACE, "-o", str(traces / "trace"), *told))
    begun = time.time()  # strace stamps by the same clock; what start-up did is before this
    parts = requests("voksen", "postings", given.postings("a", source="voksen"), given.postings("b", source="voksen"))
    delivery_id = deliver(stack, "voksen", parts).delivery.delivery_id
    answered = time.time()
    stack.stop("linker")

    table = root / "store/quarantine/postings"
    trace = Trace.read(traces, root, begun)
    assert len(list(table.rglob("*.parquet"))) >= 1
    assert len(list((table / "_delta_log").iterdir())) == 2
    found = faults(trace, table, root, delivery_id, answered)
    assert {text.partition(": ")[2] for text in found} == CASES[fault], found
    staged = {call.path.parent for call in trace.synced if call.path and root / "staging" in call.path.parents}
    assert root / f"staging/voksen/{delivery_id}" in staged, "chunks were synced as they came"
