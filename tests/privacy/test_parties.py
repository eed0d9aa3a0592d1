"""What each party can do and learn, with its own certificate, against running services.

Sources share nothing; only the linker joins them. Each certificate does what
`access.toml` says and nothing else, on every RPC that the servers list.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from examples.stack import PURPOSE, REGISTER, SERVICES, SOURCES, Stack
from kinlink.delivery.datasets import DATASETS
from kinlink.errors import from_rpc_error
from kinlink.linker.v1 import intake_service_pb2 as intake
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymisation
from kinlink.types.v1 import types_pb2
from kinlink.types.v1.types_pb2 import KeyRef
from linker.store.delta import DeltaTables
from linker.store.snapshots import Snapshots
from linker.store.tables import IDENTITIES, facts
from servicekit import database
from tests.conftest import Town
from tests.privacy.parties import CONVERT, EVALUATE, LINKAGE, PLAIN, audited, convert, delivery, dial, evaluate, refused

ROOT = Path(__file__).parents[2]
# One certificate of each role, and one of each source that has rights of its own.
PARTIES = {
    "source/prisme": "source", "source/folkeregister": "source", "source/projekt": "source", "linker/familie": "linker",
    "consumer/velfaerdsanalyse": "consumer", "operator/drift": "operator", "dpo/dpo": "dpo",
    "custodian/noegle-1": "custodian", "reviewer/revision": "reviewer",
    "service/linker": "service", "service/pseudonymizer": "service",
}  # fmt: skip

# What the design says, whatever the tables say: who may do what besides health and reflection.
_LOOK = {"ListKeys", "ListChanges", "ListSigners", "GetPolicy", "ListRotations"}
_LOG = {"ListEntries", "GetCheckpoint", "ListCheckpoints", "GetInclusionProof", "GetConsistencyProof"}
_HOLD = {"Rekey", "AttestRekeying", "ListKeys"}
DESIGN = {
    "source": {
        "Evaluate", "Pseudonymise", "GetEncodingKey", "Deliver", "GetDelivery", "ListDeliveries", "WithdrawDelivery",
        "ListReview", "ExplainRecords",
    } | _HOLD,
    "linker": {"Convert"} | _HOLD,
    "consumer": {"ListTables", "GetTable", "StreamTable"},
    "operator": {
        "StartRun", "WatchRun", "GetRun", "StartRekeying", "WatchRekeying", "GetRekeying", "ListKeys", "ListRotations",
        "GetCheckpoint", "ListCheckpoints",
    },
    "dpo": {"GetRun", "ListTables", "ListReleases", "GetRekeying"} | _LOOK | _LOG,
    "custodian": {"CreateKey", "ProposeChange", "ApproveChange", "ApplyChange", "GetRekeying"} | _LOOK,
    "reviewer": {"ApproveChange", "GetRekeying"} | _LOOK | _LOG,
    "service": {"AddCheckpoint"},
}  # fmt: skip
REGISTER_ONLY = {"persons", "aliases", "exclusions", "person_encodings"}
ANY_SOURCE = {"postings", "spells", "payer_encodings", "review_answers"}


# Same person, two sources


def test_two_sources_share_nothing_and_the_linker_joins_them(town: Town) -> None:
    numbers = population(town.municipality)
    _sources_meet_in_linkage_only(town.stack, numbers)

    # The linker's identities are those pseudonyms, and under one of them stand facts from many sources.
    elements, key = evaluate(town.stack, REGISTER, numbers)
    linked = pl.LazyFrame({"pseudonym": convert(town.stack, elements, key)}, schema={"pseudonym": pl.Binary})
    engine = database.engine(f"sqlite:///{town.stack.folder / 'linker/state.db'}")
    with Snapshots(engine, DeltaTables(town.stack.folder / "linker/store", {})).pin() as pinned:
        identities = pinned.scan(IDENTITIES).filter(kind="cpr")
        told = [pinned.scan(facts(name)).select("person_id", "source") for name in ("persons", "postings", "spells")]
        known = linked.join(identities, on="pseudonym").select("id")
        sources = pl.concat(told).unique().join(known, left_on="person_id", right_on="id").group_by("person_id").len()
        counted = sources.collect()["len"]
        stored = set(identities.select("pseudonym").collect().to_series())
    engine.dispose()
    assert len(counted) > 0.9 * len(numbers)
    assert (counted >= 2).mean() > 0.5
    assert counted.max() >= 5
    assert not stored & set(elements)


@pytest.mark.slow
def test_two_sources_share_nothing_over_the_whole_town(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.municipality", "--scale", "town", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    stack = Stack(tmp_path / "stack")
    stack.prepare()
    stack.start("pseudonymizer")
    try:
        _sources_meet_in_linkage_only(stack, population(tmp_path))
    finally:
        stack.stop("pseudonymizer")


def _sources_meet_in_linkage_only(stack: Stack, numbers: Sequence[str]) -> None:
    found = {source: evaluate(stack, source, numbers) for source in (REGISTER, "prisme", "dubu", "sundhed")}
    every = [element for elements, _ in found.values() for element in elements]
    assert len(set(every)) == len(every) == 4 * len(numbers)
    linked = [convert(stack, elements, key) for elements, key in found.values()]
    assert all(other == linked[0] for other in linked)
    assert len(set(linked[0])) == len(numbers)
    assert not set(linked[0]) & set(every)


def population(municipality: Path) -> list[str]:
    return pl.read_parquet(municipality / "truth/persons.parquet")["cpr"].unique(maintain_order=True).to_list()


# Every certificate on every RPC


def test_every_certificate_on_every_rpc_of_both_running_services(town: Town) -> None:
    for service in SERVICES:
        methods = reflected(town.stack, service)
        assert {name.partition(".")[0] for name in methods} >= {"kinlink", "grpc"}
        before = audited(town.stack, service)[-1]["index"]
        denied: Counter[tuple[str, str]] = Counter()
        for party, role in PARTIES.items():
            with dial(town.stack, service, party) as channel:
                for rpc, method in methods.items():
                    admitted = is_admitted(channel, rpc, method)
                    assert admitted == allowed(service, rpc, *party.split("/")), f"{party} on {rpc}"
                    if rpc.startswith("kinlink"):
                        assert admitted == (rpc.partition("/")[2] in DESIGN[role]), f"{party} on {rpc}: not the design"
                    denied[party, rpc] += not admitted
        entries = audited(town.stack, service, before)
        recorded = Counter(
            (entry["caller"].removeprefix("spiffe://kinlink.test/"), entry["rpc"])
            for entry in entries
            if (entry["outcome"], entry["reason"]) == ("refused", "ACCESS_DENIED")
        )
        assert recorded == +denied
        assert denied.total() > 0


def reflected(stack: Stack, service: str) -> dict[str, Any]:
    """List the methods that a running server reports by reflection: "package.Service/Method" → descriptor."""
    with dial(stack, service, "operator/drift") as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        [listed] = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = [each.name for each in listed.list_services_response.service]
        asked = iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names])
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for answer in ask(asked)
            for raw in answer.file_descriptor_response.file_descriptor_proto
        ]
    return {
        f"{file.package}.{each.name}/{method.name}": method
        for file in files
        for each in file.service
        if f"{file.package}.{each.name}" in names
        for method in each.method
    }


def allowed(service: str, rpc: str, role: str, name: str) -> bool:
    """Read the access table, by other code than the server's."""
    as_list = lambda value: [value] if isinstance(value, str) else value  # noqa: E731
    rules = tomllib.loads((ROOT / "services" / service / "access.toml").read_text(encoding="utf-8"))["allow"]
    return any(
        rpc in as_list(rule["rpc"]) and role in as_list(rule["role"]) and rule.get("name", name) == name
        for rule in rules
    )


