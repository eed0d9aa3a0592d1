"""What may stand in an entry: never an identifier, and no more than fits."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from servicekit import database
from servicekit.audit import AuditEntry, AuditLog
from servicekit.audit.entry import MAX_EVIDENCE, MAX_TEXT, content

NUMBER = "6101800010"  # synthetic: day + 60
ENTRY = AuditEntry("rpc", "caller", "ok")
TEXTS = [field.name for field in fields(AuditEntry) if field.type == "str"]


def test_every_text_field_is_searched() -> None:
    assert len(TEXTS) == 8
    assert TEXTS[-1] == "evidence"


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    "written", [NUMBER, f"{NUMBER[:6]}-{NUMBER[6:]}", f"prisme/{NUMBER}/2026", f'{{"a":"{NUMBER}"}}']
)
def test_identifier_in_any_field_is_taken_out_before_the_entry_is_hashed(
    tmp_path: Path, name: str, written: str
) -> None:
    engine = database.engine(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate(engine, "servicekit")
    log = AuditLog(engine)
    log.append(replace(ENTRY, **{name: written}))  # type: ignore[arg-type]
    [[(stored, _)]] = log.stored(0, 1)
    assert NUMBER[6:] not in stored.decode()
    assert "[redacted]" in json.loads(stored)[name]
    engine.dispose()


def test_ids_and_hashes_stay_as_they_are() -> None:
    evidence = json.dumps({"change": "00e1c2" + "0123456789" * 5 + "abcd", "count": 12})
    entry = replace(ENTRY, request_id="01018000-1011-4011-8011-010180001011", evidence=evidence)
    told = content(entry)
    assert (told["request_id"], told["evidence"]) == (entry.request_id, evidence)


def test_only_what_applies_is_told() -> None:
    assert content(ENTRY) == {"rpc": "rpc", "caller": "caller", "outcome": "ok"}
    assert content(replace(ENTRY, count=3))["count"] == 3


def test_text_is_cut_and_evidence_is_not() -> None:
    assert len(content(replace(ENTRY, subject="x" * 1000))["subject"]) == MAX_TEXT
    assert len(content(replace(ENTRY, evidence="x" * MAX_EVIDENCE))["evidence"]) == MAX_EVIDENCE
    with pytest.raises(ValueError, match="evidence"):
        content(replace(ENTRY, evidence="x" * (MAX_EVIDENCE + 1)))


def test_outcome_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="outcome"):
        content(replace(ENTRY, outcome="perhaps"))  # type: ignore[arg-type]
