"""Takes a service's log for the report: verified against what the DPO kept, and a sample of it proven.

1. The log is read whole, from the service or from an export, and computed again. What counts
   is the checkpoint that the service signs now; an export counts as far as its own newest one.
2. The key is the one that was kept. Without one it is the key that the service shows, and
   the report says so: who serves a forged log serves a forged key.
3. Each sampled entry is proven under the checkpoint's root with a proof of its own.
4. Of other months only what volumes are compared with is held in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from kinlink import genesis as genesis_file
from kinlink.audit import kept as kept_files
from kinlink.audit import note
from kinlink.audit.entry import EntryError, parse
from kinlink.audit.export import Export, ExportError
from kinlink.audit.findings import FindingKind, Verification
from kinlink.audit.merkle import ProofError, leaf_hash, verify_inclusion
from kinlink.audit.note import Checkpoint, NoteError, VerifierKey
from kinlink.audit.reading import Progress
from kinlink.audit.verify import verify
from kinlink.audit_client import AuditClient
from kinlink.audit_evidence import fetch_export, opened
from kinlink.errors import ConflictError, InputError, KinlinkError
from kinlink.report.log_rows import ELEMENTS
from kinlink.report.material import Anchor, Decided, Entry, Kept, Key, Log, Witness
from kinlink.report.month import Month
from kinlink.report.outliers import HISTORY_DAYS
from kinlink.report.sample import draw

KEY_FILES = "*.key.txt"
GENESIS_FILE = "genesis.toml"
_OWN = "dpo/"
_DECIDED = {FindingKind.CHANGE_UNSIGNED, FindingKind.KEY_CHANGED, FindingKind.FOREIGN_GENESIS}
# A witness's newest signature is always older than the checkpoint that the service was asked for just now: `_witness`.
_ELSEWHERE = {*_DECIDED, FindingKind.WITNESS_MISSING}
_LATE = timedelta(days=1)  # how much older than the log a witness's newest signature may be
_SHOWN = "the service's checkpoint"


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """What the DPO kept: checkpoints with their hashes, the keys of logs and witnesses, the file of first signers."""

    checkpoints: Sequence[kept_files.Kept] = ()
    keys: Sequence[VerifierKey] = ()
    genesis: genesis_file.Genesis | None = None

    @classmethod
    def read(cls, folder: Path) -> KeptFolder:
        """Read *.checkpoint (and an anchor's files), *.key.txt and genesis.toml. Raises InputError."""
        first = folder / GENESIS_FILE
        try:
            keys = [VerifierKey.parse(path.read_text("utf-8")) for path in sorted(folder.glob(KEY_FILES))]
            found = kept_files.read([folder])
            genesis = genesis_file.parse(first.read_bytes()) if first.exists() else None
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}.", "NOT_READABLE") from None
        except (NoteError, UnicodeDecodeError) as error:
            message = (
                f"A {KEY_FILES} in {folder} holds no key: keep there what `kinlink audit checkpoint --key` prints."
            )
            raise InputError(message, "KEY_MALFORMED") from error
        except kept_files.KeptError as error:
            raise InputError(f"{error}.", "NO_CHECKPOINT") from error
        except genesis_file.GenesisError as error:
            raise InputError(f"{first} {error}.", "NO_GENESIS") from error
        if not found and not keys:
            message = f"{folder} holds neither *.checkpoint nor {KEY_FILES}. Give the folder where you keep them."
            raise InputError(message, "NOTHING_KEPT")
        return cls(found, keys, genesis)

    def of(self, origin: str) -> list[kept_files.Kept]:
        """Return the checkpoints of one log."""
        return [each for each in self.checkpoints if each.note.partition("\n")[0] == origin]


def take(
    service: str, client: AuditClient, month: Month, kept: KeptFolder, export: Path | None, progress: Progress
) -> Log:
    """Return a service's log, verified.

    Raises:
        InputError: the export is none, or another log's.
        KinlinkError: the service is away or refuses.
    """
    shown = client.checkpoint()
    try:
        own_key = VerifierKey.parse(shown.verifier_key)
    except NoteError as error:
        raise ConflictError(f"The {service} shows no usable key: {error}.", "LOG_KEY_DIFFERS") from error
    checkpoint = opened(shown.note, own_key, f"The checkpoint of the {service}")
    with TemporaryDirectory(prefix="kinlink-") as folder:
        path = export or Path(folder) / f"{service}.audit"
        if export is None:
            with path.open("wb") as file:
                fetch_export(client, file, 0, checkpoint.size, progress)
        return _verified(service, client, month, kept, path, shown.note, own_key)


