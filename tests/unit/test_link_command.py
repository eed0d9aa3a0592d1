"""`kinlink link run` over a real server: what it asks for, and what it says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import grpc
import pytest
import sqlalchemy as sa
import tomli_w

from kinlink.cli.__main__ import run
from kinlink.dev_certificates import make_certificates
from kinlink.linker.v1.linkage_service_pb2_grpc import add_LinkageServiceServicer_to_server
from linker.background import Report
from linker.doors.linkage_api import LinkageApi
from linker.runs import Result, Runs
from linker.store.runs import Stage
from tests import running
from tests.unit import linker_fixtures as given

SERVICE = "kinlink.linker.v1.LinkageService"
ACCESS = f"""
[[allow]]
rpc = ["{SERVICE}/StartRun", "{SERVICE}/WatchRun", "{SERVICE}/GetRun"]
role = "operator"
"""
ASKED: list[tuple[date, int, int]] = []


QUALITY = [
    {
        "source": "prisme",
        "month": "",
        "records": 1200,
        "linked": 1000,
        "in_review": 40,
        "precision": 0.9961,
        "precision_low": 0.9932,
        "precision_high": 0.9978,
        "recall": 0.9643,
        "recall_low": 0.95,
        "recall_high": 0.975,
    },
    {
        "source": "prisme",
        "month": "2014-03",
        "records": 25,
        "linked": 0,
        "in_review": 0,
        **dict.fromkeys(("precision", "precision_low", "precision_high")),
        **dict.fromkeys(("recall", "recall_low", "recall_high")),
    },
]
NOTES = ["Not compared, since the register or all records lack them: postcode."]


def pipeline(reference_date: date, year: int, through_month: int, report: Report) -> Result:
    """Do nothing, in all stages."""
    ASKED.append((reference_date, year, through_month))
    for stage in Stage:
        report(stage, 1, 1)
    outcome = {"table_id": "spending_to_date", "release_id": "0" * 32, "outcome": "released"}

    def commit(connection: sa.Connection) -> None:
        assert connection.in_transaction()

    return Result(1, [], [outcome], commit, QUALITY, NOTES)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("link")
    certificates = folder / "certificates"
    make_certificates(certificates, ["service/linker", "operator/drift"], days=1, trust_domain=running.TRUST_DOMAIN)
    runs = Runs(given.database(folder), pipeline)

    def register(server: grpc.Server) -> None:
        add_LinkageServiceServicer_to_server(LinkageApi(runs), server)

    served = running.start(folder, certificates, register, [SERVICE], ACCESS)
    path = folder / "kinlink.toml"
    told = {
        "linker": served.running.address,
        "pseudonymizer": "127.0.0.1:1",
        "ca": str(certificates / "ca.pem"),
        "certificate": str(certificates / "operator-drift.pem"),
        "key": str(certificates / "operator-drift.key"),
        "suite": "synthetic",
    }
    path.write_text(tomli_w.dumps(told))
    yield str(path)
    runs.close()
    served.running.stop(0)


def link(config: str, *arguments: str) -> int:
    return run(["link", "run", *arguments, "--config", config])


def test_a_run_through_a_month_says_so(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert link(config, "--reference-date", "2014-07-01", "--year", "2014", "--through-month", "6") == 0
    assert ASKED[-1] == (date(2014, 7, 1), 2014, 6)
    said = capsys.readouterr().out
    assert "succeeded, reference date 2014-07-01, 2014 through month 6" in said
    assert "spending_to_date" in said


def test_a_run_of_a_whole_year_is_the_default(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert link(config, "--reference-date", "2015-01-01") == 0
    assert ASKED[-1] == (date(2015, 1, 1), 2014, 12)
    assert "succeeded, reference date 2015-01-01, year 2014\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--through-month", "13", "--year", "2014"], "through_month: expected a month, 1 to 12, or 0"),
        (["--through-month", "6"], "year: expected the year of through_month"),
        (["--year", str(datetime.now(UTC).year + 1)], "year: expected a year that has begun"),
    ],
)
def test_months_that_do_not_fit_are_refused(
    config: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert link(config, "--reference-date", "2014-07-01", *arguments) == 3
    assert said in capsys.readouterr().err


def test_a_reference_date_far_ahead_is_refused(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a typing error's release the years around that date would be closed one day."""
    asked = len(ASKED)
    ahead = datetime.now(UTC) + timedelta(days=62)
    assert link(config, "--reference-date", f"{ahead:%Y-%m}-01", "--year", "2014") == 3
    assert "reference_date: expected a date at most a month ahead" in capsys.readouterr().err
    assert len(ASKED) == asked


def test_the_same_request_for_another_month_is_refused(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--reference-date", "2014-07-01", "--year", "2014", "--request-id", str(uuid.uuid4())]
    assert link(config, *asked, "--through-month", "6") == 0
    before = len(ASKED)
    assert link(config, *asked, "--through-month", "5") != 0
    assert "another date, year or month" in capsys.readouterr().err
    assert link(config, *asked, "--through-month", "6") == 0
    assert len(ASKED) == before


def test_quality_is_shown_in_per_cent_with_its_interval_and_notes_as_they_are(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert link(config, "--reference-date", "2015-01-01") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "prisme all 1,200 1,000 40 99.6 [99.3-99.8] 96.4 [95.0-97.5]" in said
    assert "prisme 2014-03 25 0 0 - -" in said
    assert f"note: {NOTES[0]}" in said
    assert run(["link", "status", "--config", config]) == 0
    assert "[99.3-99.8]" in capsys.readouterr().out
