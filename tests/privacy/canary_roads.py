"""The roads by which a CPR number could get into a service, and a canary for each of them.

Each canary is a number of its own (day + 60), so that a finding names its road.
"""

from __future__ import annotations

import hashlib
import io
import socket
import ssl
import subprocess
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pyarrow as pa
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from examples.deliveries import MAPPINGS
from examples.stack import Stack
from kinlink.delivery.datasets import DATASETS
from kinlink.dev_certificates import make_certificates
from kinlink.linker.v1 import intake_service_pb2, linkage_service_pb2, statistics_service_pb2
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from kinlink.linker.v1.linkage_service_pb2_grpc import LinkageServiceStub
from kinlink.linker.v1.statistics_service_pb2_grpc import StatisticsServiceStub
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymizer_pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.types.v1 import types_pb2
from tests.running import identity

# Persons: these become pseudonyms, and are linked.
PERSON, MOTHER, FORMER = "7811774417", "6511554419", "7811774425"
PERSONS = {"person": PERSON, "mother": MOTHER, "former number": FORMER}
# The others are nobody: they stand where no number belongs.
STRAYS = {
    road: f"{60 + 1 + index:02}0988{4500 + index:04}"
    for index, road in enumerate(
        (
            "free text", "date column", "amount column", "file name", "unknown code", "pseudonymise command",
            "other column", "delivery id", "period", "key domain", "row count", "rejected rows", "garbage chunk",
            "column name", "schema metadata", "service code", "service name", "flag", "page token", "request id",
            "reference date", "table id", "method name", "metadata", "trace state", "baggage", "user agent",
        )
    )
}  # fmt: skip
OUTSIDE = {
    road: f"{60 + 1 + index:02}0977{4600 + index:04}"
    for index, road in enumerate(
        (
            "plain door, good", "plain door, bad", "plain door, kind", "plain door, domain", "element", "conversion",
            "server name", "no TLS", "foreign certificate", "reflection", "health", "authority",
        )
    )
}  # fmt: skip
# A number that is not quite one: each form is bad under the mapping, and is looked for as it stands.
MALFORMED = {"a digit too many": "78117744331", "a digit too few": "781177444", "no such day": "9211774433"}
CANARIES = PERSONS | STRAYS | OUTSIDE

CHILD, GIVEN = "7812134411", "2014"
_SPREAD = (
    "{0}-{1}", "{0} {1}", "{0}.{1}", "{0} - {1}", "{2}.{3}.{4}-{1}",
    "{2} {3} {4} {1}", "{2}/{3}-{4}/{1}", "{0}\u2013{1}",
)  # fmt: skip

_POSTINGS_HEADER = "Kontostreng;Bogføringsdato;Periode;Registrant;Tekst;Beløb\r\n"


def spread(number: str) -> list[str]:
    """Return a number as people write it."""
    parts = number[:6], number[6:], number[:2], number[2:4], number[4:6]
    return [form.format(*parts) for form in _SPREAD]


