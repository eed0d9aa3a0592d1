"""A statistics door over hand-made releases, over mTLS in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc

from kinlink.dev_certificates import make_certificates
from kinlink.linker.v1.statistics_service_pb2_grpc import add_StatisticsServiceServicer_to_server
from linker.disclosure.policy import Policy, parse
from linker.disclosure.release import Release
from linker.doors.family_table import FamilyTableDoor, FamilyTableGrants
from linker.doors.statistics_api import StatisticsApi
from linker.store.family_tables import FamilyTables
from linker.store.releases import Releases
from linker.tables.registered_table import PeriodType
from servicekit.access import AccessTable
from servicekit.database import engine, migrate
from tests import releases as made
from tests import running

SERVICE = "kinlink.linker.v1.StatisticsService"
READS = f'"{SERVICE}/ListTables", "{SERVICE}/GetTable", "{SERVICE}/StreamTable"'
ACCESS = f"""
[[allow]]
rpc = [{READS}]
role = "consumer"
limits = {{ tables = ["*"] }}

[[allow]]
rpc = [{READS}]
role = "consumer"
name = "narrow"
limits = {{ tables = ["to_date", "never_released"] }}

[[allow]]
rpc = "{SERVICE}/ListReleases"
role = "dpo"
"""
NAMES = ["service/linker", "consumer/analyse", "consumer/narrow", "source/prisme", "dpo/thea"]
DISCLOSURE = Path(__file__).parents[2] / "services/linker/disclosure.toml"
POLICY = replace(parse(DISCLOSURE.read_bytes()), digest=made.POLICY_DIGEST)  # as if the releases were made under it
REGISTRY = [
    made.registered(),
    made.registered("means"),
    made.registered("to_date", PeriodType.YEAR_TO_DATE),
    made.registered("never_released"),
]


def first() -> Release:
    """Return the first release: a count, a mean in øre and a share, some of them suppressed."""
    means = dict.fromkeys(made.NUMBERS, 1130050) | {("target", "KFF"): None}
    shares = made.table({("all", "all"): 0.25, ("target", "KFF"): None}, table_id="to_date", measure=made.SHARE)
    shares = replace(shares, period="2014M01-06").sealed()
    return made.release(made.table(), made.table(means, table_id="means", measure=made.MEAN), shares)


FIRST = first()
SECOND = made.release(made.revised(), follows=FIRST.release_id)


@contextmanager
def serve(folder: Path, policy: Policy = POLICY) -> Iterator[running.Served]:
    """Serve both releases while `policy` is in force."""
    make_certificates(folder / "certificates", NAMES)
    database = engine(f"sqlite:///{folder / 'state.db'}")
    migrate(database, "linker")
    releases = Releases(database)
    releases.store(FIRST)
    releases.store(SECOND)

    families = FamilyTableDoor(FamilyTables(database), FamilyTableGrants(AccessTable(())))

    def register(server: grpc.Server) -> None:
        add_StatisticsServiceServicer_to_server(StatisticsApi(REGISTRY, policy, releases, families), server)

    started = running.start(folder, folder / "certificates", register, [SERVICE], ACCESS)
    yield started
    started.running.stop(0)
    started.engine.dispose()
    database.dispose()


def config(served: running.Served, folder: Path, name: str = "consumer-analyse") -> str:
    """Write a client's configuration and return its path."""
    certificates = served.certificates
    lines = {
        "pseudonymizer": "localhost:1",
        "linker": served.running.address,
        "ca": f"{certificates}/ca.pem",
        "certificate": f"{certificates}/{name}.pem",
        "key": f"{certificates}/{name}.key",
        "suite": "synthetic",
    }
    path = folder / f"{name}.toml"
    path.write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
    return str(path)
