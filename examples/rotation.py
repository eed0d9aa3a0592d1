"""A rotation as its people do it: by the command line, each with a certificate and a signing key of their own.

The first custodian makes the new version, proposes and applies; the second custodian and the
reviewer approve; holders rekey. No step needs a CPR number.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from examples.stack import PEOPLE

OPERATOR = "operator/drift"
_CHANGE = re.compile(r"^change (\S+): ", re.MULTILINE)


class Run(Protocol):
    """Runs `kinlink` as a party and returns what it said; raises when it fails. `Stack.run` is one."""

    def __call__(self, party: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """See the class."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The steps of one rotation, all kinds of `domain` together."""

    run: Run
    domain: str
    reason: str = "yearly rotation"

    def activate(self) -> None:
        """Make the next version, and put it to use: from now on the one before it is retiring."""
        self.run(PEOPLE[0], "keys", "create", self.domain)
        self.decide("activate")

    def destroy(self) -> None:
        """Destroy the retiring version. Refused while a holder has not attested."""
        self.decide("destroy")

    def decide(self, action: str) -> str:
        """Propose, approve twice, apply; return the change's id."""
        change_id = self.propose(action)
        for party in PEOPLE[1:]:
            self.run(party, "keys", "approve", change_id, "--yes")
        self.run(PEOPLE[0], "keys", action, change_id)
        return change_id

    def propose(self, action: str) -> str:
        """Propose a change; return its id."""
        said = self.run(PEOPLE[0], "keys", "propose", action, self.domain, "--reason", self.reason, "--yes")
        found = _CHANGE.search(said.stdout)
        if found is None:
            raise ValueError(f"kinlink keys propose {action} named no change: {said.stdout}")
        return found[1]


def rekey_linker(run: Run, request_id: str = "") -> None:
    """Let the linker carry all that it stores to the primary keys, and attest. The same request again goes on."""
    run(OPERATOR, "keys", "rekey", "--linker", *(["--request-id", request_id] if request_id else []))


def rekey_source(run: Run, source: str, files: Sequence[Path], column: str) -> None:
    """Let a source carry the pseudonyms of persons in its own files over, and attest; of other kinds it keeps none."""
    party = f"source/{source}"
    told: tuple[str | Path, ...] = (*files, "--column", column) if files else ()
    run(party, "keys", "rekey", *told, "--complete")
    run(party, "keys", "rekey", "--kind", "replacement", "--complete")
