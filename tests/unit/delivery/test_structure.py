"""What is wrong with an extract as a whole: one clear error each, and no value in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinlink.blinding import unreported
from kinlink.delivery.errors import ExtractError
from kinlink.delivery.examine import examine
from kinlink.delivery.mapping_file import load
from kinlink.delivery.period import Period
from tests.unit.delivery.extracts import HEADER, POSTINGS, SOUND, examined, mapping_file

UNKNOWN = SOUND.replace("100;", "999;")
OPEN_QUOTE = SOUND.replace("køb", '"køb') + SOUND
MOJIBAKE = (HEADER + SOUND).encode("utf-8").decode("latin-1")


@pytest.mark.parametrize(
    ("text", "encoding", "mapping", "reason", "says"),
    [
        (HEADER + SOUND, "utf-8", POSTINGS, "WRONG_ENCODING", 'encoding = "utf-8"'),
        (HEADER + SOUND, "utf-16", POSTINGS, "WRONG_ENCODING", 'encoding = "utf-16"'),
        (HEADER + SOUND, "cp865", POSTINGS.replace("windows-1252", "utf-8"), "WRONG_ENCODING", 'encoding = "cp865"'),
        (HEADER + SOUND, "cp1252", POSTINGS.replace("windows-1252", "utf-8"), "WRONG_ENCODING", "row 1"),
        (
            HEADER + SOUND.replace("køb", "\u201cx"),
            "cp1252",
            POSTINGS.replace("windows-1252", "latin-1"),
            "WRONG_ENCODING",
            "row 2",
        ),
        (MOJIBAKE, "utf-8", POSTINGS.replace("windows-1252", "utf-8"), "WRONG_ENCODING", "mojibake ="),
        ((HEADER + SOUND).replace(";", ","), "cp1252", POSTINGS, "WRONG_SEPARATOR", "separator = ','"),
        ((HEADER + SOUND).replace(";", "\t"), "cp1252", POSTINGS, "WRONG_SEPARATOR", "tab"),
        (HEADER.replace("Dato", "Date") + SOUND, "cp1252", POSTINGS, "MISSING_COLUMN", "the column Dato"),
        (SOUND + SOUND, "cp1252", POSTINGS, "MISSING_COLUMN", "6 columns found in row 1"),
        (HEADER.replace("Tekst", "Dato") + SOUND, "cp1252", POSTINGS, "DUPLICATE_COLUMN", "Dato"),
        ("", "cp1252", POSTINGS, "EMPTY_FILE", "no rows"),
        (HEADER + SOUND + SOUND[:-8], "cp1252", POSTINGS, "TRUNCATED", "row 3"),
        (HEADER + SOUND + SOUND[:20], "cp1252", POSTINGS.replace("last_row", "# last_row"), "TRUNCATED", "row 3"),
        (HEADER + OPEN_QUOTE, "cp1252", POSTINGS, "OPEN_QUOTE", 'quote = ""'),
        (HEADER + SOUND + UNKNOWN, "cp1252", POSTINGS, "UNKNOWN_CODE", "row 3"),
    ],
)
def test_a_damaged_file_is_refused(
    tmp_path: Path, text: str, encoding: str, mapping: str, reason: str, says: str
) -> None:
    with pytest.raises(ExtractError) as caught:
        examined(tmp_path, text, mapping, encoding).check(load(tmp_path / "mapping.toml"))
    assert caught.value.reason == reason
    assert says in str(caught.value)
    assert "610180" not in str(caught.value)


def test_the_same_file_undamaged_is_accepted(tmp_path: Path) -> None:
    examination = examined(tmp_path, HEADER + SOUND)
    assert (examination.rows, examination.rejected, examination.delivered) == (1, 0, 1)


@pytest.mark.parametrize(
    ("names", "says"), [(["none.csv"], "cannot be read"), (["."], "is a folder"), (["a", "a"], "twice")]
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, names: list[str], says: str) -> None:
    mapping = load(mapping_file(tmp_path))
    with pytest.raises(ExtractError, match=says):
        examine([tmp_path / name for name in names], mapping, Period.parse("2014"), unreported, synthetic=True)


@pytest.mark.parametrize("garbage", [bytes(range(256)) * 40, b"\x00" * 5000, b"\x8f" * 5000, b"PK\x03\x04" * 900])
def test_garbage_is_refused(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "extract.csv").write_bytes(garbage)
    mapping = load(mapping_file(tmp_path))
    with pytest.raises(ExtractError, match="not windows-1252 text"):
        examine([tmp_path / "extract.csv"], mapping, Period.parse("2014"), unreported, synthetic=True)
