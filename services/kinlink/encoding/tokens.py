"""Blocking tokens: keyed hashes of forms of several fields, equal where records may be of one person.

1. A token is 8 bytes of BLAKE2b (RFC 7693) under the key of its rule, so that neither tokens of two rules nor of two
   purposes are ever the same but by chance (2^-64 for a pair).
2. Parts that may be swapped are put in order first.
3. A part that is missing leaves the token out; several rules do without each field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from kinlink.encoding.distinct import per_distinct
from kinlink.encoding.schema import TOKEN_BYTES, Part, TokenRule

_SEPARATOR = "\x1f"


def tokens(rule: TokenRule, key: bytes, forms: Mapping[Part, pl.Series]) -> pl.Series:
    """Return the rule's token for each row (Binary), null where a part is missing."""
    parts = [forms[part] for part in rule.parts]
    if rule.unordered:
        first, second = (forms[part] for part in rule.unordered)
        parts += [first.zip_with(first <= second, second), second.zip_with(first <= second, first)]
    names = [str(index) for index in range(len(parts))]
    frame = pl.DataFrame([part.rename(name) for part, name in zip(parts, names, strict=True)])
    text = frame.select(pl.concat_str(names, separator=_SEPARATOR)).to_series()
    start = hashlib.blake2b(key=key, digest_size=TOKEN_BYTES)

    def hashed(distinct: pl.Series) -> pl.Series:
        digests = []
        for value in distinct.cast(pl.Binary).to_list():
            hash_ = start.copy()
            hash_.update(value)
            digests.append(hash_.digest())
        return pl.Series(digests, dtype=pl.Binary)

    return per_distinct(text, hashed)


def listed(made: Sequence[pl.Series]) -> pl.Series:
    """Return each row's tokens, of the rules' columns from `tokens`: List(Binary), distinct, in order of their bytes.

    Sorted as numbers: polars wakes its threads anew for each of the short lists, which takes longer than the hashing.
    """
    last = np.uint64(2**64 - 1)
    numbers = [
        column.bin.reinterpret(dtype=pl.UInt64(), endianness="big").fill_null(last).to_numpy() for column in made
    ]
    rows = np.sort(np.stack(numbers, axis=1), axis=1)
    held = len(made) - np.sum([column.is_null().to_numpy() for column in made], axis=0)
    taken = np.arange(len(made)) < held[:, None]  # a row's nulls stand last
    taken[:, 1:] &= rows[:, 1:] != rows[:, :-1]
    ends = np.concatenate([[0], np.cumsum(taken.sum(axis=1))])
    data = pa.py_buffer(rows[taken].astype(">u8").tobytes())
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(TOKEN_BYTES), int(ends[-1]), [None, data])
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values.cast(pa.large_binary())))
