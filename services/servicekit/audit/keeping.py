"""Keeps the log of a running service: opens its key and its second places, checks it, signs it, serves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from sqlalchemy import Engine

from kinlink.audit.note import NoteError, VerifierKey
from kinlink.audit.v1.audit_service_pb2_grpc import (
    add_AuditServiceServicer_to_server,
    add_WitnessServiceServicer_to_server,
)
from servicekit.anchors import AnchorError, open_anchors
from servicekit.audit.audit_api import AuditApi, WitnessApi
from servicekit.audit.checkpointer import AnchoredPlace, Checkpointer, Place
from servicekit.audit.checkpoints import Checkpoints, LogError, open_key, was_signed
from servicekit.audit.log import AuditLog
from servicekit.audit.witness import RemoteWitness, Witness
from servicekit.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class KeptLog:
    """A log that is signed and sent to its second places while the service runs."""

    origin: str
    checkpoints: Checkpoints
    checkpointer: Checkpointer
    _engine: Engine
    _log: AuditLog
    _witness: Witness

    def register(self, target: grpc.Server) -> None:
        """Serve `audit_api.SERVICES`."""
        add_AuditServiceServicer_to_server(
            AuditApi(self._engine, self._log, self.checkpoints, self.checkpointer.shown), target
        )
        add_WitnessServiceServicer_to_server(WitnessApi(self._witness), target)


@contextmanager
def kept(
    log: AuditLog, engine: Engine, settings: ServerSettings, service: str, folder: Path, *, real: bool
) -> Iterator[KeptLog]:
    """Keep `log` while the block runs; `folder` is that of the settings file, `real` says that identifiers are.

    Raises:
        LogError: the log is not the one that was signed and anchored, log_key is not its key, an anchor's or a
            witness's setting is ill-formed, or real identifiers have no anchor.
    """
    if real and not settings.anchors:
        raise LogError("anchors: a service of real identifiers needs one, on another machine; set file:… or s3://…")
    origin = f"{settings.trust_domain}/{service}"
    key = open_key(settings.log_key, may_create=not was_signed(engine))
    try:
        anchors = open_anchors(settings.anchors, folder)
        witnesses = [RemoteWitness(engine, settings, told) for told in settings.witnesses]
        logs = [VerifierKey.parse(text) for text in settings.witnessed_logs]
    except AnchorError as error:
        raise LogError(str(error)) from error
    except NoteError as error:
        raise LogError(f"witnesses, witnessed_logs: {error}") from error
    checkpoints = Checkpoints(engine, log, key, origin, anchors)
    places: list[Place] = [*map(AnchoredPlace, anchors), *witnesses]
    checkpointer = Checkpointer(
        log, checkpoints, places, settings.checkpoint_every_entries, settings.checkpoint_every_s
    )
    checkpoints.on_compared = checkpointer.compared
    checkpoints.check()
    checkpointer.start()
    try:
        yield KeptLog(origin, checkpoints, checkpointer, engine, log, Witness(engine, key, origin, logs))
    finally:
        checkpointer.stop()
