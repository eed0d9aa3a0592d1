"""A CPR number that goes down every road is found nowhere: in no log, span, metric, error, audit entry or file.

Two real services over mTLS, telemetry on, the plain door open for one source. What
is looked for: the digits in any writing, digests and encodings of them, the point
they hash to, the keys, and pseudonyms where they may not be. That the search finds
what is there is shown first.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import uuid
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from examples.log_control import control, keep
from examples.rotation import Rotation, Run, rekey_linker
from examples.stack import PEOPLE, PURPOSE, SERVICES, SOURCES, Stack
from kinlink import ristretto255
from kinlink.channel import open_channel
from kinlink.conversion_client import ConversionClient
from kinlink.linkage_client import LinkageClient
from kinlink.pseudonymizer.v1 import encoding_key_service_pb2, pseudonymisation_service_pb2
from kinlink.pseudonymizer.v1.encoding_key_service_pb2_grpc import EncodingKeyServiceStub
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1.types_pb2 import KeyRef
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.encryption_keys import open_key_encryption_key
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.policy import Policy
from servicekit import database
from servicekit.audit import AuditLog
from tests.in_process import InProcess
from tests.privacy.canary_roads import CANARIES, MALFORMED, PERSON, PERSONS, Roads
from tests.privacy.key_roads import KEY_CANARIES, key_roads
from tests.privacy.parties import audited
from tests.privacy.searcher import Finding, Searcher
from tests.running import identity
from tests.telemetry.receiver import Receiver, attributes, receiving

NUMBERS = CANARIES | MALFORMED | KEY_CANARIES
LEAKY = Path(__file__).with_name("leaky_service.py")


def wrapper(folder: Path, service: str) -> tuple[str, ...]:
    """Return a wrapper under which a service's standard output is kept, and its temporary files lie in `folder`."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    keep = 'exec "$@" > >(exec tee -a "$0")'
    return "env", f"TMPDIR={folder / 'tmp'}", "bash", "-c", keep, str(folder / f"{service}.out")


def start(stack: Stack, *services: str, leak: tuple[str, ...] = ()) -> None:
    stack.prepare()
    for service in services:
        leaky = (sys.executable, str(LEAKY), *leak) if leak else ()
        stack.start(service, wrapper=(*wrapper(stack.folder, service), *leaky))


def scalars(folder: Path) -> dict[str, bytes]:
    """Open the pseudonymizer's store with its key-encryption key, and return every key."""
    policy = Policy.load(folder / "policy.toml")
    engine = database.engine(f"sqlite:///{folder / 'state.db'}")
    kek = open_key_encryption_key("file:kek.key", folder, first_start=False)
    keyset = KeyStore(engine, kek, policy.suite, AuditLog(engine)).open(policy.key_lines())
    engine.dispose()
    names = [KeyName(domain, kind, version) for domain, kind in policy.key_lines() for version in (1, 2)]
    return {f"key {name}": key.scalar for name in names if (key := keyset.usable(name))}


def sweep(
    searcher: Searcher, stack: Stack, receiver: Receiver | None = None, roads: Roads | None = None
) -> list[Finding]:
    """Search everything that the services and their callers left or said."""
    found = [f for part in (*SERVICES, "anchors") for f in searcher.folder(stack.folder / part)]
    return found + outside(searcher, stack, receiver, roads)


def outside(
    searcher: Searcher, stack: Stack, receiver: Receiver | None = None, roads: Roads | None = None
) -> list[Finding]:
    """Search what leaves a service: logs, standard output, temporary files, telemetry, answers and errors."""
    written = [*stack.folder.glob("*.log"), *stack.folder.glob("*.out")]
    found = [finding for path in written for finding in searcher.file(path)]
    found += searcher.folder(stack.folder / "tmp")
    for request in receiver.requests if receiver else ():
        found += searcher.message("OTLP", request)
    if roads:
        found += searcher.folder(roads.temporary)
        found += searcher.folder(roads.folder / "kept")
        found += [f for where, content in roads.said for f in searcher.data(where, content)]
    return found


