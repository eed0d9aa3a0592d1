"""CPR-shaped text is taken out of logs; ids and hashes stay. All numbers are synthetic (day + 60)."""

from __future__ import annotations

import io
import json
import logging
import uuid
from collections.abc import Iterator
from hashlib import sha256

import pytest
import structlog

from servicekit import telemetry
from servicekit.redaction import REDACTED, redact, redact_text
from servicekit.settings import ServerSettings


@pytest.mark.parametrize(
    "shape",
    [
        "6101800010", "610180-0010", "610180 0010", "610180 - 0010", "61 01 80 0010", "61-01-80-0010", "61.01.80-0010",
        "610180\u20130010", "610180\u00a00010", "6101800010.", "'6101800010", "cpr6101800010x", "CPR_6101800010",
        "\"6101800010\"", "6101800010\n", "/persons/6101800010/", "9112991234", "101800010",
    ],
)  # fmt: skip
def test_cpr_shaped_text_is_redacted(shape: str) -> None:
    digits = "".join(c for c in shape if c.isdigit())
    for text in (shape, f"before {shape} after", f"k={shape};", f"{shape},{shape}"):
        assert REDACTED in redact_text(text)
        assert digits[-4:] not in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:05:21.781624+00:00", "9 postings of 12345678 øre", "port 38045", "1790000000",
        "1795341234567890123", "9999999999", "6113800010", "0000000000", "kl1.source/prisme.1", "20141231", "",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    ],
)  # fmt: skip
def test_other_text_stays(text: str) -> None:
    assert redact_text(text) == text


def test_ids_and_hashes_stay() -> None:
    for number in range(2000):
        name = uuid.uuid5(uuid.NAMESPACE_OID, str(number))
        digest = sha256(str(number).encode()).hexdigest()
        text = f"request {name} release {digest} trace {digest[:32]}"
        assert redact_text(text) == text


def test_values_are_redacted_wherever_they_are_nested() -> None:
    class Record:
        def __repr__(self) -> str:
            return "6101800010"

    value = {"6101800010": [6101800010, ("610180-0010", {"deep": 6101800010.0})], "object": Record(), "bytes": b"61"}
    assert "0010" not in json.dumps(redact(value))
    assert redact(value)["object"] == "<Record>"
    assert redact({"n": 612, "share": 0.69, "ok": True, "none": None}) == {
        "n": 612, "share": 0.69, "ok": True, "none": None,
    }  # fmt: skip


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    target = io.StringIO()
    monkeypatch.setattr("sys.stderr", target)
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    fields = dict.fromkeys(("certificate", "key", "ca", "trust_domain", "database_url"), "x")
    telemetry.setup(ServerSettings(**fields), "test")  # type: ignore[arg-type]
    yield target
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_log_lines_are_json_without_cpr_numbers_and_exception_texts(logged: io.StringIO) -> None:
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
    ours.info("row for 610180-0010", person="6101800010", number=6101800010, rows=[{"cpr": "610180 0010"}])
    theirs.warning("bad %s", "6101800010", extra={"cpr": "6101800010"})
    try:
        int("no such person: Ærø Testesen 6101800010")
    except ValueError:
        ours.exception("failed")
        theirs.exception("failed too")
        theirs.error("failed %s", "again", exc_info=True, stack_info=True)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert len(lines) == 5
    assert "0010" not in logged.getvalue()
    assert "Testesen" not in logged.getvalue()
    assert lines[0]["event"] == f"row for {REDACTED}"
    for line in lines[2:]:
        assert line["exception.type"] == "ValueError"
        assert "test_redaction.py" in line["exception.places"]
