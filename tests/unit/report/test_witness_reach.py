"""How far a witness must have signed for the report to count it: all but the last day."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kinlink.audit.entry import canonical, parse
from kinlink.audit.note import VerifierKey
from kinlink.report import logs
from kinlink.report.month import Month
from tests.unit.audit.logs import LOG_KEY, WITNESS_NAME, Log, entry

WITNESS = Ed25519PrivateKey.generate()
KEPT = logs.KeptFolder((), [VerifierKey.of(WITNESS_NAME, WITNESS)])


def of_hours(index: int) -> bytes:
    """Return an entry of so many hours after the log began."""
    honest = parse(entry(index))
    return canonical(
        replace(honest, caller="spiffe://kinlink.test/dpo/dpo", recorded_at=honest.recorded_at + timedelta(hours=index))
    )


@pytest.mark.parametrize(
    ("signed", "verified"),
    [(2, False), (23, False), (24, True), (48, True)],
    ids=["only what came first", "but for one of the day before", "all but the last day", "all"],
)
def test_witness_counts_when_only_the_last_day_is_unsigned(tmp_path: Path, signed: int, verified: bool) -> None:
    log = Log([of_hours(hour) for hour in range(48)], signed_at=(signed, 48), cosigned_at={signed: [WITNESS]})
    log.export(tmp_path / "log.audit")
    found = logs._verified("linker", None, Month.parse("2026-10"), KEPT, tmp_path / "log.audit", log.note(48), LOG_KEY)  # type: ignore[arg-type]
    assert [(each.signed, each.verified) for each in found.witnesses] == [(signed, verified)]
    assert found.findings == []
