"""Is the contract still compatible with the one last released, and would we notice if it were not?"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).with_name("buf")
INTAKE = "kinlink/linker/v1/intake_service.proto"
ABSENCE = re.compile(r"\b(always|never|empty|absent|missing|refused|unspecified|0|as in)\b", re.IGNORECASE)


def breaking(proto: Path) -> subprocess.CompletedProcess[str]:
    """Compare the contract in `proto` with the released image."""
    command = [BUF, "breaking", str(proto), "--against", str(ROOT / "proto" / "released.binpb")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=proto.parent, timeout=60)


def test_contract_breaks_nothing_that_was_released() -> None:
    """Fields, RPCs and enum values are only added."""
    done = breaking(ROOT / "proto")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"  string period = 3;\n", ""),
        (r"string period = 3;", "string period = 33;"),
        (r"uint64 rows = 6;", "string rows = 6;"),
        (r"DATASET_SPELLS = 4;", "DATASET_PERIODS = 4;"),
        (r"  rpc WithdrawDelivery.*\n", ""),
    ],
)
def test_contract_check_finds_a_break(pattern: str, replacement: str, tmp_path: Path) -> None:
    """The check can fail: a removed, renumbered, retyped or renamed part is each found."""
    proto = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", proto)
    file = proto / INTAKE
    text, count = re.subn(pattern, replacement, file.read_text(encoding="utf-8"), count=1)
    assert count == 1
    file.write_text(text, encoding="utf-8")
    done = breaking(proto)
    assert done.returncode == 100, done.stderr
    assert INTAKE in done.stdout


def fields_without_a_word_on_absence(proto: Path) -> list[str]:
    """Return each field whose comment does not say what its absence means, or that it is never absent."""
    found = []
    for file in sorted(proto.rglob("*.proto")):
        comment: list[str] = []
        for line in map(str.strip, file.read_text(encoding="utf-8").splitlines()):
            if line.startswith("//"):
                comment.append(line.removeprefix("//"))
                continue
            field = re.fullmatch(r"(?:repeated |optional )?[a-z][\w.<>, ]* (\w+) = \d+;", line)
            if field and not ABSENCE.search(" ".join(comment)):
                found.append(f"{file.name}: {field[1]}")
            comment = []
    return found


def test_every_field_says_what_its_absence_means(tmp_path: Path) -> None:
    """And the check can fail: a comment without it is found."""
    assert fields_without_a_word_on_absence(ROOT / "proto") == []
    text = (ROOT / "proto" / INTAKE).read_text(encoding="utf-8")
    (tmp_path / "one.proto").write_text(text.replace(" 0 means none.", ""), encoding="utf-8")
    assert fields_without_a_word_on_absence(tmp_path) == ["one.proto: rejected_rows", "one.proto: chunks_received"]
