"""The statistics door, its client and the table command, over mTLS in one process."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import polars as pl
import pytest

from kinlink.cli.__main__ import run
from kinlink.dev_certificates import make_certificates
from kinlink.errors import ConflictError, RefusedError
from kinlink.linker.v1.statistics_service_pb2_grpc import add_StatisticsServiceServicer_to_server
from kinlink.statistics_client import StatisticsClient
from linker.doors.statistics_api import StatisticsApi
from linker.store.releases import Releases
from servicekit.database import engine, migrate
from tests import running
from tests.unit import gate_fixtures as g

SERVICE = "kinlink.linker.v1.StatisticsService"
ACCESS = f"""
[[allow]]
rpc = ["{SERVICE}/ListTables", "{SERVICE}/GetTable", "{SERVICE}/StreamTable"]
role = "consumer"
limits = {{ tables = ["*"] }}

[[allow]]
rpc = ["{SERVICE}/ListTables", "{SERVICE}/GetTable", "{SERVICE}/StreamTable"]
role = "consumer"
name = "narrow"
limits = {{ tables = ["coverage", "family_characteristics"] }}
"""
NAMES = ["service/linker", "consumer/analyse", "consumer/narrow", "source/prisme"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Served]:
    folder = tmp_path_factory.mktemp("statistics")
    make_certificates(folder / "certificates", NAMES)
    database = engine(f"sqlite:///{folder / 'state.db'}")
    migrate(database, "linker")
    releases = Releases(database)
    withheld = [(n, source, "exact", *numbers) for source, rows in COVERAGE.items() for n, numbers in enumerate(rows)]
    releases.store(g.protect(g.published_cross_tab(), g.given(g.REGISTRY["coverage"], withheld)))

    def register(server: grpc.Server) -> None:
        add_StatisticsServiceServicer_to_server(StatisticsApi(list(g.REGISTRY.values()), releases), server)

    started = running.start(folder, folder / "certificates", register, [SERVICE], ACCESS)
    yield started
    started.running.stop(0)
    started.engine.dispose()
    database.dispose()


# rows_linked, amount_linked_ore, rows, amount_ore: KY has three rows that are not linked.
COVERAGE = {"prisme": [(1, 100, 1, 100)] * 50 + [(0, 0, 1, 100)] * 50, "ky": [(1, 0, 1, 0)] * 50 + [(0, 0, 1, 0)] * 3}


@pytest.fixture
def client(served: running.Served) -> Iterator[StatisticsClient]:
    with served.channel("consumer-analyse") as channel:
        yield StatisticsClient(channel)


def test_tables_are_listed_with_definitions_and_periods(client: StatisticsClient) -> None:
    tables = {table.table_id: table for table in client.list_tables()}
    assert list(tables) == list(g.REGISTRY)
    assert list(tables["services_by_departments"].periods) == ["2014"]
    assert list(tables["family_characteristics"].periods) == []
    assert any("Barn: under 18" in note for note in tables["family_characteristics"].notes)


def test_typed_cells_and_arrow_are_the_same_table(client: StatisticsClient) -> None:
    for table_id in ("services_by_departments", "coverage"):
        table = client.get_table(table_id)
        assert table.to_frame().equals(client.stream_table(table_id, "2014"))
    assert len(table.digest) == 64


def test_suppressed_cell_has_a_status_and_no_number(client: StatisticsClient) -> None:
    frame = client.get_table("coverage").to_frame()
    ky = frame.filter(source="ky", measure="share_rows").row(0, named=True)
    assert (ky["status"], ky["integer"], ky["real"]) == ("suppressed", None, None)
    assert frame.filter(source="prisme", measure="share_rows")["real"].to_list() == [0.5]
    assert frame.filter(source="ky", measure="share_amount")["real"].to_list() == []  # KY delivers no money


def test_unknown_forbidden_and_unreleased_tables_get_the_same_answer(served: running.Served) -> None:
    answers = set()
    with served.channel("consumer-narrow") as channel:
        narrow = StatisticsClient(channel)
        assert [table.table_id for table in narrow.list_tables()] == ["family_characteristics", "coverage"]
        assert narrow.get_table("coverage").period == "2014"
        for table_id, period in [
            ("no_such_table", ""),
            ("services_by_departments", ""),
            ("family_characteristics", ""),
            ("coverage", "1999"),
        ]:
            for ask in (narrow.get_table, narrow.stream_table):
                with pytest.raises(ConflictError) as caught:
                    ask(table_id, period)
                answers.add((str(caught.value), caught.value.reason))
    assert len(answers) == 1


def test_source_may_not_read_tables(served: running.Served) -> None:
    with served.channel("source-prisme") as channel, pytest.raises(RefusedError):
        StatisticsClient(channel).list_tables()


def test_reading_is_audited_with_table_and_release(served: running.Served, client: StatisticsClient) -> None:
    table = client.get_table("services_by_departments")
    subjects = {entry["subject"] for entry in served.audit.entries()}
    assert f"services_by_departments/2014/{table.release_id}" in subjects


@pytest.fixture
def config(served: running.Served, tmp_path: Path) -> str:
    folder = served.certificates
    lines = {
        "pseudonymizer": "localhost:1",
        "linker": served.running.address,
        "ca": f"{folder}/ca.pem",
        "certificate": f"{folder}/consumer-analyse.pem",
        "key": f"{folder}/consumer-analyse.key",
        "suite": "synthetic",
    }
    path = tmp_path / "kinlink.toml"
    path.write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
    return str(path)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command printed, without the log lines of the server in the same process."""
    return "".join(line for line in capsys.readouterr().out.splitlines(True) if "[info " not in line)


