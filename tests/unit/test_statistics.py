"""The statistics door and its client, over mTLS in one process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import grpc
import polars as pl
import pytest

from kinlink.errors import ConflictError, RefusedError
from kinlink.linker.v1 import statistics_service_pb2 as pb
from kinlink.linker.v1.statistics_service_pb2_grpc import StatisticsServiceStub
from kinlink.released import Revision
from kinlink.statistics_client import StatisticsClient
from linker.doors.released_arrow import arrow_stream
from tests import releases as made
from tests import running
from tests.releases import TABLE_ID
from tests.unit.served_tables import FIRST, REGISTRY, SECOND, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Served]:
    with serve(tmp_path_factory.mktemp("statistics")) as started:
        yield started


@pytest.fixture
def client(served: running.Served) -> Iterator[StatisticsClient]:
    with served.channel("consumer-analyse") as channel:
        yield StatisticsClient(channel)


def test_tables_are_listed_with_definitions_periods_and_revisions(client: StatisticsClient) -> None:
    tables = {table.table_id: table for table in client.list_tables()}
    assert list(tables) == [table.table_id for table in REGISTRY]
    listed = tables[TABLE_ID]
    assert (listed.periods, listed.period_type) == (("2014",), "year")
    assert [(each.revision, each.release_id) for each in listed.revisions] == [
        (2, SECOND.release_id),
        (1, FIRST.release_id),
    ]
    assert all(isinstance(each, Revision) and each.released_at.tzinfo for each in listed.revisions)
    assert (tables["to_date"].periods, tables["to_date"].period_type) == (("2014M01-06",), "year_to_date")
    assert (tables["never_released"].periods, tables["never_released"].revisions) == ((), ())
    assert listed.notes == ("Barn: under 18 år.",)


def test_typed_cells_and_arrow_are_the_same_table_in_every_revision(client: StatisticsClient) -> None:
    for table_id, release_id in [(TABLE_ID, FIRST.release_id), (TABLE_ID, ""), ("means", ""), ("to_date", "")]:
        table = client.get_table(table_id, "", release_id)
        assert table.to_frame().equals(client.stream_table(table_id, table.period, release_id))
        assert len(table.digest) == 64


def test_newest_revision_is_served_and_an_earlier_one_by_its_release(client: StatisticsClient) -> None:
    newest, former = client.get_table(TABLE_ID), client.get_table(TABLE_ID, "2014", FIRST.release_id)
    assert (newest.revision, newest.release_id) == (2, SECOND.release_id)
    assert newest.digest == SECOND.tables[0].digest
    assert (former.revision, former.release_id) == (1, FIRST.release_id)
    assert former.digest == FIRST.tables[0].digest


def test_cells_have_a_status_and_the_revision_of_their_number(client: StatisticsClient) -> None:
    frame = client.get_table(TABLE_ID).to_frame()
    rows = {(row["group"], row["department"]): row for row in frame.to_dicts()}
    found = {
        place: (rows[place]["status"], rows[place]["revision"], rows[place]["integer"])
        for place in (("target", "KFF"), ("target", "SOF"), ("all", "all"))
    }
    assert found == {
        ("target", "KFF"): ("suppressed", None, None),
        ("target", "SOF"): ("carried", 1, 12),
        ("all", "all"): ("published", 2, 257),
    }
    assert frame["real"].null_count() == frame.height
    shares = client.get_table("to_date").to_frame()
    assert shares.select("status", "real").rows() == [("published", 0.25), ("suppressed", None)]


def test_unknown_forbidden_and_unreleased_tables_get_the_same_answer(served: running.Served) -> None:
    answers = set()
    with served.channel("consumer-narrow") as channel:
        narrow = StatisticsClient(channel)
        assert [table.table_id for table in narrow.list_tables()] == ["to_date", "never_released"]
        assert narrow.get_table("to_date").period == "2014M01-06"
        for table_id, period, release_id in [
            ("no_such_table", "", ""),
            (TABLE_ID, "", ""),
            (TABLE_ID, "", FIRST.release_id),
            ("never_released", "", ""),
            ("to_date", "1999", ""),
            ("to_date", "", SECOND.release_id),
            ("to_date", "", "0" * 32),
        ]:
            for ask in (narrow.get_table, narrow.stream_table):
                with pytest.raises(ConflictError) as caught:
                    ask(table_id, period, release_id)
                answers.add((str(caught.value), caught.value.reason))
    assert len(answers) == 1


def test_source_may_not_read_tables_nor_a_consumer_the_records(served: running.Served) -> None:
    with served.channel("source-prisme") as channel, pytest.raises(RefusedError):
        StatisticsClient(channel).list_tables()
    with served.channel("consumer-analyse") as channel, pytest.raises(RefusedError):
        StatisticsClient(channel).list_releases()


def test_releases_are_listed_with_what_was_shown_and_proven(served: running.Served) -> None:
    with served.channel("dpo-thea") as channel:
        newest, former = StatisticsClient(channel).list_releases()
    assert (newest.release_id, former.release_id) == (SECOND.release_id, FIRST.release_id)
    assert newest.policy_digest == made.POLICY_DIGEST
    assert newest.attackers == ("lone contributor", "outsider")
    assert (newest.programs, newest.failures, newest.unchecked, newest.seconds) == (700, 0, 0, 1.5)
    (table,) = newest.tables
    assert (table.table_id, table.period, table.revision, table.digest) == (
        TABLE_ID, "2014", 2, SECOND.tables[0].digest,
    )  # fmt: skip
    assert (table.cells, table.shown, table.carried, table.suppressed) == (9, 5, 1, 3)
    assert [each.table_id for each in former.tables] == sorted([TABLE_ID, "means", "to_date"])


class Recording(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Keeps the bytes of every answer."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def intercept_unary_unary(self, continuation, details, request):  # type: ignore[no-untyped-def]
        answer = continuation(details, request)
        self.answers.append(answer.result().SerializeToString())
        return answer

    def intercept_unary_stream(self, continuation, details, request):  # type: ignore[no-untyped-def]
        for answer in continuation(details, request):
            self.answers.append(answer.arrow_ipc)
            yield answer


INTERNAL = [made.PRIMARY, made.SECONDARY, made.CHANGES, made.LONE]
WORDS = ["primary", "secondary", "changes", "witness", "threshold", "dominance", "what was known"]


def traces(content: bytes) -> list[str]:
    """Return what of the internal record stands in some bytes: its words, and its counts as text and as integers."""
    found = [word for word in WORDS if word.encode() in content.lower()]
    for count in INTERNAL:
        forms = [str(count).encode(), count.to_bytes(8, "little")[:4], count.to_bytes(4, "big"), varint(count)]
        found += [str(count) for form in forms if form in content]
    return found


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    written = pb.TableRecord(cells=number).SerializeToString()
    return written[1:]


def test_no_answer_holds_anything_of_the_internal_record(served: running.Served) -> None:
    """All answers of all RPCs, as bytes; what the search finds is tried on bytes that do hold it."""
    recording = Recording()
    with served.channel("dpo-thea") as channel:
        StatisticsServiceStub(grpc.intercept_channel(channel, recording)).ListReleases(pb.ListReleasesRequest())
    with served.channel("consumer-analyse") as channel:
        stub = StatisticsServiceStub(grpc.intercept_channel(channel, recording))
        stub.ListTables(pb.ListTablesRequest())
        for release_id in (FIRST.release_id, SECOND.release_id):
            stub.GetTable(pb.GetTableRequest(table_id=TABLE_ID, release_id=release_id))
            list(stub.StreamTable(pb.StreamTableRequest(table_id=TABLE_ID, release_id=release_id)))
    assert len(recording.answers) >= 6
    for answer in recording.answers:
        assert traces(answer) == []
    told = pb.TableRecord(cells=made.PRIMARY, table_id=f"secondary {made.CHANGES}").SerializeToString()
    assert traces(told) == ["secondary", str(made.PRIMARY), str(made.CHANGES)]
    kept = json.dumps(FIRST.record.document()).encode() + FIRST.basis
    assert {"primary", "witness", str(made.LONE), "what was known"} <= set(traces(kept))


def test_cells_hidden_for_any_reason_are_the_same_bytes_but_for_their_place(served: running.Served) -> None:
    """A suppressed cell has its place, measure and status, and no other field; so for a carried one and its number."""
    with served.channel("consumer-analyse") as channel:
        table = StatisticsServiceStub(channel).GetTable(pb.GetTableRequest(table_id=TABLE_ID)).table
    said: dict[int, set[tuple[str, ...]]] = {}
    for cell in table.cells:
        said.setdefault(cell.status, set()).add(tuple(sorted(field.name for field, _ in cell.ListFields())))
    place = ("categories", "measure", "measure_name")
    assert said[pb.CELL_STATUS_SUPPRESSED] == {tuple(sorted((*place, "status")))}
    shown = {tuple(sorted((*place, "status", "revision", "integer")))}
    assert said[pb.CELL_STATUS_PUBLISHED] == said[pb.CELL_STATUS_CARRIED] == shown


def test_arrow_stream_says_which_release_it_is_and_nothing_else() -> None:
    schema = pl.read_ipc_stream(io.BytesIO(arrow_stream(SECOND.tables[0]))).columns
    assert schema == ["group", "department", "measure", "unit", "status", "revision", "integer", "real"]


def test_reading_is_audited_with_table_and_release(served: running.Served, client: StatisticsClient) -> None:
    client.get_table(TABLE_ID, "", FIRST.release_id)
    subjects = {entry["subject"] for entry in served.audit.entries()}
    assert f"{TABLE_ID}/2014/{FIRST.release_id}" in subjects
