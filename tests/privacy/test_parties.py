"""What each party can do and learn, with its own certificate, against running services.

Sources share nothing; only the linker joins them. Each certificate does what
`access.toml` says and nothing else, on every RPC that the servers list. Whoever
holds the pseudonymizer, and keeps what it is sent, sees neither who is repeated
nor in what order they stood.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
import uuid
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from examples.stack import PURPOSE, REGISTER, SERVICES, SOURCES, Stack
from kinlink import ristretto255
from kinlink.channel import open_channel
from kinlink.conversion_client import ConversionClient
from kinlink.delivery.datasets import DATASETS
from kinlink.errors import KinlinkError, from_rpc_error
from kinlink.linker.v1 import intake_service_pb2 as intake
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymisation
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1 import types_pb2
from kinlink.types.v1.types_pb2 import KeyRef
from linker.store.delta import DeltaTables
from linker.store.snapshots import Snapshots
from linker.store.tables import IDENTITIES, facts
from servicekit import database
from servicekit.audit import AuditLog
from tests.conftest import Town
from tests.running import identity
from tests.unit import linker_fixtures as given

RECORDING = Path(__file__).with_name("recording_service.py")
ROOT = Path(__file__).parents[2]
LINKAGE = KeyRef(domain=f"linkage/{PURPOSE}", kind=Kind.CPR.wire)
EVALUATE, CONVERT, PLAIN = (
    f"kinlink.pseudonymizer.v1.PseudonymisationService/{name}" for name in ("Evaluate", "Convert", "Pseudonymise")
)

# One certificate of each role, and one of each source that has rights of its own.
PARTIES = {
    "source/prisme": "source", "source/folkeregister": "source", "source/projekt": "source", "linker/familie": "linker",
    "consumer/velfaerdsanalyse": "consumer", "operator/drift": "operator", "dpo/dpo": "dpo",
    "custodian/noegle": "custodian", "service/linker": "service", "service/pseudonymizer": "service",
}  # fmt: skip

# What the design says, whatever the tables say: who may do what besides health and reflection.
DESIGN = {
    "source": {"Evaluate", "Pseudonymise", "Deliver", "GetDelivery", "ListDeliveries", "WithdrawDelivery"},
    "linker": {"Convert"},
    "consumer": {"ListTables", "GetTable", "StreamTable"},
    "operator": {"StartRun", "WatchRun", "GetRun"},
    "dpo": {"GetRun", "ListTables"},
    "custodian": set(),
    "service": set(),
}
REGISTER_ONLY = {"persons", "aliases", "exclusions"}


def dial(stack: Stack, service: str, party: str) -> grpc.Channel:
    return open_channel(stack.processes[service].address, identity(stack.folder / "certs", party.replace("/", "-")))


def evaluate(stack: Stack, source: str, numbers: Sequence[str]) -> tuple[list[bytes], KeyRef]:
    with dial(stack, "pseudonymizer", f"source/{source}") as channel:
        client = PseudonymizerClient(channel, domain=f"source/{source}", suite=Suite.SYNTHETIC)
        packed, key = client.evaluate(numbers, Kind.CPR)
    return pieces(packed), key


def convert(stack: Stack, elements: Sequence[bytes], key: KeyRef) -> list[bytes]:
    with dial(stack, "pseudonymizer", f"linker/{PURPOSE}") as channel:
        return pieces(ConversionClient(channel).convert(b"".join(elements), key, LINKAGE)[0])


def pieces(packed: bytes) -> list[bytes]:
    return [packed[start : start + 32] for start in range(0, len(packed), 32)]


def refused(channel: grpc.Channel, rpc: str, *messages: Any) -> KinlinkError:
    """Send messages on a stream as they are; return the error it ends in."""
    call = channel.stream_stream(f"/{rpc}")
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([message.SerializeToString() for message in messages]), timeout=30))
    return from_rpc_error(caught.value)  # type: ignore[return-value]


def audited(stack: Stack, service: str, after: int = 0) -> list[dict[str, Any]]:
    engine = database.engine(f"sqlite:///{stack.folder / service / 'state.db'}")
    try:
        return AuditLog(engine).entries(after, limit=100_000)
    finally:
        engine.dispose()


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
        before = audited(town.stack, service)[-1]["entry_id"]
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
    own = {REGISTER: REGISTER_ONLY, "prisme": {"postings", "spells", "catalogue"}, "projekt": {"consents"}}
    for source in SOURCES:
        with dial(town.stack, "linker", f"source/{source}") as channel:
            stub = IntakeServiceStub(channel)
            known = [d.delivery_id for d in stub.ListDeliveries(intake.ListDeliveriesRequest()).deliveries]
            for name, dataset in DATASETS.items():
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Deliver(delivery(source, dataset.number, digest=bytes(32)))
                admitted = name in own.get(source, {"postings", "spells"})
                expected = "CONTENT_MISMATCH" if admitted else "DATASET_NOT_ALLOWED"
                assert from_rpc_error(caught.value).reason == expected, f"{source} delivers {name}"
            again = [d.delivery_id for d in stub.ListDeliveries(intake.ListDeliveriesRequest()).deliveries]
            assert again == known


def delivery(source: str, dataset: int, *chunks: bytes, **fields: Any) -> Iterator[intake.DeliverRequest]:
    """Yield the messages of a delivery, one chunk a row; `fields` are of its header."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)).digest()
    values = {
        "delivery_id": str(uuid.uuid4()), "dataset": dataset, "period": "1990", "digest": digest, "rows": len(chunks),
        "suite": types_pb2.SUITE_KINLINK_SYNTHETIC_V1 if dataset != intake.DATASET_CATALOGUE else 0,
        "keys": [KeyRef(domain=f"source/{source}", kind=types_pb2.KIND_CPR, version=1)] if chunks else [],
        "chunks": len(chunks),
    }  # fmt: skip
    header = intake.DeliveryHeader(**{**values, **fields})  # type: ignore[arg-type]
    yield intake.DeliverRequest(header=header)
    for index in range(header.first_chunk, len(chunks)):
        yield intake.DeliverRequest(chunk=intake.DeliveryChunk(index=index, arrow_ipc=chunks[index]))
    yield intake.DeliverRequest(finish=intake.DeliveryFinish())


