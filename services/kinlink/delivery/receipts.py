"""What was carried over in a file, kept beside it while the old version is there: counts, and a blinded sample.

`<file>.rekeyed.json` holds no pseudonym: each pair of its sample is multiplied by a random scalar of its own.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinlink.delivery.errors import ExtractError


@dataclass(frozen=True, slots=True)
class Receipt:
    """Of one file and version: distinct pseudonyms held and carried over, and a blinded sample, 32·n bytes each."""

    domain: str
    kind: str
    from_version: int
    to_version: int
    held: int
    sample_from: bytes
    sample_to: bytes

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What the receipt is for."""
        return self.domain, self.kind, self.from_version, self.to_version


def receipts_of(file: Path) -> list[Receipt]:
    """Return the receipts of a file.

    Raises:
        ExtractError: BAD_RECEIPT, the file of receipts was changed by other hands.
    """
    beside = _beside(file)
    try:
        rows = json.loads(beside.read_text("utf-8")) if beside.exists() else []
        return [
            Receipt(**{**row, "sample_from": b64decode(row["sample_from"]), "sample_to": b64decode(row["sample_to"])})
            for row in rows
        ]
    except (OSError, ValueError, TypeError, KeyError):
        message = f"{beside} is not as kinlink wrote it. Restore it, or delete it to attest without its sample."
        raise ExtractError(message, "BAD_RECEIPT") from None


def keep(file: Path, receipts: Sequence[Receipt]) -> None:
    """Keep just these receipts of a file, durably. Raises OSError when the disk refuses."""
    beside = _beside(file)
    if not receipts:
        beside.unlink(missing_ok=True)
        return
    rows = [
        {
            "domain": one.domain,
            "kind": one.kind,
            "from_version": one.from_version,
            "to_version": one.to_version,
            "held": one.held,
            "sample_from": b64encode(one.sample_from).decode(),
            "sample_to": b64encode(one.sample_to).decode(),
        }
        for one in receipts
    ]
    part = beside.with_name(f".{beside.name}.part")
    part.write_text(json.dumps(rows, indent=1), "utf-8")
    sync(part)
    part.replace(beside)
    sync(beside.absolute().parent)


def sync(path: Path) -> None:
    """Sync one file or folder. Raises OSError when the disk refuses."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.rekeyed.json")
