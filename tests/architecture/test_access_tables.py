"""Every RPC of both servers, with every role: allowed exactly where the design says so.

A real server with real certificates, interceptors and the service's own access
table answers; only the handlers are empty. The RPCs are those that it lists by
reflection itself.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kinlink.audit.v1 import audit_service_pb2
from kinlink.dev_certificates import make_certificates
from kinlink.errors import from_rpc_error
from kinlink.linker.v1 import (
    intake_service_pb2,
    linkage_service_pb2,
    rekeying_service_pb2,
    review_service_pb2,
    statistics_service_pb2,
)
from kinlink.pseudonymizer.v1 import (
    encoding_key_service_pb2,
    key_administration_service_pb2,
    pseudonymisation_service_pb2,
)
from servicekit import database, server
from servicekit.access import AccessTable
from servicekit.audit import AuditLog
from servicekit.identity import Role
from servicekit.settings import ServerSettings
from tests.running import identity

SERVICES = Path(__file__).parents[2] / "services"
WIRE = {
    "pseudonymizer": [
        pseudonymisation_service_pb2,
        encoding_key_service_pb2,
        key_administration_service_pb2,
        audit_service_pb2,
    ],
    "linker": [
        intake_service_pb2,
        linkage_service_pb2,
        rekeying_service_pb2,
        review_service_pb2,
        statistics_service_pb2,
        audit_service_pb2,
    ],
}
HEALTH, REFLECTION = "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"
PROBES = {"source", "consumer", "linker", "custodian", "reviewer", "dpo", "operator", "service"}

# The log is the DPO's and the reviewers' to read; who runs a service hands its checkpoints on; services are witnesses.
LOG: Mapping[str, set[str]] = {
    "kinlink.audit.v1.AuditService/ListEntries": {"dpo", "reviewer"},
    "kinlink.audit.v1.AuditService/GetInclusionProof": {"dpo", "reviewer"},
    "kinlink.audit.v1.AuditService/GetConsistencyProof": {"dpo", "reviewer"},
    "kinlink.audit.v1.AuditService/GetCheckpoint": {"dpo", "reviewer", "operator"},
    "kinlink.audit.v1.AuditService/ListCheckpoints": {"dpo", "reviewer", "operator"},
    "kinlink.audit.v1.WitnessService/AddCheckpoint": {"service"},
}
# What the design says, independent of the tables: RPC → roles. "?" roles may be allowed or not.
EXPECTED: Mapping[str, Mapping[str, set[str]]] = {
    "pseudonymizer": {
        **LOG,
        # Were the linker able to evaluate, it could guess CPR numbers.
        "kinlink.pseudonymizer.v1.PseudonymisationService/Evaluate": {"source"},
        "kinlink.pseudonymizer.v1.PseudonymisationService/Pseudonymise": {"source"},
        "kinlink.pseudonymizer.v1.PseudonymisationService/Convert": {"linker"},
        "kinlink.pseudonymizer.v1.PseudonymisationService/Rekey": {"source", "linker"},
        # The linker holds what is encoded: with the key it could try names.
        "kinlink.pseudonymizer.v1.EncodingKeyService/GetEncodingKey": {"source"},
        # Custodians change keys, a reviewer only agrees; the DPO sees all and decides nothing.
        "kinlink.pseudonymizer.v1.KeyAdministrationService/CreateKey": {"custodian"},
        "kinlink.pseudonymizer.v1.KeyAdministrationService/ProposeChange": {"custodian"},
        "kinlink.pseudonymizer.v1.KeyAdministrationService/ApplyChange": {"custodian"},
        "kinlink.pseudonymizer.v1.KeyAdministrationService/ApproveChange": {"custodian", "reviewer"},
        "kinlink.pseudonymizer.v1.KeyAdministrationService/ListChanges": {"custodian", "reviewer", "dpo"},
        "kinlink.pseudonymizer.v1.KeyAdministrationService/ListSigners": {"custodian", "reviewer", "dpo"},
        "kinlink.pseudonymizer.v1.KeyAdministrationService/GetPolicy": {"custodian", "reviewer", "dpo"},
        "kinlink.pseudonymizer.v1.KeyAdministrationService/ListRotations": {
            "custodian",
            "reviewer",
            "dpo",
            "operator",
        },
        "kinlink.pseudonymizer.v1.KeyAdministrationService/ListKeys": {
            "custodian",
            "reviewer",
            "dpo",
            "operator",
            "source",
            "linker",
        },
        "kinlink.pseudonymizer.v1.KeyAdministrationService/AttestRekeying": {"source", "linker"},
    },
    "linker": {
        **LOG,
        "kinlink.linker.v1.RekeyingService/StartRekeying": {"operator"},
        "kinlink.linker.v1.RekeyingService/WatchRekeying": {"operator"},
        "kinlink.linker.v1.RekeyingService/GetRekeying": {"operator", "dpo", "custodian", "reviewer"},
        "kinlink.linker.v1.IntakeService/Deliver": {"source"},
        "kinlink.linker.v1.IntakeService/GetDelivery": {"source"},
        "kinlink.linker.v1.IntakeService/ListDeliveries": {"source"},
        "kinlink.linker.v1.IntakeService/WithdrawDelivery": {"source"},
        # Who the records are is for their source to say; it learns of no other's.
        "kinlink.linker.v1.ReviewService/ListReview": {"source"},
        "kinlink.linker.v1.ReviewService/ExplainRecords": {"source"},
        "kinlink.linker.v1.LinkageService/StartRun": {"operator"},
        "kinlink.linker.v1.LinkageService/WatchRun": {"operator"},
        "kinlink.linker.v1.LinkageService/GetRun": {"operator", "dpo"},
        "kinlink.linker.v1.StatisticsService/ListTables": {"consumer", "dpo"},
        "kinlink.linker.v1.StatisticsService/GetTable": {"consumer"},
        "kinlink.linker.v1.StatisticsService/StreamTable": {"consumer"},
        "kinlink.linker.v1.StatisticsService/StreamFamilyTable": set(),  # only consumers whom the controller names
        "kinlink.linker.v1.StatisticsService/ListReleases": {"dpo"},
    },
}


def table(service: str) -> Path:
    return SERVICES / service / "access.toml"


def roles_in(service: str, rpc: str) -> set[str]:
    """Read who may call an RPC, whatever their name, by other code than the server's."""
    as_list = lambda value: [value] if isinstance(value, str) else value  # noqa: E731
    rules = tomllib.loads(table(service).read_text())["allow"]
    unnamed = [rule for rule in rules if rpc in as_list(rule["rpc"]) and "name" not in rule]
    return {role for rule in unnamed for role in as_list(rule["role"])}


