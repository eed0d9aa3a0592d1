"""The sealed key store: tables in the service's state database.

1. Every change is one transaction (`change`): the store as it was is proven first, and the store as this process
   made it is sealed as a whole, at the next generation. What others changed, removed or put back, also within that
   transaction (a trigger; another session between two statements), is not sealed: the change is refused.
2. Transitions are the lifecycle's, for several keys together, each with its audit entry in the same transaction.
3. A store put back whole is for the anchors to find (`Anchors`): they are asked at start and at each reload, and told
   after each change, before it is answered.
4. Opening makes the keys of declared lines that have none: version 1, active.
5. A destroyed key's row stays, without the key; the database's files are cleaned of it (`erasure`).

What is answered with is `opened`'s. It does not know callers' grants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Engine, func, select, text

from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.keyset import KeyName, Keyset
from pseudonymizer.keystore import attested, erasure, plan, tables, version_rows
from pseudonymizer.keystore.encryption_keys import KeyEncryptionKey, KeyStoreError
from pseudonymizer.keystore.manifest import KeyVersionRow, Manifest
from pseudonymizer.keystore.opened import Anchors, NoAnchors, OpenedKeys, unusable
from pseudonymizer.keystore.sealing import Sealer
from pseudonymizer.keystore.whole import Meant, Whole, rows, versions
from pseudonymizer.lifecycle import KeyState, Transition
from pseudonymizer.signers import signers_content
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read
from servicekit.errors import InvalidError

LOCK: Final = 7_310_151  # any constant that no other advisory lock uses


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
        self._whole = Whole(self._sealer, suite, people)
        self._audit = audit
        self._holders = holders
        self._anchors = anchors or NoAnchors()
        self._opened = OpenedKeys(engine, self._sealer, self._whole, self._anchors)
        self._open: dict[Connection, Meant] = {}  # transactions of `change`
        self._erasing: set[Connection] = set()  # those in which a key was destroyed

    def open(self, lines: Iterable[tuple[str, Kind]]) -> Keyset:
        """Return the keys of these lines (domain, kind), making those that have none.

        Raises:
            KeyStoreError: the store belongs to another suite or key-encryption key, was changed, or is older than
                its anchors say.
        """
        wanted = list(lines)
        self._opened.lines = frozenset(wanted)
        with self._change() as connection:
            held = {version.line for version in self.versions(connection)}
            now = datetime.now(UTC)
            for line in wanted:
                if line not in held:
                    self._make(connection, KeyName(*line, 1), KeyState.ACTIVE, now)
        known, keyset = self._opened.held
        if any(version.state is KeyState.DESTROYED for version in known):
            erasure.finish(self._engine)  # again, since the last process may have been cut off before
        return keyset

    def at(self, generation: int) -> Keyset:
        """Return the keys as they are, having read them again unless they are of `generation`.

        Raises:
            UnavailableError: KEY_STORE_UNUSABLE, they cannot be read or proven any more.
        """
        return self._opened.at(generation)

    def current(self) -> tuple[tuple[KeyVersionRow, ...], Keyset]:
        """Return all versions ever made, proven, and the keys, both of one generation, as they are now.

        Raises:
            UnavailableError: as `at`.
        """
        return self._opened.current()

    @property
    def refused(self) -> str:
        """Why nothing is answered; "" while keys are."""
        return self._opened.refused

    def refuse(self, why: str) -> None:
        """Answer nothing until the store was read and proven again."""
        self._opened.refuse(why)

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
            raise unusable() from error

    @contextmanager
    def _change(self, *, always: bool = False) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            erasure.begin(connection)
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            before, meant = self._whole.begin(connection)
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
        self._opened.load()

    def create(
        self, connection: Connection, domain: str, kind: Kind, *, caller: str = "", evidence: str = ""
    ) -> KeyVersionRow:
        """Make the next version of a line, pending, in a transaction of `change`.

        Raises:
            InvalidError: KEY_LINE_UNKNOWN. PreconditionError: KEY_PENDING_EXISTS.
        """
        if (domain, kind) not in self._opened.lines:
            raise InvalidError("the policy declares no such domain and kind", "KEY_LINE_UNKNOWN")
        version = plan.next_version(self._meant(connection).versions.values(), domain, kind)
        name = KeyName(domain, kind, version)
        return self._make(connection, name, KeyState.PENDING, datetime.now(UTC), caller, evidence)

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
            meant = self._meant(connection).versions
            meant[version.name] = version_rows.take(connection, self._sealer, meant[version.name], step, at)
            self._tell(connection, f"key.{step}", version.name, caller, evidence)
        if any(step is Transition.DESTROY for _, step in steps):
            erasure.rewrite(connection, [dict(row) for row in rows(connection)])
            self._erasing.add(connection)

    def versions(self, connection: Connection) -> list[KeyVersionRow]:
        """Return all versions ever made, by domain, kind and version, without keys, as the database has them."""
        return versions(rows(connection))

    def manifest(self, connection: Connection) -> Manifest:
        """Return the manifest of the store, proven.

        Raises:
            KeyStoreError: the store was changed, or was made for another suite.
        """
        return self._whole.prove(connection, rows(connection))[0]

    def people(self, connection: Connection) -> bytes:
        """Return the people (`signers_content`) in a transaction of `change`: as proven, and as they became since."""
        return self._meant(connection).people

    def people_become(self, connection: Connection, content: bytes) -> None:
        """Say what a transaction of `change` has made of the people."""
        self._meant(connection).people = content

    def _seal(self, connection: Connection, before: Manifest, meant: Meant, *, always: bool) -> Manifest:
        after = self._whole.seal(connection, before, meant, always=always)
        if after != before:
            self._anchors.record(connection, after)
        return after

    def _make(
        self, connection: Connection, name: KeyName, state: KeyState, at: datetime, caller: str = "", evidence: str = ""
    ) -> KeyVersionRow:
        made = version_rows.make(connection, self._sealer, self._suite, name, state, at)
        self._meant(connection).versions[name] = made
        self._tell(connection, "key.create", name, caller, evidence)
        return made

    def _tell(self, connection: Connection, event: str, name: KeyName, caller: str, evidence: str) -> None:
        entry = AuditEntry(
            event, caller, "ok", subject=name.domain, kind=name.kind, key_version=name.version, evidence=evidence
        )
        self._audit.append(entry, connection)

    def _meant(self, connection: Connection) -> Meant:
        if connection not in self._open:
            raise RuntimeError("keys and people change in a transaction of KeyStore.change() only")
        return self._open[connection]