@dataclass(slots=True)
class Roads:
    """Drives canaries down every road of a running stack; keeps whatever the caller was answered."""

    stack: Stack
    folder: Path
    said: list[tuple[str, bytes | str]] = field(default_factory=list)

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of everything that is run here."""
        return self.folder / "tmp"

    def by_command(self) -> None:
        """Deliver by `kinlink deliver`: good rows, bad rows, a wrong mapping; and pseudonymise a file."""
        postings = self._mapping("prisme", "postings")
        account = self._account()
        text = "".join(
            f"{account};05-03-2014;201403;{PERSON};{line};1.234,56\r\n" for line in spread(STRAYS["free text"])
        )
        good = self._extract(f"posteringer_{STRAYS['file name']}.csv", _POSTINGS_HEADER + text)
        assert self._run("source/prisme", "deliver", "--mapping", postings, good) == 0

        row = "{account};{posted};{month};{person};x;{amount}\r\n"
        sound = {"account": account, "posted": "05-03-2014", "month": "201403", "person": PERSON, "amount": "1,00"}
        bad = [{**sound, "person": form} for form in MALFORMED.values()]
        bad += [{**sound, "posted": STRAYS["date column"]}, {**sound, "month": STRAYS["date column"]}]
        bad += [{**sound, "amount": amount} for amount in (STRAYS["amount column"], f"{STRAYS['amount column']}-0")]
        rows = "".join(row.format(**values) for values in (sound, *bad))
        extract = self._extract("bad.csv", _POSTINGS_HEADER + rows)
        rejects = self.folder / "rejects.csv"
        lenient = self._mapping("lenient", "postings", period="2014-03")
        told = ("deliver", "--mapping", lenient, "--rejects", rejects, extract)
        assert self._run("source/prisme", *told) == 0
        assert len(rejects.read_text(encoding="utf-8").splitlines()) == 1 + len(bad)
        self.said.append(("the rejects file", rejects.read_bytes()))

        unknown = row.format(**{**sound, "account": f"{account[:7]}{STRAYS['unknown code']}"})
        extract = self._extract("unknown.csv", _POSTINGS_HEADER + unknown)
        assert self._run("source/prisme", "deliver", "--mapping", lenient, extract) == 3
        other = f"cpr;{STRAYS['other column']}\n{STRAYS['pseudonymise command']};1\n{MALFORMED['no such day']};2\n"
        (self.folder / "in.csv").write_text(other, encoding="utf-8")
        to_file = ("pseudonymise", self.folder / "in.csv", "--column", "cpr", "--out", self.folder / "out.parquet")
        assert self._run("source/prisme", *to_file) == 7

    def register_and_catalogue(self) -> None:
        """Deliver the catalogue, persons with a mother, and a number change."""
        rows = {
            "persons": f"{MOTHER};;;;0101;1955-12-01;f;U;1;101;1;2000-01-01;\n"
            f"{PERSON};;;;0101;1977-12-01;m;U;1;101;1;2000-01-01;\n"
            f"{CHILD};{MOTHER};{PERSON};;0101;2013-01-01;f;U;1;101;1;2013-01-01;\n",
            "aliases": f"{FORMER};{PERSON}\n",
        }
        catalogue = MAPPINGS / "catalogue.toml", MAPPINGS.parent / "catalogue.csv"
        assert self._run("source/prisme", "deliver", "--mapping", *catalogue) == 0
        for dataset, lines in rows.items():
            header = ";".join(column.name for column in DATASETS[dataset].columns)
            extract = self._extract(f"{dataset}.csv", f"{header}\n{lines}", "utf-8")
            assert self._run("source/folkeregister", "deliver", "--mapping", self._plain(dataset), extract) == 0

    def linker_fields(self) -> None:
        """Put canaries in the fields of the linker's messages, by hand."""
        with self.channel("linker", "source-prisme") as channel:
            stub = IntakeServiceStub(channel)
            catalogue, chunk = intake_service_pb2.DATASET_CATALOGUE, _catalogue_chunk()
            for road, value in (("delivery id", "delivery_id"), ("period", "period")):
                self._deliver(stub, road, chunk, dataset=catalogue, **{value: STRAYS[road]})
            self._deliver(stub, "row count", chunk, dataset=catalogue, rows=int(STRAYS["row count"]))
            self._deliver(stub, "rejected rows", chunk, dataset=catalogue, rejected_rows=int(STRAYS["rejected rows"]))
            key = types_pb2.KeyRef(domain=f"source/{STRAYS['key domain']}", kind=types_pb2.KIND_CPR, version=1)
            postings, suite = intake_service_pb2.DATASET_POSTINGS, types_pb2.SUITE_KINLINK_SYNTHETIC_V1
            self._deliver(stub, "key domain", chunk, dataset=postings, suite=suite, keys=[key])
            garbage = f"{STRAYS['garbage chunk']}\n".encode() * 99
            self._deliver(stub, "garbage chunk", garbage, dataset=catalogue)
            renamed = _catalogue_chunk(rename={"name_da": STRAYS["column name"]})
            self._deliver(stub, "column name", renamed, dataset=catalogue)
            metadata = _catalogue_chunk(metadata={"cpr": STRAYS["schema metadata"]})
            self._deliver(stub, "schema metadata", metadata, dataset=catalogue, period="1999")
            for index, code in enumerate((STRAYS["service code"], f"S{STRAYS['service code']}")):
                coded = _catalogue_chunk(service=code)
                self._deliver(stub, "service code", coded, dataset=catalogue, period=f"198{index}")
            for index, name in enumerate([STRAYS["service name"], *spread(STRAYS["service name"])]):
                named = _catalogue_chunk(name_da=f"Ydelse til {name}")
                self._deliver(stub, f"service name {index}", named, dataset=catalogue, period=f"197{index}")
            flagged = _catalogue_chunk(flags=["su", STRAYS["flag"]])
            self._deliver(stub, "flag", flagged, dataset=catalogue, period="1969")
            token = intake_service_pb2.ListDeliveriesRequest(page_token=STRAYS["page token"])
            self.ask("page token", lambda: stub.ListDeliveries(token))
            for road in ("delivery id", "method name"):
                asked = intake_service_pb2.GetDeliveryRequest(delivery_id=STRAYS[road])
                self.ask(road, lambda asked=asked: stub.GetDelivery(asked))
                taken = intake_service_pb2.WithdrawDeliveryRequest(delivery_id=STRAYS[road])
                self.ask(road, lambda taken=taken: stub.WithdrawDelivery(taken))
        with self.channel("linker", "operator-drift") as channel:
            linkage = LinkageServiceStub(channel)
            for road, fields in (
                ("request id", {"request_id": STRAYS["request id"], "reference_date": "2015-01-01"}),
                ("reference date", {"request_id": str(uuid.uuid4()), "reference_date": STRAYS["reference date"]}),
            ):
                start = linkage_service_pb2.StartRunRequest(**fields)
                self.ask(road, lambda start=start: linkage.StartRun(start))
            run = STRAYS["request id"]
            self.ask("run id", lambda: linkage.GetRun(linkage_service_pb2.GetRunRequest(run_id=run)))
            self.ask("run id", lambda: list(linkage.WatchRun(linkage_service_pb2.WatchRunRequest(run_id=run))))
        with self.channel("linker", "consumer-velfaerdsanalyse") as channel:
            statistics, table = StatisticsServiceStub(channel), STRAYS["table id"]
            for table_id, period in ((table, ""), ("family_characteristics", table)):
                fields = {"table_id": table_id, "period": period}
                get = statistics_service_pb2.GetTableRequest(**fields)
                stream = statistics_service_pb2.StreamTableRequest(**fields)
                self.ask("table id", lambda get=get: statistics.GetTable(get))
                self.ask("table id", lambda stream=stream: list(statistics.StreamTable(stream)))

    def pseudonymizer_fields(self) -> None:
        """Put canaries in the fields of the pseudonymizer's messages; the plain door is open for prisme."""
        own = types_pb2.KeyRef(domain="source/prisme", kind=types_pb2.KIND_CPR)
        suite = types_pb2.SUITE_KINLINK_SYNTHETIC_V1

        def plain(road: str, *identifiers: str, key: types_pb2.KeyRef = own) -> None:
            request = pseudonymizer_pb.PseudonymiseRequest(key=key, suite=suite, identifiers=identifiers)
            self.ask(road, lambda: list(stub.Pseudonymise(iter([request]))))

        with self.channel("pseudonymizer", "source-prisme") as channel:
            stub = PseudonymisationServiceStub(channel)
            plain("plain door, good", *spread(OUTSIDE["plain door, good"])[:2], OUTSIDE["plain door, good"])
            plain("plain door, bad", PERSON, f"{OUTSIDE['plain door, bad']}1", *MALFORMED.values())
            replacement = types_pb2.KeyRef(domain="source/prisme", kind=types_pb2.KIND_REPLACEMENT)
            plain("plain door, kind", OUTSIDE["plain door, kind"], key=replacement)
            foreign = types_pb2.KeyRef(domain=f"source/{OUTSIDE['plain door, domain']}", kind=types_pb2.KIND_CPR)
            plain("plain door, domain", PERSON, key=foreign)
            padded = OUTSIDE["element"].encode().ljust(32, b"\0")
            for key in (own, foreign):
                request = pseudonymizer_pb.EvaluateRequest(key=key, suite=suite, elements=padded)
                self.ask("element", lambda request=request: list(stub.Evaluate(iter([request]))))
        with self.channel("pseudonymizer", "linker-familie") as channel:
            stub = PseudonymisationServiceStub(channel)
            padded = OUTSIDE["conversion"].encode().ljust(32, b"\0")
            for domain in ("source/prisme", f"source/{OUTSIDE['conversion']}"):
                source = types_pb2.KeyRef(domain=domain, kind=types_pb2.KIND_CPR, version=1)
                target = types_pb2.KeyRef(domain="linkage/familie", kind=types_pb2.KIND_CPR)
                request = pseudonymizer_pb.ConvertRequest(**{"from": source, "to": target}, elements=padded)
                self.ask("conversion", lambda request=request: list(stub.Convert(iter([request]))))

    def around_the_messages(self) -> None:
        """Put canaries in method names, metadata, trace context, user agent, authority, TLS and health."""
        state, trace = STRAYS["trace state"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        metadata = (
            (f"x-{STRAYS['metadata']}", STRAYS["metadata"]),
            ("x-cpr-bin", STRAYS["metadata"].encode()),
            ("authorization", f"Bearer {STRAYS['metadata']}"),
            ("x-request-id", STRAYS["metadata"]),
            ("traceparent", trace),
            ("tracestate", f"cpr={state},k{state}=1"),
            ("baggage", f"cpr={STRAYS['baggage']}"),
        )
        options = [
            ("grpc.primary_user_agent", STRAYS["user agent"]),
            ("grpc.default_authority", f"c{OUTSIDE['authority']}.test"),
            ("grpc.ssl_target_name_override", "localhost"),
        ]
        asked = {
            "pseudonymizer": ("source-prisme", "kinlink.pseudonymizer.v1.PseudonymisationService/Evaluate"),
            "linker": ("source-prisme", "kinlink.linker.v1.IntakeService/ListDeliveries"),
        }
        for service, (party, known) in asked.items():
            with self.channel(service, party, options) as channel:
                name = STRAYS["method name"]
                for method in (name, f"{known.partition('/')[0]}/{name}", f"{name}.v1.Service/Get"):
                    call = channel.unary_unary(f"/{method}")
                    body = name.encode()
                    self.ask("method name", lambda call=call, body=body: call(body, metadata=metadata, timeout=20))
                if service == "linker":
                    call = channel.unary_unary(f"/{known}")
                    self.ask("metadata", lambda call=call: call(b"", metadata=metadata, timeout=20))
                    call = channel.unary_unary("/kinlink.linker.v1.LinkageService/StartRun")  # refused
                    self.ask("metadata", lambda call=call: call(b"", metadata=metadata, timeout=20))
                else:
                    stream = channel.stream_stream(f"/{known}")
                    self.ask("metadata", lambda call=stream: list(call(iter([b""]), metadata=metadata, timeout=20)))
                symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol=OUTSIDE["reflection"])
                reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
                self.ask("reflection", lambda reflect=reflect, symbol=symbol: list(reflect(iter([symbol]))))
                check = health_pb2_grpc.HealthStub(channel).Check
                self.ask("health", lambda check=check: check(health_pb2.HealthCheckRequest(service=OUTSIDE["health"])))
            self._dial_badly(self.stack.processes[service].address)

    def ask_tables(self) -> list[str]:
        """Read every released table; return their ids."""
        with self.channel("linker", "consumer-velfaerdsanalyse") as channel:
            statistics = StatisticsServiceStub(channel)
            listed = statistics.ListTables(statistics_service_pb2.ListTablesRequest())
            released = [table.table_id for table in listed.tables if table.periods]
            for table_id in released:
                get = statistics_service_pb2.GetTableRequest(table_id=table_id)
                self.ask("tables", lambda get=get: statistics.GetTable(get))
            self.said.append(("the list of tables", listed.SerializeToString()))
        return released

    def _dial_badly(self, address: str) -> None:
        """Dial without a certificate, without TLS, and with a certificate of another CA."""
        host, _, port = address.rpartition(":")
        anonymous = ssl.create_default_context(cafile=str(self.stack.folder / "certs/ca.pem"))
        anonymous.check_hostname = False
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            try:
                with anonymous.wrap_socket(raw, server_hostname=f"c{OUTSIDE['server name']}.test") as tls:
                    tls.sendall(OUTSIDE["server name"].encode())
                    self.said.append(("dial without a certificate", tls.recv(4096)))
            except OSError as error:  # TLS 1.3 says so at the first read
                self.said.append(("dial without a certificate", repr(error)))
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(f"GET /{OUTSIDE['no TLS']} HTTP/1.1\r\nHost: {OUTSIDE['no TLS']}\r\n\r\n".encode())
            try:
                self.said.append(("dial without TLS", raw.recv(4096)))
            except OSError as error:
                self.said.append(("dial without TLS", repr(error)))
        name = OUTSIDE["foreign certificate"]
        certificates = self.folder / "foreign"
        make_certificates(certificates, [f"source/{name}"])
        certificates.joinpath("ca.pem").write_bytes((self.stack.folder / "certs/ca.pem").read_bytes())
        who = identity(certificates, f"source-{name}")
        parts = who.ca.read_bytes(), who.key.read_bytes(), who.certificate.read_bytes()
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts)) as channel:
            call = channel.unary_unary("/kinlink.linker.v1.IntakeService/ListDeliveries")
            self.ask("foreign certificate", lambda: call(b"", timeout=20))

    def _deliver(self, stub: IntakeServiceStub, road: str, chunk: bytes, **fields: Any) -> None:
        digest = hashlib.sha256(hashlib.sha256(chunk).digest()).digest()
        header = {"delivery_id": str(uuid.uuid4()), "period": "1950", "rows": 1, "chunks": 1, "digest": digest}
        parts = [
            intake_service_pb2.DeliverRequest(header=intake_service_pb2.DeliveryHeader(**{**header, **fields})),
            intake_service_pb2.DeliverRequest(chunk=intake_service_pb2.DeliveryChunk(index=0, arrow_ipc=chunk)),
            intake_service_pb2.DeliverRequest(finish=intake_service_pb2.DeliveryFinish()),
        ]
        self.ask(road, lambda: stub.Deliver(iter(parts)))

    def ask(self, road: str, call: Callable[[], Any]) -> None:
        """Make a call, and keep what came back: the answer, or the error with all that is attached to it."""
        try:
            answer = call()
        except grpc.RpcError as error:
            parts = [error.code(), error.details(), error.debug_error_string(), *(error.initial_metadata() or ())]
            self.said.append((f"{road}: error", "\n".join(map(str, parts))))
            for key, value in error.trailing_metadata() or ():
                whole = value if isinstance(value, bytes) else str(value).encode()
                self.said.append((f"{road}: trailing metadata", str(key).encode() + b"\n" + whole))
        else:
            for message in answer if isinstance(answer, list) else [answer]:
                if isinstance(message, reflection_pb2.ServerReflectionResponse):
                    message.ClearField("original_request")  # the protocol hands the question back
                raw = message if isinstance(message, bytes) else message.SerializeToString()
                self.said.append((f"{road}: answer", raw))

    def _run(self, party: str, *arguments: str | Path) -> int:
        environment = {**self.stack.environment(party), "TMPDIR": str(self.temporary), "KINLINK_DEBUG": "1"}
        ran = subprocess.run(self.stack.command(*arguments), capture_output=True, check=False, env=environment)
        # The name of the file that the caller gave is the caller's own.
        own = f"posteringer_{STRAYS['file name']}".encode()
        for stream, content in (("output", ran.stdout), ("errors", ran.stderr)):
            self.said.append((f"{stream} of {arguments[0]}", content.replace(own, b"")))
        return ran.returncode

    def channel(self, service: str, party: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
        who = identity(self.stack.folder / "certs", party)
        parts = who.ca.read_bytes(), who.key.read_bytes(), who.certificate.read_bytes()
        address = self.stack.processes[service].address
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts), options=list(options))

    def _extract(self, name: str, text: str, encoding: str = "windows-1252") -> Path:
        path = self.folder / name
        path.write_bytes(text.encode(encoding, "replace"))
        return path

    def _mapping(self, name: str, dataset: str, period: str = GIVEN) -> Path:
        """Write a copy of the accounts system's mapping that takes any share of bad rows."""
        text = (MAPPINGS / "prisme.toml").read_text(encoding="utf-8")
        text = text.replace("max_rejected_share = 0.01", "max_rejected_share = 1.0")
        text = text.replace('period = "2014"', f'period = "{period}"')
        text = text.replace("../codes", str(MAPPINGS.parent / "codes"))
        path = self.folder / f"{name}_{dataset}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def _plain(self, dataset: str) -> Path:
        """Write a mapping from columns that are named as the dataset's."""
        iso = ', date = "yyyy-mm-dd"'
        rules = {
            column.name: f'{{ from = "{column.name}"{iso if column.dtype == pl.Date else ""} }}'
            for column in DATASETS[dataset].columns
        }
        if dataset == "persons":
            rules["address"] = '{ from = ["municipality", "address", "address", "district", "district"] }'
        columns = "\n".join(f"{name} = {rule}" for name, rule in rules.items())
        path = self.folder / f"{dataset}.toml"
        head = f'dataset = "{dataset}"\nperiod = "2015-02-01"\nmax_rejected_share = 0.0'
        path.write_text(f'{head}\n[file]\nencoding = "utf-8"\n[columns]\n{columns}\n', encoding="utf-8")
        return path

    def _account(self) -> str:
        """Return an account string of the list that the mapping reads."""
        codes = pl.read_csv(MAPPINGS.parent / "codes/prisme_konto.csv", separator=";", infer_schema=False)
        return f"0000010{codes['code'][0]}"


def _catalogue_chunk(
    *, rename: dict[str, str] | None = None, metadata: dict[str, str] | None = None, **changes: Any
) -> bytes:
    row = {
        "service": "S", "name_da": "x", "department": "SOF", "type": "offer", "area": "special", "counts": True,
        "cost_basis": "posting", "flags": [], "legal_code": None, "valid_from": date(2000, 1, 1), "valid_to": None,
    }  # fmt: skip
    frame = pl.DataFrame([row | changes], schema=DATASETS["catalogue"].schema).rename(rename or {})
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    table = table.replace_schema_metadata(metadata)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
