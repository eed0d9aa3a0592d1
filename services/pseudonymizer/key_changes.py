"""What changes do to keys: from the words of a signed document to transitions of the key store.

1. Making a version takes one enrolled custodian: it does nothing until a change activates it.
2. The log has an entry for each key version that a change touched, which names the change.
3. A proposal that could not be applied as things stand is refused at once: people sign what is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from sqlalchemy import Connection

from kinlink.change_document import Action, Change, canonical, digest
from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import attested, plan
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.lifecycle import Transition
from pseudonymizer.people import People
from servicekit.audit import describe
from servicekit.errors import InvalidError, PreconditionError
from servicekit.identity import Caller


class KeyChanges:
    """Changes of one key store."""

    def __init__(
        self, store: KeyStore, holders: Callable[[str, Kind], Sequence[str]], now: Callable[[], datetime]
    ) -> None:
        """Change `store`; `holders` says who stores pseudonyms of a line."""
        self._store = store
        self._holders = holders
        self._now = now

    def changing(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that may change keys and people; at its end it is sealed and anchored."""
        return self._store.change()

    def people(self, connection: Connection) -> People:
        """Return the people in a transaction of `changing`, proven."""
        return People.parse(self._store.people(connection))

    def people_become(self, connection: Connection, people: People) -> None:
        """Take note of what this transaction makes of the people: nothing else is sealed."""
        self._store.people_become(connection, people.content)

    def create(self, caller: Caller, wanted: KeyName) -> KeyVersionRow:
        """Make the next version of a key, pending.

        Raises:
            InvalidError: KEY_VERSION_SET, KEY_LINE_UNKNOWN. PreconditionError: KEY_PENDING_EXISTS.
            DeniedError: SIGNER_UNKNOWN, the custodian is not enrolled.
        """
        if wanted.version:
            raise InvalidError("the version is the next one; key.version must be 0", "KEY_VERSION_SET")
        with self._store.change() as connection:
            self.people(connection).check_enrolled(f"{caller.role}/{caller.name}")
            made = self._store.create(connection, wanted.domain, wanted.kind, caller=caller.uri)
        describe(subject=made.name.domain, kind=made.name.kind, key_version=made.name.version)
        return made

    def check(self, connection: Connection, change: Change) -> None:
        """Refuse a change of keys that could not be applied as things stand. Raises PreconditionError."""

        def unattested(version: KeyVersionRow) -> Sequence[str]:
            return attested.missing(connection, version.name, self._holders(*version.line))

        versions = self._store.versions(connection)
        plan.steps(versions, _names(change), _transition(change), unattested, accept_loss=change.accept_loss)

    def apply(self, connection: Connection, change: Change, caller: str) -> None:
        """Take the keys of a change through its transition. Raises PreconditionError, nothing is changed then."""
        proof = {"change_id": change.change_id, "document_sha256": digest(change.document()).hex()}
        self._store.transition(
            connection,
            _names(change),
            _transition(change),
            self._now(),
            caller=caller,
            evidence=canonical(proof).decode(),
            accept_loss=change.accept_loss,
        )


def _names(change: Change) -> list[KeyName]:
    return [KeyName(key.domain, key.kind, key.version) for key in change.keys]


def _transition(change: Change) -> Transition:
    if change.action is Action.RESTORE:
        message = "a key store is put back where it stands: `kinlink keystore restore`, while the service is stopped"
        raise PreconditionError(message, "RESTORE_OFFLINE")
    return Transition(change.action.value)
