"""Bad encodings over the real stack: what does not fit the schema is refused whole; what says little links nobody.

The rules one by one, without a wire: `test_intake_encoded.py`, `test_linkage_stage.py`, `test_fuzzy_linkage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import pytest

from examples.stack import REGISTER, Stack
from kinlink.client_config import ClientConfig
from kinlink.errors import InputError, KinlinkError, RefusedError
from kinlink.linkage_client import LinkageClient, Run
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.review_client import ReviewClient
from kinlink.types.v1.types_pb2 import KIND_CPR, KIND_ENCODING, KeyRef
from tests.acceptance.held import held
from tests.acceptance.test_linker import CATALOGUE, deliver, requests
from tests.payer_town import FIELDS, town
from tests.unit import linker_fixtures as given

SCHEMA = given.SCHEMA
ENCODING = KeyRef(domain="linkage/familie", kind=KIND_ENCODING, version=1)
ONE = given.payer_encodings({"r-1": given.ANNE})
COMMON = b"\x07" * 8
"""A token that stands under every person and record."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("encodings"), encoders=(REGISTER, "prisme")) as started:
        yield started


def payers(rows: pl.DataFrame, key: KeyRef = ENCODING, **fields: Any) -> list[pb.DeliverRequest]:
    return requests("prisme", "payer_encodings", rows, kinds=(), **{"keys": [key], "schema_id": SCHEMA.id, **fields})


def with_fields(change: Callable[[list[bytes | None]], list[bytes | None]]) -> pl.DataFrame:
    fields = pl.Series("fields", [change(ONE["fields"][0].to_list())], dtype=pl.List(pl.Binary))
    return ONE.with_columns(fields)


@dataclass(frozen=True, slots=True)
class Bad:
    """What a program sends, and how it ends."""

    parts: Callable[[], list[pb.DeliverRequest]]
    error: type[KinlinkError]
    reason: str
    says: str


REFUSED = {
    "a field of the schema is missing": Bad(
        lambda: payers(with_fields(lambda fields: fields[:-1])),
        InputError, "ROWS_INVALID", f"each of the {len(SCHEMA.fields)} fields of {SCHEMA.id}",
    ),
    "another version of the schema": Bad(
        lambda: payers(ONE, schema_id=f"{SCHEMA.name}.0000000000000000"), InputError, "SCHEMA_UNKNOWN", SCHEMA.id,
    ),
    "no schema": Bad(lambda: payers(ONE, schema_id=""), InputError, "SCHEMA_UNKNOWN", SCHEMA.id),
    "a filter is a byte short": Bad(
        lambda: payers(with_fields(lambda fields: [(fields[0] or b"")[:-1], *fields[1:]])),
        InputError, "ROWS_INVALID", f"entry 0 (given_name) of {SCHEMA.fields[0].n_bytes} bytes",
    ),
    "a token too many": Bad(
        lambda: payers(ONE.with_columns(tokens=pl.lit([bytes([n]) * 8 for n in range(99)]))),
        InputError, "ROWS_INVALID", f"at most {len(SCHEMA.tokens)} tokens",
    ),
    "a key version that never was": Bad(
        lambda: payers(ONE, KeyRef(domain=ENCODING.domain, kind=KIND_ENCODING, version=9)),
        KinlinkError, "KEY_VERSION_UNKNOWN", "key version",
    ),
    "a key of another purpose": Bad(
        lambda: payers(ONE, KeyRef(domain="linkage/andet", kind=KIND_ENCODING, version=1)),
        RefusedError, "KEY_PURPOSE_NOT_OWN", "linkage/familie",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_encodings_that_do_not_fit_are_refused_whole(stack: Stack, name: str) -> None:
    before, bad = held(stack), REFUSED[name]
    with pytest.raises(bad.error) as caught:
        deliver(stack, "prisme", bad.parts())
    said = " ".join([str(caught.value), *(f"{each.field} {each.description}" for each in caught.value.violations)])
    assert (caught.value.reason, bad.says in said) == (bad.reason, True), said
    assert held(stack) == before


def test_what_says_little_links_nobody_and_a_month_with_few_postings_is_linked(stack: Stack) -> None:
    """Everybody shares a token, nobody has a birth date, and three postings are all there is."""
    told = town(300, 1).persons
    people = {row["record"]: _known(row) for row in told.select("record", *FIELDS).iter_rows(named=True)}
    person = next(iter(people.values()))
    records = {"sure-1": person, "nobody-1": {**person, "given_name": "Ukendt", **_NOTHING}, "shared-1": {}}
    for source, parts in (
        (REGISTER, _register(given.person_encodings(people))),
        ("prisme", requests("prisme", "postings", _postings(*records), period="2014-03")),
        ("prisme", payers(_shared(given.payer_encodings(records)), period="2014-03")),
        ("prisme", requests("prisme", "catalogue", CATALOGUE, kinds=())),
        (REGISTER, requests(REGISTER, "persons", given.persons("a", "b"))),
    ):
        deliver(stack, source, parts)
    run = _linked(stack)
    said = " ".join(run.linkage_notes)
    assert "too few records for a model of their own" in said
    assert "birth_date" not in said, "what a few records lack is told to their source alone"
    assert not [each for each in people if each in said]
    with ClientConfig.load(stack.client("source/prisme")).linker_channel() as opened:
        found = {each.encoding_id: each for each in ReviewClient(opened).explain(list(records))}
    assert {record: each.state.value for record, each in found.items()} == {
        "sure-1": "linked", "nobody-1": "not linked", "shared-1": "not linked",
    }  # fmt: skip
    assert all("birth_date" in each.missing_fields for each in found.values())


_NOTHING = dict.fromkeys(("family_name", "street", "house_number", "floor_door", "postcode"), "")


def _known(row: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in row.items() if value and name not in {"record", "birth_date"}}


def _shared(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the common token, in place of one where there is no room."""
    most = len(SCHEMA.tokens) - 1
    return rows.with_columns(tokens=pl.concat_list(pl.col("tokens").list.head(most), pl.lit(COMMON)))


def _register(rows: pl.DataFrame) -> list[pb.DeliverRequest]:
    keys = [KeyRef(domain=f"source/{REGISTER}", kind=KIND_CPR, version=1), ENCODING]
    return requests(REGISTER, "person_encodings", _shared(rows), keys=keys, schema_id=SCHEMA.id)


def _postings(*records: str) -> pl.DataFrame:
    return given.postings(*[None] * len(records)).with_columns(encoding_id=pl.Series(records))


def _linked(stack: Stack) -> Run:
    with ClientConfig.load(stack.client("operator/drift")).linker_channel() as opened:
        client = LinkageClient(opened)
        *_, last = client.watch(client.start(date(2015, 1, 1)).run_id)
        run = client.get(last.run_id)
    assert run.state == "succeeded", run.message
    return run
