"""The sealed key store: tables in the service's state database.

1. Every change is one transaction (`change`): the store as it was is proven first, and the store as this process
   made it is sealed as a whole, at the next generation. What others changed, removed or put back, also within that
   transaction (a trigger; another session between two statements), is not sealed: the change is refused.
2. Transitions are the lifecycle's, for several keys together, each with its audit entry in the same transaction.
3. A store put back whole is for the anchors to find (`Anchors`): they are asked at start and at each reload, and told
   after each change, before it is answered.
4. Opening makes the keys of declared lines that have none: version 1, active.
5. A destroyed key's row stays, without the key; the database's files are cleaned of it (`erasure`).
6. What is in memory belongs to one generation. `at` brings it up to the one that a caller read in its own
   transaction; a store that cannot be proven any more answers nothing.

*Guarantee:* a keyset is returned only if the manifest's seal holds and every key of the declared lines opened and
matches its check value. It does not know callers' grants.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, text, update

from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.keyset import Key, KeyName, Keyset
from pseudonymizer.keystore import attested, erasure, plan, tables
from pseudonymizer.keystore.encryption_keys import KeyEncryptionKey, KeyStoreError
from pseudonymizer.keystore.key_material import check_value, new_secret
from pseudonymizer.keystore.manifest import KeyVersionRow, Manifest, manifest
from pseudonymizer.keystore.sealing import Sealer
from pseudonymizer.lifecycle import KeyState, Transition, rule, usable
from pseudonymizer.signers import signers_content
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read
from servicekit.errors import InvalidError, UnavailableError

_ATTEMPTS: Final = 5  # to read a store that others change meanwhile
LOCK: Final = 7_310_151  # any constant that no other advisory lock uses
_CHANGED: Final = "the key store was changed by something else than this service; restore a backup"
_OLDER: Final = "the key store is older, or another, than this process has seen it; an old one was put back"
_log = structlog.get_logger(__name__)


class Anchors(Protocol):
    """Where the store's generation stands outside of it."""

    def record(self, connection: Connection, manifest: Manifest) -> None:
        """Take note of a new generation, in the transaction that makes it."""

    def check(self, manifest: Manifest) -> None:
        """Raise KeyStoreError when this is older than what was anchored, or other content at its generation."""

    def write(self, manifest: Manifest) -> None:
        """Anchor it, durably. Raises UnavailableError when that fails; the change has taken effect all the same."""


@dataclass(slots=True)
class _Meant:
    """What is to be sealed at the end of a transaction: what was proven at its begin, and what was done since."""

    versions: dict[KeyName, KeyVersionRow]
    people: bytes


class _NoAnchors:
    def record(self, connection: Connection, manifest: Manifest) -> None:
        """Note nothing."""

    def check(self, manifest: Manifest) -> None:
        """Know of nothing."""

    def write(self, manifest: Manifest) -> None:
        """Tell nobody."""


def is_empty(engine: Engine) -> bool:
    """Say whether no key was ever made in this database."""
    with read(engine) as connection:
        return connection.execute(select(func.count()).select_from(tables.keys)).scalar_one() == 0