def services_of(service: str) -> dict[str, Any]:
    return {s.full_name: s for module in WIRE[service] for s in module.DESCRIPTOR.services_by_name.values()}


def register(service: str) -> Any:
    """Return what registers empty handlers for every method of the service's contract."""

    def handler(method: Any) -> Any:
        answer = lambda *_: b""  # noqa: E731
        answers = lambda *_: iter(())  # noqa: E731
        shape = ("unary", "stream")[method.client_streaming] + "_" + ("unary", "stream")[method.server_streaming]
        make = getattr(grpc, f"{shape}_rpc_method_handler")
        return make(answers if method.server_streaming else answer)

    def add(target: grpc.Server) -> None:
        for name, described in services_of(service).items():
            methods = {method.name: handler(method) for method in described.methods}
            target.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))

    return add


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, [f"{role}/anyone" for role in Role if role is not Role.SERVICE])
    return folder


@pytest.fixture(scope="module", params=sorted(WIRE))
def running(
    request: pytest.FixtureRequest, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, AuditLog]]:
    service = request.param
    engine = database.engine(f"sqlite:///{tmp_path_factory.mktemp(service) / 'state.db'}")
    database.migrate(engine, "servicekit")
    files = {
        "certificate": certificates / f"service-{service}.pem",
        "key": certificates / f"service-{service}.key",
        "ca": certificates / "ca.pem",
    }
    settings = ServerSettings(**files, trust_domain="kinlink.test", database_url="sqlite://")  # type: ignore[arg-type]
    audit = AuditLog(engine)
    started = server.start(
        settings, register(service), tuple(services_of(service)), AccessTable.load(table(service)), audit
    )
    yield service, started.address, audit
    started.stop(0)
    engine.dispose()


