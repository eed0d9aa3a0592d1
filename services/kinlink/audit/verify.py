"""Verifies an export against what was kept outside the service: checkpoints, leaf hashes, an earlier export, the key.

1. Every entry has the leaf hash that the log stores for it.
2. Every kept checkpoint is signed by the kept key, and the entries give its root.
3. Where leaf hashes were kept, or an earlier export, or where entries' own indices
   contradict their places, the entry is named; otherwise the narrowest range: from
   the last kept checkpoint that holds to the first that fails.
4. A pseudonymizer's log that begins with its first entry is read for who decided on keys (`decisions`); witnesses are
   looked for that were asked for (`witnesses`).
5. Nothing that the service says now is believed over what was kept. Its own
   checkpoints only narrow a range, and convict it: two roots under one signature.

*Guarantee:* when nothing is found, the entries before `proven_size` are, bit for
bit, those of the kept checkpoint that holds there, under SHA-256's collision resistance.
What was never written into the log is beyond any verification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kinlink.audit.align import align
from kinlink.audit.decisions import SERVICE, Decisions
from kinlink.audit.export import Export
from kinlink.audit.findings import Finding, FindingKind, Verification, named, of_alignment, of_own_hashes
from kinlink.audit.kept import Kept, KeptError, LeafHashes
from kinlink.audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from kinlink.audit.reading import Progress, Reading, refused, unreported
from kinlink.audit.witnesses import Witnesses
from kinlink.genesis import Genesis


def verify(
    export: Export,
    checkpoints: Sequence[Kept],
    log_key: VerifierKey,
    earlier: Export | None = None,
    progress: Progress = unreported,
    *,
    witnesses: Sequence[VerifierKey] = (),
    genesis: Genesis | None = None,
) -> Verification:
    """Verify an export; all that is found is returned, nothing raised but OSError.

    `witnesses` are those that must vouch for what is proven; `genesis` is the kept file of the first signers.
    Memory: the kept leaf hashes, and 32 bytes for each entry of the earlier export.
    """
    held, findings = _open(checkpoints, log_key)
    roots = {each.checkpoint.size: each.checkpoint.root for each in held}
    total = export.bytes + (earlier.bytes if earlier else 0)
    sources = [each.hashes for each in held if each.hashes]
    before = Reading(earlier, log_key, roots, lambda done, _: progress(done, total)) if earlier else None
    if before is not None:
        findings += before.use_as_evidence()
        sources.append(before.leaf_hashes())
    watched = roots if before is None else before.signed | roots
    shift = earlier.bytes if earlier else 0
    asked = Witnesses(witnesses)
    reading = Reading(export, log_key, watched, lambda done, _: progress(shift + done, total), asked)
    decisions = Decisions(log_key.name, genesis)
    tells = not export.header.start and log_key.name.endswith(f"/{SERVICE}")
    items = decisions.watch(reading.items()) if tells else reading.items()
    found = align(items, _lookup(sources), export.header.start)
    progress(total, total)
    aligned = of_alignment(found)
    spoken_for = {f.first for f in aligned if f.kind is FindingKind.ENTRY_CHANGED}
    as_kept = [index for index in reading.changed if _lookup(sources)(index) == reading.changed[index]]
    own = of_own_hashes([index for index in reading.changed if index not in spoken_for], as_kept)
    findings = sorted(aligned + own, key=lambda f: f.first or 0) + reading.findings + findings
    if before is not None:
        findings += _compare(before, reading, found.next_index)
    findings += _judge(held, reading, found.next_index)
    for each in held:
        asked.take(each.name, each.note, each.checkpoint.size, holds=reading.holds(each.checkpoint))
    proven = max((e.checkpoint.size for e in held if reading.holds(e.checkpoint)), default=0)
    findings += decisions.findings + asked.findings(proven)
    if not findings and proven <= export.header.start:
        text = "Nothing is proven: no kept checkpoint lies within this export. Give one, or export more of the log."
        findings.append(Finding(FindingKind.UNPROVEN, text, export.header.start, reading.size))
    names = tuple(each.name for each in held if reading.holds(each.checkpoint))
    signed = max((size for size in reading.signed), default=0)
    return Verification(
        log_key.name,
        export.header.start,
        reading.size,
        proven,
        signed,
        names,
        tuple(findings),
        asked.vouched(),
        decisions.history() if tells else None,
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """A kept checkpoint whose signature is the kept key's."""

    name: str
    note: str
    checkpoint: Checkpoint
    hashes: LeafHashes | None


