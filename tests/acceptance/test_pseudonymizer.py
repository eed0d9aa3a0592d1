"""The pseudonymizer as its callers meet it: a process of its own, mutual TLS, the real clients."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest

from examples.stack import Stack, StackError
from kinlink import ristretto255
from kinlink.channel import open_channel
from kinlink.conversion_client import ConversionClient
from kinlink.errors import ConflictError, InputError, KinlinkError, LimitError, RefusedError, from_rpc_error
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.pseudonymizer_client import IdentifierError, PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1.types_pb2 import KIND_CPR, KeyRef
from servicekit import database
from servicekit.audit import AuditLog
from tests.running import identity

LINKAGE = KeyRef(domain="linkage/familie", kind=KIND_CPR)
BLIND = "kinlink.pseudonymizer.v1.PseudonymisationService/Evaluate"
PLAIN = "kinlink.pseudonymizer.v1.PseudonymisationService/Pseudonymise"
NUMBERS = [f"6{1 + n % 9}{1 + n // 2_000:02}80{n % 2_000:04}" for n in range(6_000)]


class Wire(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    """Keeps what leaves."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], details: Any, requests: Iterable[Any]
    ) -> Iterator[Any]:
        def kept() -> Iterator[Any]:
            for message in requests:
                self.messages.append(message)
                yield message

        return continuation(details, kept())  # type: ignore[no-any-return]

    def elements(self) -> list[bytes]:
        return [m.elements[start : start + 32] for m in self.messages for start in range(0, len(m.elements), 32)]


class Service:
    """A running pseudonymizer and clients for it."""

    def __init__(self, stack: Stack) -> None:
        self.folder = stack.folder
        self._address = stack.processes["pseudonymizer"].address

    def channel(self, name: str, *interceptors: Any) -> grpc.Channel:
        return open_channel(self._address, identity(self.folder / "certs", name), interceptors)

    def source(self, name: str, *interceptors: Any, **options: Any) -> PseudonymizerClient:
        options = {"domain": f"source/{name}", "suite": Suite.SYNTHETIC, **options}
        return PseudonymizerClient(self.channel(f"source-{name}", *interceptors), **options)

    def linker(self, *interceptors: Any) -> ConversionClient:
        return ConversionClient(self.channel("linker-familie", *interceptors))

    def stub(self, name: str) -> PseudonymisationServiceStub:
        return PseudonymisationServiceStub(self.channel(name))

    def audited(self) -> list[tuple[Any, ...]]:
        """Return (rpc, outcome, reason, domain, kind, key version, count) of every entry, oldest first."""
        columns = ("rpc", "outcome", "reason", "subject", "kind", "key_version", "count")
        engine = database.engine(f"sqlite:///{self.folder}/pseudonymizer/state.db")
        entries = AuditLog(engine).entries()
        engine.dispose()
        return [tuple(entry[column] for column in columns) for entry in entries]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("pseudonymizer")
    stack = Stack(folder, plain_door=["prisme"], budget_per_day={"source/dubu": 100})
    stack.prepare()
    stack.start("pseudonymizer")
    yield Service(stack)
    assert stack.stop("pseudonymizer") == 0


def _refused(call: Callable[[], Any]) -> KinlinkError:
    """Return the error that a call through the raw stub or a client ends with."""
    with pytest.raises((KinlinkError, grpc.RpcError)) as caught:
        call()
    return from_rpc_error(caught.value) if isinstance(caught.value, grpc.RpcError) else caught.value  # type: ignore[return-value]


def _pieces(packed: bytes) -> list[bytes]:
    return [packed[start : start + 32] for start in range(0, len(packed), 32)]


def test_sources_share_nothing_and_meet_in_the_linkage_domain(service: Service) -> None:
    packed = {name: service.source(name).evaluate(NUMBERS, Kind.CPR) for name in ("folkeregister", "prisme")}
    register, prisme = (set(_pieces(elements)) for elements, _ in packed.values())
    assert len(register) == len(prisme) == len(set(NUMBERS))
    assert not register & prisme

    converted = [service.linker().convert(elements, key, LINKAGE) for elements, key in packed.values()]
    assert converted[0] == converted[1]
    assert converted[0][1] == KeyRef(domain="linkage/familie", kind=KIND_CPR, version=1)
    linked = set(_pieces(converted[0][0]))
    assert len(linked) == len(NUMBERS)
    assert not linked & (register | prisme)


