from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from kinlink.errors import NEXT
from kinlink.report.figures import figures
from kinlink.report.material import Decided, Kept, Key, Material
from kinlink.report.month import Month
from kinlink.report.reasons import UNKNOWN, meaning
from kinlink.report.words import day, instant, many, month_name, number
from tests.unit.report.month import MADE_AT, PRISME, at, material

OCTOBER = Month.parse("2026-10")


def document(found: Material) -> dict[str, Any]:
    return figures(found, OCTOBER, MADE_AT).document()


def lights(found: Material) -> dict[str, str]:
    """Return the status of each point by its English title."""
    return {light["title"]["en"]: light["status"] for light in document(found)["lights"]}


def test_month_ends_where_the_next_begins() -> None:
    december = Month.parse("2026-12")
    assert (december.first, december.end) == (date(2026, 12, 1), date(2027, 1, 1))
    assert OCTOBER.holds(at(10, 31, 23, 59))
    assert not OCTOBER.holds(at(11, 1, 0))
    with pytest.raises(ValueError, match="unconverted data"):
        Month.parse("2026-13")


def test_the_written_month_is_judged_point_by_point() -> None:
    assert lights(material()) == {
        "The logs were not changed": "ok",
        "Proof outside the services": "unchecked",  # nothing kept of the linker's log
        "Age of the keys": "act",
        "Compromised keys": "act",
        "Key rotations": "look",
        "Destroyed keys in backups": "look",
        "Changes of keys are signed": "ok",
        "Changes waiting": "look",
        "Who can sign": "ok",
        "Changed grants": "look",
        "CPR numbers sent to the service": "ok",
        "Unusual volumes": "look",
        "Refusals": "look",
        "Released tables were attacked": "ok",
        "The month's sample": "look",
        "Identifiers in the log": "ok",
    }


def test_tampering_a_foreign_key_and_a_log_that_does_not_continue_are_to_act_on() -> None:
    whole = material()
    first, second = whole.logs
    changed = replace(whole, logs=(replace(first, findings=("entry changed: Entry 4 was changed",)), second))
    assert lights(changed)["The logs were not changed"] == "act"
    foreign = replace(whole, logs=(replace(first, key_kept=False), second))
    assert lights(foreign)["The logs were not changed"] == "act"
    parted = replace(whole, logs=(replace(first, kept=(Kept("2026-09.checkpoint", 41, agrees=False),)), second))
    assert lights(parted)["Proof outside the services"] == "act"
    unproven = replace(whole, logs=(replace(first, proofs={44: False}), second))
    assert lights(unproven)["The month's sample"] == "act"


def test_kept_checkpoints_of_both_logs_are_proof() -> None:
    whole = material()
    kept = tuple(replace(log, kept=(Kept("2026-09.checkpoint", 5, agrees=True),)) for log in whole.logs)
    assert lights(replace(whole, logs=kept))["Proof outside the services"] == "ok"


def test_an_anchor_that_fails_is_looked_at() -> None:
    whole = material()
    first, second = whole.logs
    failing = replace(first, anchors=tuple(replace(anchor, failing=True) for anchor in first.anchors))
    assert lights(replace(whole, logs=(failing, second)))["Proof outside the services"] == "look"


def test_ages_are_judged_by_the_policy() -> None:
    whole = material()
    no_rule = replace(whole, policy=replace(whole.policy, rotate_after_days=0))
    assert lights(no_rule)["Age of the keys"] == "unchecked"
    young = [key for key in whole.keys if not key.rotate_before or key.rotate_before > MADE_AT + timedelta(days=40)]
    assert lights(replace(whole, keys=young))["Age of the keys"] == "ok"
    soon = [key for key in whole.keys if not key.rotate_before or key.rotate_before > MADE_AT]
    assert lights(replace(whole, keys=soon))["Age of the keys"] == "look"


def test_keys_that_changed_without_signatures_are_to_act_on() -> None:
    whole = material()
    first, second = whole.logs
    assert first.decided is not None

    def judged(decided: Decided | None) -> str:
        return lights(replace(whole, logs=(replace(first, decided=decided), second)))["Changes of keys are signed"]

    assert judged(replace(first.decided, findings=("Entry 4: the change took effect, and nobody signed it.",))) == "act"
    assert judged(None) == "unchecked"
    key, state = next(iter(first.decided.states.items()))
    other = {**first.decided.states, key: "active" if state != "active" else "destroyed"}
    assert judged(replace(first.decided, states=other)) == "act", "the service shows another state than the log tells"
    assert judged(replace(first.decided, states={**first.decided.states, Key("source/x", "cpr", 1): "active"})) == "act"
    before = min(version.state_since for version in whole.keys) - timedelta(days=1)
    assert judged(replace(first.decided, states=other, until=before)) == "ok", "what came later is not in that log"
    without = replace(first.decided, genesis_kept=False)
    found = document(replace(whole, logs=(replace(first, decided=without), second)))["lights"]
    [light] = [one for one in found if one["title"]["en"] == "Changes of keys are signed"]
    assert "keep the genesis file to compare" in light["text"]["en"]


def test_two_signers_or_no_reviewer_cannot_approve_anything() -> None:
    whole = material()
    assert lights(replace(whole, signers=whole.signers[1:]))["Who can sign"] == "act"
    without = [replace(signer, removed_at=at(10, 1) if signer.role == "reviewer" else None) for signer in whole.signers]
    assert lights(replace(whole, signers=without))["Who can sign"] == "act"