def is_admitted(channel: grpc.Channel, rpc: str, method: Any) -> bool:
    """Call with an empty request: whoever is admitted is answered, or told that it is empty."""
    shape = ("unary", "stream")[method.client_streaming] + "_" + ("unary", "stream")[method.server_streaming]
    call = getattr(channel, shape)(f"/{rpc}")
    request = iter(()) if method.client_streaming else b""
    try:
        answer = call(request, timeout=30)
        if method.server_streaming:
            next(answer, None)
            answer.cancel()
    except grpc.RpcError as error:
        code, reason = error.code(), from_rpc_error(error).reason
    else:
        return True
    assert code in EMPTY or (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED"), (rpc, code, reason)
    return code in EMPTY


# How an empty request is answered to those who may ask; Health/List is admitted and not offered.
EMPTY = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}


def test_no_certificate_reaches_another_domain_or_direction(town: Town) -> None:
    [element], key = evaluate(town.stack, "prisme", ["6101800010"])
    suite = types_pb2.SUITE_KINLINK_SYNTHETIC_V1
    attempts = {
        # what, who, how, why not
        "a source converts": ("source/prisme", CONVERT, _conversion(key, LINKAGE, element), "ACCESS_DENIED"),
        "the linker evaluates": (
            f"linker/{PURPOSE}", EVALUATE, pseudonymisation.EvaluateRequest(key=LINKAGE, suite=suite, elements=element),
            "ACCESS_DENIED",
        ),
        "the linker uses the plain door": (
            f"linker/{PURPOSE}", PLAIN,
            pseudonymisation.PseudonymiseRequest(key=key, suite=suite, identifiers=["6101800010"]), "ACCESS_DENIED",
        ),
        "a source evaluates in another's domain": (
            "source/dubu", EVALUATE, pseudonymisation.EvaluateRequest(key=key, suite=suite, elements=element),
            "GRANT_MISSING",
        ),
        "a source evaluates in the linkage domain": (
            "source/prisme", EVALUATE, pseudonymisation.EvaluateRequest(key=LINKAGE, suite=suite, elements=element),
            "GRANT_MISSING",
        ),
        "a source uses a plain door that is closed": (
            "source/prisme", PLAIN,
            pseudonymisation.PseudonymiseRequest(key=key, suite=suite, identifiers=["6101800010"]), "GRANT_MISSING",
        ),
        "the linker converts back to a source": (
            f"linker/{PURPOSE}", CONVERT, _conversion(_key(LINKAGE, 1), _key(key, 0), element), "GRANT_MISSING",
        ),
        "the linker converts from source to source": (
            f"linker/{PURPOSE}", CONVERT, _conversion(key, KeyRef(domain="source/dubu", kind=key.kind), element),
            "GRANT_MISSING",
        ),
        "the linker converts to another purpose": (
            f"linker/{PURPOSE}", CONVERT, _conversion(key, KeyRef(domain="linkage/andet", kind=key.kind), element),
            "GRANT_MISSING",
        ),
    }  # fmt: skip
    for what, (party, rpc, message, reason) in attempts.items():
        with dial(town.stack, "pseudonymizer", party) as channel:
            error = refused(channel, rpc, message)
        assert error.reason == reason, f"{what}: {error.reason}"
        last = audited(town.stack, "pseudonymizer")[-1]
        assert (last["outcome"], last["reason"], last["rpc"]) == ("refused", reason, rpc), what
        assert last["caller"].endswith(party), what


