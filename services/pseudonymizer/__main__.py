"""The composition root: reads settings, opens the keys, serves."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import grpc

from kinlink import ristretto255
from kinlink.pseudonymizer.v1.encoding_key_service_pb2_grpc import add_EncodingKeyServiceServicer_to_server
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import add_KeyAdministrationServiceServicer_to_server
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import add_PseudonymisationServiceServicer_to_server
from pseudonymizer import encoding_keys, genesis, key_administration_api, policy_log
from pseudonymizer.doors import SERVICE, Doors
from pseudonymizer.dual_control import DualControl
from pseudonymizer.encoding_key_api import EncodingKeyApi
from pseudonymizer.encoding_keys import EncodingKeys
from pseudonymizer.grpc_api import PseudonymisationApi
from pseudonymizer.inventory import KeyInventory
from pseudonymizer.key_changes import KeyChanges
from pseudonymizer.keystore.anchored import GenerationAnchors, Watch
from pseudonymizer.keystore.encryption_keys import (
    KeyStoreError,
    open_key_encryption_key,
    warn_of_a_key_in_a_file,
)
from pseudonymizer.keystore.store import KeyStore, is_empty
from pseudonymizer.ledger import Ledger
from pseudonymizer.policy import Policy, PolicyError
from pseudonymizer.rotations import Rotations
from pseudonymizer.settings import PseudonymizerSettings
from servicekit import database, server, telemetry
from servicekit.access import AccessTable, AccessTableError
from servicekit.anchors import AnchorError, open_anchors
from servicekit.audit import AuditLog
from servicekit.audit.audit_api import SERVICES as AUDIT_SERVICES
from servicekit.audit.checkpoints import LogError
from servicekit.audit.keeping import kept
from servicekit.errors import ServiceError
from servicekit.settings import SettingsFileError
from servicekit.startup import one_message

_STARTUP_ERRORS = (
    AccessTableError,
    AnchorError,
    genesis.GenesisFileError,
    KeyStoreError,
    LogError,
    PolicyError,
    ristretto255.LibsodiumError,
    ServiceError,
    server.ServerError,
    SettingsFileError,
)


def serve(config: Path) -> None:
    """Serve until SIGTERM. Exits with status 2 and one message when it cannot start."""
    with one_message("pseudonymizer", _STARTUP_ERRORS):
        _serve(config)


def _now() -> datetime:
    return datetime.now(UTC)


def _serve(config: Path) -> None:
    settings = PseudonymizerSettings.load(config)
    policy = Policy.load(settings.policy)
    ristretto255.self_test()
    observed = telemetry.setup(settings, "pseudonymizer")
    engine = database.engine(settings.database_url)
    database.migrate(engine, "pseudonymizer")
    audit = AuditLog(engine)
    genesis.begin(settings.genesis, engine, audit, _now)
    policy_log.record(policy, engine, audit)
    kek = open_key_encryption_key(
        settings.kek, config.parent, first_start=is_empty(engine), previous_uri=settings.kek_previous
    )
    warn_of_a_key_in_a_file(settings.kek, policy.suite)
    generations = GenerationAnchors(engine, open_anchors(settings.anchors, config.parent))
    keys = KeyStore(engine, kek, policy.suite, audit, holders=policy.holders, anchors=generations)
    keys.open(policy.key_lines())
    changes = KeyChanges(keys, policy.holders, _now)
    control = DualControl(engine, audit, changes, f"{settings.trust_domain}/pseudonymizer", _now)
    ledger = Ledger(engine, audit, lambda: _now().date())
    with (
        kept(audit, engine, settings, "pseudonymizer", config.parent, real=not policy.suite.synthetic) as log,
        ristretto255.new_pool() as pool,
        Watch(engine, keys, generations, settings.checkpoint_every_s),
    ):
        api = PseudonymisationApi(Doors(policy, keys, ledger, pool, settings.max_batch_elements))
        encoding = EncodingKeyApi(EncodingKeys(policy, keys, ledger))
        rotations = Rotations(engine, policy, keys, audit, pool)
        inventory = KeyInventory(engine, policy, keys)
        administration = key_administration_api.KeyAdministrationApi(control, changes, inventory, rotations, policy)

        def register(target: grpc.Server) -> None:
            add_PseudonymisationServiceServicer_to_server(api, target)
            add_EncodingKeyServiceServicer_to_server(encoding, target)
            add_KeyAdministrationServiceServicer_to_server(administration, target)
            log.register(target)

        server.run(
            settings,
            register,
            (SERVICE, encoding_keys.SERVICE, key_administration_api.SERVICE, *AUDIT_SERVICES),
            AccessTable.load(Path(__file__).with_name("access.toml")),
            audit,
            audited_per_message=(
                *server.rpcs_of((SERVICE, encoding_keys.SERVICE)),
                *key_administration_api.AUDITED_BY_ITSELF,
            ),
            failing=lambda: keys.refused,
        )
    observed.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pseudonymizer", description="Run the pseudonymizer.")
    parser.add_argument("--config", type=Path, required=True, help="the settings, a TOML file")
    serve(parser.parse_args().config)
