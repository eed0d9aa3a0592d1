"""What counts as unsafe: the controller's numbers, read from `disclosure.toml`.

No number of the policy stands in code. Its digest goes into every release, so that
a release says under which policy it was made.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path


class PolicyError(ValueError):
    """The policy lacks a number, has an unknown one, or one out of range."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The disclosure policy.

    `threshold`: fewest contributors of a cell that is shown. `dominance_percent`: largest
    share of a cell's absolute amount that one contributor may have. `months_between`:
    fewest months between the reference dates of two live releases.
    """

    threshold: int
    dominance_percent: int
    zeros_are_disclosive: bool
    months_between: int

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON, hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: a number is missing, unknown or out of range.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        policy = Policy(**document["primary"], **document["releases"])
    except (KeyError, TypeError) as error:
        raise PolicyError(f"the policy needs just the numbers of the shipped disclosure.toml: {error}") from None
    if policy.threshold < 2 or not 0 < policy.dominance_percent <= 100 or policy.months_between < 1:
        raise PolicyError("threshold is at least 2, dominance_percent in (0, 100], months_between at least 1")
    return policy