def test_the_wire_shows_no_repeats_within_or_across_calls_and_batches_are_big(service: Service) -> None:
    wire = Wire()
    numbers = NUMBERS[:3_000]
    repeated = numbers * 2
    elements, key = service.source("prisme", wire, batch_size=2_048).evaluate(repeated, Kind.CPR)
    again, _ = service.source("prisme", wire, batch_size=2_048).evaluate(repeated, Kind.CPR)
    assert elements == again
    assert elements[: 32 * len(numbers)] == elements[32 * len(numbers) :]
    assert [len(message.elements) // 32 for message in wire.messages] == [2_048, 952] * 2
    sent = wire.elements()
    assert len(set(sent)) == len(sent) == 2 * len(numbers)
    assert not set(sent) & set(_pieces(elements))

    linker_wire = Wire()
    service.linker(linker_wire).convert(elements, key, LINKAGE)
    service.linker(linker_wire).convert(elements, key, LINKAGE)
    sent = linker_wire.elements()
    assert len(set(sent)) == len(sent) == 2 * len(numbers)
    assert not set(sent) & set(_pieces(elements))


def test_a_frame_keeps_its_rows_and_nulls(service: Service) -> None:
    frame = pl.DataFrame({"cpr": ["610180-0010", None, "6201800011", "6101800010"], "amount": [1, 2, 3, 4]})
    result, key = service.source("prisme").pseudonymise(frame, "cpr")
    assert result.schema == {"cpr": pl.Binary, "amount": pl.Int64}
    assert result["amount"].to_list() == [1, 2, 3, 4]
    first, none, other, same = result["cpr"]
    assert none is None
    assert first == same != other
    assert key.version == 1
    expected, _ = service.source("prisme").evaluate(["6101800010"], Kind.CPR)
    assert first == expected


def test_bad_numbers_are_named_by_row_before_anything_is_sent(service: Service) -> None:
    wire = Wire()
    frame = pl.DataFrame({"cpr": ["6101800010", "61018000", None, "610180A010", "61018000"]})
    with pytest.raises(IdentifierError) as caught:
        service.source("prisme", wire).pseudonymise(frame, "cpr")
    assert caught.value.rows == (1, 3, 4)
    assert "61018000" not in str(caught.value)
    assert not wire.messages


def test_nothing_in_gives_nothing_out_and_asks_nobody(service: Service) -> None:
    wire = Wire()
    elements, key = service.source("prisme", wire).evaluate([], Kind.CPR)
    assert (elements, key.domain) == (b"", "source/prisme")
    empty, _ = service.source("prisme", wire).pseudonymise(pl.DataFrame({"cpr": [None]}), "cpr")
    assert empty["cpr"].to_list() == [None]
    assert not wire.messages


def test_the_plain_door_gives_the_same_pseudonyms_where_it_is_open(service: Service) -> None:
    request = pb.PseudonymiseRequest(
        key=KeyRef(domain="source/prisme", kind=KIND_CPR), suite=Suite.SYNTHETIC.wire, identifiers=["610180-0010"] * 2
    )
    (answer,) = service.stub("source-prisme").Pseudonymise(iter([request]))
    blind, _ = service.source("prisme").evaluate(["6101800010"] * 2, Kind.CPR)
    assert answer.elements == blind
    assert service.audited()[-2] == (PLAIN, "ok", "", "source/prisme", "cpr", 1, 2)

    request.key.domain = "source/dubu"
    closed = _refused(lambda: list(service.stub("source-dubu").Pseudonymise(iter([request]))))
    assert (type(closed), closed.reason) == (RefusedError, "GRANT_MISSING")

    request.key.domain = "source/prisme"
    request.identifiers[:] = ["6101800010", "61018000", "610180A010"]
    bad = _refused(lambda: list(service.stub("source-prisme").Pseudonymise(iter([request]))))
    assert (bad.reason, [v.field for v in bad.violations]) == (
        "IDENTIFIER_INVALID",
        ["identifiers[1]", "identifiers[2]"],
    )


def _evaluate(**changes: Any) -> pb.EvaluateRequest:
    element = ristretto255.hash_to_group([b"x"], b"test")
    request = pb.EvaluateRequest(
        key=KeyRef(domain="source/prisme", kind=KIND_CPR), suite=Suite.SYNTHETIC.wire, elements=element
    )
    for name, value in changes.items():
        if name in {"domain", "kind", "version"}:
            setattr(request.key, name, value)
        else:
            setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"domain": "source/folkeregister"}, RefusedError, "GRANT_MISSING"),
        ({"domain": "linkage/familie"}, RefusedError, "GRANT_MISSING"),
        ({"domain": ""}, RefusedError, "GRANT_MISSING"),
        ({"kind": 0}, InputError, "KIND_UNSPECIFIED"),
        ({"kind": 2}, RefusedError, "GRANT_MISSING"),
        ({"version": 2}, ConflictError, "KEY_VERSION_UNKNOWN"),
        ({"suite": 0}, InputError, "SUITE_UNSPECIFIED"),
        ({"suite": Suite.KINLINK_V1.wire}, ConflictError, "SUITE_NOT_ALLOWED"),
        ({"elements": b""}, InputError, "BATCH_MALFORMED"),
        ({"elements": bytes(33)}, InputError, "BATCH_MALFORMED"),
        ({"elements": bytes(32 * 32_769)}, LimitError, "BATCH_TOO_LARGE"),
        ({"elements": bytes(9 * 1024 * 1024)}, LimitError, "MESSAGE_TOO_LARGE"),
    ],
)
def test_each_bad_message_has_its_own_error_and_is_audited(
    service: Service, changes: dict[str, Any], kind: type[KinlinkError], reason: str
) -> None:
    error = _refused(lambda: list(service.stub("source-prisme").Evaluate(iter([_evaluate(**changes)]))))
    assert (type(error), error.reason) == (kind, reason)
    if reason != "MESSAGE_TOO_LARGE":  # that one ends at the sender
        assert service.audited()[-1][:3] == (BLIND, "refused", reason)


