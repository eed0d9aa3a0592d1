"""Is every number of the policy in the file, and within its range?"""

from __future__ import annotations

from pathlib import Path

import pytest

from linker.disclosure import policy
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.policy import FamilyTablePolicy, PolicyError, Spending

SHIPPED = (Path(policy.__file__).parent.parent / "disclosure.toml").read_text(encoding="utf-8")
POLICY = policy.parse(SHIPPED.encode())


def test_shipped_policy_is_the_controllers() -> None:
    standard = POLICY.policies["standard"]
    assert standard.protection == ProtectionPolicy(5, 15, ((1, 75), (2, 90)), 5, 500_000, False, True)
    assert not standard.department_insiders
    assert set(POLICY.policies) == {"standard", "sensitive"}
    assert isinstance(POLICY.family_table, FamilyTablePolicy)
    assert (POLICY.family_table.k, POLICY.family_table.l, POLICY.family_table.spending) == (5, 3, Spending.BANDS)


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
        )
    }
    assert len(others | {POLICY.digest}) == 6


def test_a_rule_that_is_off_is_0_or_an_empty_list() -> None:
    off = SHIPPED.replace("p_percent = 15", "p_percent = 0").replace("[[1, 75], [2, 90]]", "[]")
    protection = policy.parse(off.encode()).policies["standard"].protection
    assert (protection.p_percent, protection.dominance) == (None, ())


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
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
        ("[policies.standard]", "[", "it is not TOML"),
    ],
)
def test_policy_out_of_form_is_refused(old: str, new: str, wrong: str) -> None:
    assert old in SHIPPED
    with pytest.raises(PolicyError, match=wrong):
        policy.parse(SHIPPED.replace(old, new, 1).encode())


def test_policy_without_policies_is_refused() -> None:
    only = SHIPPED[SHIPPED.index("[family_table]") :]
    with pytest.raises(PolicyError, match="policies is missing"):
        policy.parse(only.encode())
    with pytest.raises(PolicyError, match="at least one"):
        policy.parse(("policies = {}\n" + only).encode())
