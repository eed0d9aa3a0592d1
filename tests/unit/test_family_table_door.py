"""The family table's door, client and command over mTLS: who is let in, and what such a consumer gets."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.parquet
import pytest

from kinlink.cli.__main__ import run
from kinlink.cli.exit_codes import ExitCode
from kinlink.dev_certificates import make_certificates
from kinlink.errors import ConflictError, RefusedError
from kinlink.linker.v1.statistics_service_pb2_grpc import add_StatisticsServiceServicer_to_server
from kinlink.statistics_client import StatisticsClient
from linker.doors.family_table import RPC, FamilyTableDoor, FamilyTableGrants
from linker.doors.statistics_api import StatisticsApi
from linker.store.family_tables import FamilyTables
from linker.store.releases import Releases
from servicekit.access import AccessTable, AccessTableError
from servicekit.database import engine, migrate
from tests import family_towns as f
from tests import releases as made
from tests import running
from tests.unit.served_tables import POLICY, READS, SERVICE, config

ACCESS = f"""
[[allow]]
rpc = [{READS}]
role = "consumer"
limits = {{ tables = ["*"] }}
"""
GRANT = """
[[allow]]
rpc = "{rpc}"
role = "consumer"
name = "{name}"
limits = {{ family_table = {years} }}
"""
GRANTED = {"granted": '["2014"]', "every": '["*"]', "other-year": '["2015"]', "none": "[]"}
RULES = ACCESS + "".join(GRANT.format(rpc=RPC, name=name, years=years) for name, years in GRANTED.items())
NAMES = ["service/linker", "source/prisme", "consumer/anyone", *(f"consumer/{name}" for name in GRANTED)]
TABLE = replace(f.table(f.town(400)), release_id="1" * 32)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Served]:
    folder = tmp_path_factory.mktemp("families")
    make_certificates(folder / "certificates", NAMES)
    database = engine(f"sqlite:///{folder / 'state.db'}")
    migrate(database, "linker")
    releases, tables = Releases(database), FamilyTables(database)
    releases.store(made.release(made.table()))
    with database.begin() as connection:
        tables.store(TABLE, connection)
    (folder / "access.toml").write_text(RULES)
    grants = FamilyTableGrants(AccessTable.load(folder / "access.toml"))

    def register(server: grpc.Server) -> None:
        api = StatisticsApi([made.registered()], POLICY, releases, FamilyTableDoor(tables, grants))
        add_StatisticsServiceServicer_to_server(api, server)

    started = running.start(folder, folder / "certificates", register, [SERVICE], RULES)
    yield started
    started.running.stop(0)
    started.engine.dispose()
    database.dispose()


def read(served: running.Served, name: str, period: str = "") -> pa.Table:
    with served.channel(f"consumer-{name}") as channel:
        return StatisticsClient(channel).stream_family_table(period)


def test_granted_consumer_gets_every_family_labelled(served: running.Served) -> None:
    found = read(served, "granted")
    assert found.num_rows == 400
    metadata = {key.decode(): value.decode() for key, value in found.schema.metadata.items()}
    assert metadata["label_da"] == "Pseudonymiserede personoplysninger"
    assert metadata["label_en"] == "Pseudonymised personal data"
    assert metadata["digest"] == TABLE.digest
    assert json.loads(metadata["definition"])["k"] == 5
    assert found.equals(read(served, "granted", "2014"))


def test_ids_of_two_consumers_do_not_join(served: running.Served) -> None:
    first, second = read(served, "granted"), read(served, "every")
    assert not set(first["row_id"].to_pylist()) & set(second["row_id"].to_pylist())
    assert first.drop_columns("row_id") != second.drop_columns("row_id")  # nor do their places


@pytest.mark.parametrize(
    ("name", "period"), [("granted", "2013"), ("other-year", ""), ("other-year", "2014"), ("none", "")]
)
def test_other_years_and_no_grant_get_the_same_answer(served: running.Served, name: str, period: str) -> None:
    with pytest.raises(ConflictError) as caught:
        read(served, name, period)
    assert caught.value.reason == "FAMILY_TABLE_NOT_FOUND"


@pytest.mark.parametrize("name", ["consumer-anyone", "source-prisme"])
def test_who_is_not_named_is_refused_and_every_table_is_not_this_one(served: running.Served, name: str) -> None:
    with served.channel(name) as channel, pytest.raises(RefusedError):
        StatisticsClient(channel).stream_family_table()


def test_granted_consumer_gets_tables_of_the_same_rows_and_no_others(served: running.Served) -> None:
    with served.channel("consumer-granted") as channel:
        client = StatisticsClient(channel)
        assert [table.table_id for table in client.list_tables()] == ["coded_families", "coded_departments"]
        found = client.get_table("coded_families")
        assert found.digest == TABLE.coded[0].digest
        assert found.to_frame().equals(client.stream_table("coded_families", "2014"))
        assert "kodede rækker" in found.definition.notes[0]
        assert [axis.titles_da[axis.total] for axis in found.axes] == ["I alt", "I alt"]
        for ask in (client.get_table, client.stream_table):
            with pytest.raises(ConflictError):
                ask(made.TABLE_ID, "2014")


def test_consumer_whose_year_has_no_table_gets_no_ordinary_one_meanwhile(served: running.Served) -> None:
    with served.channel("consumer-other-year") as channel:
        client = StatisticsClient(channel)
        assert [list(table.periods) for table in client.list_tables()] == [[], []]
        with pytest.raises(ConflictError):
            client.get_table(made.TABLE_ID)


@pytest.mark.parametrize("name", ["anyone", "none"])
def test_ordinary_consumer_gets_no_coded_table(served: running.Served, name: str) -> None:
    with served.channel(f"consumer-{name}") as channel:
        client = StatisticsClient(channel)
        assert [table.table_id for table in client.list_tables()] == [made.TABLE_ID]
        with pytest.raises(ConflictError):
            client.get_table("coded_families")


def test_reading_is_in_the_log_with_rows_and_grant(served: running.Served) -> None:
    read(served, "every")
    entry = [entry for entry in served.audit.entries(limit=1000) if entry["rpc"] == RPC][-1]
    assert (entry["outcome"], entry["count"], entry["grant"]) == ("ok", 400, "consumer/every")
    assert entry["subject"] == f"families/2014/{TABLE.release_id}"


@pytest.mark.parametrize(
    "rule",
    [
        'role = "consumer"\nlimits = { family_table = ["2014"] }',
        'role = "consumer"\nname = "a"',
        'role = "consumer"\nname = "a"\nlimits = { tables = ["*"] }',
        'role = "consumer"\nname = "a"\nlimits = { family_table = "*" }',
        'role = "dpo"\nname = "a"\nlimits = { family_table = ["2014"] }',
    ],
)
def test_rule_that_names_no_one_or_no_years_stops_the_start(tmp_path: Path, rule: str) -> None:
    (tmp_path / "access.toml").write_text(f'[[allow]]\nrpc = "{RPC}"\n{rule}\n')
    with pytest.raises(AccessTableError, match="must name one consumer and its years"):
        FamilyTableGrants(AccessTable.load(tmp_path / "access.toml"))


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_command_writes_the_rows_for_their_owner_only(
    served: running.Served, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"families.{suffix}"
    arguments = ["table", "families", "--out", str(out), "--config", config(served, tmp_path, "consumer-granted")]
    assert run(arguments) == ExitCode.OK
    assert "Pseudonymiserede personoplysninger" in capsys.readouterr().err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    match suffix:
        case "parquet":
            found = pyarrow.parquet.read_table(out)
            assert found.schema.metadata[b"label_en"] == b"Pseudonymised personal data"
            ids = found["row_id"].to_pylist()
        case "arrow":
            ids = pa.ipc.open_file(out).read_all()["row_id"].to_pylist()
        case _:
            lines = list(csv.DictReader(out.read_text().splitlines()))
            assert {line["label_da"] for line in lines} == {"Pseudonymiserede personoplysninger"}
            ids = [line["row_id"] for line in lines]
    assert ids == read(served, "granted")["row_id"].to_pylist()


def test_command_refuses_a_name_that_says_no_format(tmp_path: Path) -> None:
    assert run(["table", "families", "--out", str(tmp_path / "families.xlsx")]) == ExitCode.USAGE
