"""A rotation in which each service dies in every phase: only UNAVAILABLE, a safe retry, the same tables in the end."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from examples.deliveries import DELIVERIES
from examples.log_control import control, keep
from examples.rotation import OPERATOR, Rotation, rekey_linker, rekey_source
from tests.acceptance.figures import differences, figures
from tests.acceptance.kills import Battered
from tests.acceptance.reader import Reader
from tests.acceptance.rotated import (
    LINES,
    SOURCE,
    emptied,
    everyone_has_another_pseudonym,
    found_in,
    held_by_source,
    held_under,
    refusals,
    sealed,
)
from tests.acceptance.test_kills import battered as battered  # noqa: PLC0414 - a fixture
from tests.acceptance.test_kills import renounce
from tests.acceptance.traffic import shorter
from tests.acceptance.whole import damage, ledger, orphans, unrecorded

LINK = ("link", "run", "--reference-date", "2015-01-01")
# In the order in which a rotation comes to them.
DECIDING = ("create", "create/seal", "create/anchor", "propose", "approve")
ACTIVATING = ("activate", "activate/seal", "activate/anchor")
REKEYING = ("rekey", "rekey/multiply", "rekey/settle", "attest", "attest/multiply")
DESTROYING = ("destroy", "destroy/rewrite", "destroy/seal", "destroy/erase", "destroy/anchor")
COPYING = tuple(
    f"rekeying/{phase}"
    for phase in ("convert", "copy", "write", "sync", "commit", "switched", "verify", "close", "purge", "attest")
)  # fmt: skip


@pytest.mark.slow
def test_rotation_goes_on_after_a_kill_in_every_phase(battered: Battered, inhabited: Path, tmp_path: Path) -> None:
    stack, pseudonymizer = battered.stack, tmp_path / "pseudonymizer"
    battered.at_once = True
    battered.start("pseudonymizer")
    battered.start("linker")
    for delivery in DELIVERIES:
        battered.run(f"source/{delivery.source}", *delivery.arguments(inhabited / "extracts", tmp_path))
    battered.run(OPERATOR, *LINK)
    held = held_by_source(stack.run, tmp_path)
    before, active = figures(stack), sealed(pseudonymizer)
    keep(stack.run, tmp_path / "kept")
    reader = Reader(stack)
    reader.start()
    try:
        for line, phases in zip(LINES, ([*DECIDING, *ACTIVATING], ["activate/seal"]), strict=True):
            battered.order("pseudonymizer", phases)
            Rotation(battered.run, line).activate()
        deliver_again(battered, inhabited / "extracts", tmp_path)
        carry(battered, held)
        retiring = sealed(pseudonymizer)
        for line, phases in zip(LINES, (["propose", "approve", *DESTROYING], ["destroy/erase"]), strict=True):
            battered.order("pseudonymizer", phases)
            Rotation(battered.run, line).destroy()
    finally:
        reader.stop()
    battered.finish()
    assert stack.run(OPERATOR, *LINK).stdout.count("unchanged") == len(before.released)
    after = figures(stack)
    assert differences(before, after) == []
    assert everyone_has_another_pseudonym(before.pseudonyms, after.pseudonyms)
    assert set(refusals(stack).values()) == {("KEY_VERSION_INACTIVE", "destroyed")}
    assert held_under(held) == 2
    assert (reader.wrong, battered.wrong) == ([], [])
    assert damage(tmp_path / "linker", battered.promised) == []
    assert orphans(tmp_path / "linker") == []
    assert unrecorded(tmp_path / "linker") == []
    assert ledger(pseudonymizer, battered.answered) == []
    assert "nothing was found" in control(stack.run, tmp_path / "kept")
    for gone in (active, retiring):
        assert found_in(pseudonymizer, gone) == set()
        assert emptied(pseudonymizer) == set(gone)
    died = {death.phase for death in battered.deaths}
    wanted = {*DECIDING, *ACTIVATING, *REKEYING, *DESTROYING, *COPYING}
    assert wanted - died == set()
    assert reader.away > 0


def deliver_again(battered: Battered, extracts: Path, folder: Path) -> None:
    """Replace a delivery twice under the new key, so that the rekeying has something to convert first."""
    party = f"source/{SOURCE}"
    [delivery] = [each for each in DELIVERIES if each.source == SOURCE]
    for told in (shorter(delivery, extracts, folder), delivery.arguments(extracts, folder)):
        renounce(battered, party)
        battered.run(party, *told)


def carry(battered: Battered, held: Path) -> None:
    """Let the source and the linker rekey what they hold, and die in each phase of it."""
    battered.order("pseudonymizer", REKEYING)
    rekey_source(battered.run, SOURCE, [held], "cpr")
    battered.order("linker", COPYING)
    battered.order("pseudonymizer", REKEYING)
    rekey_linker(battered.run, str(uuid.uuid4()))  # a killed client cannot say how to go on
