"""`kinlink keystore`: what is done to the key store on the service's own machine, with its settings.

Joins the command line by the entry point group `kinlink.commands`; where only the service is installed, as in its
image, `python -m pseudonymizer.commands` is the same. What changes the store is in the log.
"""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from kinlink.audit.note import VerifierKey
from kinlink.change_document import Action, Change, ChangeError, parse
from kinlink.signed_change import SignedChange
from pseudonymizer.keystore import anchored, backup, history, log_restore, restore, wrappings
from pseudonymizer.keystore.anchored import GenerationAnchors
from pseudonymizer.keystore.encryption_keys import (
    KeyEncryptionKey,
    KeyStoreError,
    WithPrevious,
    open_key_encryption_key,
)
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.keystore.rewrap import rewrap
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.policy import Policy, PolicyError
from pseudonymizer.settings import PseudonymizerSettings
from servicekit import database
from servicekit.anchors import Anchor, AnchorError, open_anchors
from servicekit.audit import AuditEntry, AuditLog
from servicekit.audit.checkpoints import LogError, open_key
from servicekit.database import read
from servicekit.errors import ServiceError
from servicekit.settings import SettingsFileError

_OK, _BAD_INPUT, _REFUSED, _UNAVAILABLE = 0, 3, 4, 5
_KNOWN = (AnchorError, ChangeError, KeyStoreError, LogError, PolicyError, database.SchemaError, SettingsFileError)
_GUIDE = "docs/how-to/key-encryption-keys.md"