def dial(address: str, certificates: Path, role: str) -> grpc.Channel:
    who = identity(certificates, "service-linker" if role == "service" else f"{role}-anyone")
    credentials = grpc.ssl_channel_credentials(who.ca.read_bytes(), who.key.read_bytes(), who.certificate.read_bytes())
    return grpc.secure_channel(address, credentials)


def ask(channel: grpc.Channel, words: list[dict[str, str]]) -> list[Any]:
    requests = iter([reflection_pb2.ServerReflectionRequest(**word) for word in words])
    return list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests))


def reflected(address: str, certificates: Path, role: str) -> dict[str, Any]:
    """List the methods that the server itself reports: "package.Service/Method" → descriptor."""
    with dial(address, certificates, role) as channel:
        [listed] = ask(channel, [{"list_services": ""}])
        names = [service.name for service in listed.list_services_response.service]
        methods = {}
        for answer in ask(channel, [{"file_containing_symbol": name} for name in names]):
            for raw in answer.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(raw)
                for service in file.service:
                    for method in service.method:
                        if f"{file.package}.{service.name}" in names:
                            methods[f"{file.package}.{service.name}/{method.name}"] = method
    return methods


def is_admitted(channel: grpc.Channel, rpc: str, method: Any) -> bool:
    shape = ("unary", "stream")[method.client_streaming] + "_" + ("unary", "stream")[method.server_streaming]
    call = getattr(channel, shape)(f"/{rpc}")
    request = iter(()) if method.client_streaming else b""
    try:
        if method.server_streaming:
            answers = call(request, timeout=20)
            next(answers, None)
            answers.cancel()
        else:
            call(request, timeout=20)
    except grpc.RpcError as error:
        reason = from_rpc_error(error).reason
        assert reason in {"ACCESS_DENIED", "UNIMPLEMENTED"}, reason  # Health/List is admitted, and not offered
        return reason != "ACCESS_DENIED"
    return True


def test_every_rpc_with_every_role(running: tuple[str, str, AuditLog], certificates: Path) -> None:
    service, address, audit = running
    reader = "operator" if "operator" in roles_in(service, f"{REFLECTION}/ServerReflectionInfo") else "source"
    methods = reflected(address, certificates, reader)
    assert set(methods) >= set(EXPECTED[service]), "the server reflects its whole contract"
    before = len(audit.entries())
    refused = 0
    for role in Role:
        with dial(address, certificates, role) as channel:
            for rpc, method in methods.items():
                admitted = is_admitted(channel, rpc, method)
                assert admitted == (role in roles_in(service, rpc)), f"{role} on {rpc}: admitted is {admitted}"
                if rpc in EXPECTED[service]:
                    assert admitted == (role in EXPECTED[service][rpc]), f"{role} on {rpc}: the design says otherwise"
                refused += not admitted
    recorded = [entry["outcome"] for entry in audit.entries(limit=10_000)[before:]]
    assert recorded.count("refused") == refused > 0


@pytest.mark.parametrize("service", sorted(WIRE))
def test_contract_table_and_expectation_name_the_same_rpcs(service: str) -> None:
    contract = {f"{name}/{method.name}" for name, s in services_of(service).items() for method in s.methods}
    named = AccessTable.load(table(service)).rpcs
    assert {rpc for rpc in named if not rpc.startswith(("grpc.",))} == contract == set(EXPECTED[service])
    assert {f"{HEALTH}/Check", f"{HEALTH}/Watch", f"{REFLECTION}/ServerReflectionInfo"} <= named


def test_no_role_both_holds_keys_and_reads_data() -> None:
    looks = ("List", "Get")
    keys = {
        role
        for rpc in EXPECTED["pseudonymizer"]
        if not rpc.partition("/")[2].startswith(looks) or rpc.endswith("/GetEncodingKey")
        for role in roles_in("pseudonymizer", rpc)
    }
    data = {
        role
        for rpc in EXPECTED["linker"]
        if rpc.startswith("kinlink.linker.v1.StatisticsService")
        for role in roles_in("linker", rpc)
    }
    assert not keys & data
    assert not data & {"custodian", "reviewer"}
    assert {role for service in WIRE for role in roles_in(service, f"{HEALTH}/Check")} <= PROBES
