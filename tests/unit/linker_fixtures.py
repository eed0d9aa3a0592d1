"""Deliveries and stores for tests of the linker: fakes of the world outside it, nothing of the linker itself."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from kinlink import ristretto255
from kinlink.delivery.datasets import DATASETS
from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.schema import RECORD, TOKENS, LinkageSchema, find
from kinlink.errors import UnavailableError
from kinlink.pseudonyms import Kind
from kinlink.types.v1 import types_pb2
from linker.intake.header import Begin, ClaimedKey, Limits, kinds_of
from linker.intake.intake import Chunk, Finish, Intake, Part
from linker.intake.staging import Staging
from linker.store.delta import DeltaTables
from linker.store.snapshots import Snapshots
from linker.store.tables import Tables
from servicekit.audit import AuditLog
from servicekit.database import engine, migrate

SYNTHETIC = int(types_pb2.SUITE_KINLINK_SYNTHETIC_V1)
ALL = frozenset(DATASETS)
PURPOSE = "familie"
SCHEMA = find("dk-person-1")
KEY = EncodingKey(bytes(range(32)), PURPOSE, 1)
ANNE = {
    "given_name": "Anne", "family_name": "Prøvesen", "birth_date": "1980-02-01",
    "street": "Prøvegade", "house_number": "3", "floor_door": "1. th", "postcode": "8800",
}  # fmt: skip
BO = {**ANNE, "given_name": "Bo", "birth_date": "1978-11-24"}
CARL = {
    "given_name": "Carl", "family_name": "Afprøvning", "birth_date": "1950-06-12",
    "street": "Testvej", "house_number": "17", "postcode": "8831",
}  # fmt: skip
"""Made-up persons; ANNE and BO live together."""


def scalar(domain: str) -> bytes:
    """Return the key of `domain`."""
    return hashlib.sha256(domain.encode()).digest()[:31] + b"\x00"


def element(name: str, kind: Kind = Kind.CPR, domain: str = "source/x") -> bytes:
    """Return the pseudonym of `name` in `domain`."""
    return ristretto255.multiply(scalar(domain), ristretto255.hash_to_group([name.encode()], b"test-" + kind.encode()))


def database(folder: Path, url: str | None = None) -> sa.Engine:
    """Return a migrated state database: SQLite in `folder`, or the one at `url`."""
    fresh = url is not None or not (folder / "state.db").exists()
    made = engine(url or f"sqlite:///{folder}/state.db")
    if fresh:
        migrate(made, "linker")
    return made


def store(folder: Path, tables: Tables | None = None, url: str | None = None) -> Snapshots:
    """Return an opened store on Delta Lake and SQLite in `folder`; opening again is a restart."""
    made = Snapshots(database(folder, url), tables or DeltaTables(folder / "store"))
    made.open()
    return made


def intake(snapshots: Snapshots, folder: Path, **options: Any) -> Intake:
    """Return the intake, opened."""
    limits = Limits(chunk_bytes=1 << 20, open_deliveries=3)
    options = {"purpose": PURPOSE, "suites": {SYNTHETIC}, "limits": limits, "key_states": key_states, **options}
    made = Intake(snapshots, Staging(folder / "staging"), AuditLog(snapshots.engine), **options)
    made.open()
    return made


def key_states(domain: str) -> Mapping[tuple[str, int], bool] | None:
    """Return that the encoding key's version 1 is in use, and of other domains that nobody can say."""
    return {(Kind.ENCODING, 1): True} if domain == f"linkage/{PURPOSE}" else None


