"""The ceremony that takes an older key store into use again.

1. It takes a change that two people approved, by the rules and the people of the newest anchored generation: the
   change names that generation, and the backup's. Signed offline, as the service may be down.
2. Nothing is served from the backup's state: what happened later is replayed first (`replay`), the people and the used
   changes are the anchored ones, and the store goes on above the anchored generation, as its successor.
3. All of it is one transaction with its entries in the log; then it is anchored.
4. The backup must be a generation of this store's history: sealed under its key-encryption key, and where an anchor
   holds that generation, the same.

*Guarantee:* a version that the anchored generation calls destroyed has no key in the store when the transaction
commits, and no other state than the anchored one is more permissive afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, insert, select, text, update

from kinlink.approvals import Verb
from kinlink.change_document import Action, Signer, SignerRole, digest
from kinlink.pseudonyms import Kind, Suite
from kinlink.signed_change import SignedChange
from pseudonymizer import changes, signers
from pseudonymizer.keystore import anchored, backup, erasure, history, replay, tables, wrappings
from pseudonymizer.keystore.encryption_keys import KeyEncryptionKey, KeyStoreError
from pseudonymizer.keystore.history import Document
from pseudonymizer.keystore.manifest import manifest
from pseudonymizer.keystore.replay import Replay
from pseudonymizer.keystore.sealing import Sealer
from pseudonymizer.keystore.store import LOCK, KeyStore
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.people import People
from servicekit.anchors import Anchor, AnchorConflictError
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read

_NEWEST: Final = "the key store is the newest that was anchored; there is nothing to restore"


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    generation: int
    replayed: tuple[Replay, ...]

    @property
    def lost(self) -> tuple[Replay, ...]:
        """Versions made after the backup: their keys are gone."""
        return tuple(step for step in self.replayed if step.is_lost)


def newest_anchored(anchors: Sequence[Anchor]) -> Document:
    """Return the newest generation of all anchors.

    Raises:
        KeyStoreError: there is none, or two anchors disagree on it. AnchorError: one cannot be read.
    """
    found = [document for anchor in anchors if (document := anchored.newest(anchor)) is not None]
    if not found:
        raise KeyStoreError("no anchor holds a generation of this key store: there is nothing to go by")
    newest = max(found, key=lambda one: one.generation)
    if any(one.generation == newest.generation and one != newest for one in found):
        raise KeyStoreError("the anchors hold different stores of one generation; ask the data-protection officer")
    return newest


def subject(newest: Document, old: Document) -> dict[str, str | int]:
    """Return what a change names to restore `old`, where `newest` is anchored."""
    return {
        "anchored_generation": newest.generation,
        "anchored_sha256": newest.sha256,
        "backup_generation": old.generation,
        "backup_sha256": old.sha256,
    }


class Ceremony:
    """One restore."""

    def __init__(
        self,
        engine: Engine,
        kek: KeyEncryptionKey,
        suite: Suite,
        anchors: Sequence[Anchor],
        audit: AuditLog,
        origin: str,
    ) -> None:
        """Use `engine`, whose tables are migrated; `origin` is the log that the change must be for."""
        self._engine, self._suite, self._audit, self._origin = engine, suite, audit, origin
        self._anchors = tuple(anchors)
        self._sealer = Sealer(kek)
        self._store = KeyStore(engine, kek, suite, audit)

    def stored(self, rows: backup.Rows | None) -> Document:
        """Return the generation that would be restored: of a backup, or of the database. Raises KeyStoreError."""
        if rows is not None:
            return backup.document(rows)
        with read(self._engine) as connection:
            found = history.newest(connection)
        if found is None:
            raise KeyStoreError("the database holds no key store; give --backup")
        return found

    def check(self, signed: SignedChange, rows: backup.Rows | None, now: datetime | None = None) -> None:
        """Check that the change allows it. Raises as `restore`."""
        self._check(signed, newest_anchored(self._anchors), self.stored(rows), now or datetime.now(UTC))

    def restore(self, signed: SignedChange, rows: backup.Rows | None, now: datetime | None = None) -> Restored:
        """Restore what the change names, from `rows` or, without them, from what the database holds.

        Raises:
            KeyStoreError: the change does not allow it, or the backup is not of this store; nothing is changed.
            AnchorError: an anchor cannot be reached. After the commit that is healed by the next start.
        """
        now = now or datetime.now(UTC)
        newest, old = newest_anchored(self._anchors), self.stored(rows)
        self._check(signed, newest, old, now)
        signed = signed.holding(_enrolled(json.loads(newest.people)[1]))
        with self._engine.begin() as connection:
            erasure.begin(connection)
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            if rows is not None:
                self._check_older(connection, newest)
                backup.load(connection, rows)
            if self._store.manifest(connection) != old.manifest:
                raise KeyStoreError("the backup's rows are not those of its newest generation: it was changed")
            if old.generation >= newest.generation:
                raise KeyStoreError(_NEWEST)
            after = self._replay(connection, signed, newest, now)
        erasure.finish(self._engine)
        self._anchor(newest)
        return Restored(newest.generation + 1, after)

    def _check(self, signed: SignedChange, newest: Document, old: Document, now: datetime) -> None:
        change = signed.change
        if change.action is not Action.RESTORE or change.store != subject(newest, old):
            raise KeyStoreError(
                "the change is not for this: propose to restore "
                + ", ".join(f"{name} {value}" for name, value in subject(newest, old).items())
            )
        _, people, used = json.loads(newest.people)
        if any(change.change_id == one for one, _ in used):
            raise KeyStoreError("this change was applied before; an id is used once, for ever")
        lacking = signed.missing(_enrolled(people), self._origin, now)
        if lacking:
            raise KeyStoreError(f"the restore needs {lacking.sentence}")
        for anchor in self._anchors:
            try:
                anchor.write(anchored.name_of(old.generation), old.content)  # the same again is fine
            except AnchorConflictError as error:
                raise KeyStoreError("the backup is of another history than the anchors hold") from error

    def _check_older(self, connection: Connection, newest: Document) -> None:
        """Refuse to load a backup over the newest store, if that is whole."""
        found = history.newest(connection)
        if found is None or found.generation < newest.generation:
            return
        try:
            self._store.manifest(connection)
        except KeyStoreError:
            return  # what does not stand the proof may be written over
        raise KeyStoreError(_NEWEST)

    def _replay(
        self, connection: Connection, signed: SignedChange, newest: Document, now: datetime
    ) -> tuple[Replay, ...]:
        generation = newest.generation + 1
        known = replay.versions_of(json.loads(newest.manifest.content))
        backed_up = self._store.versions(connection)
        steps = replay.plan(backed_up, known, generation, now)
        for step in steps:
            self._take(connection, step)
        erasure.rewrite(connection, [dict(row) for row in connection.execute(select(tables.keys)).mappings()])
        _forget_attestations(connection)
        _put_people(connection, newest)
        self._put_change(connection, signed, now)
        history.insert_document(connection, newest)
        people = People.parse(newest.people).with_applied(signed.change.change_id, now)
        versions = {one.name: one for one in (*backed_up, *(step.after for step in steps))}.values()
        made = manifest(self._suite, generation, versions, people.digest)
        found = self._store.versions(connection), signers.signers_content(connection)
        if (manifest(self._suite, generation, found[0], sha256(found[1]).digest()), found[1]) != (made, people.content):
            raise KeyStoreError("something else than this restore changed the database meanwhile; restore it again")
        head = connection.execute(select(tables.head)).mappings().one()
        connection.execute(update(tables.head).values(generation=generation, mac=self._sealer.mac(head, made)))
        history.append(connection, made, people.content)
        wrappings.record(connection)
        self._log(connection, signed, newest, steps)
        return tuple(steps)

    def _take(self, connection: Connection, step: Replay) -> None:
        keys, version = tables.keys, step.after
        name = version.name
        here = (keys.c.domain == name.domain) & (keys.c.kind == name.kind.value) & (keys.c.version == name.version)
        found = connection.execute(select(keys).where(here)).mappings().one_or_none()
        row: dict[str, Any] = {
            "domain": name.domain,
            "kind": name.kind.value,
            "version": name.version,
            "suite": version.suite.value,
            "state": version.state.value,
            "generation": version.generation,
            "check_value": version.check_value,
            "created_at": version.created_at.isoformat(),
            "state_since": version.state_since.isoformat(),
            "activated_at": version.activated_at.isoformat() if version.activated_at else None,
            "compromised_at": version.compromised_at.isoformat() if version.compromised_at else None,
        }
        if version.state is KeyState.DESTROYED or found is None:
            row |= {"wrapped_key": None, "sealed": None, "wrapping_version": ""}
        else:
            row = self._sealer.seal(row, self._sealer.unseal(found).scalar)
        connection.execute(delete(keys).where(here))
        connection.execute(insert(keys).values(row))

    def _put_change(self, connection: Connection, signed: SignedChange, now: datetime) -> None:
        """Keep the change among the others, as applied: it cannot be used again."""
        change = signed.change
        first = next(one for one in signed.signatures if one.verb is Verb.PROPOSE and one.signer == change.proposer)
        changes.add(connection, change, signed.document, first.signature, now)
        for one in signed.signatures:
            if one.verb is Verb.APPROVE:
                changes.add_approval(connection, change.change_id, one.signer, one.signature, now)
        changes.mark_applied(connection, change.change_id, now)

    def _log(self, connection: Connection, signed: SignedChange, newest: Document, steps: Sequence[Replay]) -> None:
        change = signed.change
        proof = {
            "change_id": change.change_id,
            "document": json.loads(signed.document),
            "document_sha256": digest(signed.document).hex(),
            "signatures": [
                {"signer": one.signer, "signature": one.signature.hex(), "verb": one.verb.value}
                for one in signed.signatures
            ],
            "generation": newest.generation + 1,
        }
        entry = AuditEntry("keystore.restore", "", "ok", subject=change.change_id, evidence=_canonical(proof))
        self._audit.append(entry, connection)
        for step in steps:
            event = "key.lost" if step.is_lost else f"key.replay-{step.after.state}"
            name = step.after.name
            entry = AuditEntry(event, "", "ok", subject=name.domain, kind=Kind(name.kind), key_version=name.version)
            self._audit.append(entry, connection)

    def _anchor(self, newest: Document) -> None:
        with read(self._engine) as connection:
            documents = history.since(connection, newest.generation)
        for anchor in self._anchors:
            for document in documents:
                anchor.write(anchored.name_of(document.generation), document.content)


def _forget_attestations(connection: Connection) -> None:
    """Let holders attest again: what they used since the backup is not known."""
    done = tables.attestations
    alive = select(tables.keys.c.version).where(
        tables.keys.c.domain == done.c.domain,
        tables.keys.c.kind == done.c.kind,
        tables.keys.c.version == done.c.version,
        tables.keys.c.state != KeyState.DESTROYED.value,
    )
    connection.execute(delete(done).where(alive.exists()))


def _enrolled(people: Sequence[Mapping[str, Any]]) -> dict[str, Signer]:
    return {
        one["name"]: Signer(one["name"], SignerRole(one["role"]), bytes.fromhex(one["public_key"]))
        for one in people
        if one["removed_at"] is None
    }


def _put_people(connection: Connection, newest: Document) -> None:
    """Let the people and the used changes be those of the anchored generation."""
    genesis, people, used = json.loads(newest.people)
    connection.execute(delete(signers.signers_table))
    for one in people:
        row = {**one, "public_key": bytes.fromhex(one["public_key"])}
        connection.execute(insert(signers.signers_table).values(row))
    if signers.genesis_hash(connection).hex() != genesis:
        raise KeyStoreError("the backup began with another genesis file than the anchored store")
    known = set(changes.ids(connection))
    connection.execute(delete(signers.forgotten))
    for change_id, applied_at in used:
        if change_id in known:
            one = signers.changes.c.change_id == change_id
            connection.execute(update(signers.changes).where(one).values(applied_at=applied_at))
        else:
            connection.execute(insert(signers.forgotten).values(change_id=change_id, applied_at=applied_at))
    if signers.signers_content(connection) != newest.people:
        raise KeyStoreError("the people of the backup and those of the anchored generation do not fit together")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