@dataclass(frozen=True)
class Recorded:
    """Both services, and everything that the pseudonymizer is sent, as it came."""

    stack: Stack
    capture: Path

    def messages(self, rpc: str) -> list[bytes]:
        lines = map(json.loads, self.capture.read_text(encoding="ascii").splitlines())
        return [b64decode(line["message"]) for line in lines if line["rpc"] == rpc]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    stack = Stack(folder, budget_per_day={"source/dubu": 100})
    stack.prepare()
    capture = folder / "capture.jsonl"
    stack.start("pseudonymizer", wrapper=(sys.executable, str(RECORDING), str(capture)))
    try:
        stack.start("linker")
        yield Recorded(stack, capture)
    finally:
        for service in reversed(SERVICES):
            stack.stop(service)


def test_a_source_does_not_see_resume_or_withdraw_what_another_delivers(recorded: Recorded) -> None:
    chunks = [given.ipc(given.postings(name)) for name in ("a", "b")]
    postings, delivery_id = DATASETS["postings"].number, str(uuid.uuid4())
    with (
        dial(recorded.stack, "linker", "source/prisme") as own,
        dial(recorded.stack, "linker", "source/ky") as other,
    ):
        owner, stranger = IntakeServiceStub(own), IntakeServiceStub(other)
        parts = list(delivery("prisme", postings, *chunks, delivery_id=delivery_id))
        with pytest.raises(grpc.RpcError) as caught:  # one of two chunks, then the connection breaks
            owner.Deliver(iter(parts[:2]))
        assert from_rpc_error(caught.value).reason == "DELIVERY_INCOMPLETE"
        get = intake.GetDeliveryRequest(delivery_id=delivery_id)
        take = intake.WithdrawDeliveryRequest(delivery_id=delivery_id)

        def stranger_is_refused(*reasons: str) -> None:
            calls = (
                lambda: stranger.GetDelivery(get),
                lambda: stranger.WithdrawDelivery(take),
                lambda: stranger.Deliver(delivery("ky", postings, *chunks, delivery_id=delivery_id, first_chunk=1)),
                lambda: stranger.Deliver(delivery("prisme", postings, *chunks, delivery_id=delivery_id, first_chunk=1)),
            )
            for call, reason in zip(calls, reasons, strict=True):
                with pytest.raises(grpc.RpcError) as caught:
                    call()
                assert from_rpc_error(caught.value).reason == reason
            seen = stranger.ListDeliveries(intake.ListDeliveriesRequest()).deliveries
            assert delivery_id not in {d.delivery_id for d in seen if d.chunks_received or d.source != "ky"}

        stranger_is_refused("DELIVERY_UNKNOWN", "DELIVERY_UNKNOWN", "CHUNK_GAP", "KEY_DOMAIN_NOT_OWN")
        assert owner.GetDelivery(get).delivery.chunks_received == 1
        answer = owner.Deliver(delivery("prisme", postings, *chunks, delivery_id=delivery_id, first_chunk=1))
        assert answer.delivery.state == intake.DELIVERY_STATE_ACCEPTED
        before = owner.GetDelivery(get).delivery
        with pytest.raises(grpc.RpcError):
            stranger.WithdrawDelivery(take)
        assert owner.GetDelivery(get).delivery == before