def _conversion(source: KeyRef, target: KeyRef, element: bytes) -> pseudonymisation.ConvertRequest:
    return pseudonymisation.ConvertRequest(**{"from": source, "to": target}, elements=element)


def _key(key: KeyRef, version: int) -> KeyRef:
    return KeyRef(domain=key.domain, kind=key.kind, version=version)


# Deliveries


def test_each_source_delivers_its_own_datasets_and_no_others(town: Town) -> None:
    """Deliver every dataset as every source: empty, with a wrong digest, so that nothing stays where it is admitted."""
    own = {REGISTER: REGISTER_ONLY, "prisme": ANY_SOURCE | {"catalogue"}, "projekt": {"consents"}}
    for source in SOURCES:
        with dial(town.stack, "linker", f"source/{source}") as channel:
            stub = IntakeServiceStub(channel)
            known = [d.delivery_id for d in stub.ListDeliveries(intake.ListDeliveriesRequest()).deliveries]
            for name, dataset in DATASETS.items():
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Deliver(delivery(source, dataset.number, digest=bytes(32)))
                admitted = name in own.get(source, ANY_SOURCE)
                expected = "CONTENT_MISMATCH" if admitted else "DATASET_NOT_ALLOWED"
                assert from_rpc_error(caught.value).reason == expected, f"{source} delivers {name}"
            again = [d.delivery_id for d in stub.ListDeliveries(intake.ListDeliveriesRequest()).deliveries]
            assert again == known
