"""How records without a usable CPR number are linked: the controller's numbers, read from `linkage.toml`.

1. No number of the policy stands in code. All must be given, and none that is not known.
2. The digest is SHA-256 of the numbers' canonical JSON: comments and layout do not change it.

Pure but for `load`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from linker.linkage.fuzzy.assignment import Thresholds
from linker.toml_entry import Entry

_PERCENT = 100
_PERMILLE = 1000
_MOST_BITS = 64
_MOST_DAYS = 3660


class LinkagePolicyError(ValueError):
    """The policy lacks a number, or has an unknown one or one out of range; names it."""


@dataclass(frozen=True, slots=True)
class LinkagePolicy:
    """`encodings_kept_days`: days after acceptance. `smallest_group`: fewest records of which quality is shown."""

    thresholds: Thresholds
    encodings_kept_days: int
    smallest_group: int
    digest: str


def load(path: Path) -> LinkagePolicy:
    """Read a policy file. Raises LinkagePolicyError as `parse`, and if it cannot be read."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise LinkagePolicyError(f"linkage: {path} cannot be read: {error.strerror}") from None


def parse(content: bytes) -> LinkagePolicy:
    """Read the content of a policy file.

    Raises:
        LinkagePolicyError: it is not TOML; a number is missing, unknown or out of range.
    """
    try:
        entry = Entry("linkage policy", tomllib.loads(content.decode()), LinkagePolicyError)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LinkagePolicyError(f"linkage policy: it is not TOML: {error}") from None
    thresholds = Thresholds(
        expected_error=entry.number("expected_error_permille", at_least=1, at_most=_PERMILLE // 2) / _PERMILLE,
        probability=entry.number("probability_percent", at_least=_PERCENT // 2, at_most=_PERCENT - 1) / _PERCENT,
        margin=float(entry.number("margin_bits", at_most=_MOST_BITS)),
        review=entry.number("review_percent", at_least=1, at_most=_PERCENT) / _PERCENT,
    )
    kept = entry.number("encodings_kept_days", at_least=1, at_most=_MOST_DAYS)
    smallest = entry.number("smallest_group", at_least=2)
    entry.nothing_else()
    numbers = {"thresholds": asdict(thresholds), "encodings_kept_days": kept, "smallest_group": smallest}
    canonical = json.dumps(numbers, sort_keys=True, separators=(",", ":"))
    return LinkagePolicy(thresholds, kept, smallest, hashlib.sha256(canonical.encode()).hexdigest())
