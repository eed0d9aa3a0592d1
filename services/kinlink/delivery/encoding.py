"""An extract's bytes as UTF-8, in the encoding that the mapping declares and in no other.

1. Undecodable bytes refuse the file; nothing is replaced or skipped.
2. Text that decodes but is plainly another encoding refuses it as well: UTF-8 read
   as a one-byte encoding shows as "Ã" and a sign, Windows-1252 read as Latin-1 as
   control characters.
3. The one repair is declared, never guessed: `mojibake = "utf-8 read as latin-1"`. It
   leaves sound text alone, so a delivery may mix sound and damaged files.
4. Errors name a row and an encoding, never a character.
"""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path
from typing import BinaryIO

from kinlink.delivery.errors import ExtractError

ENCODINGS = ("utf-8", "windows-1252", "iso-8859-1", "utf-16", "cp850", "cp865")
MOJIBAKE = "utf-8 read as latin-1"

_BLOCK = 1 << 20
# "Ã" and a sign that a UTF-8 continuation byte becomes in Latin-1 or Windows-1252.
_TWICE = re.compile("\u00c3[\u0080-\u00bf\u2020\u2026\u02dc\u2030\u0160\u02c6]")
_SEQUENCE = re.compile("[\u00c2-\u00f4][\u0080-\u00bf]+")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_DANISH = frozenset("æøåÆØÅéÉüÜöÖäÄ§")


def unreadable(path: Path) -> ExtractError:
    """Return what is said of a file that is not there or may not be read."""
    if path.is_dir():
        return ExtractError(f"The extract {path} is a folder. Give the file in it.", "EXTRACT_MISSING")
    return ExtractError(f"The extract {path} cannot be read. Check the path and its permissions.", "EXTRACT_MISSING")


class Utf8Reader(io.RawIOBase):
    """Reads a file as UTF-8 text; memory is bounded by a block.

    `position` is how many bytes of the file were read; `ends_with_line` says, at the
    end, whether the last line was ended.
    """

    def __init__(self, path: Path, encoding: str, mojibake: str = "") -> None:
        super().__init__()
        self._path = path
        self._encoding = encoding
        self._mojibake = mojibake
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError:
            raise unreadable(path) from None
        self._decode = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)().decode
        self._pending = b""
        self._tail = ""
        self._line = ""
        self._row = 1
        self.position = 0
        self.ends_with_line = True

    def readable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readinto(self, buffer: object) -> int:
        """Fill `buffer` with UTF-8 bytes and return how many; 0 at the end.

        Raises:
            ExtractError: the bytes are not of the declared encoding.
        """
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._pending:
            text = self._text(block := self._read())
            if text:
                self._pending = text.encode()
            elif not block:
                return 0
        size = min(len(view), len(self._pending))
        view[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def _read(self) -> bytes:
        try:
            return self._file.read(_BLOCK)
        except OSError:  # a disk or a network share that failed
            raise unreadable(self._path) from None

    def _text(self, block: bytes) -> str:
        try:
            text = self._decode(block, not block)
            if self._mojibake:
                text = self._repaired_lines(text, final=not block)
        except UnicodeError as error:
            row = self._row + block[: getattr(error, "start", 0)].count(b"\n")
            raise self._wrong_encoding(row) from None
        # A sign pair may straddle two blocks: look at the last character again.
        seen = self._tail + text
        for pattern in (_TWICE, _CONTROL):
            if found := pattern.search(seen):
                raise self._wrong_encoding(self._row + seen.count("\n", 0, found.start()))
        self._tail = text[-1:] if text[-1:] == "\u00c3" else ""
        self._row += text.count("\n")
        self.position += len(block)
        if text:
            self.ends_with_line = text.endswith("\n")
        return text

    def _repaired_lines(self, text: str, *, final: bool) -> str:
        """Return whole lines repaired; the rest waits, since a sequence may go on in the next block."""
        text = self._line + text
        end = len(text) if final else text.rfind("\n") + 1
        self._line = text[end:]
        return _repair(text[:end])

    def _wrong_encoding(self, row: int) -> ExtractError:
        if _starts_with(self._path, b"PK\x03\x04"):
            return ExtractError(
                f"{self._path.name} is a workbook or an archive, not {self._encoding} text. Save it as CSV.",
                "WRONG_ENCODING",
            )
        found = guess(self._path)
        if found == self._encoding:
            do = (
                f'The text looks encoded twice: ask for a new extract, or set mojibake = "{MOJIBAKE}" '
                "in the mapping to undo it."
            )
        else:
            do = f'It looks like {found}: set encoding = "{found}" in the mapping, or ask for a new extract.'
        return ExtractError(
            f"{self._path.name} is not {self._encoding} text: row {row} is not of it. {do}", "WRONG_ENCODING"
        )


def _repair(text: str) -> str:
    """Return the text with UTF-8 sequences that were read as Latin-1 put right; sound text stays as it is."""
    return _SEQUENCE.sub(_repaired, text)


def _repaired(found: re.Match[str]) -> str:
    try:
        return found[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return found[0]


def _starts_with(path: Path, sign: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(sign)) == sign


def guess(path: Path) -> str:
    """Return the encoding of ENCODINGS in which a file's first 256 KiB read best as Danish."""
    with path.open("rb") as file:
        sample = file.read(1 << 18)
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in sample[:4096]:
        return "utf-16"
    best, best_share = "windows-1252", -1.0
    for encoding in ("utf-8", "windows-1252", "cp865", "cp850"):
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8":
            return encoding
        foreign = [sign for sign in text if sign > "\x7f"]
        share = sum(sign in _DANISH for sign in foreign) / max(len(foreign), 1)
        if share > best_share:
            best, best_share = encoding, share
    return best
