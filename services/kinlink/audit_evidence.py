"""Fetches from a service what proves its log, and checks it at once against what was kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from kinlink.audit.entry import EntryError, parse
from kinlink.audit.export import Header, Leaf, write
from kinlink.audit.kept import LeafHashes
from kinlink.audit.merkle import ProofError, leaf_hash, verify_consistency, verify_inclusion
from kinlink.audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from kinlink.audit.reading import Progress, unreported
from kinlink.audit_client import AuditClient
from kinlink.errors import ConflictError, InputError, RefusedError

_VERIFY = "Keep what you have, export the log, and run `kinlink audit verify` on it."
_REPORT_EVERY = 1000


def opened(note: str, key: VerifierKey, name: str) -> Checkpoint:
    """Return a checkpoint that `key` signed; `name` says in errors which one. Raises RefusedError."""
    try:
        return open_checkpoint(note, key)
    except NoteError as error:
        message = f"{name} is not to be trusted: {error}. Compare the log key with the one that you kept."
        raise RefusedError(message, "LOG_KEY_DIFFERS") from error


def fetch_checkpoint(
    client: AuditClient, key: VerifierKey, after: Checkpoint | None = None, progress: Progress = unreported
) -> tuple[str, LeafHashes]:
    """Return a new checkpoint with the leaf hashes since `after`, verified: all that is to be kept.

    Raises:
        RefusedError: the checkpoint is not signed by `key`.
        ConflictError: the log does not continue `after`, or its entries do not give the checkpoint's root.
        KinlinkError: the service is away or refuses.
    """
    note = client.checkpoint().note
    checkpoint = opened(note, key, "The service's checkpoint")
    start = after.size if after else 0
    if after is not None:
        _check_continues(client, after, checkpoint)
    tree = client.frontier(start)
    frontier, packed = tree.hashes, bytearray()
    for leaf in client.leaves(start, checkpoint.size):
        if leaf_hash(leaf.content) != leaf.hash:
            message = f"Entry {tree.size} was changed: it does not have the leaf hash that the log stores. {_VERIFY}"
            raise ConflictError(message, "LOG_CHANGED")
        tree.extend((leaf.hash,))
        packed += leaf.hash
        if not tree.size % _REPORT_EVERY:
            progress(tree.size - start, checkpoint.size - start)
    if (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):
        raise ConflictError(f"The log's entries do not give the root that it signs. {_VERIFY}", "LOG_CHANGED")
    progress(1, 1)
    return note, LeafHashes(start, frontier, bytes(packed))


def fetch_export(
    client: AuditClient, file: BinaryIO, start: int = 0, end: int = 0, progress: Progress = unreported
) -> int:
    """Write an export of the entries from `start` until before `end` (0: as many as there are); return the end.

    Raises:
        InputError: the log has not so many entries.
        KinlinkError: the service is away or refuses.
    """
    signed = client.checkpoint()
    try:
        key = VerifierKey.parse(signed.verifier_key)
    except NoteError as error:
        raise RefusedError(f"The service shows no usable key: {error}.", "LOG_KEY_DIFFERS") from error
    checkpoint = opened(signed.note, key, "The service's checkpoint")
    end = end or checkpoint.size
    if not 0 <= start <= end <= checkpoint.size:
        raise InputError(f"The log has {checkpoint.size} entries. Give --start and --end within them.", "OUT_OF_RANGE")

    def leaves() -> Iterator[Leaf]:
        for done, leaf in enumerate(client.leaves(start, end) if start < end else (), 1):
            yield leaf
            if not done % _REPORT_EVERY:
                progress(done, end - start)
        progress(1, 1)

    header = Header(checkpoint.origin, signed.verifier_key, start, client.frontier(start).hashes)
    return write(file, header, leaves(), client.checkpoints(start))


def prove(client: AuditClient, index: int, checkpoint: Checkpoint) -> Leaf:
    """Return entry `index`, proven to stand in the log of a kept checkpoint.

    Raises:
        InputError: the checkpoint is older than the entry.
        ConflictError: the proof fails: the log that is served is not the one of the checkpoint.
        KinlinkError: the service is away or refuses.
    """
    if index >= checkpoint.size:
        message = f"The checkpoint covers {checkpoint.size} entries, from 0 on. Keep a newer one, and ask with that."
        raise InputError(message, "CHECKPOINT_TOO_OLD")
    proof = client.inclusion_proof(index, checkpoint.size)
    found = list(client.leaves(index, index + 1))
    try:
        if len(found) != 1 or parse(found[0].content).index != index:
            raise ProofError("the service gives another entry")  # noqa: TRY301 - one answer to all three
        verify_inclusion(index, checkpoint.size, leaf_hash(found[0].content), proof, checkpoint.root)
    except (ProofError, EntryError) as error:
        message = f"Entry {index} is not the one that the checkpoint covers: {error}. {_VERIFY}"
        raise ConflictError(message, "LOG_CHANGED") from error
    return found[0]


def _check_continues(client: AuditClient, after: Checkpoint, checkpoint: Checkpoint) -> None:
    if checkpoint.size < after.size:
        message = f"The log has {checkpoint.size} entries, and had {after.size}: it was truncated. {_VERIFY}"
        raise ConflictError(message, "LOG_CHANGED")
    proof = client.consistency_proof(after.size, checkpoint.size) if after.size else []
    try:
        verify_consistency(after.size, checkpoint.size, proof, after.root, checkpoint.root)
    except ProofError as error:
        message = f"The log does not continue the checkpoint of {after.size} entries: it was changed. {_VERIFY}"
        raise ConflictError(message, "LOG_CHANGED") from error
