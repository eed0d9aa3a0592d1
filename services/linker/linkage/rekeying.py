"""Carry the stored pseudonyms from retiring key versions to the primary ones, and attest that it is done.

1. Ids stay, so only IDENTITIES is rewritten. Pseudonyms are rekeyed into a copy, a bounded piece at a
   time; each piece is a snapshot, so that a rekeying that stops goes on where it was and repeats
   at most a piece. Everybody reads and writes under the old version meanwhile.
2. What deliveries add is caught up with, until so little is left that it is done under the store's lock.
   There the new IDENTITIES is written, counts are compared, and a random sample is rekeyed again, blinded
   afresh, and compared. One transaction then names it, closes the old versions and logs it.
3. A source's version is closed when no delivery under it is open or unconverted, in one transaction.
   Nothing is converted under a closed version, and no delivery under it is taken in.
4. A version of the encoding key is closed when no encodings under it are held or arriving. Nothing carries them over:
   they are delivered anew, withdrawn, or expire.
5. A version is attested once it is closed and what stood under it is off the disk.

It does not know gRPC, nor how a rekeying is started and followed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import polars as pl

from kinlink.delivery.datasets import DATASETS
from kinlink.errors import RefusedError
from kinlink.pseudonyms import Kind
from kinlink.types.v1 import types_pb2
from linker.background import Report
from linker.linkage.conversion import convert_all, standing
from linker.linkage.rekeyed import KeyService, Leaving, MismatchError, after_switch, count, missing, rekeyed, verified
from linker.store import deliveries, rekeyings, tables
from linker.store.rekeyings import RekeyedKey, Stage
from linker.store.snapshots import Snapshots
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read
from servicekit.errors import PreconditionError, UnavailableError

PIECE = 65_536  # pseudonyms: 2 MB, some seconds of both services' work
_LOOK_EVERY_S = 0.5
_NAMED = 3
_ENCODINGS = [tables.facts(name) for name, dataset in DATASETS.items() if dataset.encoded]


@dataclass(frozen=True, slots=True)
class RekeyingWork:
    """Does the work of one rekeying at a time.

    `connect` opens a connection to the pseudonymizer; `wait` lets seconds pass, or raises when the service
    stops; `patience_s`: how long open deliveries and readers are waited for.
    """

    store: Snapshots
    audit: AuditLog
    connect: Callable[[], AbstractContextManager[KeyService]]
    purpose: str
    wait: Callable[[float], None]
    patience_s: float = 120.0
    piece: int = PIECE

    def __call__(self, rekeying_id: str, report: Report) -> None:
        """Go through all stages, from wherever an earlier call stopped.

        Raises:
            KinlinkError: the pseudonymizer is away, or refuses.
            UnavailableError: DELIVERY_OPEN, a source has not finished a delivery under a version to be
                left; ENCODINGS_HELD, encodings under such a version are not replaced yet, while all else is done;
                STORE_IN_USE, a reader keeps old pseudonyms or encodings on disk.
            PreconditionError: REKEYING_MISMATCH, what was rekeyed is not what the pseudonymizer answers now.
        """
        with self.connect() as service:
            leaving = service.leaving()
            with self.store.engine.begin() as connection:
                rekeyings.forget_samples(connection, {(line.domain, line.kind, line.from_version) for line in leaving})
            convert_all(self.store, service, self.purpose, lambda done, total: report(Stage.CONVERSION, done, total))
            encodings = [line for line in leaving if line.kind is Kind.ENCODING]
            leaving = [*(line for line in leaving if line not in encodings), *encodings]  # they may be held for long
            own = [line for line in leaving if line.domain == self._domain and self._key(line) is None]
            own = [line for line in own if line not in encodings]
            try:
                while own and not self._switched(service, own, rekeying_id, report):
                    self._copy(service, own, report)
            except MismatchError as mismatch:
                self._discard_copy()
                raise PreconditionError(str(mismatch), "REKEYING_MISMATCH") from None
            for number, line in enumerate(leaving):
                report(Stage.ATTESTATION, number, len(leaving))
                self._attest(service, line, rekeying_id)
            report(Stage.ATTESTATION, len(leaving), len(leaving))

    @property
    def _domain(self) -> str:
        return f"linkage/{self.purpose}"

    def _key(self, line: Leaving) -> RekeyedKey | None:
        with read(self.store.engine) as connection:
            return rekeyings.key(connection, line.domain, line.kind.value, line.from_version)

    def _copy(self, service: KeyService, own: Sequence[Leaving], report: Report) -> None:
        """Rekey into the copy whatever is not there yet."""
        for line in own:
            while True:
                with self.store.pin() as pinned:
                    held = count(pinned.scan(tables.IDENTITIES).filter(line.stands))
                    left = missing(pinned, line)
                    n_left, piece = count(left), left.head(self.piece).collect()
                if piece.is_empty():
                    break

                def within(done: int, _: int, before: int = held - n_left, total: int = held) -> None:
                    report(Stage.REKEYING, before + done, total)

                copied = rekeyed(service, line, piece, within)
                with self.store.change("rekeying") as change:
                    change.write(tables.REKEYED, append=copied.lazy())
                    with change.commit():
                        pass
                report(Stage.REKEYING, held - n_left + piece.height, held)
        self.store.purge([tables.REKEYED])

    def _switched(self, service: KeyService, own: Sequence[Leaving], rekeying_id: str, report: Report) -> bool:
        """Let the next snapshot name the copy; return False when too much of it is missing."""
        with self.store.change("rekeying") as change:
            left = [(line, missing(change, line)) for line in own]
            if sum(count(rows) for _, rows in left) > self.piece // 16:
                return False
            report(Stage.SWITCH, 0, len(own))
            late = [rekeyed(service, line, rows.collect()) for line, rows in left]
            copy = pl.concat([change.scan(tables.REKEYED), *(rows.lazy() for rows in late)])
            before = change.scan(tables.IDENTITIES)
            if any(count(before.filter(line.stands)) for line in own):
                change.write(tables.IDENTITIES, replace=True, append=after_switch(before, copy, own))
            keys = [verified(service, line, before, change.scan(tables.IDENTITIES)) for line in own]
            if change.base.version(tables.REKEYED) is not None:
                change.write(tables.REKEYED, replace=True)
            with change.commit() as connection:
                for key in keys:
                    rekeyings.close(connection, rekeying_id, key)
                    self.audit.append(_entry("rekeying switched", key, key.to_version), connection)
                rekeyings.change(connection, rekeying_id, snapshot=change.number)
        self.store.purge([tables.IDENTITIES, tables.REKEYED])
        report(Stage.SWITCH, len(own), len(own))
        return True

    def _discard_copy(self) -> None:
        with self.store.change("rekeying") as change:
            change.write(tables.REKEYED, replace=True)
            with change.commit():
                pass
        self.store.purge([tables.REKEYED])

    def _attest(self, service: KeyService, line: Leaving, rekeying_id: str) -> None:
        if self._key(line) is None:
            if line.kind is Kind.ENCODING:
                self._close_encodings(line, rekeying_id)
            elif line.domain.startswith("source/"):
                self._close(service, line, rekeying_id)
        key = self._key(line)
        if key is None or (key.held and not line.retiring):
            return  # a line of another linker; or one that cannot be attested before it is retiring again
        with read(self.store.engine) as connection:
            mine = rekeyings.get(connection, rekeying_id)
        if key.attested_at is not None and mine is not None and key in mine.keys:
            return  # by this rekeying, before it was interrupted
        held = [tables.IDENTITIES, tables.REKEYED, *map(tables.quarantine, DATASETS), *_ENCODINGS]
        busy = "a run still reads what stood under it; start the rekeying again when it has ended"
        self._until(lambda: busy if self.store.holds_older(held) else "", "STORE_IN_USE")
        self.store.purge(held)
        to_key = types_pb2.KeyRef(domain=key.to_domain, kind=line.kind.wire, version=key.to_version)
        try:
            size = service.attest(
                line.ref(line.from_version),
                to_key if key.to_version else None,
                held=key.held,
                converted=key.converted,
                sample_from=key.sample_from,
                sample_to=key.sample_to,
            )
        except RefusedError as error:
            if error.reason != "HOLDER_UNKNOWN":
                raise
            return  # the policy has the linker hold nothing of this line
        with self.store.engine.begin() as connection:
            rekeyings.attested(connection, rekeying_id, key, size)
            self.audit.append(_entry("rekeying attested", key, key.from_version), connection)

    def _close(self, service: KeyService, line: Leaving, rekeying_id: str) -> None:
        """Close a source's key version once all that was delivered under it is converted."""
        source = line.domain.partition("/")[2]

        def obstacle() -> str:
            convert_all(self.store, service, self.purpose, lambda *_: self.wait(0))
            with self.store.pin() as pinned:
                stands = standing(pinned.scan(tables.IDENTITIES)).get(line.kind.value, 0)
            with self.store.engine.begin() as connection:
                rekeyings.alone(connection)
                using = deliveries.under_key(connection, source, line.kind.value, line.from_version)
                late = [delivery for delivery in using if delivery.converted_snapshot is None]
                if not late:
                    rows = sum(delivery.header.rows for delivery in using) if stands else 0
                    version = stands if rows else 0
                    names = (line.domain, line.kind.value, line.from_version, self._domain, version)
                    rekeyings.close(connection, rekeying_id, RekeyedKey(*names, held=rows, converted=rows))
                    return ""
            return (
                f"{source} has not finished a delivery of {late[0].header.dataset} under a key version that is to be "
                "left; ask it to deliver it again, or wait until it expires, and start the rekeying again"
            )

        self._until(obstacle, "DELIVERY_OPEN")

    def _close_encodings(self, line: Leaving, rekeying_id: str) -> None:
        with self.store.engine.begin() as connection:
            rekeyings.alone(connection)
            held = deliveries.under_key(connection, None, line.kind.value, line.from_version)
            if not held:
                nothing = RekeyedKey(
                    line.domain, line.kind.value, line.from_version, line.domain, 0, held=0, converted=0
                )
                rekeyings.close(connection, rekeying_id, nothing)
                return
        places = sorted({f"{d.source} {d.header.dataset} {d.header.period}" for d in held})
        named = ", ".join(places[:_NAMED]) + (f" and {len(places) - _NAMED} more" if len(places) > _NAMED else "")
        raise UnavailableError(
            f"encodings under {line.domain} version {line.from_version} are held still: {named}; all else is done. "
            "Have them delivered anew or withdrawn, or wait until they expire, and start the rekeying again",
            "ENCODINGS_HELD",
        )

    def _until(self, obstacle: Callable[[], str], reason: str) -> None:
        """Wait, with patience, until there is no obstacle any more."""
        waited_s = 0.0
        while message := obstacle():
            if waited_s >= self.patience_s:
                raise UnavailableError(message, reason)
            self.wait(_LOOK_EVERY_S)
            waited_s += _LOOK_EVERY_S


def _entry(event: str, key: RekeyedKey, version: int) -> AuditEntry:
    facts = {
        "from_version": key.from_version, "to_domain": key.to_domain, "to_version": key.to_version,
        "held": key.held, "converted": key.converted, "sample_size": key.sample_size,
    }  # fmt: skip
    evidence = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return AuditEntry(
        event, "", "ok", subject=key.domain, kind=key.kind, key_version=version, count=key.held, evidence=evidence
    )
