"""Is every number of the policy in the file, and within its range?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linker.disclosure import policy
from linker.disclosure.closing import Retention
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.policy import FamilyTablePolicy, PolicyError, Spending, TablePolicy

SHIPPED = (Path(policy.__file__).parent.parent / "disclosure.toml").read_text(encoding="utf-8")
POLICY = policy.parse(SHIPPED.encode())


def test_shipped_policy_is_the_controllers() -> None:
    standard = POLICY.policies["standard"]
    assert standard.protection == ProtectionPolicy(5, 15, ((1, 75), (2, 90)), 5, 500_000, False, True)
    assert not standard.department_insiders
    assert set(POLICY.policies) == {"standard", "sensitive"}
    assert isinstance(POLICY.family_table, FamilyTablePolicy)
    assert (POLICY.family_table.k, POLICY.family_table.l, POLICY.family_table.spending) == (5, 3, Spending.BANDS)


def test_a_year_is_open_for_two_years_and_its_bases_are_kept_for_five() -> None:
    assert POLICY.serial == 1
    assert POLICY.retention == Retention(2 * 365 + 1, 5 * 365 + 2)


STRICTER: list[dict[str, object]] = [
    {"threshold": 6},
    {"p_percent": 16},
    {"dominance": ((1, 75), (2, 89))},
    {"dominance": ((1, 74), (2, 90))},
    {"interval_percent": 6},
    {"interval_minimum": 500_001},
]
LOOSER: list[dict[str, object]] = [
    {},
    {"threshold": 4, "p_percent": None},
    {"dominance": ((1, 76),)},
    {"dominance": ()},
    {"interval_percent": 4, "interval_minimum": 1, "singletons": False},
]


@pytest.mark.parametrize(("changes", "stricter"), [*((each, True) for each in STRICTER), *((e, False) for e in LOOSER)])
def test_a_policy_is_stricter_when_any_of_its_rules_is(changes: dict[str, Any], stricter: bool) -> None:
    standard = POLICY.policies["standard"]
    other = replace(standard, protection=replace(standard.protection, **changes))
    assert other.is_stricter_than(standard) is stricter
    assert TablePolicy.from_document(json.loads(json.dumps(other.document()))) == other


def test_reckoning_with_more_attackers_is_stricter() -> None:
    standard = POLICY.policies["standard"]
    insiders = replace(standard, department_insiders=True)
    alone = replace(standard, protection=replace(standard.protection, singletons=False))
    assert insiders.is_stricter_than(standard)
    assert not standard.is_stricter_than(insiders)
    assert standard.is_stricter_than(alone)
    assert POLICY.policies["sensitive"].is_stricter_than(standard)


def test_sensitive_is_stricter_than_standard_in_every_number() -> None:
    standard, sensitive = (POLICY.policies[name].protection for name in ("standard", "sensitive"))
    assert sensitive.threshold > standard.threshold
    assert (sensitive.p_percent or 0) > (standard.p_percent or 0)
    assert [n for n, _ in sensitive.dominance] == [n for n, _ in standard.dominance]
    assert all(ours < theirs for (_, ours), (_, theirs) in zip(sensitive.dominance, standard.dominance, strict=True))
    assert sensitive.interval_percent > standard.interval_percent
    assert sensitive.interval_minimum > standard.interval_minimum


def test_smallest_class_is_the_sensitive_one_where_the_policy_says_so() -> None:
    assert POLICY.family_table.smallest_class == 5
    sensitive = policy.parse(SHIPPED.replace("sensitive = false", "sensitive = true").encode())
    assert sensitive.family_table.smallest_class == 10


def test_digest_is_of_the_numbers_alone() -> None:
    lines = [line for line in SHIPPED.splitlines() if not line.startswith("#")]
    assert policy.parse("\n\n".join(lines).encode()).digest == POLICY.digest
    assert len(POLICY.digest) == 64
    others = {
        policy.parse(SHIPPED.replace(old, new, 1).encode()).digest
        for old, new in (
            ("threshold = 5", "threshold = 6"),
            ("p_percent = 15", "p_percent = 0"),
            ("dominance = [[1, 75], [2, 90]]", "dominance = []"),
            ("policies.sensitive", "policies.other"),
            ("top_rank = 5", "top_rank = 6"),
            ("serial = 1", "serial = 2"),
            ("year_open_days = 731", "year_open_days = 730"),
        )
    }
    assert len(others | {POLICY.digest}) == 8


def test_a_rule_that_is_off_is_0_or_an_empty_list() -> None:
    off = SHIPPED.replace("p_percent = 15", "p_percent = 0").replace("[[1, 75], [2, 90]]", "[]")
    protection = policy.parse(off.encode()).policies["standard"].protection
    assert (protection.p_percent, protection.dominance) == (None, ())


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("serial = 1\n", "", "disclosure policy: serial is missing"),
        ("serial = 1\n", "serial = 0\n", "disclosure policy: serial must be .* at least 1"),
        ("threshold = 5\n", "", "policy standard: threshold is missing"),
        ("zeros_are_disclosive = false", "zeros_are_disclosive = true", "zeros_are_disclosive must be false: an empty"),
        ("threshold = 5\n", "threshold = 1\n", "policy standard: threshold must be .* at least 2"),
        ("threshold = 5\n", "threshold = 5.0\n", "policy standard: threshold must be a whole number"),
        ("threshold = 5\n", "threshold = true\n", "policy standard: threshold must be a whole number"),
        ("threshold = 5\n", "threshold = 5\nthresholds = 6\n", "policy standard: unknown key 'thresholds'"),
        ("p_percent = 15", "p_percent = 101", "p_percent must be .* at most 100"),
        ("p_percent = 15", "p_percent = -1", "p_percent must be .* at least 0"),
        ("[1, 75]", "[3, 75]", r"dominance is a list of \[n, k\], n 1 to 2"),
        ("[1, 75]", "[1, 100]", "k 1 to 99"),
        ("[1, 75]", "[1, 75, 2]", "dominance must be a list of lists of 2 whole numbers"),
        ("[1, 75]", "1", "dominance must be a list"),
        ("interval_percent = 5", "interval_percent = 101", "interval_percent must be"),
        ("interval_minimum_ore = 500_000", "interval_minimum_ore = 0", "interval_minimum_ore must be .* at least 1"),
        ("singletons = true", "singletons = 1", "singletons must be true or false"),
        ("k = 5\n", "k = 1\n", "disclosure policy, family_table: k must be .* at least 2"),
        ("k_sensitive = 10", "k_sensitive = 4", "family_table: k_sensitive must be .* at least 5"),
        ("l = 3", "l = 1", "family_table: l must be .* at least 2"),
        ('spending = "bands"', 'spending = "exact"', "family_table: spending is one of bands, rounded"),
        ("bands_ore = [1, ", "bands_ore = [9_000_000, ", "family_table: bands_ore is a list .* ascending"),
        ("bands_ore = [1, ", "bands_ore = [true, ", "family_table: bands_ore must be a list of whole numbers"),
        ("rounding_ore = 100_000", "rounding_ore = 0", "family_table: rounding_ore must be .* at least 1"),
        ("top_quantile_permille = 995", "top_quantile_permille = 1000", "top_quantile_permille must be .* at most 999"),
        ("top_rank = 5", "top_rank = 1", "family_table: top_rank must be .* at least 2"),
        ("[family_table]", "[family]", "disclosure policy: family_table is missing"),
        ("year_open_days = 731", "year_open_days = 0", "retention: year_open_days must be .* at least 1"),
        ("year_open_days = 731", "year_open_days = 1828", "year_open_days must be .* at most 1827"),
        ("bases_kept_days = 1827", "bases_kept_days = 40_000", "bases_kept_days must be .* at most 36525"),
        ("[retention]", "[retentions]", "disclosure policy: retention is missing"),
        ("[policies.standard]", "[", "it is not TOML"),
    ],
)
def test_policy_out_of_form_is_refused(old: str, new: str, wrong: str) -> None:
    assert old in SHIPPED
    with pytest.raises(PolicyError, match=wrong):
        policy.parse(SHIPPED.replace(old, new, 1).encode())


def test_policy_without_policies_is_refused() -> None:
    only = "serial = 1\n" + SHIPPED[SHIPPED.index("[family_table]") :]
    with pytest.raises(PolicyError, match="policies is missing"):
        policy.parse(only.encode())
    with pytest.raises(PolicyError, match="at least one"):
        policy.parse(("policies = {}\n" + only).encode())
