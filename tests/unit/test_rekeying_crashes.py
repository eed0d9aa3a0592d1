"""Killed at any step of a rekeying and opened again: all under the old version or all under the new, and it goes on."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from linker.linkage.conversion import convert_all
from linker.linkage.rekeying import RekeyingWork
from linker.rekeyings import Rekeyings
from linker.store import rekeyings as rows
from linker.store.snapshots import Snapshots
from linker.store.state import RunState
from linker.store.tables import IDENTITIES
from servicekit.audit import AuditLog
from servicekit.database import read
from tests.unit import linker_fixtures as given
from tests.unit.rekeying_fixtures import LocalKeys, element
from tests.unit.test_linker_crashes import KilledError, Killer, mortal

LINKAGE = "linkage/familie"
NAMES = "abcde"
ASKED = str(uuid.uuid4())


def rekey(store: Snapshots, keys: LocalKeys, killer: Killer) -> None:
    """Do what a started linker does for the request, in this thread, so that a kill ends all of it."""
    keys.before = lambda _: killer.step()
    audit = AuditLog(store.engine)
    served = Rekeyings(store.engine, audit)
    served.open(RekeyingWork(store, audit, keys.connect, "familie", lambda _: None, piece=2))
    with store.engine.begin() as connection:
        known = rows.of_request(connection, ASKED)
        rekeying_id = known.rekeying_id if known else rows.start(connection, ASKED)
    served._do(rekeying_id, lambda *_: None)


def standing(store: Snapshots) -> dict[bytes, int]:
    """Return the id of each pseudonym."""
    with store.pin() as pinned:
        identities = pinned.scan(IDENTITIES).collect()
    assert identities["id"].is_unique().all()
    assert identities["key_version"].n_unique() == 1, "readers see one version"
    return dict(identities.select("pseudonym", "id").iter_rows())


def switches(store: Snapshots) -> int:
    return sum(entry["rpc"] == "rekeying switched" for entry in AuditLog(store.engine).entries())


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_step_leaves_one_version_and_the_same_request_goes_on(tmp_path: Path, stride: int) -> None:
    start = tmp_path / "start"
    start.mkdir()
    store, intake = mortal(start, Killer())
    intake.deliver("prisme", given.ALL, iter(given.delivery("postings", given.postings(*NAMES), source="prisme")))
    convert_all(store, LocalKeys(), "familie", lambda *_: None)
    before = standing(store)
    store.engine.dispose()
    after = {element(name, LINKAGE, 2): before[element(name, LINKAGE, 1)] for name in NAMES}
    survived, at, outcomes = False, 0, set()
    while not survived:
        folder = tmp_path / "now"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start, folder)
        keys, killer = LocalKeys(), Killer()
        keys.rotate(LINKAGE)
        keys.rotate("source/prisme")
        store, _ = mortal(folder, killer)
        killer.at = killer.steps + at
        try:
            rekey(store, keys, killer)
            survived = True
        except KilledError:
            killer.at = None
        store.engine.dispose()
        store, intake = mortal(folder, Killer())
        found = standing(store)
        assert found in (before, after), f"killed at step {at}"
        assert switches(store) == (found == after), f"killed at step {at}"
        outcomes.add(found == after)
        rekey(store, keys, Killer())
        assert standing(store) == after, f"killed at step {at}, then resumed"
        assert switches(store) == 1
        assert sorted((stated.line[0], stated.held, stated.sample) for stated in keys.attested) == [
            (LINKAGE, 5, 5),
            ("source/prisme", 5, 0),
        ]
        with read(store.engine) as connection:
            done = rows.of_request(connection, ASKED)
        assert done is not None
        assert done.state == RunState.SUCCEEDED
        assert all(key.attested_at for key in done.keys)
        held = b"".join(file.read_bytes() for file in (folder / "store" / "identities").glob("*.parquet"))
        assert held.count(b"PAR1") == 2, "one file, and the old one gone"
        store.engine.dispose()
        at += stride
    assert outcomes == {True, False}, "kills fell on both sides of the switch"
    assert at > 30