def _verified(
    service: str,
    client: AuditClient,
    month: Month,
    kept: KeptFolder,
    path: Path,
    shown: str,
    own_key: VerifierKey,
) -> Log:
    try:
        export = Export(path)
        if export.header.origin != own_key.name:
            message = f"{path.name} is an export of {export.header.origin}, not of {own_key.name}."
            raise InputError(message, "NO_EXPORT")
        if export.header.start:
            message = f"{path.name} begins with entry {export.header.start}. Export the log from its beginning."
            raise InputError(message, "NO_EXPORT")
        pass_ = _read(service, export, month)
    except (ExportError, OSError) as error:
        raise InputError(f"{path.name} is no export that can be read: {error}.", "NO_EXPORT") from error
    kept_key = next((key for key in kept.keys if key.name == own_key.name and key.type == note.LOG), None)
    signed = shown if _size(shown) <= pass_.size else pass_.newest
    checkpoints = kept.of(own_key.name)
    if signed:
        checkpoints.append(kept_files.Kept(_SHOWN, signed))
    cosigners = (pass_.signers | _signers(signed)) - {own_key.name}
    asked = [key for key in kept.keys if key.name in cosigners]
    result = verify(export, checkpoints, kept_key or own_key, witnesses=asked, genesis=kept.genesis)
    vouched = {each.witness: each.size for each in result.witnesses}
    checkpoint = Checkpoint.parse(note.parse(signed).text) if signed else Checkpoint(own_key.name, 0, bytes(32))
    root = checkpoint.root.hex()
    drawn = draw(
        (
            entry.index
            for entry in pass_.entries
            if entry.index < checkpoint.size and entry.index in pass_.hashes and not entry.caller.startswith(_OWN)
        ),
        str(month),
        own_key.name,
        root,
    )
    return Log(
        service=service,
        origin=own_key.name,
        size=checkpoint.size,
        root=root,
        verifier_key=str(own_key),
        key_kept=None if kept_key is None else kept_key == own_key,
        witnesses=[_witness(name, vouched.get(name, 0), pass_) for name in sorted(cosigners)],
        anchors=list(pass_.anchors.values()),
        kept=_kept(kept.of(own_key.name), result),
        findings=[f"{each.kind}: {each.text}" for each in result.findings if each.kind not in _ELSEWHERE]
        + pass_.unreadable,
        entries=pass_.entries,
        proofs={index: _proven(client, index, pass_.hashes[index], checkpoint) for index in drawn},
        decided=_decided(result, pass_),
    )


def _witness(name: str, signed: int, read: _Pass) -> Witness:
    return Witness(name, signed, verified=signed >= max(1, read.settled))


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass over an export found."""

    entries: list[Entry]
    hashes: Mapping[int, bytes]  # of the month's entries: the leaf hash of what stands there
    size: int
    newest: str  # the export's newest checkpoint, or ""
    anchors: Mapping[str, Anchor]
    unreadable: list[str]
    signers: set[str]  # whose signatures its checkpoints bear
    until: datetime  # the last entry's instant
    settled: int  # how many entries were there a day before it


def _read(service: str, export: Export, month: Month) -> _Pass:
    since = month.first - timedelta(days=HISTORY_DAYS)
    entries: list[Entry] = []
    hashes: dict[int, bytes] = {}
    unreadable: list[str] = []
    anchors: dict[str, Anchor] = {}
    place, newest, signers, until = 0, "", set[str](), datetime.fromtimestamp(0, UTC)
    young = deque[datetime]()
    for record, _ in export.records():
        if isinstance(record, str):
            newest = record
            signers |= _signers(record)
            continue
        try:
            entry = _entry(service, place, record.content)
        except EntryError as error:
            unreadable.append(f"{FindingKind.ENTRY_CHANGED}: entry {place} cannot be read: {error}.")
        else:
            until = entry.recorded_at
            young.append(until)
            while young[0] < until - _LATE:
                young.popleft()
            if entry.rpc == "log.anchor":
                anchors[entry.subject] = Anchor(entry.subject, entry.outcome != "ok", entry.recorded_at)
            if month.holds(entry.recorded_at):
                entries.append(entry)
                hashes[place] = leaf_hash(record.content)
            elif entry.method in ELEMENTS and since <= entry.recorded_at.date() < month.first:
                entries.append(entry)
        place += 1
    return _Pass(entries, hashes, place, newest, anchors, unreadable, signers, until, place - len(young))


def _entry(service: str, place: int, content: bytes) -> Entry:
    found = parse(content)
    return Entry(
        service=service,
        index=place,
        recorded_at=found.recorded_at.astimezone(UTC),
        rpc=found.rpc,
        caller="/".join(found.caller.split("/")[3:]),
        outcome=found.outcome,
        reason=found.reason,
        subject=found.subject,
        kind=found.kind,
        key_version=found.key_version,
        count=found.count,
        grant=found.grant,
        evidence=found.evidence if found.rpc.startswith("policy.") else "",
    )


def _size(signed: str) -> int:
    return Checkpoint.parse(note.parse(signed).text).size


def _signers(signed: str) -> set[str]:
    return {signature.name for signature in note.parse(signed).signatures} if signed else set()


def _decided(result: Verification, pass_: _Pass) -> Decided | None:
    if result.keys is None:
        return None
    return Decided(
        signed=result.keys.signed,
        genesis_kept=result.keys.genesis_kept,
        findings=[each.text for each in result.findings if each.kind in _DECIDED],
        states={Key(*version): state for version, state in result.keys.states.items()},
        until=pass_.until,
    )


def _kept(kept: Sequence[kept_files.Kept], result: Verification) -> list[Kept]:
    rows = []
    for each in kept:
        try:
            size = _size(each.note)
        except NoteError:
            size = 0
        rows.append(Kept(Path(each.name).name, size, each.name in result.held))
    return rows


def _proven(client: AuditClient, index: int, leaf: bytes, checkpoint: Checkpoint) -> bool:
    try:
        verify_inclusion(index, checkpoint.size, leaf, client.inclusion_proof(index, checkpoint.size), checkpoint.root)
    except (ProofError, KinlinkError):
        return False
    return True
