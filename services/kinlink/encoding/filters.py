"""Filters: a normalised value as bits that are alike where values are alike.

1. A value is its grams: overlapping runs of characters, padded at both ends, a repeated one numbered; or, positional,
   each character with its place. Places marked unknown, `_`, give none.
2. Each distinct gram is hashed once with keyed BLAKE2b (RFC 7693) to `hashes` places of a filter (Schnell, Bachteler,
   Reiher 2009; independent words of one digest in place of double hashing, which patterns give away).
3. Diffusion: each bit given away is the exclusive or of `taps` different filter bits, chosen by a key; each filter bit
   is used `taps` times (after Armknecht, Heng, Schnell 2023). So no bit stands for a gram, while values that differ in
   few grams still differ in few bits. It hides grams only where filters are half full: so schemas choose `hashes`.

What it cannot do: the same value has the same bits. Whoever holds many encodings can count how often each occurs, with
or without diffusion; whatever can be compared can be counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinlink.encoding.schema import Field

_CHARACTER_BITS: Final = 21
_PAD: Final = "_"
_ROWS: Final = 4096  # at once: filters of this many values stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Grams:
    """The grams of several values: of which value (index), which characters (packed), which place or repetition."""

    value: NDArray[np.int64]
    characters: NDArray[np.uint64]
    ordinal: NDArray[np.int64]


def grams(values: Sequence[str], size: int, *, positional: bool) -> Grams:
    """Return all grams of the values, ascending by value."""
    pad = "" if positional else _PAD * (size - 1)
    padded = [pad + value.replace(" ", _PAD) + pad for value in values]
    lengths = np.fromiter((len(text) for text in padded), np.int64, len(padded))
    points = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32).astype(np.uint64)
    starts = np.cumsum(lengths) - lengths
    value = np.repeat(np.arange(len(padded)), lengths)
    place = np.arange(len(points)) - starts[value]
    is_whole = place + size <= lengths[value]
    if positional:
        known = points != ord(_PAD)
        for offset in range(size):
            is_whole &= np.roll(known, -offset)
    first = np.flatnonzero(is_whole)
    packed = np.zeros(len(first), np.uint64)
    for offset in range(size):
        packed |= points[first + offset] << np.uint64(_CHARACTER_BITS * offset)
    if positional:
        return Grams(value[first], packed, place[first])
    order = np.lexsort((packed, value[first]))
    value, packed = value[first][order], packed[order]
    return Grams(value, packed, _repetition(value, packed))


def _repetition(value: NDArray[np.int64], packed: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return how many equal grams of the same value stand before each; equal ones are neighbours."""
    index = np.arange(len(value))
    is_new = np.ones(len(value), bool)
    is_new[1:] = (value[1:] != value[:-1]) | (packed[1:] != packed[:-1])
    repetition: NDArray[np.int64] = index - np.maximum.accumulate(np.where(is_new, index, 0))
    return repetition


class FilterMaker:
    """Makes the bits of a field's values under its keys; remembers the places of each gram it has met."""

    def __init__(self, field: Field, bits_key: bytes, diffusion_key: bytes, taps: int) -> None:
        self._field = field
        self._key = bits_key
        self._sources = _sources(diffusion_key, field.bits, taps)
        self._row_of: dict[tuple[int, int], int] = {}
        self._places = np.zeros((1024, field.hashes), np.int64)

    def __repr__(self) -> str:
        return f"FilterMaker({self._field.name})"

    def encode(self, values: Sequence[str]) -> NDArray[np.uint8]:
        """Return a row of `n_bytes` for each value; values without grams have the bits of an empty filter."""
        encoded = np.zeros((len(values), self._field.n_bytes), np.uint8)
        for start in range(0, len(values), _ROWS):
            part = values[start : start + _ROWS]
            encoded[start : start + len(part)] = self._diffused(self._filters(part))
        return encoded

    def _filters(self, values: Sequence[str]) -> NDArray[np.bool_]:
        filters = np.zeros((len(values), self._field.bits), np.bool_)
        found = grams(values, self._field.gram, positional=self._field.positional)
        pairs = np.stack([found.characters.astype(np.int64), found.ordinal], axis=1)
        distinct, inverse = np.unique(pairs, axis=0, return_inverse=True)
        rows = np.fromiter((self._row(int(c), int(o)) for c, o in distinct), np.int64, len(distinct))
        filters[found.value[:, None], self._places[rows[inverse.ravel()]]] = True
        return filters

    def _row(self, characters: int, ordinal: int) -> int:
        row = self._row_of.get((characters, ordinal))
        if row is None:
            row = self._row_of[characters, ordinal] = len(self._row_of)
            if row == len(self._places):
                self._places = np.concatenate([self._places, np.zeros_like(self._places)])
            gram = characters.to_bytes(8, "big") + ordinal.to_bytes(4, "big")
            words = np.frombuffer(hashlib.blake2b(gram, key=self._key).digest(), "<u2")
            self._places[row] = words[: self._field.hashes] % self._field.bits
        return row

    def _diffused(self, filters: NDArray[np.bool_]) -> NDArray[np.uint8]:
        bits = filters[:, self._sources[0]]
        for source in self._sources[1:]:
            bits ^= filters[:, source]
        return np.packbits(bits, axis=1)


def _sources(key: bytes, bits: int, taps: int) -> list[NDArray[np.int64]]:
    """Return `taps` keyed orders of the filter's bits that nowhere agree; one tap is no diffusion."""
    if taps == 1:
        return [np.arange(bits)]
    orders: list[NDArray[np.int64]] = []
    for tap in range(taps):
        marks = [hashlib.blake2b(bytes([tap]) + bit.to_bytes(4, "big"), key=key).digest() for bit in range(bits)]
        order = np.array(sorted(range(bits), key=marks.__getitem__))
        for place in range(bits):
            _settle(order, place, orders)
        orders.append(order)
    return orders


def _settle(order: NDArray[np.int64], place: int, earlier: list[NDArray[np.int64]]) -> None:
    """Exchange what stands at a place, where an earlier order has the same, with the next that clashes at neither.

    There is one: each earlier order rules out two places at most, and a filter has at least 64.
    """
    if all(other[place] != order[place] for other in earlier):
        return
    for step in range(1, len(order)):
        next_ = (place + step) % len(order)
        if all(other[place] != order[next_] and other[next_] != order[place] for other in earlier):
            order[[place, next_]] = order[[next_, place]]
            return
