"""The frames of a rekeying: what is missing in the copy, what IDENTITIES becomes, and whether it is right.

Asks the pseudonymizer for pseudonyms under the next version; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Protocol

import polars as pl

from kinlink import ristretto255
from kinlink.pseudonyms import Kind
from kinlink.types.v1 import types_pb2
from linker.frames import IDENTITIES, REKEYED, check
from linker.linkage.conversion import Converter, Progress
from linker.store import tables
from linker.store.rekeyings import RekeyedKey
from linker.store.snapshots import Change, PinnedSnapshot

SAMPLE = 256
_SIZE = ristretto255.SIZE


@dataclass(frozen=True, slots=True)
class Leaving:
    """A key version that everything is to be carried away from, and its successor.

    Not `retiring` is one that cannot be used now: disabled or compromised.
    """

    domain: str
    kind: Kind
    from_version: int
    to_version: int
    retiring: bool = True

    def ref(self, version: int) -> types_pb2.KeyRef:
        """Return the wire's name of a version of the line."""
        return types_pb2.KeyRef(domain=self.domain, kind=self.kind.wire, version=version)

    @property
    def stands(self) -> pl.Expr:
        """Whether an identity stands under the version that is left."""
        return (pl.col("kind") == self.kind.value) & (pl.col("key_version") == self.from_version)


class KeyService(Converter, Protocol):
    """The pseudonymizer as a holder of pseudonyms sees it. All methods raise KinlinkError."""

    def leaving(self) -> Sequence[Leaving]:
        """Return the versions that this linker may hold pseudonyms or encodings of, and that have a successor."""
        ...

    def rekey(
        self, elements: bytes, from_key: types_pb2.KeyRef, to_key: types_pb2.KeyRef, progress: Progress = ...
    ) -> tuple[bytes, types_pb2.KeyRef]:
        """Return 32·n bytes in the order given, and the key with its version."""
        ...

    def attest(
        self,
        from_key: types_pb2.KeyRef,
        to_key: types_pb2.KeyRef | None,
        *,
        held: int,
        converted: int,
        sample_from: bytes = ...,
        sample_to: bytes = ...,
    ) -> int:
        """State that nothing stands under `from_key` any more; return how much of the sample was checked."""
        ...


class MismatchError(Exception):
    """The new pseudonyms are not those of the old ones."""


def count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def missing(at: PinnedSnapshot | Change, line: Leaving) -> pl.LazyFrame:
    """Return the identities (id, pseudonym) of the line that are not in the copy."""
    done = at.scan(tables.REKEYED).filter(pl.col("key_version") == line.to_version)
    held = at.scan(tables.IDENTITIES).filter(line.stands)
    return held.select("id", "pseudonym").join(done.select("id"), on="id", how="anti")


def _packed(pseudonyms: pl.Series) -> bytes:
    return b"".join(pseudonyms)


def rekeyed(
    service: KeyService, line: Leaving, held: pl.DataFrame, progress: Progress = lambda *_: None
) -> pl.DataFrame:
    """Return rows of the copy for identities (id, pseudonym). Asks the pseudonymizer."""
    if held.is_empty():
        return pl.DataFrame(schema=REKEYED)
    from_key, to_key = line.ref(line.from_version), line.ref(line.to_version)
    elements, _ = service.rekey(_packed(held["pseudonym"]), from_key, to_key, progress)
    pieces = [elements[at : at + _SIZE] for at in range(0, len(elements), _SIZE)]
    return held.select(
        "id",
        pl.Series("pseudonym", pieces, dtype=pl.Binary),
        pl.lit(line.to_version, dtype=pl.UInt32).alias("key_version"),
    )


def after_switch(before: pl.LazyFrame, copy: pl.LazyFrame, own: Sequence[Leaving]) -> pl.LazyFrame:
    """Return the identities with the pseudonyms of the copy: one row an id, as before."""
    parts = [before.filter(~pl.any_horizontal(line.stands for line in own))]
    for line in own:
        new = copy.filter(pl.col("key_version") == line.to_version)
        parts.append(before.filter(line.stands).select("id", "kind", "source").join(new, on="id", how="left"))
    return pl.concat([check(part, IDENTITIES, "identities") for part in parts])


def verified(service: KeyService, line: Leaving, before: pl.LazyFrame, after: pl.LazyFrame) -> RekeyedKey:
    """Compare counts, and rekey a random sample again; return what was done.

    Raises:
        MismatchError: an identity is missing or under the old version still, or one of the sample differs.
    """
    held = before.filter(line.stands).select("id").collect()["id"]
    new = after.filter(kind=line.kind.value, key_version=line.to_version)
    counts = [count(held.to_frame().lazy().join(new.drop_nulls("pseudonym"), on="id", how="semi"))]
    counts += [count(new) - count(before.filter(kind=line.kind.value, key_version=line.to_version))]
    if counts != [len(held), len(held)] or count(before) != count(after) or count(after.filter(line.stands)):
        raise MismatchError("the copy does not hold each pseudonym once; a new rekeying makes it anew")
    drawn = SystemRandom().sample(held.to_list(), min(SAMPLE, len(held)))
    chosen = pl.col("id").is_in(drawn)
    old_rows, new_rows = (rows.filter(chosen).sort("id").collect() for rows in (before, after))
    again = rekeyed(service, line, old_rows.select("id", "pseudonym"))
    if not again["pseudonym"].equals(new_rows["pseudonym"]):
        message = "a sample rekeyed again differs from what was rekeyed before; tell the pseudonymizer's operator"
        raise MismatchError(message)
    scalars = ristretto255.random_scalars(len(drawn))  # what is kept for the attestation is blinded
    sample = [ristretto255.multiply_each(scalars, _packed(rows["pseudonym"])) for rows in (old_rows, new_rows)]
    return RekeyedKey(
        line.domain, line.kind.value, line.from_version, line.domain, line.to_version if len(held) else 0,
        held=len(held), converted=len(held), sample_from=sample[0], sample_to=sample[1], sample_size=len(drawn),
    )  # fmt: skip
