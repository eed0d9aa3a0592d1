"""Is a linkage policy with a number missing, unknown or out of range refused by name?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linker.linkage import policy
from linker.linkage.fuzzy.assignment import Thresholds
from linker.linkage.policy import LinkagePolicyError
from linker.linkage_stage import record
from servicekit.audit import AuditLog
from tests.unit import linker_fixtures as given

SHIPPED = (Path(policy.__file__).parent.parent / "linkage.toml").read_text(encoding="utf-8")


def test_shipped_policy_is_what_the_accuracy_was_measured_with() -> None:
    """The thresholds are the engine's own, with which its figures are made."""
    found = policy.parse(SHIPPED.encode())
    assert found.thresholds == Thresholds()
    assert (found.encodings_kept_days, found.smallest_group) == (90, 20)


def test_digest_is_of_the_numbers_and_not_of_comments() -> None:
    """Another comment is the same policy; another number is not."""
    found = policy.parse(SHIPPED.encode())
    assert policy.parse(("# more\n" + SHIPPED).encode()).digest == found.digest
    assert policy.parse(SHIPPED.replace("margin_bits = 3", "margin_bits = 4").encode()).digest != found.digest


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("margin_bits = 3", "", "margin_bits is missing"),
        ("margin_bits = 3", "margin_bits = 3\nodds = 1", "unknown key 'odds'"),
        ("probability_percent = 90", "probability_percent = 100", "at most 99"),
        ("probability_percent = 90", "probability_percent = 10", "at least 50"),
        ("expected_error_permille = 5", "expected_error_permille = 0.5", "a whole number"),
        ("encodings_kept_days = 90", "encodings_kept_days = 0", "at least 1"),
        ("smallest_group = 20", "smallest_group = 1", "at least 2"),
        ("smallest_group = 20", "smallest_group =", "not TOML"),
    ],
)
def test_policy_is_refused_that_does_not_say_all_it_should(was: str, now: str, said: str) -> None:
    """What is wrong is named."""
    with pytest.raises(LinkagePolicyError, match=said):
        policy.parse(SHIPPED.replace(was, now).encode())


def test_log_says_at_each_start_which_policy_is_in_force(tmp_path: Path) -> None:
    """By its digest."""
    engine = given.database(tmp_path)
    audit, found = AuditLog(engine), policy.parse(SHIPPED.encode())
    record(found, audit)
    (entry,) = audit.entries()
    assert (entry["rpc"], entry["outcome"]) == ("linkage.loaded", "ok")
    assert json.loads(entry["evidence"]) == {"digest": found.digest}
    engine.dispose()


def test_policy_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """So that the controller finds his file."""
    with pytest.raises(LinkagePolicyError, match=r"none\.toml cannot be read"):
        policy.load(tmp_path / "none.toml")
