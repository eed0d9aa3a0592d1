"""What a verification can find, in words: each finding names the entry, or the narrowest range that is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kinlink.audit.align import Alignment, Change, Difference


class FindingKind(StrEnum):
    """What was found."""

    ENTRY_CHANGED = "entry changed"
    ENTRY_REMOVED = "entry removed"
    ENTRY_INSERTED = "entry inserted"
    ENTRY_MOVED = "entry moved"
    LOG_TRUNCATED = "log truncated"
    LOG_REBUILT = "log rebuilt"
    FORK = "fork"
    CHECKPOINT_FAILS = "checkpoint fails"
    FOREIGN_KEY = "foreign key"
    CHECKPOINT_CHANGED = "checkpoint changed"
    EVIDENCE_DAMAGED = "evidence damaged"
    EXPORT_DAMAGED = "export damaged"
    UNPROVEN = "unproven"
    FOREIGN_GENESIS = "foreign genesis"
    CHANGE_UNSIGNED = "change unsigned"
    KEY_CHANGED = "key changed"
    WITNESS_MISSING = "witness missing"
    WITNESS_INVALID = "witness invalid"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: entries from `first` until before `end`; none where both are None."""

    kind: FindingKind
    text: str
    first: int | None = None
    end: int | None = None


KeyVersion = tuple[str, str, int]
"""Domain, kind and version."""


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """What a log says of keys and signers, having been read from its beginning."""

    genesis: str  # SHA-256 of the file that named the first signers, hex; "" where the log names none
    genesis_kept: bool  # whether that file was kept, and compared
    signed: int  # changes that took effect and were signed as the rules ask
    states: Mapping[KeyVersion, str]


@dataclass(frozen=True, slots=True)
class Vouched:
    """A witness, and for how many of the log's first entries it vouches."""

    witness: str
    size: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What was verified. Nothing is proven beyond `proven_size`; `signed_size` is as far as the service signed."""

    origin: str
    start: int
    end: int
    proven_size: int  # the log's first entries, as many as stand under a kept checkpoint that holds
    signed_size: int  # as many as stand under a checkpoint within the export
    held: tuple[str, ...]  # the kept checkpoints that hold
    findings: tuple[Finding, ...]
    witnesses: tuple[Vouched, ...] = ()  # those that were asked for
    keys: KeyHistory | None = None  # None: another service's log, or not its beginning

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


_KINDS = {
    Change.CHANGED: FindingKind.ENTRY_CHANGED,
    Change.REMOVED: FindingKind.ENTRY_REMOVED,
    Change.INSERTED: FindingKind.ENTRY_INSERTED,
    Change.MOVED: FindingKind.ENTRY_MOVED,
}


def named(first: int, end: int) -> str:
    """Return "entry 4" or "entries 4 to 9"."""
    return f"entry {first}" if end - first == 1 else f"entries {first} to {end - 1}"


def of_alignment(alignment: Alignment) -> list[Finding]:
    """Return the findings that an alignment stands for."""
    found = [_of_difference(difference) for difference in alignment.differences]
    if alignment.gave_up_at is not None:
        text = f"From entry {alignment.gave_up_at} on there are too many differences to name each."
        found.append(Finding(FindingKind.ENTRY_CHANGED, text, alignment.gave_up_at, alignment.next_index))
    return found


def of_own_hashes(changed: Sequence[int], as_kept: Sequence[int]) -> list[Finding]:
    """Return the findings for entries whose stored leaf hash is not their own; `as_kept` are those still as kept."""
    found = []
    for index in changed:
        text = f"Entry {index} was changed: its content does not have the leaf hash that the log stores for it."
        if index in as_kept:
            text = f"Entry {index} is as it was kept, but the leaf hash that the log stores for it was changed."
        found.append(Finding(FindingKind.ENTRY_CHANGED, text, index, index + 1))
    return found


def _of_difference(found: Difference) -> Finding:
    first, end = found.index, found.index + found.count
    is_one = found.count == 1
    match found.change:
        case Change.CHANGED:
            text = f"{named(first, end).capitalize()} {'was' if is_one else 'were'} changed: not what was kept there."
            if is_one and found.items[0].index != first:
                text = f"Entry {first} was changed: what stands in its place does not say that it is entry {first}."
        case Change.REMOVED:
            text = f"{named(first, end).capitalize()} {'was' if is_one else 'were'} removed from the log."
        case Change.INSERTED:
            first, end = found.place, found.place + found.count
            text = f"{'An entry was' if is_one else f'{found.count} entries were'} inserted into the log: "
            text += f"what now stands at {_places(first, end)} did not stand there."
        case Change.MOVED:
            text = f"Entry {first} was moved: it stands at place {found.place}."
    return Finding(_KINDS[found.change], text, first, end)


def _places(first: int, end: int) -> str:
    return f"place {first}" if end - first == 1 else f"places {first} to {end - 1}"