def frame(dataset: str, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return rows of the dataset's schema; columns left out are null."""
    return pl.DataFrame(list(rows), schema=DATASETS[dataset].schema, orient="row")


def persons(*names: str, source: str = "folkeregister", **fields: Any) -> pl.DataFrame:
    """Return one valid person row a name."""
    row = {
        "age_anchor": date(1980, 2, 1), "sex": "f", "civil_status": "U", "status": 1, "municipality": 101,
        "district": "Nord", "valid_from": date(2010, 1, 1),
    }  # fmt: skip
    domain = f"source/{source}"
    return frame("persons", [{"person": element(name, domain=domain), **row, **fields} for name in names])


def postings(*names: str | None, source: str = "prisme", kind: Kind = Kind.CPR, **fields: Any) -> pl.DataFrame:
    """Return one valid posting a name."""
    row = {
        "event_month": date(2014, 3, 1), "booked_month": date(2014, 4, 1), "amount_ore": 12_500, "dranst": 1,
        "department": "SOF", "service": "family_treatment", "cost_component": "service",
    }  # fmt: skip
    domain = f"source/{source}"
    who = [
        {"person": element(name, kind, domain), "person_kind": kind.value} if name else {"person": None}
        for name in names
    ]
    return frame("postings", [{**row, **person, **fields} for person in who])


def encoded(
    records: Mapping[str, Mapping[str, str]], key: EncodingKey = KEY, schema: LinkageSchema = SCHEMA
) -> pl.DataFrame:
    """Return what a source encodes of its records, each an id with field values: record, fields, tokens.

    A field that a record does not have is missing.
    """
    names = [RECORD, *(field.name for field in schema.fields)]
    given = pl.DataFrame(
        [{RECORD: record, **values} for record, values in records.items()], schema=dict.fromkeys(names, pl.String)
    )
    made = Encoder(schema, key).encode(given)
    return made.select(RECORD, pl.concat_list(names[1:]).alias("fields"), TOKENS)


def person_encodings(
    records: Mapping[str, Mapping[str, str]], source: str = "folkeregister", **how: Any
) -> pl.DataFrame:
    """Return encodings of persons by name, as `element` has them."""
    made = encoded(records, **how)
    who = [element(name, domain=f"source/{source}") for name in made[RECORD]]
    return made.select(pl.Series("person", who, dtype=pl.Binary), "fields", TOKENS)


def payer_encodings(records: Mapping[str, Mapping[str, str]], **how: Any) -> pl.DataFrame:
    """Return encodings of payers by encoding_id."""
    return encoded(records, **how).rename({RECORD: "encoding_id"})


def review_answers(answers: Mapping[str, str | None], source: str = "prisme") -> pl.DataFrame:
    """Return answers, a name or nobody, by encoding_id."""
    domain = f"source/{source}"
    rows = [
        {"encoding_id": record, "person": element(name, domain=domain) if name else None}
        for record, name in answers.items()
    ]
    return frame("review_answers", rows)


def ipc(rows: pl.DataFrame, **options: Any) -> bytes:
    """Return the rows as an Arrow IPC stream."""
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer, **{"compat_level": pl.CompatLevel.oldest(), **options})
    return buffer.getvalue()


def digest(chunks: Sequence[bytes]) -> bytes:
    """Return the delivery digest of the chunks."""
    return hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)).digest()


def delivery(
    dataset: str, *frames: pl.DataFrame, source: str, kinds: Sequence[str] = (Kind.CPR,), **fields: Any
) -> list[Part]:
    """Return the parts of a whole delivery, one chunk a frame; `fields` change the header.

    That of an encoded dataset names SCHEMA and the encoding key's version 1.
    """
    chunks = [ipc(rows) for rows in frames]
    is_encoded = DATASETS[dataset].encoded
    encoding = [ClaimedKey(f"linkage/{PURPOSE}", Kind.ENCODING, 1)] if is_encoded else []
    kinds = [kind for kind in kinds if kind in kinds_of(DATASETS[dataset])] if is_encoded else kinds
    header = {
        "delivery_id": str(uuid.uuid4()),
        "dataset": dataset,
        "period": "2014",
        "suite": SYNTHETIC,
        "keys": [ClaimedKey(f"source/{source}", kind, 1) for kind in kinds] + encoding,
        "rows": sum(rows.height for rows in frames),
        "chunks": len(chunks),
        "digest": digest(chunks),
        "rejected_rows": 0,
        "first_chunk": 0,
        "schema_id": SCHEMA.id if is_encoded else "",
        **fields,
    }
    begin = Begin(**header)
    sent = [Chunk(index, chunk) for index, chunk in enumerate(chunks)][begin.first_chunk :]
    return [begin, *sent, Finish()]


def stream(parts: Sequence[Part], *, broken: bool = False) -> Iterator[Part]:
    """Yield the parts; at the end break off as gRPC does when the caller is gone."""
    yield from parts
    if broken:
        raise ConnectionError("the stream broke")


class LocalConverter:
    """A pseudonymizer in the process: converts by keys of its own, and fails when told to.

    `down_after` calls it is away; `key` is what an element of `domain` is multiplied by.
    """

    def __init__(self, down_after: int | None = None) -> None:
        self.calls = 0
        self.down_after = down_after
        self.versions: list[int] = []

    def convert(
        self,
        elements: bytes,
        source_key: types_pb2.KeyRef,
        target_key: types_pb2.KeyRef,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> tuple[bytes, types_pb2.KeyRef]:
        """Return the elements that the same names have in the linkage domain."""
        if self.down_after is not None and self.calls >= self.down_after:
            raise UnavailableError("the pseudonymizer is away", "UNREACHABLE")
        self.calls += 1
        self.versions.append(target_key.version)
        count = len(elements) // 32
        progress(count, count)
        factor = ristretto255.quotient(scalar(target_key.domain), scalar(source_key.domain))
        version = target_key.version or 1
        return ristretto255.multiply(factor, elements), types_pb2.KeyRef(
            domain=target_key.domain, kind=target_key.kind, version=version
        )
