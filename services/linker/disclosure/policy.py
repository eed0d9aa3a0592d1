"""What counts as unsafe: the controller's numbers, read from `disclosure.toml`.

1. No number of the policy stands in code. All must be given, and none that is not known.
2. The digest is SHA-256 of the numbers' canonical JSON: comments and layout do not change it. It goes into every
   release, so that a release says under which policy it was made.
3. The serial number rises whenever another number changes. So a policy that was in force before, with signatures that
   are still good, is told from a new one.

Who signed the file is the composition root's question (`signed_policy`), and so is which serial was seen last.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Self

from linker.disclosure.closing import Retention
from linker.disclosure.needs import ProtectionPolicy
from linker.toml_entry import Entry

_PERCENT = 100
_PERMILLE = 1000
_LONGEST_DAYS = 36_525
_LARGEST_SERIAL = 2**31 - 1
_LARGEST_KNOWN = 2  # how many of a cell's largest contributions are kept, so the n of (n, k)


class PolicyError(ValueError):
    """The policy lacks a number, has an unknown one or one out of range, or is not signed; names it."""


class Spending(StrEnum):
    """How the family table shows an amount."""

    BANDS = "bands"
    ROUNDED = "rounded"


@dataclass(frozen=True, slots=True)
class TablePolicy:
    """What protects a registered table. `department_insiders`: each department is an attacker who knows its column."""

    protection: ProtectionPolicy
    department_insiders: bool

    def is_stricter_than(self, other: TablePolicy) -> bool:
        """Say whether anything could be unsafe by this policy that is not by the other, or asks for more."""
        mine, its = self.protection, other.protection
        return (
            mine.threshold > its.threshold
            or (mine.p_percent or 0) > (its.p_percent or 0)
            or any(all(n != m or k < limit for m, limit in its.dominance) for n, k in mine.dominance)
            or mine.interval_percent > its.interval_percent
            or mine.interval_minimum > its.interval_minimum
            or mine.zeros_are_disclosive > its.zeros_are_disclosive
            or mine.singletons > its.singletons
            or self.department_insiders > other.department_insiders
        )

    def document(self) -> dict[str, Any]:
        """Return what `from_document` reads: plain values only."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read back what `document` wrote, also after JSON."""
        numbers = document["protection"]
        dominance = tuple((n, percent) for n, percent in numbers["dominance"])
        return cls(ProtectionPolicy(**{**numbers, "dominance": dominance}), document["department_insiders"])


@dataclass(frozen=True, slots=True)
class FamilyTablePolicy:
    """What protects the family table.

    `bands_ore`: where bands start, ascending; what is below the first is a band too. `rounding_ore`: rounded amounts
    are multiples of it, cut off at the smaller of the quantile `top_quantile_permille` and the `top_rank`-th largest of
    the class.
    """

    k: int
    k_sensitive: int
    sensitive: bool
    l: int  # noqa: E741 - l-diversity's own name
    spending: Spending
    bands_ore: tuple[int, ...]
    rounding_ore: int
    top_quantile_permille: int
    top_rank: int

    @property
    def smallest_class(self) -> int:
        """Fewest families that share all coarsened properties."""
        return self.k_sensitive if self.sensitive else self.k


@dataclass(frozen=True, slots=True)
class Policy:
    """The disclosure policy: one for each kind of registered table, by name, and one for the family table.

    `serial`: 1 or more; of two policies the one with the higher number is the newer.
    """

    serial: int
    policies: Mapping[str, TablePolicy]
    family_table: FamilyTablePolicy
    retention: Retention
    digest: str


def parse(content: bytes) -> Policy:
    """Read the content of a policy file.

    Raises:
        PolicyError: it is not TOML; a number is missing, unknown or out of range.
    """
    try:
        document = Entry("disclosure policy", tomllib.loads(content.decode()), PolicyError)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(f"disclosure policy: it is not TOML: {error}") from None
    serial = document.number("serial", at_least=1, at_most=_LARGEST_SERIAL)
    policies = {name: _table_policy(entry) for name, entry in document.named_entries("policies", "policy").items()}
    family_table = _family_table(document.entry("family_table"))
    retention = _retention(document.entry("retention"))
    document.nothing_else()
    if not policies:
        raise PolicyError("disclosure policy: it has at least one [policies.<name>]")
    numbers = {
        "serial": serial,
        "policies": {name: asdict(policy) for name, policy in policies.items()},
        "family_table": asdict(family_table),
        "retention": asdict(retention),
    }
    canonical = json.dumps(numbers, sort_keys=True, separators=(",", ":"))
    return Policy(serial, policies, family_table, retention, hashlib.sha256(canonical.encode()).hexdigest())


def _table_policy(entry: Entry) -> TablePolicy:
    policy = TablePolicy(
        ProtectionPolicy(
            threshold=entry.number("threshold", at_least=2),
            p_percent=entry.number("p_percent", at_most=_PERCENT) or None,
            dominance=_dominance(entry),
            interval_percent=entry.number("interval_percent", at_most=_PERCENT),
            interval_minimum=entry.number("interval_minimum_ore", at_least=1),
            zeros_are_disclosive=_zeros_are_disclosive(entry),
            singletons=entry.flag("singletons"),
        ),
        entry.flag("department_insiders"),
    )
    entry.nothing_else()
    return policy


def _zeros_are_disclosive(entry: Entry) -> bool:
    """Return False: the gate knows combinations of categories that somebody is in, and cannot hide the others."""
    if entry.flag("zeros_are_disclosive"):
        raise entry.wrong("zeros_are_disclosive must be false: an empty cell of registered tables cannot be hidden")
    return False


def _retention(entry: Entry) -> Retention:
    kept = entry.number("bases_kept_days", at_least=1, at_most=_LONGEST_DAYS)
    found = Retention(entry.number("year_open_days", at_least=1, at_most=kept), kept)
    entry.nothing_else()
    return found


def _dominance(entry: Entry) -> tuple[tuple[int, int], ...]:
    rules = []
    for n, percent in entry.number_lists("dominance", length=2):
        if not 1 <= n <= _LARGEST_KNOWN or not 1 <= percent < _PERCENT:
            raise entry.wrong(f"dominance is a list of [n, k], n 1 to {_LARGEST_KNOWN} and k 1 to {_PERCENT - 1}")
        rules.append((n, percent))
    return tuple(sorted(rules))


def _family_table(entry: Entry) -> FamilyTablePolicy:
    k = entry.number("k", at_least=2)
    policy = FamilyTablePolicy(
        k=k,
        k_sensitive=entry.number("k_sensitive", at_least=k),
        sensitive=entry.flag("sensitive"),
        l=entry.number("l", at_least=2),
        spending=entry.choice("spending", Spending),
        bands_ore=entry.numbers("bands_ore"),
        rounding_ore=entry.number("rounding_ore", at_least=1),
        top_quantile_permille=entry.number("top_quantile_permille", at_least=1, at_most=_PERMILLE - 1),
        top_rank=entry.number("top_rank", at_least=2),
    )
    entry.nothing_else()
    if not policy.bands_ore or any(low >= high for low, high in pairwise(policy.bands_ore)):
        raise entry.wrong("bands_ore is a list of whole numbers, ascending")
    return policy