def test_text_is_the_published_layout(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "get", "services_by_departments", "--config", config]) == 0
    text = printed(capsys)
    assert text.startswith("Målgruppens familier efter antal ydelser og forvaltninger, 2014\n")
    lines = [line.split() for line in text.splitlines()]
    assert ["Antal", "forvaltninger", "≤10", "11", "12", "13", "14", "15", "16", "≥17", "I", "alt"] in lines
    assert ["I", "alt", "167", "69", "94", "66", "58", "44", "36", "78", "612"] in lines
    assert max(map(len, text.splitlines())) <= 100


def test_text_shows_suppressed_cells_and_says_so(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "get", "coverage", "--config", config]) == 0
    lines = [line.split() for line in printed(capsys).splitlines()]
    assert ["Prisme", "Præcis", "50,0", "%", "50,0", "%"] in lines
    assert ["KY", "Præcis", "..", "–"] in lines
    assert any(line[:3] == ["-", "..", "betyder,"] for line in lines)


def test_list_names_the_tables(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "list", "--config", config]) == 0
    text = printed(capsys)
    assert "services_by_departments" in text
    assert "ikke udgivet" in text
    assert run(["table", "list", "--json", "--config", config]) == 0
    assert [table["table_id"] for table in json.loads(printed(capsys))] == list(g.REGISTRY)


def test_every_format_holds_the_same_numbers(config: str, tmp_path: Path, client: StatisticsClient) -> None:
    frame = client.get_table("coverage").to_frame()
    for suffix in ("csv", "json", "arrow", "parquet"):
        assert run(["table", "get", "coverage", "--out", f"{tmp_path}/t.{suffix}", "--config", config]) == 0
    assert pl.read_ipc(tmp_path / "t.arrow").equals(frame)
    assert pl.read_parquet(tmp_path / "t.parquet").equals(frame)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["source", "method", "measure", "unit", "status", "value"]
    assert [(row["source"], row["measure"], row["value"]) for row in rows] == [
        ("prisme", "share_rows", "0.5"),
        ("prisme", "share_amount", "0.5"),
        ("ky", "share_rows", ".."),
    ]
    document = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert [cell["value"] for cell in document["cells"]] == [0.5, 0.5, None]


def test_table_that_is_not_there_exits_with_not_found(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "get", "spending_per_family", "--config", config]) == 6
    assert "ListTables" in capsys.readouterr().err


def test_file_that_cannot_be_written_exits_with_bad_input(config: str, tmp_path: Path) -> None:
    assert run(["table", "get", "coverage", "--out", f"{tmp_path}/none/t.csv", "--config", config]) == 3