def test_bad_elements_are_named_by_index_and_the_message_is_refused_whole(service: Service) -> None:
    good = ristretto255.hash_to_group([b"x", b"y"], b"test")
    request = _evaluate(elements=good + bytes(32) + good + b"\xff" * 32)
    error = _refused(lambda: list(service.stub("source-prisme").Evaluate(iter([request]))))
    assert error.reason == "ELEMENT_INVALID"
    assert [violation.field for violation in error.violations] == ["elements[2]", "elements[5]"]


def test_earlier_messages_of_a_stream_are_answered_when_a_later_one_is_refused(service: Service) -> None:
    answers = service.stub("source-prisme").Evaluate(iter([_evaluate(), _evaluate(elements=bytes(32))]))
    assert len(next(answers).elements) == 32
    assert _refused(lambda: next(answers)).reason == "ELEMENT_INVALID"


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("linker-familie", "Evaluate"),
        ("linker-familie", "Pseudonymise"),
        ("source-prisme", "Convert"),
        *((name, op) for name in ("consumer-velfaerdsanalyse", "dpo-dpo", "custodian-noegle-1", "operator-drift")
          for op in ("Evaluate", "Pseudonymise", "Convert")),
    ],
)  # fmt: skip
def test_a_certificate_of_another_role_is_refused(service: Service, name: str, operation: str) -> None:
    request = {"Evaluate": pb.EvaluateRequest, "Pseudonymise": pb.PseudonymiseRequest, "Convert": pb.ConvertRequest}
    call = getattr(service.stub(name), operation)
    assert _refused(lambda: list(call(iter([request[operation]()])))).reason == "ACCESS_DENIED"


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (("source/prisme", 1, 1), ("source/dubu", 1, 0), "GRANT_MISSING"),
        (("linkage/familie", 1, 1), ("linkage/familie", 1, 0), "GRANT_MISSING"),
        (("linkage/familie", 1, 1), ("source/prisme", 1, 0), "GRANT_MISSING"),
        (("source/prisme", 1, 0), ("linkage/familie", 1, 0), "KEY_VERSION_UNSPECIFIED"),
        (("source/prisme", 1, 9), ("linkage/familie", 1, 0), "KEY_VERSION_UNKNOWN"),
        (("source/prisme", 1, 1), ("linkage/familie", 2, 0), "KIND_MISMATCH"),
    ],
)
def test_conversion_goes_from_a_source_to_linkage_only(
    service: Service, source: tuple[str, Any, int], target: tuple[str, Any, int], reason: str
) -> None:
    keys = [KeyRef(domain=domain, kind=kind, version=version) for domain, kind, version in (source, target)]
    element = ristretto255.hash_to_group([b"x"], b"test")
    assert _refused(lambda: service.linker().convert(element, *keys)).reason == reason