def test_the_plain_door_is_looked_at_when_open() -> None:
    whole = material()
    opened = replace(whole, policy=replace(whole.policy, plain_doors=("source/ky",)))
    assert lights(opened)["CPR numbers sent to the service"] == "look"


def test_volumes_are_the_months_and_the_leap_is_marked() -> None:
    volumes = {(row["caller"], row["operation"]): row for row in document(material())["volumes"]}
    prisme = volumes["source/prisme", "Evaluate"]
    assert prisme["total"] == 43_770 + 43_860 + 611_000
    assert (prisme["calls"], prisme["busiest"], prisme["budget_per_day"]) == (3, 611_000, 700_000)
    assert [one["day"] for one in prisme["days"] if one["stands_out"]] == ["2026-10-19"]
    assert volumes["source/elev", "Evaluate"]["days"][0]["limit"] is None  # its first day ever


def test_refusals_are_counted_and_explained() -> None:
    denials = document(material())["denials"]
    assert [(row["reason"], row["ask"]) for row in denials] == [
        ("ACCESS_DENIED", True),
        ("BUDGET_DAY", True),
        ("DELIVERY_UNKNOWN", False),
    ]
    assert all(row["meaning"]["da"] and row["meaning"]["en"] for row in denials)


def test_every_reason_of_the_services_is_explained() -> None:
    assert [reason for reason in NEXT if meaning(reason) is UNKNOWN] == []


def test_deliveries_readings_and_changes_of_the_policy_are_the_months() -> None:
    found = document(material())
    assert [(row["source"], row["period"], row["rows"], row["event"]) for row in found["deliveries"]] == [
        ("prisme", "2026-09", 86_512, "accepted"),
        ("elev", "2026-09", 9_800, "withdrawn"),
    ]
    assert [(row["caller"], row["table"], row["times"], row["cells"]) for row in found["readings"]] == [
        ("consumer/velfaerdsanalyse", "family_spending", 2, 24)
    ]
    assert [(row["event"], row["grant"], row["operation"]) for row in found["policy_events"]] == [
        ("grant.added", "kultur evaluates", "evaluate")
    ]
    grants = {row["name"]: row for row in found["grants"]}
    assert grants["prisme evaluates"]["calls"] == 3


def test_a_rotation_names_its_own_changes_in_order() -> None:
    (row,) = document(material())["rotations"]
    changes = {change["change_id"]: change["action"] for change in document(material())["changes"]}
    assert [changes[change_id] for change_id in row["changes"]] == ["activate", "destroy"]
    earlier = replace(material().changes[1], change_id="11111111-0d50-4e8a-9b0a-3f1f2f0d9c11", keys=(PRISME,))
    whole = replace(material(), changes=(*material().changes, earlier))  # the old version's own activation
    assert document(whole)["rotations"][0]["changes"] == row["changes"]


def test_the_sample_is_shown_without_ids() -> None:
    rows = document(material())["sample"]
    assert [(row["service"], row["index"], row["proven"]) for row in rows] == [
        ("pseudonymizer", 44, True),
        ("linker", 1, True),
        ("linker", 5, True),
    ]
    assert rows[1]["subject"] == "prisme/postings/2026-09"


def test_tables_are_the_newest_revision_of_each_period() -> None:
    rows = document(material())["tables"]
    assert [(row["table_id"], row["revision"], row["in_month"]) for row in rows] == [
        ("coverage", 1, False),
        ("family_spending", 2, True),
    ]
    assert (rows[1]["shown"], rows[1]["carried"], rows[1]["suppressed"], rows[1]["cells"]) == (17, 4, 3, 24)


def test_a_release_without_proof_and_one_by_another_policy_stand_out() -> None:
    whole = material()
    newest, former = whole.releases
    title = "Released tables were attacked"
    for bare in (replace(newest, failures=1), replace(newest, unchecked=1)):
        assert lights(replace(whole, releases=(bare, former)))[title] == "act"
    assert lights(replace(whole, releases=(newest, replace(former, unchecked=1))))[title] == "act"
    assert lights(replace(whole, releases=(replace(newest, policy_digest="57" * 32), former)))[title] == "look"
    assert lights(replace(whole, releases=()))[title] == "ok"


def test_an_empty_deployment_has_a_report() -> None:
    whole = material()
    bare = replace(whole, keys=(), rotations=(), changes=(), signers=(), releases=(), run=None)
    bare = replace(bare, logs=tuple(replace(log, entries=(), proofs={}) for log in whole.logs))
    assert document(bare)["volumes"] == []


def test_numbers_and_dates_are_written_as_each_language_does() -> None:
    assert (number(1234567.5, "da", 1), number(1234567.5, "en", 1)) == ("1.234.567,5", "1,234,567.5")
    assert (month_name("2026-05", "da"), month_name("2026-05", "en")) == ("maj 2026", "May 2026")
    assert (day(at(5, 3), "da"), day(at(10, 3), "da"), day(at(10, 3), "en")) == (
        "3. maj 2026",
        "3. okt. 2026",
        "3 Oct 2026",
    )
    assert instant("2026-10-03T14:05:00Z", "da") == "3. okt. 2026 kl. 14.05"
    assert (many(1, "da", "dag", "dage"), many(2000, "da", "dag", "dage")) == ("1 dag", "2.000 dage")
    assert str(Key("source/ky", "cpr", 2)) == "source/ky cpr v2"
