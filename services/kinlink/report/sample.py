"""Which log entries the monthly control looks at: random, and the same for everybody who draws again.

1. The seed is the month, the log's origin and the root of the checkpoint that the report
   verified. Whoever has the export draws the same sample, in any language: an entry's ticket
   is SHA-256("kinlink dpo sample v1" LF month LF origin LF root LF index LF), the root in lower
   case hex and the index in decimal, and those with the smallest tickets are drawn.
2. Every entry of the month has the same chance, but for the officer's own calls: those are left
   out, since nobody controls himself. Nobody who wrote an entry knew the root that
   decides, since the entry itself is under it; but an operator who adds entries afterwards can
   draw again. What is not in the sample is still in the log.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable

SIZE = 10  # of each log


def draw(indices: Iterable[int], month: str, origin: str, root: str, size: int = SIZE) -> list[int]:
    """Return `size` of the indices (all, when there are fewer) in rising order.

    `month` is "YYYY-MM"; `root` the checkpoint's, in hex.
    """
    seed = f"kinlink dpo sample v1\n{month}\n{origin}\n{root.lower()}\n"

    def ticket(index: int) -> bytes:
        return hashlib.sha256(f"{seed}{index}\n".encode()).digest()

    return sorted(heapq.nsmallest(size, indices, key=ticket))
