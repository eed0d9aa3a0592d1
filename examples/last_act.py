"""The demo's last act: the linkage key is rotated, the tables stay, and the data-protection officer checks it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from rich.markup import escape

from examples.log_control import DPO, control, keep
from examples.rotation import OPERATOR, Rotation, rekey_linker
from examples.stack import PEOPLE, PURPOSE, Stack

Say = Callable[[str], None]


def last_act(stack: Stack, tables: int, link: Sequence[str], kept: Path, out: Path, say: Say) -> bool:
    """Rotate the linkage key; say what happened, and return whether everything holds.

    `tables`: how many are released, by the run with the arguments `link`. `kept`: where the officer keeps checkpoints;
    the report goes to `out`.
    """
    line = f"linkage/{PURPOSE}"
    keep(stack.run, kept)
    rotation = Rotation(stack.run, line)
    rotation.activate()
    say(f"{PEOPLE[0]} proposed, {' and '.join(PEOPLE[1:])} approved: {line} has a new key")
    rekey_linker(stack.run)
    say("The linker carried its pseudonyms over; no CPR number was sent")
    rotation.destroy()
    say(f"Proposed and approved again: the old key is destroyed\n\n$ kinlink keys status {line}")
    say(escape(_of_kind("cpr", stack.run(DPO, "keys", "status", line).stdout)))
    outcomes = stack.run(OPERATOR, *link).stdout
    same = outcomes.count("unchanged: ")
    say(f"Recomputed from the rekeyed store: {same} of {tables} tables are equal to those released before")
    verified = control(stack.run, kept)
    say("\n$ kinlink audit verify")
    say("\n".join(text for text in verified.splitlines() if "nothing was found" in text))
    report = out / "dpo-report.html"
    stack.run(DPO, "dpo", "report", "--month", f"{datetime.now(UTC):%Y-%m}", "--kept", kept, "-o", report)
    say(f"The data-protection officer's report of this month: {report.name}")
    return same == tables and verified.count("nothing was found") == 2


def _of_kind(kind: str, status: str) -> str:
    """Return what `kinlink keys status` says of one kind: its line, and those that are set in below it."""
    lines = status.splitlines()
    begins = next(n for n, text in enumerate(lines) if f" {kind}: " in text)
    below = takewhile(lambda text: text.startswith(" "), lines[begins + 1 :])
    return "\n".join([lines[begins], *below, "  (and so for addresses and replacement numbers)", ""])
