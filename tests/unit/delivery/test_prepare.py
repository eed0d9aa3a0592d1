"""Chunks: small enough, known in full before the first is sent, and without an identifier."""

from __future__ import annotations

import hashlib
import io

import polars as pl

from kinlink.delivery.dataset import Dataset
from kinlink.delivery.datasets import ALIASES, POSTINGS
from kinlink.delivery.pseudonymise import CHUNK_BYTES, Prepared, replace
from kinlink.delivery.validate import rows_schema


def rows(dataset: Dataset, count: int, **columns: pl.Expr) -> pl.DataFrame:
    frame = pl.DataFrame({"n": range(count)})
    made = {name: columns.get(name, pl.lit(None, dtype)).cast(dtype) for name, dtype in rows_schema(dataset).items()}
    return frame.with_columns(**made).select(list(made))


TABLE = pl.DataFrame(
    {
        "kind": ["cpr", "cpr", "replacement"],
        "identifier": ["6101800010", "6201800012", "610180AB12"],
        "element": [b"a" * 32, b"b" * 32, b"c" * 32],
    }
)


def test_identifiers_become_pseudonyms_of_their_kind_in_order() -> None:
    frame = pl.DataFrame(
        {
            "person": ["6201800012", None, "610180AB12", "6101800010"],
            "person_kind": ["cpr", None, "replacement", "cpr"],
        }
    )
    rest = {name: pl.lit(None, dtype) for name, dtype in POSTINGS.schema.items() if name not in frame.columns}
    made = replace(frame.with_columns(**rest), POSTINGS, TABLE)
    assert made.schema == POSTINGS.schema
    assert made["person"].to_list() == [b"b" * 32, None, b"c" * 32, b"a" * 32]


def test_a_number_of_one_kind_never_takes_the_pseudonym_of_another() -> None:
    frame = rows(POSTINGS, 1, person=pl.lit("6101800010"), person_kind=pl.lit("replacement"))
    assert replace(frame, POSTINGS, TABLE)["person"].to_list() == [None]


def test_chunks_are_whole_streams_within_the_limit_and_digested_in_order() -> None:
    frame = replace(rows(ALIASES, 150_000, former=pl.lit("6101800010"), current=pl.lit("6201800012")), ALIASES, TABLE)
    with Prepared.new() as prepared:
        prepared.add(frame)
        prepared.add(frame.head(1))
        prepared.add(frame.head(0))
        chunks = [prepared.chunk(index) for index in range(prepared.chunks)]
        assert prepared.rows == 150_001
        assert prepared.size == sum(map(len, chunks))
        assert prepared.digest == hashlib.sha256(b"".join(hashlib.sha256(c).digest() for c in chunks)).digest()
    assert len(chunks) > 2
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert pl.concat(pl.read_ipc_stream(io.BytesIO(chunk)) for chunk in chunks).height == 150_001


def test_a_chunk_whose_size_was_guessed_too_low_is_divided() -> None:
    # texts that polars keeps once and Arrow writes for every row
    text = "x" * 400
    frame = pl.DataFrame({"text": pl.Series([text]).new_from_index(0, 40_000)})
    with Prepared.new() as prepared:
        prepared.add(frame)
        assert max(len(prepared.chunk(index)) for index in range(prepared.chunks)) <= CHUNK_BYTES
        assert prepared.rows == 40_000


def test_nothing_delivered_has_no_chunk_and_still_a_digest() -> None:
    with Prepared.new() as prepared:
        assert (prepared.rows, prepared.chunks) == (0, 0)
        assert prepared.digest == hashlib.sha256().digest()
