"""A source's key and the linkage key are rotated while deliveries and readers go on: nothing depends on a pseudonym.

Real processes. The tables recomputed afterwards are those of before; no call failed; no CPR number was sent; of the
old keys nothing is left, and nothing can be done with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.deliveries import DELIVERIES
from examples.log_control import control, keep
from examples.rotation import OPERATOR, Rotation, Run, rekey_linker, rekey_source
from examples.stack import SERVICES, Stack
from tests.acceptance.figures import differences, figures
from tests.acceptance.reader import Reader
from tests.acceptance.rotated import (
    LINES,
    NUMBERS,
    SOURCE,
    Begun,
    accepted,
    emptied,
    everyone_has_another_pseudonym,
    found_in,
    held_by_source,
    held_under,
    not_as_agreed,
    not_shown,
    refusals,
    refused_at_all,
    reported,
    sealed,
    send_a_number,
)
from tests.acceptance.traffic import Traffic, evaluated
from tests.in_process import InProcess
from tests.privacy.parties import PLAIN, dial
from tests.privacy.recording import Recorded, recording

LINK = ("link", "run", "--reference-date", "2015-01-01")


def test_rotation_while_work_goes_on(inhabited: Path, tmp_path: Path) -> None:
    """Everything linked; the keys of a source and of the linkage are replaced and destroyed under traffic."""
    extracts, pseudonymizer = inhabited / "extracts", tmp_path / "stack/pseudonymizer"
    with recorded(tmp_path / "stack") as given:
        stack, quickly = given.stack, InProcess(given.stack)
        sent = deliver_all(quickly, extracts, tmp_path)
        quickly(OPERATOR, *LINK)
        held = held_by_source(quickly, tmp_path)
        sent[f"source/{SOURCE}"] += len(NUMBERS)
        before, active = figures(stack), sealed(pseudonymizer)
        keep(quickly, tmp_path / "kept")
        assert found_in(pseudonymizer, active) == set(active)  # the control of what is looked for below

        reader, traffic = Reader(stack), Traffic(stack, extracts, tmp_path, (SOURCE, "dubu"))
        reader.start()
        traffic.start()
        try:
            with dial(stack, "pseudonymizer", f"source/{SOURCE}") as channel:
                call = Begun(channel)
                for line in LINES:
                    Rotation(stack.run, line).activate()
                assert call.again() == call.first
                call.end()
            rekey_source(stack.run, SOURCE, [held], "cpr")
            rekey_linker(stack.run)
            retiring = sealed(pseudonymizer)  # sealed anew with their state
            assert found_in(pseudonymizer, retiring) == set(retiring)
            for line in LINES:
                Rotation(stack.run, line).destroy()
            assert found_in(pseudonymizer, active) | found_in(pseudonymizer, retiring) == set()
        finally:
            traffic.stop()
            reader.stop()
        sent += traffic.elements
        assert (traffic.wrong, reader.wrong, reader.away) == ([], [], 0)
        assert traffic.rounds > 0
        assert reader.answers > 10
        assert refused_at_all(stack) <= {"KEY_VERSION_CLOSED"}  # what was evaluated before is delivered anew by itself

        linked = quickly(OPERATOR, *LINK).stdout
        after = figures(stack)
        assert linked.count("unchanged") == len(before.released)
        assert differences(before, after) == []
        assert everyone_has_another_pseudonym(before.pseudonyms, after.pseudonyms)
        assert set(refusals(stack).values()) == {("KEY_VERSION_INACTIVE", "destroyed")}
        assert "KEY_VERSION_INACTIVE" in refused_at_all(stack)
        assert control(quickly, tmp_path / "kept").count("nothing was found") == len(SERVICES)
        report = reported(quickly, tmp_path)
        assert not_shown(report, LINES) == []
        assert not_shown(report, ["source/elev"]) != []
        assert held_under(held) == 2
        sent[f"source/{SOURCE}"] += 3  # the call that was begun, and the one that was refused
        assert not_as_agreed(given, sent, inhabited) == []

        # The controls: a number that is sent is seen, and a delivery less.
        send_a_number(stack)
        assert {"1 calls of the plain door", f"{PLAIN}: a number"} <= set(not_as_agreed(given, sent, inhabited))
        [delivery_id] = accepted(stack, "elev")
        quickly("source/elev", "deliveries", "withdraw", delivery_id)
        assert "exact services" in differences(before, figures(stack))
    assert found_in(pseudonymizer, active) | found_in(pseudonymizer, retiring) == set()
    assert emptied(pseudonymizer) == set(active) == set(retiring)


def deliver_all(run: Run, extracts: Path, folder: Path) -> Counter[str]:
    """Deliver every extract; return the elements that were evaluated, by source."""
    sent: Counter[str] = Counter()
    for delivery in DELIVERIES:
        party = f"source/{delivery.source}"
        sent[party] += evaluated(run(party, *delivery.arguments(extracts, folder)).stdout)
    return sent


@contextmanager
def recorded(folder: Path) -> Iterator[Recorded]:
    """Start both services; keep what the pseudonymizer is sent."""
    stack = Stack(folder)
    stack.prepare()
    capture = folder / "capture.jsonl"
    try:
        stack.start("pseudonymizer", wrapper=recording(capture))
        stack.start("linker")
        yield Recorded(stack, capture)
    finally:
        stack.__exit__(None, None, None)
