"""A source's own stored pseudonyms, carried from one key version to the next, a file at a time.

1. Rows, their order and all other columns stay, and so does what stands under the new version already.
2. The new file is written beside the old one, synced and compared, and takes its place in one step: a reader sees
   all old or all new, and a command that was killed is run again.
3. A stream that breaks loses no more than the piece that was under way; absence is waited for, a bounded time.
4. A random sample is rekeyed again, blinded afresh, and compared; blinded, it is kept for the attestation.

It knows pseudonyms and no identifiers. Memory: about 1 kB a distinct pseudonym, and no rows.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Protocol

import polars as pl

from kinlink import ristretto255
from kinlink.blinding import Progress, unreported
from kinlink.delivery.receipts import Receipt, keep, receipts_of, sync
from kinlink.delivery.stored import Stored, as_text, packed, unpacked
from kinlink.errors import InputError, InternalError, UnavailableError
from kinlink.types.v1.types_pb2 import KeyRef

PIECE = 65_536
SAMPLE = 256
_DELAYS_S = (0.5, 1, 2, 4, 8)


class Rekeyer(Protocol):
    """Asks for pseudonyms under the next version; `kinlink.rekeying_client.RekeyingClient`."""

    def rekey(
        self, elements: bytes, from_key: KeyRef, to_key: KeyRef, progress: Progress = ...
    ) -> tuple[bytes, KeyRef]:
        """Return 32·n bytes in the order given, and the key with its version."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: distinct pseudonyms carried over, by the version they stood under, and those there already."""

    carried: Mapping[int, int]
    already: int


def rekey_file(
    stored: Stored,
    client: Rekeyer,
    to_version: int,
    progress: Progress = unreported,
    delays_s: Sequence[float] = _DELAYS_S,
) -> Outcome:
    """Carry a file over to `to_version`; one that stands there already is left alone. Repeating it is safe.

    Raises:
        ExtractError: as `Stored.distinct`. InputError: CHANGED, somebody wrote the file meanwhile; OUT_FILE.
        KinlinkError: the pseudonymizer refused, or stayed away. The old file stands whole.
        InternalError: REKEYING_MISMATCH, what was rekeyed is not what is answered now.
    """
    before = _stamp(stored)
    held = stored.distinct()
    waiting = held.filter(pl.col("version") != to_version)
    outcome = Outcome(dict(sorted(waiting.group_by("version").len().iter_rows())), held.height - waiting.height)
    if waiting.is_empty():
        return outcome
    carried = _carried(stored, client, waiting, to_version, progress, delays_s)
    receipts = [_checked(stored, client, carried.filter(version=old), old, to_version) for old in outcome.carried]
    carried = carried.select("written", "new")
    there_already = held.filter(version=to_version).select(value="written")
    del held, waiting  # as large as what is to come
    if stored.is_text():
        carried = carried.with_columns(as_text(stored.domain, to_version))
    part = stored.path.with_name(f".{stored.path.name}.rekeying{stored.path.suffix}")
    try:
        stored.write(part, carried, to_version)
        shutil.copymode(stored.path, part)
        sync(part)
        _check_unchanged(stored, before)
        _compare(stored, part, pl.concat([carried.select(value="new"), there_already]))
        _check_unchanged(stored, before)
        again = {receipt.key for receipt in receipts}
        keep(stored.path, [*(one for one in receipts_of(stored.path) if one.key not in again), *receipts])
        part.replace(stored.path)
        sync(stored.path.absolute().parent)
    except OSError:
        raise InputError(f"{stored.path} cannot be replaced. Check its folder and the disk.", "OUT_FILE") from None
    finally:
        part.unlink(missing_ok=True)
    return outcome


def _stamp(stored: Stored) -> tuple[int, int]:
    stored.scan()  # says what is wrong with the path
    found = stored.path.stat()
    return found.st_size, found.st_mtime_ns


def _check_unchanged(stored: Stored, before: tuple[int, int]) -> None:
    if _stamp(stored) != before:
        raise InputError(f"{stored.path} was written meanwhile. Run again when nobody writes it.", "CHANGED")


def _carried(
    stored: Stored,
    client: Rekeyer,
    waiting: pl.DataFrame,
    to_version: int,
    progress: Progress,
    delays_s: Sequence[float],
) -> pl.DataFrame:
    """Return `waiting` with the column `new`: the element under the new version."""
    parts, done = [], 0
    progress(0, waiting.height)
    for (version,), rows in waiting.partition_by("version", as_dict=True).items():
        for piece in rows.iter_slices(PIECE):

            def within(part: int, _: int, before: int = done) -> None:
                progress(before + part, waiting.height)

            for delay_s in (*delays_s, None):
                try:
                    batch = packed(piece["element"])
                    answer, _ = client.rekey(batch, stored.ref(int(version)), stored.ref(to_version), within)
                    break
                except UnavailableError:
                    if delay_s is None:
                        raise
                    time.sleep(delay_s)
            parts.append(piece.with_columns(new=unpacked(answer)))
            done += piece.height
            progress(done, waiting.height)
    return pl.concat(parts)


def _checked(stored: Stored, client: Rekeyer, carried: pl.DataFrame, version: int, to_version: int) -> Receipt:
    """Rekey a random sample again, compare, and return the receipt with it, blinded."""
    drawn = SystemRandom().sample(range(carried.height), min(SAMPLE, carried.height))
    sample = carried[drawn]
    old, new = packed(sample["element"]), packed(sample["new"])
    again, _ = client.rekey(old, stored.ref(version), stored.ref(to_version))
    if again != new:
        message = "A sample rekeyed again differs from what was rekeyed before. Tell the service's operator."
        raise InternalError(message, "REKEYING_MISMATCH")
    scalars = ristretto255.random_scalars(len(drawn))
    blinded = (ristretto255.multiply_each(scalars, old), ristretto255.multiply_each(scalars, new))
    return Receipt(stored.domain, stored.kind.value, version, to_version, carried.height, *blinded)


def _compare(stored: Stored, part: Path, expected: pl.DataFrame) -> None:
    """Check that the new file has the rows of the old one, and pseudonyms under the new version only."""
    there = Stored(part, stored.column, stored.domain, stored.kind, stored.separator)
    counts = pl.len(), pl.col(stored.column).count().alias("present")
    rows = [file.scan().select(counts).collect(engine="streaming").row(0) for file in (stored, there)]
    found = there.scan().select(value=stored.column).drop_nulls().unique().collect(engine="streaming")
    strange = found.join(expected, on="value", how="anti").height
    if rows[0] != rows[1] or strange or found.height != expected["value"].n_unique():
        message = f"The new {stored.path.name} does not hold what the old one did. Nothing was replaced."
        raise InternalError(message, "REKEYING_MISMATCH")
