"""Killed at random points, in delivery and linkage: nothing accepted is lost, nothing is half, readers see no seam."""

from __future__ import annotations

import os
import random
import secrets
import uuid
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest

from examples.comparison import compare, failed
from examples.deliveries import DELIVERIES
from examples.exact import exact
from examples.stack import SOURCES, Stack
from kinlink.client_config import ClientConfig
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from tests.acceptance.kills import Battered
from tests.acceptance.reader import Reader
from tests.acceptance.traffic import shorter
from tests.acceptance.whole import damage, keys, ledger, orphans, unrecorded

OPERATOR = "operator/drift"
LINK = ("link", "run", "--reference-date", "2015-01-01", "--request-id")
DELIVERING = ("receive", "stage", "verify", "write", "sync", "commit", "purge")
ORDER = ("start/purge", *(f"delivery/{phase}" for phase in DELIVERING))
CONVERTING = ("convert", "write", "sync", "commit", "purge")
RELEASING = ("aliases", "families", "tables", "release", "commit")
REPLACING = ("write", "sync", "commit", "purge")
EVALUATING = ("multiply", "settle")
AT_LEAST = 50
PHASES = {
    *(f"delivery/{phase}" for phase in DELIVERING),
    *(f"conversion/{phase}" for phase in CONVERTING),
    *(f"run/{phase}" for phase in RELEASING),
    *(f"withdrawal/{phase}" for phase in REPLACING),
    *(f"{outer}/{phase}" for outer in ("evaluate", "convert") for phase in EVALUATING),
}


@pytest.fixture
def battered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Battered]:
    seed = int(os.environ.get("KINLINK_KILL_SEED") or secrets.randbelow(1 << 32))
    with capsys.disabled():
        print(f"\nKINLINK_KILL_SEED={seed}")  # noqa: T201 - a failure is to be run again
    stack = Stack(tmp_path)
    stack.prepare()
    under_test = Battered(stack, random.Random(seed))  # noqa: S311 - chooses moments, no secrets
    yield under_test
    stack.__exit__(None, None, None)
    with capsys.disabled():
        print(f"\n{len(under_test.deaths)} kills\n{under_test.histogram()}")  # noqa: T201 - where they hit


def pseudonyms(stack: Stack) -> dict[str, bytes]:
    """Return the pseudonym of one number in every source's domain."""
    found = {}
    for source in SOURCES:
        with ClientConfig.load(stack.client(f"source/{source}")).pseudonymizer_channel() as channel:
            client = PseudonymizerClient(channel, domain=f"source/{source}", suite=Suite.SYNTHETIC)
            found[source] = client.evaluate(["6101800010"], Kind.CPR)[0]
    return found


def spread(battered: Battered, outer: str, phases: Sequence[str], times: int) -> list[str]:
    """Return each phase so many times, in a random order."""
    found = [f"{outer}/{phase}" for phase in phases] * times
    battered.random.shuffle(found)
    return found


def deliver_all(battered: Battered, municipality: Path, folder: Path) -> None:
    """Deliver every extract; services die in each phase of it, and at moments of no order."""
    of_linker = [*spread(battered, "delivery", DELIVERING, 3), "start/purge", "start/purge"]
    of_pseudonymizer = spread(battered, "evaluate", EVALUATING, 4)
    outside = ["client", "linker", "pseudonymizer"] * 3
    for delivery in DELIVERIES:
        two = [of_linker.pop() for _ in range(2) if of_linker]
        battered.order("linker", sorted(two, key=ORDER.index))  # what is accepted goes through no phase again
        battered.order("pseudonymizer", [of_pseudonymizer.pop() for _ in range(1) if of_pseudonymizer])
        killed = [outside.pop()] if outside and battered.random.random() < 0.7 else []
        told = delivery.arguments(municipality / "extracts", folder)
        battered.run(f"source/{delivery.source}", *told, killed=killed)


def link(battered: Battered, orders: Sequence[str]) -> None:
    """Link and release; the linker dies by each order, the pseudonymizer while it converts."""
    battered.order("linker", orders)
    battered.order("pseudonymizer", spread(battered, "convert", EVALUATING, 1))
    request_id = str(uuid.uuid4())  # a killed client cannot say how to go on
    battered.run(OPERATOR, *LINK, request_id, killed=["client", "linker"])


def deliver_again(battered: Battered, municipality: Path, folder: Path) -> None:
    """Replace, withdraw and deliver anew what was linked."""
    extracts = municipality / "extracts"
    chosen = {delivery.mapping: delivery for delivery in DELIVERIES}
    for delivery in (chosen["voksen"], chosen["kultur"]):
        party = f"source/{delivery.source}"
        for told in (shorter(delivery, extracts, folder), delivery.arguments(extracts, folder)):
            renounce(battered, party)
            battered.order("linker", spread(battered, "delivery", REPLACING, 1))
            battered.run(party, *told)
    delivery = chosen["sundhed"]
    party = f"source/{delivery.source}"
    delivery_id = renounce(battered, party)
    battered.order("linker", [f"withdrawal/{phase}" for phase in REPLACING])
    battered.run(party, "deliveries", "withdraw", delivery_id)
    battered.run(party, *delivery.arguments(extracts, folder))


def renounce(battered: Battered, party: str) -> str:
    """Return the one accepted delivery of a source, which from now on may go."""
    said = battered.stack.run(party, "deliveries", "list").stdout
    (delivery_id,) = [line.split()[0] for line in said.splitlines() if line.endswith("accepted")]
    del battered.promised[delivery_id]
    return delivery_id


@pytest.mark.slow
def test_kills_at_random_points_lose_and_halve_nothing(battered: Battered, municipality: Path, tmp_path: Path) -> None:
    """Fifty kills and more of both services and of clients, over all phases."""
    stack = battered.stack
    battered.order("pseudonymizer", ["start/kek", "start/keys"])  # before the keys were ever used
    battered.start("pseudonymizer")
    battered.order("linker", ["start"])
    battered.start("linker")
    before = keys(tmp_path / "pseudonymizer"), pseudonyms(stack)
    reader = Reader(stack)
    reader.start()
    try:
        deliver_all(battered, municipality, tmp_path)
        link(battered, spread(battered, "conversion", CONVERTING, 2) + spread(battered, "run", RELEASING, 1))
        deliver_again(battered, municipality, tmp_path)
        link(battered, spread(battered, "conversion", CONVERTING, 1))
    finally:
        reader.stop()
    battered.finish()
    after = keys(tmp_path / "pseudonymizer"), pseudonyms(stack)
    assert before == after
    assert failed(compare(exact(tmp_path, date(2015, 1, 1), 2014), stack, municipality)) == []
    assert reader.wrong == []
    assert battered.wrong == []
    assert damage(tmp_path / "linker", battered.promised) == []
    assert orphans(tmp_path / "linker") == []
    assert ledger(tmp_path / "pseudonymizer", battered.answered) == []
    assert unrecorded(tmp_path / "linker") == []
    assert reader.answers > 100
    services = [death for death in battered.deaths if death.who != "client"]
    assert len(services) >= AT_LEAST
    assert PHASES - {death.phase for death in services} == set()
    assert len(battered.promised) == len(DELIVERIES)
    assert len(reader.tables) == 4
