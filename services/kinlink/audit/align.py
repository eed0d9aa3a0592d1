"""Lays an export beside what was kept of the log, and names what differs.

An entry is *the same* as a kept one when its hash is that, or would be if it still
bore its old index: whoever removes an entry and numbers the rest anew has changed
every later hash, but not hidden which entry is gone. Where no hash was kept, the index that
the entry itself states decides.

Both sides are read once, in order; at a difference, `WINDOW` entries ahead.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, takewhile
from itertools import count as count_from

from kinlink.audit.export import Leaf
from kinlink.audit.merkle import leaf_hash

WINDOW = 256
MAX_DIFFERENCES = 100

# In canonical JSON a quote within a text stands behind a backslash, so this is the field and no text.
_INDEX = re.compile(rb'[{,]"index":(0|[1-9][0-9]*)[,}]')

KeptHash = Callable[[int], "bytes | None"]
"""From an index to the leaf hash that was kept for it, if any."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of the export: where it stands, and what it is."""

    place: int
    leaf: Leaf
    own: bytes  # the hash of its content, whatever the service has stored

    @property
    def index(self) -> int:
        """The index that the entry states, -1 when none."""
        found = _INDEX.search(self.leaf.content)
        return int(found[1]) if found else -1

    def hash_with(self, index: int) -> bytes:
        """Return the hash that the entry would have with another index."""
        found = _INDEX.search(self.leaf.content)
        if found is None:
            return self.own
        content = self.leaf.content
        return leaf_hash(b"%s%d%s" % (content[: found.start(1)], index, content[found.end(1) :]))


class Change(StrEnum):
    """What happened to an entry."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Difference:
    """A run of `count` entries: `index` as kept, `place` in the export; `items` are the export's, none when removed."""

    change: Change
    index: int
    place: int
    count: int
    items: tuple[Item, ...] = ()


@dataclass(slots=True)
class Alignment:
    """What was found; `next_index` is the index that would have followed, had the export gone on."""

    next_index: int
    differences: list[Difference] = field(default_factory=list)
    gave_up_at: int | None = None  # the index after which there were too many differences to go on


def align(items: Iterator[Item], kept: KeptHash, start: int) -> Alignment:
    """Read all of `items`, of which the first should be entry `start`, and compare them with what was kept."""
    found = Alignment(start)
    ahead: deque[Item] = deque()
    expected, is_behind, far = start, False, True
    while True:
        item = ahead.popleft() if ahead else next(items, None)
        if item is None:
            break
        known = kept(expected)
        is_behind = is_behind or known is not None
        # Behind the last kept hash, entries that were numbered anew say where they stand.
        is_renumbered = known is None and is_behind and item.index == item.place
        if known == item.own or is_renumbered or _same(item, expected, kept):
            expected += 1
            continue
        ahead.appendleft(item)
        if len(found.differences) == MAX_DIFFERENCES:
            found.gave_up_at = expected
            expected += len(ahead) + sum(1 for _ in items)
            break
        difference = _explain(ahead, items, kept, expected, far=far)
        far = (far and difference.count < WINDOW) or difference.change is Change.REMOVED
        found.differences.append(difference)
        for _ in difference.items:
            ahead.popleft()
        if difference.change is not Change.INSERTED:
            expected += difference.count
    found.next_index = expected
    found.differences = _moves(found.differences, kept)
    return found


def _same(item: Item, index: int, kept: KeptHash) -> bool:
    known = kept(index)
    return item.index == index if known is None else known in {item.own, item.hash_with(index)}


def _explain(ahead: deque[Item], items: Iterator[Item], kept: KeptHash, index: int, *, far: bool) -> Difference:
    """Return the smallest difference after which both sides agree again; `ahead` begins with it, and is filled.

    With `far`, also a run removed that is longer than the window is looked for, among all that was kept.
    """
    first = ahead[0]
    for count in range(1, WINDOW + 1):
        if len(ahead) <= count and (more := next(items, None)) is not None:
            ahead.append(more)
        after = ahead[count] if count < len(ahead) else None
        if after is not None and _same(after, index + count, kept):
            return Difference(Change.CHANGED, index, first.place, count, tuple(ahead)[:count])
        if _same(first, index + count, kept):
            return Difference(Change.REMOVED, index, first.place, count)
        if after is not None and _same(after, index, kept):
            return Difference(Change.INSERTED, index, first.place, count, tuple(ahead)[:count])
    beyond = takewhile(lambda each: kept(each) is not None, count_from(index + WINDOW + 1)) if far else ()
    for other in chain((first.index,), beyond):
        if other > index and _same(first, other, kept):
            return Difference(Change.REMOVED, index, first.place, other - index)
    run = tuple(ahead)[:WINDOW]
    return Difference(Change.CHANGED, index, first.place, len(run), run)


def _moves(differences: list[Difference], kept: KeptHash) -> list[Difference]:
    """Join what is gone at one place with what has come at another, where they are one entry."""
    single: list[Difference] = []
    for found in differences:
        if found.count > 1 and found.count < WINDOW:
            single += [
                Difference(found.change, found.index + n * (found.change is not Change.INSERTED),
                           found.place + n * bool(found.items), 1, found.items[n : n + 1])
                for n in range(found.count)
            ]  # fmt: skip
        else:
            single.append(found)
    come = [d for d in single if d.count == 1 and d.items]
    gone = {d.index for d in single if d.count == 1 and d.change is not Change.INSERTED}
    if len(come) > MAX_DIFFERENCES or len(gone) > MAX_DIFFERENCES:
        return differences
    moved: dict[int, Difference] = {}
    for arrived in come:
        item = arrived.items[0]
        index = next((i for i in gone if i != arrived.index and _same(item, i, kept)), None)
        if index is not None:
            moved[index] = Difference(Change.MOVED, index, item.place, 1, (item,))
            gone.discard(index)
    if not moved:
        return differences
    places = {d.place for d in moved.values()}
    rest = [d for d in single if not (d.items and d.place in places and d.change is Change.INSERTED)]
    rest = [d for d in rest if not (d.index in moved and d.change is not Change.INSERTED)]
    # A changed place that took a moved entry is explained by it, unless its own entry is gone for good.
    return sorted([*rest, *moved.values()], key=lambda d: (d.index, d.place))
