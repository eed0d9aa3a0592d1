"""ReviewService over a real server, its client and its commands."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kinlink.cli.__main__ import run
from kinlink.dev_certificates import make_certificates
from kinlink.errors import InputError, KinlinkError, RefusedError, from_rpc_error
from kinlink.linker.v1 import review_service_pb2 as pb
from kinlink.linker.v1.review_service_pb2_grpc import ReviewServiceStub, add_ReviewServiceServicer_to_server
from kinlink.review_client import RecordState, ReviewClient
from linker.doors.review_api import ReviewApi
from linker.review import Review
from tests import running
from tests.unit import linker_fixtures
from tests.unit.review_fixtures import Left, leave
from tests.unit.served_tables import config

SERVICE = "kinlink.linker.v1.ReviewService"
ACCESS = f"""
[[allow]]
rpc = ["{SERVICE}/ListReview", "{SERVICE}/ExplainRecords"]
role = "source"
"""
PARTIES = ("source/prisme", "source/ky", "source/dubu", "operator/drift")
RECORDS = (
    *(Left(f"r{n:04}", missing=["birth_date", "street"] if n % 2 else []) for n in range(25)),
    Left("linked", "linked", ["floor_door"]),
    Left("alone", "unlinked", ["birth_date"]),
    Left("other", source="ky"),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Served]:
    folder = tmp_path_factory.mktemp("review")
    certificates = folder / "certificates"
    make_certificates(certificates, ["service/linker", *PARTIES], days=1, trust_domain=running.TRUST_DOMAIN)
    store = linker_fixtures.store(folder)
    leave(store, *RECORDS)

    def register(server: grpc.Server) -> None:
        add_ReviewServiceServicer_to_server(ReviewApi(Review(store)), server)

    started = running.start(folder, certificates, register, [SERVICE], ACCESS)
    yield started
    started.running.stop(0)


@pytest.fixture
def prisme(served: running.Served) -> Iterator[ReviewClient]:
    with served.channel("source-prisme") as channel:
        yield ReviewClient(channel)


def refused(served: running.Served, call: str, request: object) -> KinlinkError:
    with served.channel("source-prisme") as channel, pytest.raises(grpc.RpcError) as error:
        getattr(ReviewServiceStub(channel), call)(request)
    return from_rpc_error(error.value)


@pytest.mark.parametrize("page_size", [0, 1, 7, 25, 26, 10_000])
def test_pages_of_any_size_hold_each_record_once_in_order(prisme: ReviewClient, page_size: int) -> None:
    found = list(prisme.in_review(page_size))
    assert [each.encoding_id for each in found] == [f"r{n:04}" for n in range(25)]
    assert {each.state for each in found} == {RecordState.IN_REVIEW}
    assert found[1].missing_fields == ("birth_date", "street")
    assert "birth date, street" in found[1].advice


def test_a_page_that_ends_with_the_last_record_has_no_next(served: running.Served) -> None:
    with served.channel("source-prisme") as channel:
        answer = ReviewServiceStub(channel).ListReview(pb.ListReviewRequest(page_size=25))
    assert (len(answer.records), answer.next_page_token) == (25, "")


def test_a_source_is_told_of_its_own_records_alone(served: running.Served) -> None:
    with served.channel("source-ky") as channel:
        ky = ReviewClient(channel)
        assert [each.encoding_id for each in ky.in_review()] == ["other"]
        mine, linked, unknown = ky.explain(["other", "linked", "never"])
    assert mine.state is RecordState.IN_REVIEW
    assert linked.state is unknown.state is RecordState.NOT_SEEN
    assert (linked.missing_fields, linked.advice) == (unknown.missing_fields, unknown.advice)
    with served.channel("source-dubu") as channel:
        assert list(ReviewClient(channel).in_review()) == []


def test_more_ids_than_a_call_takes_are_asked_about_in_several(prisme: ReviewClient) -> None:
    asked = ["linked", *(f"x{n}" for n in range(2_000)), "alone"]
    found = list(prisme.explain(asked))
    assert [each.encoding_id for each in found] == asked
    assert (found[0].state, found[-1].state) == (RecordState.LINKED, RecordState.NOT_LINKED)
    assert {each.state for each in found[1:-1]} == {RecordState.NOT_SEEN}


@pytest.mark.parametrize(
    ("call", "request_", "field"),
    [
        ("ListReview", pb.ListReviewRequest(page_size=10_001), "page_size"),
        ("ListReview", pb.ListReviewRequest(page_token="r0001!"), "page_token"),
        ("ListReview", pb.ListReviewRequest(page_token="_w=="), "page_token"),
        ("ListReview", pb.ListReviewRequest(page_token="ø"), "page_token"),
        ("ExplainRecords", pb.ExplainRecordsRequest(), "encoding_ids"),
        ("ExplainRecords", pb.ExplainRecordsRequest(encoding_ids=["a"] * 1_001), "encoding_ids"),
        ("ExplainRecords", pb.ExplainRecordsRequest(encoding_ids=["linked", "", "alone"]), "encoding_ids[1]"),
    ],
)
def test_requests_outside_the_limits_are_refused_by_field_and_never_say_the_value(
    served: running.Served, call: str, request_: object, field: str
) -> None:
    error = refused(served, call, request_)
    assert isinstance(error, InputError)
    assert (error.reason, [violation.field for violation in error.violations]) == ("REQUEST_INVALID", [field])
    assert not any(value in str(error) for value in ("r0001", "linked", "alone"))


def test_only_sources_are_answered(served: running.Served) -> None:
    with served.channel("operator-drift") as channel, pytest.raises(RefusedError):
        list(ReviewClient(channel).in_review())


def test_each_answer_is_in_the_log_with_source_and_count_and_no_id(
    served: running.Served, prisme: ReviewClient
) -> None:
    before = len(served.audit.entries())
    list(prisme.in_review(20))
    list(prisme.explain(["linked", "alone", "x"]))
    entries = served.audit.entries()[before:]
    assert [(each["rpc"].partition("/")[2], each["subject"], each["count"]) for each in entries] == [
        ("ListReview", "prisme/review", 20),
        ("ListReview", "prisme/review", 5),
        ("ExplainRecords", "prisme/review", 3),
    ]
    assert all("linked" not in str(value) for each in entries for value in each.values())


def said(served: running.Served, folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run(["link", *words, "--config", config(served, folder, "source-prisme")])
    out, err = capsys.readouterr()
    return code, "".join(line for line in out.splitlines(True) if "[info " not in line), err


def test_the_list_is_csv_on_stdout_and_nothing_else(
    served: running.Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(served, tmp_path, capsys, "review")
    rows = list(csv.reader(io.StringIO(out), delimiter=";"))
    assert code == 0
    assert rows[0] == ["encoding_id", "missing_fields", "advice"]
    assert [row[0] for row in rows[1:]] == [f"r{n:04}" for n in range(25)]
    assert rows[2][1] == "birth_date street"
    assert "25 records in review" in err


def test_the_list_goes_to_a_file(served: running.Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "review.csv"
    code, shown, _ = said(served, tmp_path, capsys, "review", "--out", str(out))
    assert (code, shown) == (0, "")
    assert len(out.read_text(encoding="utf-8").splitlines()) == 26
    code, _, err = said(served, tmp_path, capsys, "review", "--out", str(tmp_path / "none" / "review.csv"))
    assert code == 3
    assert "cannot be written" in err


def test_explain_says_a_line_a_record(
    served: running.Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(served, tmp_path, capsys, "explain", "linked", "alone", "x")
    linked, alone, unseen = out.splitlines()
    assert code == 0
    assert linked == "linked: linked, no usable floor_door."
    assert alone.startswith("alone: not linked, no usable birth_date. Fill in")
    assert unseen.startswith("x: not seen. Deliver")


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--answers", "answers.csv"], 2, "give --answers and --period"),
        (["--period", "2014"], 2, "give --answers and --period"),
        (["--answers", "answers.csv", "--period", "2014", "--out", "review.csv"], 2, "--out is for the list"),
        (["--answers", "answers.csv", "--period", "14"], 3, "period"),
        (["--answers", "answers.csv", "--period", "2014"], 3, "BAD_ANSWERS"),
    ],
)
def test_answers_that_cannot_be_delivered_are_refused_before_anything_is_sent(
    served: running.Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("answers.csv").write_text("encoding_id;cpr\nr0001;12\n", encoding="utf-8")
    before = len(served.audit.entries())
    ended, out, err = said(served, tmp_path, capsys, "review", *words)
    assert (ended, out) == (code, "")
    assert reason in " ".join(err.replace("│", " ").split())
    assert len(served.audit.entries()) == before
    assert not Path("review.csv").exists()
