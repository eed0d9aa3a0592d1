"""The composition root: reads settings, opens the store, serves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc

from kinlink import ristretto255
from kinlink.channel import Identity, open_channel
from kinlink.linker.v1.intake_service_pb2_grpc import add_IntakeServiceServicer_to_server
from kinlink.linker.v1.linkage_service_pb2_grpc import add_LinkageServiceServicer_to_server
from kinlink.linker.v1.rekeying_service_pb2_grpc import add_RekeyingServiceServicer_to_server
from kinlink.linker.v1.review_service_pb2_grpc import add_ReviewServiceServicer_to_server
from kinlink.linker.v1.statistics_service_pb2_grpc import add_StatisticsServiceServicer_to_server
from linker import linkage_stage, signed_policy
from linker.disclosure.policy import PolicyError
from linker.doors.family_table import FamilyTableDoor, FamilyTableGrants
from linker.doors.intake_api import IntakeApi
from linker.doors.linkage_api import LinkageApi
from linker.doors.rekeying_api import RekeyingApi
from linker.doors.review_api import ReviewApi
from linker.doors.statistics_api import StatisticsApi
from linker.intake.header import Limits
from linker.intake.intake import Intake
from linker.intake.retention import expire
from linker.intake.staging import Staging
from linker.key_service import PseudonymizerKeys, key_states
from linker.linkage import policy as linkage_policy
from linker.linkage.policy import LinkagePolicyError
from linker.linkage.rekeying import RekeyingWork
from linker.pipeline import LinkagePipeline
from linker.rekeyings import Rekeyings
from linker.retention import looked_after
from linker.review import Review
from linker.runs import Runs
from linker.settings import LinkerSettings
from linker.store.delta import DeltaTables
from linker.store.durable import InUseError, exclusive
from linker.store.family_tables import FamilyTables
from linker.store.releases import Releases
from linker.store.snapshots import Snapshots
from linker.tables import contributions, registry
from linker.tables.registered_table import RegistryError
from linker.year_closing import erase_due
from servicekit import database, server, telemetry
from servicekit.access import AccessTable, AccessTableError
from servicekit.audit import AuditLog
from servicekit.audit.audit_api import SERVICES as AUDIT_SERVICES
from servicekit.audit.checkpoints import LogError
from servicekit.audit.keeping import kept
from servicekit.settings import SettingsFileError
from servicekit.startup import one_message

SERVICES = (
    "kinlink.linker.v1.IntakeService",
    "kinlink.linker.v1.LinkageService",
    "kinlink.linker.v1.RekeyingService",
    "kinlink.linker.v1.ReviewService",
    "kinlink.linker.v1.StatisticsService",
)
_STARTUP_ERRORS = (
    AccessTableError,
    InUseError,
    LinkagePolicyError,
    LogError,
    PolicyError,
    RegistryError,
    ristretto255.LibsodiumError,
    server.ServerError,
    SettingsFileError,
)


def serve(config: Path) -> None:
    """Serve until SIGTERM. Exits with status 2 and one message when it cannot start."""
    with one_message("linker", _STARTUP_ERRORS):
        _serve(LinkerSettings.load(config), config.parent)


def _serve(settings: LinkerSettings, folder: Path) -> None:
    tables = registry.load(settings.registry)
    disclosure = signed_policy.load(settings.disclosure, settings.policy_signers, real=settings.real)
    linkage = linkage_policy.load(settings.linkage)
    registry.check_policies(tables, disclosure.policy.policies)
    contributions.needed(tables)
    ristretto255.self_test()
    telemetry.setup(settings, "linker")
    with exclusive(settings.staging if settings.store_url else settings.store):
        engine = database.engine(settings.database_url)
        database.migrate(engine, "linker")
        audit, releases, family_tables = AuditLog(engine), Releases(engine), FamilyTables(engine)
        store = Snapshots(engine, DeltaTables(settings.store_url or settings.store, settings.store_options))
        connect = partial(_keys, settings)
        intake = Intake(
            store,
            Staging(settings.staging, settings.staging_reserve_bytes),
            audit,
            purpose=settings.purpose,
            suites=settings.suite_numbers,
            limits=Limits(
                chunks=settings.max_delivery_chunks,
                rows=settings.max_delivery_rows,
                open_deliveries=settings.max_open_deliveries,
            ),
            key_states=partial(key_states, connect),
            abandoned_after_s=settings.abandoned_after_days * 24 * 3600,
        )
        runs = Runs(
            engine,
            LinkagePipeline(
                store,
                releases,
                family_tables,
                audit,
                connect=connect,
                registry=tables,
                policy=disclosure.policy,
                linkage=linkage,
                purpose=settings.purpose,
                municipality=settings.municipality,
            ),
        )

        rekeyings = Rekeyings(engine, audit)

        def register(target: grpc.Server) -> None:
            add_IntakeServiceServicer_to_server(IntakeApi(intake), target)
            add_LinkageServiceServicer_to_server(LinkageApi(runs), target)
            add_RekeyingServiceServicer_to_server(RekeyingApi(rekeyings), target)
            add_ReviewServiceServicer_to_server(ReviewApi(Review(store)), target)
            statistics = StatisticsApi(tables, disclosure.policy, releases, families)
            add_StatisticsServiceServicer_to_server(statistics, target)
            log.register(target)

        access = AccessTable.load(settings.access)
        families = FamilyTableDoor(family_tables, FamilyTableGrants(access))
        with kept(audit, engine, settings, "linker", folder, real=settings.real) as log:
            disclosure.record(engine, audit)
            linkage_stage.record(linkage, audit)

            def stopping() -> None:
                rekeyings.close()
                runs.close()

            store.open()
            intake.open()
            runs.open()
            rekeyings.open(RekeyingWork(store, audit, connect, settings.purpose, rekeyings.wait))
            retention = [
                partial(expire, store, linkage.encodings_kept_days, audit),
                partial(erase_due, engine, releases, disclosure.policy.retention, audit),
            ]
            with looked_after(retention):
                server.run(settings, register, (*SERVICES, *AUDIT_SERVICES), access, audit, stopping=stopping)


@contextmanager
def _keys(settings: LinkerSettings) -> Iterator[PseudonymizerKeys]:
    identity = Identity(settings.ca, settings.client_certificate, settings.client_key)
    name = settings.pseudonymizer_name or None
    interceptors = telemetry.client_interceptors()
    with open_channel(settings.pseudonymizer, identity, interceptors, name) as channel:
        yield PseudonymizerKeys(channel)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m linker", description="Run the linker.")
    parser.add_argument("--config", type=Path, required=True, help="the settings, a TOML file")
    serve(parser.parse_args().config)
