"""Blocking tokens: keyed hashes of forms of several fields, equal where records may be of one person.

1. A token is 8 bytes of BLAKE2b (RFC 7693) under the key of its rule, so that neither tokens of two rules nor of two
   purposes are ever the same but by chance (2^-64 for a pair).
2. Parts that may be swapped are put in order first.
3. A part that is missing leaves the token out; several rules do without each field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import polars as pl

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
        for value in distinct:
            hash_ = start.copy()
            hash_.update(value.encode())
            digests.append(hash_.digest())
        return pl.Series(digests, dtype=pl.Binary)

    return per_distinct(text, hashed)
