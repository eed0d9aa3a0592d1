"""Decide whether a delivery may begin, from its header alone.

1. The source is the caller; its keys must be its own domain's, one a kind; a key of kind encoding that of the
   linker's purpose.
2. The period is a year, a month or a day that exists.
3. Rows and chunks are announced, and bounded, before the first chunk.
4. The hash tag must be one that this deployment takes; what holds no identifiers has none.
5. Encodings name a linkage schema that is known here, and the key they were made under.

It does not know what was delivered before.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from kinlink.delivery.dataset import Dataset
from kinlink.delivery.datasets import DATASETS, PersonKind
from kinlink.pseudonyms import Kind
from kinlink.types.v1 import types_pb2
from linker.intake import encoded
from linker.store.deliveries import Header
from servicekit.errors import DeniedError, ExhaustedError, FieldViolation, InvalidError

_PERIOD = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_WITHOUT_IDENTIFIERS = frozenset(name for name, dataset in DATASETS.items() if not dataset.pseudonym_columns)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one delivery, one chunk and one source may take."""

    chunk_bytes: int = 4 * 1024 * 1024
    chunks: int = 100_000
    rows: int = 200_000_000
    open_deliveries: int = 16
    text_length: int = 500


@dataclass(frozen=True, slots=True)
class ClaimedKey:
    """A key that the header names, as it came."""

    domain: str
    kind: str
    version: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A delivery header as it came, before any check; `first_chunk` is where this stream starts."""

    delivery_id: str
    dataset: str
    period: str
    suite: int
    keys: Sequence[ClaimedKey]
    rows: int
    chunks: int
    digest: bytes
    rejected_rows: int
    first_chunk: int
    schema_id: str = ""


def kinds_of(dataset: Dataset) -> frozenset[Kind]:
    """Return the kinds of key that what the dataset holds can stand under."""
    kinds = {column.kind for column in dataset.columns if column.kind}
    if dataset.encoded:
        kinds.add(Kind.ENCODING)
    if any(column.kind_column for column in dataset.columns):
        kinds |= {Kind(kind) for kind in PersonKind}
    return frozenset(kinds)


def check(
    begin: Begin, source: str, *, purpose: str, datasets: Collection[str], suites: Collection[int], limits: Limits
) -> Header:
    """Return the header when the delivery may begin.

    `purpose`: the linker's domain after "linkage/". `datasets`: those that the caller may deliver. `suites`: the hash
    tags taken here.

    Raises:
        InvalidError: HEADER_INVALID, with one violation a bad field; SCHEMA_UNKNOWN, names the schemas there are.
        DeniedError: DATASET_NOT_ALLOWED, KEY_DOMAIN_NOT_OWN, or KEY_PURPOSE_NOT_OWN.
        ExhaustedError: DELIVERY_TOO_LARGE, more rows or chunks announced than allowed.
    """
    violations = [FieldViolation(f"header.{field}", text) for field, text in _faults(begin, suites)]
    if violations:
        raise InvalidError("the delivery's header is not well formed", "HEADER_INVALID", violations)
    if begin.dataset not in datasets:
        message = f"this source may not deliver the dataset {begin.dataset}"
        raise DeniedError(message, "DATASET_NOT_ALLOWED", metadata={"dataset": begin.dataset})
    if any(key.domain != f"source/{source}" for key in begin.keys if key.kind != Kind.ENCODING):
        message = f"the pseudonyms must stand under keys of the caller's own domain, source/{source}"
        raise DeniedError(message, "KEY_DOMAIN_NOT_OWN")
    if any(key.domain != f"linkage/{purpose}" for key in begin.keys if key.kind == Kind.ENCODING):
        message = f"this linker takes what was encoded for its own purpose, linkage/{purpose}"
        raise DeniedError(message, "KEY_PURPOSE_NOT_OWN")
    if DATASETS[begin.dataset].encoded and begin.schema_id not in encoded.schemas():
        expected = f"expected one of {', '.join(sorted(encoded.schemas()))}"
        message = f"header.schema_id is no linkage schema of this linker: {expected}; encode under it and deliver again"
        raise InvalidError(message, "SCHEMA_UNKNOWN", [FieldViolation("header.schema_id", expected)])
    if max(begin.rows, begin.rejected_rows) > limits.rows or begin.chunks > limits.chunks:
        message = f"a delivery holds at most {limits.rows} rows in {limits.chunks} chunks; divide the period"
        raise ExhaustedError(message, "DELIVERY_TOO_LARGE")
    return Header(
        delivery_id=str(uuid.UUID(begin.delivery_id)),
        dataset=begin.dataset,
        period=begin.period,
        suite=begin.suite,
        keys={key.kind: key.version for key in begin.keys},
        rows=begin.rows,
        chunks=begin.chunks,
        digest=begin.digest.hex(),
        rejected_rows=begin.rejected_rows,
        schema_id=begin.schema_id,
    )


def _faults(begin: Begin, suites: Collection[int]) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    if not _is_uuid(begin.delivery_id):
        faults.append(("delivery_id", "expected a UUID"))
    dataset = DATASETS.get(begin.dataset)
    if dataset is None:
        faults.append(("dataset", "expected a dataset of the data dictionary"))
    if not _is_period(begin.period):
        faults.append(("period", "expected YYYY, YYYY-MM or YYYY-MM-DD, a date that exists"))
    no_suite = begin.suite == types_pb2.SUITE_UNSPECIFIED
    if no_suite and begin.dataset not in _WITHOUT_IDENTIFIERS:
        faults.append(("suite", "expected the hash tag that the identifiers were hashed with"))
    if not no_suite and begin.suite not in suites:
        faults.append(("suite", "this deployment does not take this hash tag"))
    if len(begin.digest) != 32:
        faults.append(("digest", "expected 32 bytes, SHA-256 over the SHA-256 digests of the chunks"))
    if (begin.rows > 0) != (begin.chunks > 0) or begin.chunks > begin.rows:
        faults.append(("chunks", "expected at least one row a chunk, and no chunk when there are no rows"))
    if begin.first_chunk > begin.chunks:
        faults.append(("first_chunk", "expected an index of a chunk of this delivery"))
    if begin.schema_id and not (dataset and dataset.encoded):
        faults.append(("schema_id", "expected none: this dataset holds no encodings"))
    return faults + _key_faults(begin, dataset)


def _key_faults(begin: Begin, dataset: Dataset | None) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    allowed = kinds_of(dataset) if dataset else frozenset()
    seen: set[str] = set()
    for index, key in enumerate(begin.keys):
        if key.kind not in allowed or key.kind in seen:
            faults.append((f"keys[{index}].kind", "expected each kind of identifier of the dataset at most once"))
        if key.version < 1:
            faults.append((f"keys[{index}].version", "expected the key version that was used, 1 or higher"))
        seen.add(key.kind)
    if dataset and dataset.encoded and begin.rows and Kind.ENCODING not in seen:
        faults.append(("keys", "expected one of kind encoding: the key that was encoded under"))
    return faults


def _is_uuid(text: str) -> bool:
    try:
        return len(text) == 36 and bool(uuid.UUID(text))
    except ValueError:
        return False


def _is_period(text: str) -> bool:
    if not _PERIOD.fullmatch(text):
        return False
    try:
        date.fromisoformat((text + "-01-01")[:10])
    except ValueError:
        return False
    return True