@dataclass
class Passed:
    """A stack through which all canaries went; it has been stopped."""

    stack: Stack
    roads: Roads
    receiver: Receiver
    keys: dict[str, bytes]
    encoding_secrets: dict[str, bytes]
    source_pseudonyms: dict[str, bytes]
    linkage_pseudonyms: dict[str, bytes]
    rekeyed_pseudonyms: dict[str, bytes]
    quarantined: list[Finding]
    waiting: list[Finding]
    tables: list[str]


def fetched(stack: Stack) -> list[tuple[int, bytes]]:
    """Return what a source is handed to encode under: version and secret."""
    key = KeyRef(domain=f"linkage/{PURPOSE}", kind=Kind.ENCODING.wire)
    request = encoding_key_service_pb2.GetEncodingKeyRequest(key=key, schema_id="dk-person-1.0123456789abcdef")
    address = stack.processes["pseudonymizer"].address
    with open_channel(address, identity(stack.folder / "certs", "source-prisme")) as channel:
        answer = EncodingKeyServiceStub(channel).GetEncodingKey(request)
    return [(answer.key.version, answer.secret)]


def pseudonyms(stack: Stack) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the persons' pseudonyms in the two sources' domains, and in the linkage domain."""
    sources: dict[str, bytes] = {}
    linked: dict[str, bytes] = {}
    numbers = list(PERSONS.values())
    address = stack.processes["pseudonymizer"].address
    for name in ("prisme", "folkeregister"):
        with open_channel(address, identity(stack.folder / "certs", f"source-{name}")) as channel:
            client = PseudonymizerClient(channel, domain=f"source/{name}", suite=Suite.SYNTHETIC)
            packed, key = client.evaluate(numbers, Kind.CPR)
        with open_channel(address, identity(stack.folder / "certs", "linker-familie")) as channel:
            target = KeyRef(domain="linkage/familie", kind=Kind.CPR.wire)
            converted, _ = ConversionClient(channel).convert(packed, key, target)
        for index, person in enumerate(PERSONS):
            place = slice(32 * index, 32 * index + 32)
            sources[f"{person} in {name}"], linked[person] = packed[place], converted[place]
    return sources, linked


def rotate(roads: Roads) -> None:
    """Rotate the linkage key, and let the data-protection officer keep and control what she does; by the commands."""

    def run(party: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        said = InProcess(roads.stack)(party, *arguments)
        roads.said.append((f"output of {arguments[0]} {arguments[1]}", said.stdout + said.stderr))
        return said

    told: Run = run
    kept = roads.folder / "kept"
    keep(told, kept)
    Rotation(told, f"linkage/{PURPOSE}").activate()
    rekey_linker(told)
    told("operator/drift", "keys", "status")
    for command in (("keys", "list"), ("keys", "show", f"linkage/{PURPOSE}"), ("approvals", "list", "--all")):
        told("dpo/dpo", *command)
    told("dpo/dpo", "dpo", "report", "--month", f"{datetime.now(UTC):%Y-%m}", "-o", kept / "report.html")
    control(told, kept)


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    """Send every canary down its road, link, read the tables, and stop the services."""
    folder = tmp_path_factory.mktemp("canary")
    with receiving() as receiver:
        telemetry = {service: {"otlp_endpoint": receiver.endpoint} for service in SERVICES}
        stack = Stack(folder / "stack", plain_door=["prisme"], encoders=["prisme"], settings=telemetry)
        roads = Roads(stack, folder / "clients")
        roads.temporary.mkdir(parents=True)
        start(stack, *SERVICES)
        try:
            roads.register_and_catalogue()
            roads.by_command()
            roads.linker_fields()
            roads.pseudonymizer_fields()
            roads.around_the_messages()
            sources, linked = pseudonyms(stack)
            waiting = sweep(Searcher(NUMBERS), stack)
            quarantined = Searcher(packed=sources).folder(stack.folder / "linker")
            linker, operator = stack.processes["linker"].address, identity(stack.folder / "certs", "operator-drift")
            with open_channel(linker, operator) as channel:
                client = LinkageClient(channel)
                *_, run = client.watch(client.start(date(2015, 1, 1), 2014, str(uuid.uuid4())).run_id)
            assert run.state == "succeeded", run.message
            tables = roads.ask_tables()
            rotate(roads)
            key_roads(roads)
            encoding = {f"of version {version}": secret for version, secret in fetched(stack)}
            _, rekeyed = pseudonyms(stack)
        finally:
            for service in reversed(SERVICES):
                assert stack.stop(service) == 0
    keys = scalars(stack.folder / "pseudonymizer")
    return Passed(stack, roads, receiver, keys, encoding, sources, linked, rekeyed, quarantined, waiting, tables)


def test_no_canary_is_found_anywhere(passed: Passed) -> None:
    assert passed.receiver.spans()
    assert passed.receiver.metrics()
    assert passed.receiver.logs()
    told = {where for where, _ in passed.roads.said}
    assert told >= {f"{road}: answer" for road in ("plain door, good", "schema metadata", "metadata", "tables")}
    assert told >= {
        f"{road}: error" for road in ("plain door, bad", "service name 4", "method name", "foreign certificate")
    }
    assert passed.tables
    # While the services ran, with the write-ahead log; and after they had told everything.
    found = passed.waiting + sweep(Searcher(NUMBERS), passed.stack, passed.receiver, passed.roads)
    assert not found, "\n".join(f"{secret}, as {form}, in {where}" for secret, form, where in found)


def test_a_run_is_one_trace_over_both_services_and_each_service_is_measured(passed: Passed) -> None:
    by_name = {(service, span.name): span for service, span in passed.receiver.spans()}
    started = by_name["linker", "kinlink.linker.v1.LinkageService/StartRun"]
    converted = f"{pseudonymisation_service_pb2.DESCRIPTOR.package}.PseudonymisationService/Convert"
    of_run = {(service, span.name) for service, span in passed.receiver.spans() if span.trace_id == started.trace_id}
    assert {("linker", "linkage run"), ("linker", converted), ("pseudonymizer", converted)} <= of_run
    counted = {
        (service, attributes(point)["rpc.method"])
        for service, metric in passed.receiver.metrics()
        if metric.name == "rpc.server.duration"
        for point in metric.histogram.data_points
    }
    assert {("pseudonymizer", "Evaluate"), ("pseudonymizer", "Convert"), ("linker", "Deliver")} <= counted


def test_no_key_is_found_anywhere(passed: Passed) -> None:
    # The linkage keys before and after the rotation, and the encoding key, which is not rotated with them.
    assert len(passed.keys) == 2 * len(SOURCES) + 3 + 3 + 1
    assert sweep(Searcher(packed=passed.keys), passed.stack, passed.receiver, passed.roads) == []


def test_what_a_source_was_handed_to_encode_under_is_found_nowhere(passed: Passed) -> None:
    assert len(passed.encoding_secrets) == 1
    assert sweep(Searcher(packed=passed.encoding_secrets), passed.stack, passed.receiver, passed.roads) == []
    handed = [e for e in audited(passed.stack, "pseudonymizer") if e["rpc"].endswith("/GetEncodingKey")]
    assert [(e["key_version"], e["caller"]) for e in handed if e["outcome"] == "ok"] == [
        (1, "spiffe://kinlink.test/source/prisme")
    ]
    counted = {span.name for service, span in passed.receiver.spans() if service == "pseudonymizer"}
    assert "kinlink.pseudonymizer.v1.EncodingKeyService/GetEncodingKey" in counted


def test_an_encoding_key_that_is_written_on_purpose_is_caught(tmp_path: Path) -> None:
    """The sweep above can fail: a service that logs, traces or keeps what it hands out is found."""
    with receiving() as receiver:
        stack = Stack(tmp_path, encoders=["prisme"], settings={"pseudonymizer": {"otlp_endpoint": receiver.endpoint}})
        start(stack, "pseudonymizer", leak=("encoding key", PERSON))
        [(_, secret)] = fetched(stack)
        stack.stop("pseudonymizer")
    found = sweep(Searcher(packed={"it": secret}), stack, receiver)
    where = {Path(finding.where.partition(":")[0]).name for finding in found}
    assert {"pseudonymizer.log", "OTLP", "state.db"} <= {name.partition(" ")[0] for name in where}


def test_source_pseudonyms_are_gone_once_converted(passed: Passed) -> None:
    held = {finding.secret for finding in passed.quarantined}
    assert {"person in prisme", "person in folkeregister", "former number in folkeregister"} <= held
    searcher = Searcher(packed=passed.source_pseudonyms)
    assert searcher.folder(passed.stack.folder / "linker") == []
    assert searcher.folder(passed.stack.folder / "pseudonymizer") == []
    assert outside(searcher, passed.stack, passed.receiver, passed.roads) == []


def test_linkage_pseudonyms_are_in_the_store_of_identities_only(passed: Passed) -> None:
    searcher = Searcher(packed=passed.rekeyed_pseudonyms)
    found = searcher.folder(passed.stack.folder / "linker")
    assert {finding.secret for finding in found} == set(PERSONS)
    assert all(finding.where.startswith("store/identities/") for finding in found), found
    assert searcher.folder(passed.stack.folder / "pseudonymizer") == []
    assert searcher.folder(passed.stack.folder / "anchors") == []
    assert outside(searcher, passed.stack, passed.receiver, passed.roads) == []


def test_linkage_pseudonyms_of_before_the_rotation_are_gone(passed: Passed) -> None:
    assert set(passed.linkage_pseudonyms.values()).isdisjoint(passed.rekeyed_pseudonyms.values())
    assert sweep(Searcher(packed=passed.linkage_pseudonyms), passed.stack, passed.receiver, passed.roads) == []


def test_every_other_secret_is_in_its_own_file_only(passed: Passed) -> None:
    folder = passed.stack.folder
    seeds = {name: load_pem_private_key(path.read_bytes(), None) for name, path in secret_files(folder).items()}
    packed = {name: key.private_bytes_raw() for name, key in seeds.items() if isinstance(key, Ed25519PrivateKey)}
    assert len(packed) == len(PEOPLE) + len(SERVICES)
    packed["kek"] = b64decode((folder / "pseudonymizer/kek.key").read_bytes())
    own = secret_files(folder) | {"kek": folder / "pseudonymizer/kek.key"}
    for name, value in packed.items():
        searcher = Searcher(packed={name: value})
        assert searcher.file(own[name]), f"{name}: is not found where it is"
        found = {finding.where for finding in sweep(searcher, passed.stack, passed.receiver, passed.roads)}
        assert found <= {own[name].name}, f"{name}: in {found}"


def secret_files(folder: Path) -> dict[str, Path]:
    """Return where people's signing keys and the logs' keys lie."""
    people = {f"key of {party}": folder / f"approvals/{party.replace('/', '-')}.key" for party in PEOPLE}
    return people | {f"log key of the {service}": folder / service / "log.key" for service in SERVICES}


@pytest.mark.parametrize(
    ("way", "places"),
    [
        ("print", {"pseudonymizer.log"}),
        ("audit", set()),
        ("audit without redaction", {"state.db", "state.db-wal"}),
        ("structlog", set()),
    ],
)
def test_a_number_that_is_written_on_purpose_is_caught_unless_it_was_redacted(
    way: str, places: set[str], tmp_path: Path
) -> None:
    with receiving() as receiver:
        stack = Stack(tmp_path, settings={"pseudonymizer": {"otlp_endpoint": receiver.endpoint}})
        start(stack, "pseudonymizer", leak=(way, PERSON))
        running = sweep(Searcher({"leaked": PERSON}), stack, receiver)
        stack.stop("pseudonymizer")
    found = running + sweep(Searcher({"leaked": PERSON}), stack, receiver)
    assert bool(found) == bool(places)
    assert {Path(finding.where.partition(":")[0]).name for finding in found} <= places
    if way == "audit":
        assert "[redacted]" in {entry["subject"] for entry in audited(stack, "pseudonymizer")}
    if way == "structlog":
        assert "no person [redacted]" in (tmp_path / "pseudonymizer.log").read_text(encoding="utf-8")
        assert b"person [redacted]" in receiver.raw()


NUMBER = "6102803456"


@pytest.mark.parametrize(
    "text",
    [
        f"x{NUMBER}y".encode(), b"610280-3456", b"61.02.80 3456", "610280\u00a0\u20133456".encode(),
        NUMBER.encode("utf-16-le"), "610280-3456".encode("utf-16-be"), NUMBER.encode().hex().upper().encode(),
        b64encode(b"no person 6102803456!"), b64encode(b"a person, 6102803456."), b64encode(b"people 610280-3456"),
        ristretto255.hash_to_group([NUMBER.encode()], Suite.SYNTHETIC.tag(Kind.CPR)),
        b64encode(ristretto255.hash_to_group([NUMBER.encode()], Suite.KINLINK_V1.tag(Kind.CPR))),
        int(NUMBER).to_bytes(8, "little"), sha256(NUMBER.encode()).hexdigest().encode(),
    ],
)  # fmt: skip
def test_the_searcher_finds_a_number_in_every_form(text: bytes) -> None:
    assert Searcher({"it": NUMBER}).data("here", b"before" + text + b"after")
    assert not Searcher({"it": "6102813456"}).data("here", b"before" + text + b"after")


def test_the_searcher_finds_what_is_packed(tmp_path: Path) -> None:
    point = ristretto255.hash_to_group([NUMBER.encode()], Suite.SYNTHETIC.tag(Kind.CPR))
    values = {"text": f"no person {NUMBER}", "list": [NUMBER], "n": int(NUMBER), "point": point}
    rows = pl.DataFrame({name: [value] * 99 for name, value in values.items()})
    for column in rows.columns:
        packed = rows.select(column).to_arrow()
        pq.write_table(packed, tmp_path / f"{column}.parquet", compression="zstd", write_statistics=False)
    rows.write_ipc(tmp_path / "rows.arrow", compression="zstd")
    (tmp_path / "log.gz").write_bytes(gzip.compress(f"{NUMBER}\n".encode() * 99))
    (tmp_path / "escaped.json").write_text("{}\n" + json.dumps({"path": NUMBER}).replace("6", "\\u0036") + "\n")
    (tmp_path / NUMBER).touch()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b BLOB)")
        connection.execute("INSERT INTO t VALUES (?, ?)", (int(NUMBER), b"x"))
    connection.close()
    found = {finding.where.partition(":")[0] for finding in Searcher({"it": NUMBER}).folder(tmp_path)}
    parquet = {f"{column}.parquet" for column in rows.columns}
    assert found == parquet | {"rows.arrow", "log.gz", "escaped.json", "state.db", f"the name {NUMBER}"}


def test_the_searcher_finds_a_span_attribute() -> None:
    request = trace_service_pb2.ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.attributes.add(key="a").value.string_value = NUMBER
    assert Searcher({"it": NUMBER}).message("OTLP", request)
    span.attributes[0].value.int_value = int(NUMBER)
    assert Searcher({"it": NUMBER}).message("OTLP", request)