def _open(kept: Sequence[Kept], key: VerifierKey) -> tuple[list[_Held], list[Finding]]:
    """Verify the kept files; return those that can be used, by size, and what is wrong with the others."""
    held: list[_Held] = []
    findings: list[Finding] = []
    for each in kept:
        try:
            checkpoint = open_checkpoint(each.note, key)
        except NoteError as error:
            findings.append(refused(each.name, each.note, error, key))
            continue
        hashes = None
        if each.hashes is not None:
            try:
                hashes = LeafHashes.parse(each.hashes)
                if hashes.size != checkpoint.size or hashes.root() != checkpoint.root:
                    raise KeptError("does not give the checkpoint's root")  # noqa: TRY301 - one answer to both
            except KeptError as error:
                hashes = None
                text = f"{each.name}.hashes {error}; it was not used."
                findings.append(Finding(FindingKind.EVIDENCE_DAMAGED, text))
        held.append(_Held(each.name, each.note, checkpoint, hashes))
    held.sort(key=lambda each: each.checkpoint.size)
    for one, other in pairwise(held):
        if one.checkpoint.size == other.checkpoint.size and one.checkpoint.root != other.checkpoint.root:
            text = (
                f"The log's key signed two different logs of {one.checkpoint.size} entries: {one.name}, {other.name}."
            )
            findings.append(Finding(FindingKind.FORK, text, 0, one.checkpoint.size))
    return held, findings


def _lookup(sources: Sequence[LeafHashes]) -> Callable[[int], bytes | None]:
    """Return a look-up in the first source that knows an index; nearly always the one that knew the last."""
    ordered = list(sources)

    def kept(index: int) -> bytes | None:
        for source in ordered:
            known = source.at(index)
            if known is not None:
                return known
        return None

    return kept


def _compare(before: Reading, now: Reading, next_index: int) -> list[Finding]:
    """Compare with an earlier export: two histories, both signed, are a fork."""
    found = []
    wrong = [size for size, root in sorted(before.signed.items()) if now.roots.get(size, root) != root]
    if wrong and now.is_signed_from(wrong[0]):
        held = [size for size, root in before.signed.items() if now.roots.get(size) == root]
        first = max((size for size in held if size < wrong[0]), default=now.export.header.start)
        text = (
            f"Fork: the log's key signed two histories. {before.export.path.name} and {now.export.path.name} part "
            f"in {named(first, wrong[0])}; keep both files, they are the proof."
        )
        found.append(Finding(FindingKind.FORK, text, first, wrong[0]))
    if next_index < before.size:
        text = f"The log ends before {named(next_index, before.size)}, which {before.export.path.name} still has."
        found.append(Finding(FindingKind.LOG_TRUNCATED, text, next_index, before.size))
    return found


def _judge(held: Sequence[_Held], reading: Reading, next_index: int) -> list[Finding]:
    """Say which kept checkpoint is the first that fails, and how."""
    found: list[Finding] = []
    start = reading.export.header.start
    good = start
    for each in held:
        size = each.checkpoint.size
        if reading.holds(each.checkpoint):
            good = size
        elif size > next_index:
            text = (
                f"The log was truncated, or the export ends too soon: {each.name} covers {size} entries, "
                f"and {named(next_index, size)} {'is' if size - next_index == 1 else 'are'} missing."
            )
            found.append(Finding(FindingKind.LOG_TRUNCATED, text, next_index, size))
            break
        elif size >= start:
            where = named(good, size) if size > good else "the beginning"
            if reading.is_signed_from(size):
                text = f"The log was rebuilt and signed again: {where} differ from what {each.name} covers."
                found.append(Finding(FindingKind.LOG_REBUILT, text, good, size))
            else:
                text = f"The entries do not give the root of {each.name}: something in {where} was changed."
                found.append(Finding(FindingKind.CHECKPOINT_FAILS, text, good, size))
            break
    if reading.failed:
        first = reading.failed[0]
        low = max((size for size in reading.signed if size < first), default=start)
        text = f"The entries do not fit the service's own checkpoint of {first} entries: look in {named(low, first)}."
        found.append(Finding(FindingKind.CHECKPOINT_FAILS, text, low, first))
    return found
