"""Sources that never stop: deliveries that replace each other, are withdrawn and come again, by the real command line.

Nothing may go wrong where nothing is killed: every command must end with 0. What was delivered at the
start is what stands at the end, so that tables can be compared.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples.deliveries import DELIVERIES, Delivery
from examples.stack import Stack

_EVALUATED = re.compile(r"^  distinct +(.*)$", re.MULTILINE)
_OF_A_KIND = re.compile(r"([\d,]+) [a-zA-Z]")


def evaluated(said: str) -> int:
    """Return how many elements `kinlink deliver` had evaluated, by what it said."""
    return sum(
        int(n.replace(",", "")) for line in _EVALUATED.findall(said) for n in re.findall(r"([\d,]+) [a-zA-Z]", line)
    )


def shorter(delivery: Delivery, extracts: Path, folder: Path) -> list[str]:
    """Return the arguments that deliver half of an extract."""
    extract = extracts / delivery.source / delivery.files[0]
    lines = extract.read_bytes().splitlines(keepends=True)
    half = folder / f"half.{extract.name}"
    half.write_bytes(b"".join(lines[: len(lines) // 2]))
    told = delivery.arguments(extracts, folder)
    return [*told[: -len(delivery.files)], str(half)]


@dataclass
class Traffic:
    """A thread in which `mappings` are delivered in turn until it is stopped.

    `elements`: evaluated, by source. `wrong`: what was said by commands that failed.
    """

    stack: Stack
    extracts: Path
    folder: Path
    mappings: Sequence[str]
    elements: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    wrong: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """End with everything delivered whole."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        chosen = [delivery for delivery in DELIVERIES if delivery.mapping in self.mappings]
        while not self._ended.is_set() and not self.wrong:
            for delivery in chosen:
                self._round(delivery)
            self.rounds += 1

    def _round(self, delivery: Delivery) -> None:
        party = f"source/{delivery.source}"
        whole = delivery.arguments(self.extracts, self.folder)
        self._run(party, *shorter(delivery, self.extracts, self.folder))
        self._run(party, *whole)
        listed = self._run(party, "deliveries", "list")
        accepted = [line.split()[0] for line in listed.splitlines() if line.endswith("accepted")]
        if self.rounds % 2 and len(accepted) == 1:
            self._run(party, "deliveries", "withdraw", accepted[0])
            self._run(party, *whole)

    def _run(self, party: str, *arguments: str) -> str:
        said = self.stack.run(party, *arguments, check=False)
        if said.returncode:
            self.wrong.append(f"{party}: {arguments[0]} ended with {said.returncode}: {said.stdout}{said.stderr}")
        self.elements[party] += evaluated(said.stdout)
        return said.stdout
