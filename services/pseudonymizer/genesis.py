"""The first signers, at the first start: the log's first entry says which file named them.

1. The first start enrols the people of the genesis file and writes its SHA-256 as entry 0 of the log, in one
   transaction, before anything else is written.
2. Later starts need the same file, byte for byte. Who signs later is a matter of changes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from kinlink import genesis as form
from kinlink.change_document import canonical
from pseudonymizer import signers
from servicekit.audit import AuditEntry, AuditLog


class GenesisFileError(Exception):
    """The service cannot start with this genesis file; says what to do."""


def begin(path: Path, engine: Engine, audit: AuditLog, now: Callable[[], datetime]) -> None:
    """Enrol the people of the genesis file if this is the first start; else check that it is still the same file.

    Raises:
        GenesisFileError: the file cannot be read or used, or is another than the first start's.
    """
    try:
        genesis = form.parse(path.read_bytes())
    except OSError:
        message = f"genesis: {path} cannot be read; it names the people who may sign, see `kinlink approvals enrol`"
        raise GenesisFileError(message) from None
    except form.GenesisError as error:
        raise GenesisFileError(f"genesis: {path} {error}") from None
    with engine.begin() as connection:
        signers.lock(connection)
        known = signers.genesis_hash(connection)
        if not known:
            signers.begin(connection, genesis, now())
            audit.append(_entry(genesis), connection)
        elif known != genesis.sha256:
            raise GenesisFileError(
                f"genesis: {path} is not the file that this service began with, whose hash is its log's first entry; "
                "put that file back, and enrol or remove people with `kinlink approvals propose`"
            )


def _entry(genesis: form.Genesis) -> AuditEntry:
    people = [{"name": one.name, "public_key": one.public_key.hex()} for one in genesis.signers]
    proof = canonical({"genesis_sha256": genesis.sha256.hex(), "signers": people}).decode()
    return AuditEntry("log.genesis", "", "ok", count=len(people), evidence=proof)