def test_a_message_over_budget_is_refused_whole(service: Service) -> None:
    dubu = service.source("dubu")
    dubu.evaluate(NUMBERS[:90], Kind.CPR)
    error = _refused(lambda: dubu.evaluate(NUMBERS[:11], Kind.CPR))
    assert (type(error), error.reason) == (LimitError, "BUDGET_DAY")
    dubu.evaluate(NUMBERS[:10], Kind.CPR)  # the refused message used nothing
    assert _refused(lambda: dubu.evaluate(NUMBERS[:1], Kind.CPR)).reason == "BUDGET_DAY"
    entries = [e[1:] for e in service.audited() if e[3] == "source/dubu" and e[0] == BLIND]
    assert entries == [
        ("ok", "", "source/dubu", "cpr", 1, 90),
        ("refused", "BUDGET_DAY", "source/dubu", "cpr", 0, 11),  # no key was looked at
        ("ok", "", "source/dubu", "cpr", 1, 10),
        ("refused", "BUDGET_DAY", "source/dubu", "cpr", 0, 1),
    ]


def test_no_identifier_and_no_element_stays_anywhere(service: Service) -> None:
    canary = "7107850010"
    wire = Wire()
    elements, key = service.source("prisme", wire).evaluate([canary], Kind.CPR)
    linkage, _ = service.linker(wire).convert(elements, key, LINKAGE)
    stub = service.stub("source-prisme")
    plain = pb.PseudonymiseRequest(key=_evaluate().key, suite=Suite.SYNTHETIC.wire, identifiers=[canary, canary + "1"])
    _refused(lambda: list(stub.Pseudonymise(iter([plain]))))
    for changes in ({"domain": canary}, {"version": int(canary) % 2**32}, {"elements": canary.encode()}):
        _refused(lambda changes=changes: list(stub.Evaluate(iter([_evaluate(**changes)]))))
    secrets = [canary.encode(), b"710785-0010", str(int(canary) % 2**32).encode()]
    for element in (elements, linkage, *wire.elements()):
        secrets += [element, element.hex().encode(), b64encode(element).rstrip(b"=")]
    files = [path for path in service.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"pseudonymizer.log", "state.db"}
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path


def test_keys_stay_over_a_restart_and_another_key_encryption_key_is_refused(tmp_path: Path) -> None:
    stack, results = Stack(tmp_path), []
    stack.prepare()
    for _ in range(2):
        stack.start("pseudonymizer")
        results.append(Service(stack).source("prisme").evaluate(NUMBERS[:3], Kind.CPR))
        stack.stop("pseudonymizer")
    assert results[0] == results[1]

    (tmp_path / "pseudonymizer/kek.key").write_bytes(b64encode(bytes(32)))
    with pytest.raises(StackError, match=r"keys are sealed under another key-encryption key, .*; use that one") as said:
        stack.start("pseudonymizer")
    assert "Traceback" not in str(said.value)