def test_a_message_over_budget_is_refused_whole(recorded: Recorded) -> None:
    numbers = [f"6101{year:02}{serial:04}" for year in range(10, 13) for serial in range(4000, 4040)]
    assert len(numbers) == 120
    with pytest.raises(KinlinkError) as caught:
        evaluate(recorded.stack, "dubu", numbers)
    assert caught.value.reason == "BUDGET_DAY"
    last = audited(recorded.stack, "pseudonymizer")[-1]
    assert (last["outcome"], last["reason"], last["count"]) == ("refused", "BUDGET_DAY", 120)
    assert len(evaluate(recorded.stack, "dubu", numbers[:100])[0]) == 100  # the refused message used nothing
    with pytest.raises(KinlinkError):
        evaluate(recorded.stack, "dubu", numbers[:1])


# What a capture of the pseudonymizer's traffic shows

EXTRACT_HEADER = "person;event_month;booked_month;amount_ore;dranst;department;service;cost_component\n"
PEOPLE = [f"{61 + n % 20:02}{1 + n % 12:02}{70 + n % 30}{4000 + n:04}" for n in range(400)]


def _deliver_twice(stack: Stack, folder: Path) -> None:
    """Deliver the same 400 people in two periods, each person thrice, by `kinlink deliver`."""
    rules = "\n".join(f'{name} = {{ from = "{name}" }}' for name in EXTRACT_HEADER.strip().split(";"))
    rules = rules.replace('"event_month" }', '"event_month", date = "yyyy-mm-dd" }')
    rules = rules.replace('"booked_month" }', '"booked_month", date = "yyyy-mm-dd" }')
    mapping = folder / "postings.toml"
    mapping.write_text(
        f'dataset = "postings"\nmax_rejected_share = 0.0\n[file]\nencoding = "utf-8"\n[columns]\n{rules}\n'
    )
    lines = "".join(f"{person};2014-03-01;2014-03-01;100;1;SOF;X;service\n" for person in PEOPLE * 3)
    (folder / "postings.csv").write_text(EXTRACT_HEADER + lines)
    for period in ("2013", "2014"):
        stack.run("source/prisme", "deliver", "--mapping", mapping, "--period", period, folder / "postings.csv")


def test_a_capture_shows_neither_repeats_nor_persons_nor_order(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(recorded.messages(EVALUATE))
    _deliver_twice(recorded.stack, tmp_path)
    sent = captured(recorded, before)
    assert len(sent) == 2 * len(PEOPLE)  # each person once a delivery
    after = len(recorded.messages(EVALUATE))
    found, key = evaluate(recorded.stack, "prisme", PEOPLE)
    points = pieces(ristretto255.hash_to_group([p.encode() for p in PEOPLE], Suite.SYNTHETIC.tag(Kind.CPR)))
    known = set(points) | set(found) | set(convert(recorded.stack, found, key))
    assert tells_apart(sent, known) == set()
    assert not any(person.encode() in message for message in recorded.messages(EVALUATE) for person in PEOPLE)
    conversions = [
        p for m in recorded.messages(CONVERT) for p in pieces(pseudonymisation.ConvertRequest.FromString(m).elements)
    ]
    assert len(conversions) == len(PEOPLE)
    assert tells_apart(conversions, known) == set()

    # The control: the same client, its blinding taken away. The capture then tells all, and shows the order sent.
    one = (1).to_bytes(32, "little")
    monkeypatch.setattr(ristretto255, "random_scalars", lambda count: one * count)
    for _ in range(2):
        evaluate(recorded.stack, "prisme", PEOPLE)
    unblinded = captured(recorded, after + 1)
    assert tells_apart(unblinded, known) == {"repeats", "known"}
    place = {point: index for index, point in enumerate(points)}
    for orders in (unblinded[: len(PEOPLE)], unblinded[len(PEOPLE) :]):
        order = [place[point] for point in orders]
        assert sorted(order) == list(range(len(PEOPLE)))
        rises = sum(later > earlier for earlier, later in pairwise(order))
        assert 0.3 < rises / len(PEOPLE) < 0.7  # half in a shuffled order; 0.2 is fourteen standard deviations
    assert unblinded[: len(PEOPLE)] != unblinded[len(PEOPLE) :]


def captured(recorded: Recorded, after: int) -> list[bytes]:
    messages = recorded.messages(EVALUATE)[after:]
    return [p for message in messages for p in pieces(pseudonymisation.EvaluateRequest.FromString(message).elements)]


def tells_apart(elements: Sequence[bytes], known: set[bytes]) -> set[str]:
    """Say what a capture of these elements gives away to someone who knows those others."""
    told = {"repeats"} if len(set(elements)) < len(elements) else set()
    return told | ({"known"} if set(elements) & known else set())