class KeyStore:
    """Opens, makes and changes keys of one suite."""

    def __init__(
        self,
        engine: Engine,
        kek: KeyEncryptionKey,
        suite: Suite,
        audit: AuditLog,
        *,
        holders: Callable[[str, Kind], Sequence[str]] = lambda _domain, _kind: (),
        anchors: Anchors | None = None,
        people: Callable[[Connection], bytes] = signers_content,
    ) -> None:
        """Use `engine`, whose tables are migrated. `holders` says who stores pseudonyms of a line (the policy)."""
        self._engine = engine
        self._sealer = Sealer(kek)
        self._suite = suite
        self._audit = audit
        self._holders = holders
        self._anchors = anchors or _NoAnchors()
        self._read_people = people
        self._lines: frozenset[tuple[str, Kind]] = frozenset()
        self._keyset = Keyset(())
        self._versions: tuple[KeyVersionRow, ...] = ()
        self._manifest = Manifest(0, b"")
        self._opened: dict[tuple[KeyName, int], Key] = {}
        self._refused = ""
        self._loading = Lock()
        self._open: dict[Connection, _Meant] = {}  # transactions of `change`
        self._erasing: set[Connection] = set()  # those in which a key was destroyed

    def open(self, lines: Iterable[tuple[str, Kind]]) -> Keyset:
        """Return the keys of these lines (domain, kind), making those that have none.

        Raises:
            KeyStoreError: the store belongs to another suite or key-encryption key, was changed, or is older than
                its anchors say.
        """
        wanted = list(lines)
        self._lines = frozenset(wanted)
        with self._change() as connection:
            held = {version.line for version in self.versions(connection)}
            now = datetime.now(UTC)
            for line in wanted:
                if line not in held:
                    self._insert(connection, KeyName(*line, 1), KeyState.ACTIVE, now, "", "")
        if any(version.state is KeyState.DESTROYED for version in self._versions):
            erasure.finish(self._engine)  # again, since the last process may have been cut off before
        return self._keyset

    def at(self, generation: int) -> Keyset:
        """Return the keys as they are, having read them again unless they are of `generation`.

        Raises:
            UnavailableError: KEY_STORE_UNUSABLE, they cannot be read or proven any more.
        """
        keyset = self._keyset
        if keyset.generation == generation and not self._refused:
            return keyset
        with self._loading:
            if self._keyset.generation != generation or self._refused:
                try:
                    self._load()
                except KeyStoreError as error:
                    self.refuse(str(error))
                    raise _unusable() from error
            return self._keyset

    def current(self) -> tuple[tuple[KeyVersionRow, ...], Keyset]:
        """Return all versions ever made, proven, and the keys, both of one generation, as they are now.

        Raises:
            UnavailableError: as `at`.
        """
        self.at(self._generation())
        with self._loading:
            return self._versions, self._keyset

    @property
    def refused(self) -> str:
        """Why nothing is answered; "" while keys are."""
        return self._refused

    def refuse(self, why: str) -> None:
        """Answer nothing until the store was read and proven again."""
        if not self._refused:
            _log.error("the key store cannot be used", why=why)
        self._refused = why

    @contextmanager
    def change(self, *, always: bool = False) -> Iterator[Connection]:
        """Yield a transaction in which keys and signers may change; at its end seal, commit, clean up and anchor.

        Where nothing changed the generation stays, unless `always`: for how keys are wrapped, which the seal does
        not cover.

        Raises:
            UnavailableError: KEY_STORE_UNUSABLE, the store does not stand the proof, nothing is changed; or what
                `Anchors.write` raises: then the change has taken effect, and repeating it is harmless.
        """
        try:
            with self._change(always=always) as connection:
                yield connection
        except KeyStoreError as error:
            self.refuse(str(error))
            raise _unusable() from error

    @contextmanager
    def _change(self, *, always: bool = False) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            erasure.begin(connection)
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            if self._head(connection) is None and not self._rows(connection):
                connection.execute(insert(tables.head).values(only=1, mac=b"", **self._sealer.new_head()))
                before, meant = Manifest(0, b""), _Meant({}, self._read_people(connection))
            else:
                before, meant = self._prove(connection, self._rows(connection))
            self._anchors.check(before)
            self._open[connection] = meant
            try:
                yield connection
                after = self._seal(connection, before, meant, always=always)
            except BaseException:
                self._erasing.discard(connection)
                raise
            finally:
                del self._open[connection]
        if always or connection in self._erasing:
            self._erasing.discard(connection)
            erasure.finish(self._engine)
        self._anchors.write(after)
        with self._loading:
            self._load()

    def _load(self) -> None:
        """Read the store again, whole; called with the lock held. Raises KeyStoreError."""
        for _ in range(_ATTEMPTS):
            before = self._generation()
            try:
                self._load_once()
            except KeyStoreError:
                if self._generation() == before:
                    raise
                continue  # what was read while a change was committed does not fit together: read it once more
            return
        self._load_once()

    def _generation(self) -> int:
        with read(self._engine) as connection:
            return tables.generation(connection)

    def _load_once(self) -> None:
        with read(self._engine) as connection:
            rows = self._rows(connection)
            proven, _ = self._prove(connection, rows)
        if proven.generation < self._manifest.generation or (
            proven.generation == self._manifest.generation and proven != self._manifest
        ):
            raise KeyStoreError(_OLDER)
        self._anchors.check(proven)
        opened: dict[tuple[KeyName, int], Key] = {}
        versions = _versions(rows)
        for row, version in zip(rows, versions, strict=True):
            if version.line not in self._lines:
                continue
            place = version.name, version.generation
            opened[place] = self._opened.get(place) or self._unseal(row, version)
        self._opened = opened
        self._manifest, self._versions = proven, tuple(versions)
        self._keyset = Keyset(opened.values(), proven.generation)
        self._refused = ""

    def _unseal(self, row: RowMapping, version: KeyVersionRow) -> Key:
        """Open a key to prove it; keep it only where it may be used."""
        if version.state is KeyState.DESTROYED:
            return Key(version.name, version.state, b"")
        key = self._sealer.unseal(row)
        return key if version.state in usable(version.name.kind) else Key(version.name, version.state, b"")

    def create(
        self, connection: Connection, domain: str, kind: Kind, *, caller: str = "", evidence: str = ""
    ) -> KeyVersionRow:
        """Make the next version of a line, pending, in a transaction of `change`.

        Raises:
            InvalidError: KEY_LINE_UNKNOWN. PreconditionError: KEY_PENDING_EXISTS.
        """
        if (domain, kind) not in self._lines:
            raise InvalidError("the policy declares no such domain and kind", "KEY_LINE_UNKNOWN")
        version = plan.next_version(self._meant(connection).versions.values(), domain, kind)
        name = KeyName(domain, kind, version)
        return self._insert(connection, name, KeyState.PENDING, datetime.now(UTC), caller, evidence)

    def transition(
        self,
        connection: Connection,
        keys: Sequence[KeyName],
        transition: Transition,
        at: datetime,
        *,
        caller: str = "",
        evidence: str = "",
        accept_loss: bool = False,
    ) -> None:
        """Take key versions through a transition, all or none, in a transaction of `change`.

        `caller` and `evidence` stand in the audit entries, one a version. `accept_loss`: destroy although not
        every holder has attested.

        Raises:
            PreconditionError: the lifecycle does not allow it (see `plan.steps`); nothing is changed.
        """
        known = self._meant(connection).versions.values()

        def unattested(version: KeyVersionRow) -> list[str]:
            return attested.missing(connection, version.name, self._holders(*version.line))

        steps = plan.steps(known, keys, transition, unattested, accept_loss=accept_loss)
        for version, step in steps:
            if step is Transition.DESTROY:
                attested.close(connection, version.name, self._holders(*version.line) if version.activated_at else ())
            self._step(connection, version.name, step, at)
            entry = AuditEntry(
                f"key.{step}",
                caller,
                "ok",
                subject=version.name.domain,
                kind=version.name.kind,
                key_version=version.name.version,
                evidence=evidence,
            )
            self._audit.append(entry, connection)
        if any(step is Transition.DESTROY for _, step in steps):
            erasure.rewrite(connection, [dict(row) for row in self._rows(connection)])
            self._erasing.add(connection)

    def versions(self, connection: Connection) -> list[KeyVersionRow]:
        """Return all versions ever made, by domain, kind and version, without keys, as the database has them."""
        return _versions(self._rows(connection))

    def manifest(self, connection: Connection) -> Manifest:
        """Return the manifest of the store, proven.

        Raises:
            KeyStoreError: the store was changed, or was made for another suite.
        """
        return self._prove(connection, self._rows(connection))[0]

    def people(self, connection: Connection) -> bytes:
        """Return the people (`signers_content`) in a transaction of `change`: as proven, and as they became since."""
        return self._meant(connection).people

    def people_become(self, connection: Connection, content: bytes) -> None:
        """Say what a transaction of `change` has made of the people."""
        self._meant(connection).people = content

    def _prove(self, connection: Connection, rows: Sequence[RowMapping]) -> tuple[Manifest, _Meant]:
        versions, head = _versions(rows), self._head(connection)
        if any(version.suite is not self._suite for version in versions):
            raise KeyStoreError("this key store was made for another suite; never mix real and synthetic data")
        if head is None:
            raise KeyStoreError(_CHANGED)
        people = self._read_people(connection)
        found = manifest(self._suite, head["generation"], versions, sha256(people).digest())
        if not hmac.compare_digest(self._sealer.mac(head, found), bytes(head["mac"])):
            raise KeyStoreError(_CHANGED)
        return found, _Meant({version.name: version for version in versions}, people)

    def _rows(self, connection: Connection) -> list[RowMapping]:
        keys = tables.keys
        query = select(keys).order_by(keys.c.domain, keys.c.kind, keys.c.version)
        return list(connection.execute(query).mappings().all())

    def _head(self, connection: Connection) -> RowMapping | None:
        return connection.execute(select(tables.head)).mappings().one_or_none()

    def _seal(self, connection: Connection, before: Manifest, meant: _Meant, *, always: bool) -> Manifest:
        def at(generation: int) -> Manifest:
            return manifest(self._suite, generation, meant.versions.values(), sha256(meant.people).digest())

        people = sha256(self._read_people(connection)).digest()
        if manifest(self._suite, before.generation, self.versions(connection), people) != at(before.generation):
            raise KeyStoreError(_CHANGED)
        if not always and at(before.generation) == before:
            return before
        after, head = at(before.generation + 1), self._head(connection)
        if head is None:
            raise KeyStoreError(_CHANGED)
        mac = self._sealer.mac(head, after)
        connection.execute(update(tables.head).values(generation=after.generation, mac=mac))
        self._anchors.record(connection, after)
        return after

    def _insert(
        self, connection: Connection, name: KeyName, state: KeyState, at: datetime, caller: str, evidence: str
    ) -> KeyVersionRow:
        scalar, now = new_secret(name.kind), at.isoformat()
        row = {
            "domain": name.domain,
            "kind": name.kind.value,
            "version": name.version,
            "suite": self._suite.value,
            "state": state.value,
            "generation": tables.generation(connection) + 1,
            "check_value": check_value(name.kind, scalar),
            "created_at": now,
            "state_since": now,
            "activated_at": now if state is KeyState.ACTIVE else None,
            "compromised_at": None,
        }
        row = self._sealer.seal(row, scalar)
        connection.execute(insert(tables.keys).values(row))
        made = self._meant(connection).versions[name] = KeyVersionRow.of_row(row)
        entry = AuditEntry(
            "key.create", caller, "ok", subject=name.domain, kind=name.kind, key_version=name.version, evidence=evidence
        )
        self._audit.append(entry, connection)
        return made

    def _step(self, connection: Connection, name: KeyName, step: Transition, at: datetime) -> None:
        """Change one row; `plan` has said that it may be."""
        keys = tables.keys.c
        here = (keys.domain == name.domain) & (keys.kind == name.kind.value) & (keys.version == name.version)
        row = dict(connection.execute(select(tables.keys).where(here)).mappings().one())
        meant = self._meant(connection).versions
        if _versions([row]) != [meant[name]]:
            raise KeyStoreError(_CHANGED)
        state = rule(step).after
        scalar = b"" if state is KeyState.DESTROYED else self._sealer.unseal(row).scalar
        row |= {"state": state.value, "state_since": at.isoformat(), "generation": tables.generation(connection) + 1}
        if step is Transition.ACTIVATE:
            row["activated_at"] = at.isoformat()
        if step is Transition.COMPROMISE:
            row["compromised_at"] = at.isoformat()
        if state is KeyState.DESTROYED:
            row |= {"wrapped_key": None, "sealed": None, "wrapping_version": ""}
        else:
            row = self._sealer.seal(row, scalar)
        connection.execute(update(tables.keys).where(here).values(row))
        meant[name] = KeyVersionRow.of_row(row)

    def _meant(self, connection: Connection) -> _Meant:
        if connection not in self._open:
            raise RuntimeError("keys and people change in a transaction of KeyStore.change() only")
        return self._open[connection]


def _versions(rows: Sequence[Mapping[Any, Any]]) -> list[KeyVersionRow]:
    try:
        return [KeyVersionRow.of_row(row) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise KeyStoreError(_CHANGED) from error


def _unusable() -> UnavailableError:
    text = "the key store cannot be used; its operator finds the cause in the service's log"
    return UnavailableError(text, "KEY_STORE_UNUSABLE")