@dataclass(frozen=True)
class _Place:
    """A service's settings and what they name."""

    config: Path

    @cached_property
    def settings(self) -> PseudonymizerSettings:
        return PseudonymizerSettings.load(self.config)

    @cached_property
    def policy(self) -> Policy:
        return Policy.load(self.settings.policy)

    @cached_property
    def engine(self) -> Engine:
        engine = database.engine(self.settings.database_url)
        database.migrate(engine, "pseudonymizer")
        return engine

    def close(self) -> None:
        """Close the database, if it was opened."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    @cached_property
    def anchors(self) -> tuple[Anchor, ...]:
        return open_anchors(self.settings.anchors, self.config.parent)

    @cached_property
    def audit(self) -> AuditLog:
        return AuditLog(self.engine)

    @property
    def origin(self) -> str:
        return f"{self.settings.trust_domain}/pseudonymizer"

    def kek(self) -> KeyEncryptionKey:
        previous = self.settings.kek_previous
        return open_key_encryption_key(self.settings.kek, self.config.parent, first_start=False, previous_uri=previous)

    def store(self, kek: KeyEncryptionKey) -> KeyStore:
        anchors = GenerationAnchors(self.engine, self.anchors)
        return KeyStore(self.engine, kek, self.policy.suite, self.audit, anchors=anchors)

    def ceremony(self) -> restore.Ceremony:
        return restore.Ceremony(self.engine, self.kek(), self.policy.suite, self.anchors, self.audit, self.origin)


def keystore(arguments: Sequence[str]) -> int:
    """Run a command line after `kinlink keystore` and return its exit code."""
    os.umask(0o077)
    asked = parser().parse_args(arguments)
    run: Callable[[_Place, argparse.Namespace], None] = asked.run
    place = _Place(asked.config)
    try:
        run(place, asked)
    except _KNOWN as error:
        return _say(str(error), _REFUSED)
    except ServiceError as error:
        cause = error.__cause__
        return _say(str(cause if isinstance(cause, _KNOWN) else error), _UNAVAILABLE)
    except SQLAlchemyError as error:
        cause_name = type(getattr(error, "orig", None) or error).__name__
        return _say(f"database_url: the state database cannot be used ({cause_name})", _UNAVAILABLE)
    except FileExistsError as error:
        return _say(f"{error.filename} exists, and is not overwritten; give another name", _BAD_INPUT)
    except OSError as error:
        return _say(f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}", _BAD_INPUT)
    finally:
        place.close()
    return _OK


def _status(place: _Place, _: argparse.Namespace) -> None:
    kek = place.kek()
    store = place.store(kek)
    with read(place.engine) as connection:
        manifest = store.manifest(connection)
        versions, known, used = store.versions(connection), wrappings.every(connection), wrappings.in_use(connection)
        newest = history.newest(connection)
    _tell(f"generation {manifest.generation}, {len(versions)} key versions, suite {place.policy.suite}")
    _tell(f"SHA-256 of the generation: {newest.sha256 if newest else '-'}")
    for anchor in place.anchors:
        found = anchored.newest(anchor)
        _tell(f"anchor {anchor.uri}: {f'generation {found.generation}' if found else 'nothing yet'}")
    _tell(f"keys are wrapped with {kek.version}")
    for version in known:
        until = f", until {version.last_used_at:%Y-%m-%d}" if version.last_used_at else ", in use"
        gone = f", noted as destroyed {version.destroyed_at:%Y-%m-%d}" if version.destroyed_at else ""
        _tell(f"  {version.name}: since {version.first_used_at:%Y-%m-%d}{until}{gone}")
    if used != {kek.version}:
        _tell("next: `kinlink keystore rewrap`, as keys stand under another version")
    for row in versions:
        if row.state is KeyState.DESTROYED:
            _tell(f"{_named(row)}: destroyed; a backup can unseal it until {_until(place, known, row):%Y-%m-%d}")


def _until(place: _Place, known: Sequence[wrappings.WrappingVersion], row: KeyVersionRow) -> datetime:
    kept = timedelta(days=place.policy.rotation.backups_kept_days)
    return wrappings.backups_until(known, row.created_at, row.state_since, kept)


def _rewrap(place: _Place, asked: argparse.Namespace) -> None:
    old = place.kek()
    new = open_key_encryption_key(asked.to or place.settings.kek, place.config.parent, first_start=False)
    done = rewrap(place.engine, place.store(WithPrevious(new, old)), old, new, place.audit)
    if not done.count:
        _tell(f"nothing to do: everything is wrapped with {done.version}")
    else:
        _tell(f"{done.count} keys wrapped with {done.version}, none with {', '.join(done.before)} any more")
    if asked.to and asked.to != place.settings.kek:
        _tell(f'next: set kek = "{asked.to}" in {place.config}, without kek_previous, and start the service again')
    elif place.settings.kek_previous:
        _tell(f"next: take kek_previous out of {place.config}")


def _backup(place: _Place, asked: argparse.Namespace) -> None:
    store = place.store(place.kek())
    with read(place.engine) as connection:
        generation = store.manifest(connection).generation
        content = backup.write(connection)
    _write_new(asked.file, content)
    place.audit.append(AuditEntry("keystore.backup", "", "ok", count=generation))
    _tell(f"{asked.file}: generation {generation}, sealed; it opens with the key-encryption key only")


def _restore_document(place: _Place, asked: argparse.Namespace) -> None:
    rows = backup.read(asked.backup.read_bytes()) if asked.backup else None
    newest, old = restore.newest_anchored(place.anchors), place.ceremony().stored(rows)
    now = datetime.now(UTC).replace(microsecond=0)
    change = Change(
        str(uuid.uuid4()),
        place.origin,
        Action.RESTORE,
        asked.reason,
        asked.proposer,
        now,
        now + timedelta(days=asked.days),
        store=restore.subject(newest, old),
    )
    document = change.document()
    parse(document)
    _write_new(asked.file, SignedChange(document).to_bytes())
    _tell(f"{asked.file}: restore generation {old.generation}, where {newest.generation} is anchored")
    _tell(f"next: {asked.proposer} and two approvers run `kinlink approvals sign {asked.file}`, one after the other")


def _restore(place: _Place, asked: argparse.Namespace) -> None:
    signed = SignedChange.parse(asked.change.read_bytes())
    rows = backup.read(asked.backup.read_bytes()) if asked.backup else None
    ceremony = place.ceremony()
    ceremony.check(signed, rows)
    key = VerifierKey.of(place.origin, open_key(place.settings.log_key, may_create=False))
    lacking = log_restore.missing(place.engine, place.anchors, key)
    if lacking and asked.log:
        count = log_restore.bring_back(place.engine, lacking, asked.log)
        _tell(f"the log had been rolled back: {count} entries brought back from {asked.log}")
    elif lacking:
        log_restore.note_missing(place.audit, lacking)
        _tell(f"the log was rolled back with the database: {lacking} are missing, and an entry says so. With an export")
        _tell("that was kept they can be brought back: restore the database again, and give --log")
    done = ceremony.restore(signed, rows)
    _tell(f"restored; the store goes on at generation {done.generation}")
    for step in done.replayed:
        _tell(f"  {_named(step.after)}: {'LOST, made after the backup' if step.is_lost else step.after.state}")
    if done.lost:
        _tell("next: for each lost key, create and activate a version; what stood under it must be delivered again")
    if lacking and not asked.log:
        _tell(f"next: the service does not start against these anchors; see {_GUIDE}")


def _note_destroyed(place: _Place, asked: argparse.Namespace) -> None:
    with place.engine.begin() as connection:
        known = {version.name: version for version in wrappings.every(connection)}
        if asked.version not in known:
            raise KeyStoreError(f"no key ever stood under that version; one of {', '.join(known)}")
        if asked.version in wrappings.in_use(connection):
            raise KeyStoreError("keys stand under that version; run `kinlink keystore rewrap` first")
        if known[asked.version].destroyed_at is None:
            wrappings.note_destroyed(connection, asked.version, datetime.now(UTC))
            place.audit.append(AuditEntry("kek.destroyed", "", "ok", subject=asked.version), connection)
    _tell(f"{asked.version}: noted as destroyed")


def _named(row: KeyVersionRow) -> str:
    return f"{row.name.domain} {row.name.kind} version {row.name.version}"


def _write_new(path: Path, content: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"kinlink: {message}\n")
    return code


def parser() -> argparse.ArgumentParser:
    """Return what reads the arguments; the documents' command lines are checked with it."""
    whole = argparse.ArgumentParser(
        prog="kinlink keystore",
        description=f"The pseudonymizer's key store, on its own machine. See {_GUIDE}.",
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[_Place, argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("--config", type=Path, required=True, help="the service's settings, a TOML file")
        made.set_defaults(run=run)
        return made

    add("status", _status, "Show the store's generation, its anchors, and what its keys are wrapped with.")
    made = add("rewrap", _rewrap, "Wrap every key with the newest version of the key-encryption key, or with another.")
    made.add_argument("--to", metavar="URI", help="another key-encryption key; else the one in the settings")
    made = add("backup", _backup, "Write the store, sealed, to a new file.")
    made.add_argument("file", type=Path)
    made = add("restore-document", _restore_document, "Write what people sign to have an older store restored.")
    made.add_argument("file", type=Path)
    made.add_argument("--backup", type=Path, help="the backup; else what the database holds")
    made.add_argument("--proposer", required=True, help="custodian/<name>")
    made.add_argument("--reason", required=True, help="why, in a sentence that is kept for ever and names nobody")
    made.add_argument("--days", type=int, default=7, help="how long it can be used; at most 14")
    made = add("restore", _restore, "Take an older store into use again, as a signed change says.")
    made.add_argument("--change", type=Path, required=True, help="the signed change")
    made.add_argument("--backup", type=Path, help="the backup; else what the database holds")
    made.add_argument("--log", type=Path, help="an export of the audit log, where that was rolled back too")
    made = add("note-destroyed", _note_destroyed, "Note that a version of a key-encryption key was destroyed.")
    made.add_argument("version", help="as `status` names it")
    return whole


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        raise SystemExit(keystore(sys.argv[1:]))
