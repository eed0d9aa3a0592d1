"""Delivered encodings as numbers: per field a code a record, and per code the bits.

1. Equal values have equal bits, so a field is a dictionary of distinct filters, shared by both sides, and a code for
   each record; 0 is a missing value. Codes and rows are ordered by content: the order of delivery changes nothing.
2. What does not fit the plan is refused as a whole: a missing column, a filter of another length, a record id that
   repeats. A field without any value is no error: it is never compared.

It knows no key, and cannot read a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from linker.linkage.fuzzy.plan import Field, Plan
from linker.linkage.fuzzy.problems import FuzzyLinkageError, Problem

RECORD, TOKENS = "record", "tokens"
TOKEN_BYTES = 8

Codes = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """The distinct filters of one field.

    `words`: uint64, one row a code, row 0 zero. `ones`: bits set in each. `left`, `right`: the code of each record.
    `counts`: how many right records have each code. `undiffused`: for 0 to all bits that differ or are set after
    diffusion, how many those were before.
    """

    words: Words
    ones: Codes
    undiffused: npt.NDArray[np.float64]
    left: Codes
    right: Codes
    counts: npt.NDArray[np.int64]

    @property
    def filled(self) -> bool:
        """Whether any two records can be compared on it."""
        return bool(self.left.any() and self.right.any())


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Both sides: record ids in order, values by field of the plan, and token frames (`row` UInt32, `token` UInt64).

    `within`: both sides are the same records, to be compared with each other.
    """

    plan: Plan
    left: pl.Series
    right: pl.Series
    values: tuple[Values, ...]
    left_tokens: pl.DataFrame
    right_tokens: pl.DataFrame
    within: bool = False

    @property
    def total(self) -> int:
        """Pairs in all."""
        n = len(self.right)
        return n * (n - 1) // 2 if self.within else len(self.left) * n


def encoded(plan: Plan, left: pl.DataFrame, right: pl.DataFrame | None = None) -> Encoded:
    """Return `left` (records to link) and `right` (persons) as numbers; without `right`, one file against itself.

    Frames: `record` String, unique; a Binary column a field of the plan, null or exactly `length` bytes; `tokens`
    List(Binary), each of 8 bytes. Other columns are left alone. Raises FuzzyLinkageError on anything else.
    """
    first = _checked(plan, left, "records")
    second = first if right is None else _checked(plan, right, "persons")
    values = tuple(_values(field, plan.taps, first[field.name], second[field.name]) for field in plan.fields)
    left_tokens = _tokens(first)
    right_tokens = left_tokens if right is None else _tokens(second)
    return Encoded(plan, first[RECORD], second[RECORD], values, left_tokens, right_tokens, within=right is None)


def _checked(plan: Plan, frame: pl.DataFrame, what: str) -> pl.DataFrame:
    expected = {
        RECORD: pl.String(),
        TOKENS: pl.List(pl.Binary()),
        **{field.name: pl.Binary() for field in plan.fields},
    }
    wrong = [name for name, dtype in expected.items() if frame.schema.get(name) != dtype]
    if wrong:
        raise FuzzyLinkageError(
            Problem.COLUMNS,
            f"the {what} lack {', '.join(wrong)} as schema {plan.schema_id} has it: encode them anew with this schema",
        )
    for field in plan.fields:
        lengths = frame[field.name].bin.size().drop_nulls()
        if lengths.ne(field.length).any():
            raise FuzzyLinkageError(
                Problem.FILTER_LENGTH,
                f"{what}: field {field.name} has filters that are not {field.length} bytes long: encode them anew "
                f"with schema {plan.schema_id}",
            )
    if frame[RECORD].null_count() or frame[RECORD].is_duplicated().any():
        raise FuzzyLinkageError(Problem.RECORDS, f"the {what} have missing or repeated record ids: give each its own")
    if frame[TOKENS].explode().drop_nulls().bin.size().ne(TOKEN_BYTES).any():
        raise FuzzyLinkageError(
            Problem.TOKENS, f"the {what} have blocking tokens that are not {TOKEN_BYTES} bytes long: encode them anew"
        )
    return frame.select(*expected).sort(RECORD)


def _values(field: Field, taps: int, left: pl.Series, right: pl.Series) -> Values:
    distinct = pl.concat([left, right]).drop_nulls().unique().sort()
    codes = pl.DataFrame({"value": distinct, "code": pl.int_range(1, len(distinct) + 1, dtype=pl.Int32, eager=True)})
    width = -(-field.length // 8)
    raw = np.zeros((len(distinct) + 1, width * 8), np.uint8)
    raw[1:, : field.length] = np.frombuffer(b"".join(distinct.to_list()), np.uint8).reshape(-1, field.length)
    words = raw.view(np.uint64)

    def coded(series: pl.Series) -> Codes:
        joined = pl.DataFrame({"value": series}).join(codes, on="value", how="left", maintain_order="left")
        return joined["code"].fill_null(0).to_numpy().astype(np.int32)

    first, second = coded(left), coded(right)
    ones = np.bitwise_count(words).sum(axis=1, dtype=np.int32)
    undiffused = _before_diffusion(field.length * 8, taps)
    return Values(words, ones, undiffused, first, second, np.bincount(second, minlength=len(words)).astype(np.int64))


def _tokens(frame: pl.DataFrame) -> pl.DataFrame:
    rows = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), pl.col(TOKENS).alias("token"))
    return (
        rows.explode("token")
        .drop_nulls()
        .with_columns(pl.col("token").bin.reinterpret(dtype=pl.UInt64(), endianness="little"))
        .unique()
        .sort("token", "row")
    )


def _before_diffusion(bits: int, taps: int) -> npt.NDArray[np.float64]:
    """Return the expected bits before each of `bits` became the exclusive or of `taps`: 1 - 2q = (1 - 2p)^taps."""
    after = np.arange(bits + 1) / bits
    return np.asarray(bits * (1 - np.maximum(1 - 2 * after, 0) ** (1 / taps)) / 2) if taps > 1 else after * bits
