"""Every layer around a handler, in all four shapes, through a real server with mutual TLS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from kinlink.errors import FieldViolation, InternalError, KinlinkError, RefusedError, UnavailableError, from_rpc_error
from kinlink.linker.v1 import intake_service_pb2 as intake
from kinlink.linker.v1 import intake_service_pb2_grpc as intake_grpc
from kinlink.linker.v1 import statistics_service_pb2 as statistics
from kinlink.linker.v1 import statistics_service_pb2_grpc as statistics_grpc
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymisation
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2_grpc as pseudonymisation_grpc
from servicekit import audit, errors
from servicekit.audit import AuditEntry
from servicekit.identity import current_caller, current_limits, request_id, time_remaining_s
from tests.running import Served

SERVICES = [
    "kinlink.linker.v1.StatisticsService",
    "kinlink.linker.v1.IntakeService",
    "kinlink.pseudonymizer.v1.PseudonymisationService",
]
ACCESS = """
[[allow]]
rpc = ["kinlink.linker.v1.StatisticsService/GetTable", "kinlink.linker.v1.StatisticsService/StreamTable",
       "kinlink.linker.v1.IntakeService/Deliver", "kinlink.pseudonymizer.v1.PseudonymisationService/Evaluate"]
role = "consumer"
limits = { datasets = ["persons"] }
"""
CANARY = "6101800010"
Behaviour = Callable[[], Any]


class Handlers(
    statistics_grpc.StatisticsServiceServicer,
    intake_grpc.IntakeServiceServicer,
    pseudonymisation_grpc.PseudonymisationServiceServicer,
):
    """One handler a shape; what each does is set by the test."""

    def __init__(self, behave: Behaviour, before: int = 0) -> None:
        self.behave = behave
        self.before = before  # answers sent before a stream's behaviour

    def GetTable(self, request: Any, context: Any) -> Any:
        self.behave()
        return statistics.GetTableResponse()

    def StreamTable(self, request: Any, context: Any) -> Iterator[Any]:
        for _ in range(self.before):
            yield statistics.StreamTableResponse(arrow_ipc=b"x")
        self.behave()
        yield statistics.StreamTableResponse(arrow_ipc=b"last")

    def Deliver(self, request_iterator: Iterator[Any], context: Any) -> Any:
        for _ in request_iterator:
            pass
        self.behave()
        return intake.DeliverResponse()

    def Evaluate(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        for number, _ in enumerate(request_iterator):
            if number == self.before:
                self.behave()
            yield pseudonymisation.EvaluateResponse(elements=b"x")

    def register(self, server: grpc.Server) -> None:
        statistics_grpc.add_StatisticsServiceServicer_to_server(self, server)
        intake_grpc.add_IntakeServiceServicer_to_server(self, server)
        pseudonymisation_grpc.add_PseudonymisationServiceServicer_to_server(self, server)


def call(channel: grpc.Channel, shape: str, **options: Any) -> int:
    """Make one call; return the number of answers."""
    match shape:
        case "GetTable":
            statistics_grpc.StatisticsServiceStub(channel).GetTable(statistics.GetTableRequest(), **options)
            return 1
        case "StreamTable":
            stub = statistics_grpc.StatisticsServiceStub(channel)
            return len(list(stub.StreamTable(statistics.StreamTableRequest(), **options)))
        case "Deliver":
            requests = iter([intake.DeliverRequest(), intake.DeliverRequest()])
            intake_grpc.IntakeServiceStub(channel).Deliver(requests, **options)
            return 1
        case _:
            messages = iter([pseudonymisation.EvaluateRequest()] * 3)
            stub = pseudonymisation_grpc.PseudonymisationServiceStub(channel)
            return len(list(stub.Evaluate(messages, **options)))


SHAPES = ("GetTable", "StreamTable", "Deliver", "Evaluate")
Serve = Callable[..., Served]


def refused(served: Served, shape: str, name: str = "consumer-analyse") -> KinlinkError:
    with served.channel(name) as channel, pytest.raises(grpc.RpcError) as caught:
        call(channel, shape)
    return from_rpc_error(caught.value)


@pytest.mark.parametrize("shape", SHAPES)
def test_call_is_audited_once_and_knows_its_caller(serve: Serve, shape: str) -> None:
    seen: list[Any] = []
    handlers = Handlers(lambda: seen.append((current_caller(), current_limits(), request_id())), before=1)
    served = serve(handlers.register, SERVICES, ACCESS)
    with served.channel("consumer-analyse") as channel:
        assert call(channel, shape) > 0
    [(caller, limits, number)] = seen
    assert (caller.role, caller.name) == ("consumer", "analyse")
    assert limits == {"datasets": ["persons"]}
    [entry] = served.audit.entries()
    assert entry["outcome"] == "ok"
    assert entry["caller"] == "spiffe://kinlink.test/consumer/analyse"
    assert entry["grant"] == "consumer/*"
    assert entry["request_id"] == number


@pytest.mark.parametrize("shape", SHAPES)
def test_refusal_carries_reason_request_id_and_violations(serve: Serve, shape: str) -> None:
    def refuse() -> None:
        violation = errors.FieldViolation("elements", "expected a multiple of 32 bytes, at index 7")
        raise errors.InvalidError("elements are malformed", "ELEMENT_MALFORMED", [violation])

    served = serve(Handlers(refuse).register, SERVICES, ACCESS)
    error = refused(served, shape)
    assert error.exit_code == 3
    assert error.reason == "ELEMENT_MALFORMED"
    assert error.violations == (FieldViolation("elements", "expected a multiple of 32 bytes, at index 7"),)
    [entry] = served.audit.entries()
    assert (entry["outcome"], entry["reason"], entry["request_id"]) == ("refused", error.reason, error.request_id)


@pytest.mark.parametrize(("shape", "before"), [*((s, 0) for s in SHAPES), ("StreamTable", 2), ("Evaluate", 2)])
def test_unexpected_exception_leaves_only_a_request_id(
    serve: Serve, shape: str, before: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError(f"cannot parse {CANARY}")

    served = serve(Handlers(fail, before).register, SERVICES, ACCESS)
    with served.channel("consumer-analyse") as channel, pytest.raises(grpc.RpcError) as caught:
        call(channel, shape)
    failed: Any = caught.value
    assert failed.code() is grpc.StatusCode.INTERNAL
    assert CANARY not in repr(failed.details()) + repr(failed.trailing_metadata())
    error = from_rpc_error(failed)
    assert isinstance(error, InternalError)
    served.running.stop(0)
    written = capfd.readouterr()
    assert CANARY not in written.out + written.err
    assert CANARY not in json.dumps(served.audit.entries())
    last = served.audit.entries()[-1]
    assert (last["outcome"], last["reason"], last["request_id"]) == ("failed", "INTERNAL", error.request_id)


class Panic(BaseException):
    """As polars raises it when Rust panics: not an Exception."""


@pytest.mark.parametrize("shape", SHAPES)
def test_panic_in_a_handler_ends_the_call_and_is_audited(serve: Serve, shape: str) -> None:
    def panic() -> None:
        raise Panic(CANARY)

    served = serve(Handlers(panic).register, SERVICES, ACCESS)
    with served.channel("consumer-analyse") as channel, pytest.raises(grpc.RpcError) as caught:
        call(channel, shape, timeout=10)
    failed: Any = caught.value
    assert failed.code() is grpc.StatusCode.INTERNAL
    assert served.audited() == [(shape, "failed", "INTERNAL")]


@pytest.mark.parametrize("shape", SHAPES)
def test_caller_without_a_rule_is_refused_and_audited(serve: Serve, shape: str) -> None:
    reached: list[int] = []
    served = serve(Handlers(lambda: reached.append(1)).register, SERVICES, ACCESS)
    error = refused(served, shape, "source-prisme")
    assert isinstance(error, RefusedError)
    assert error.reason == "ACCESS_DENIED"
    assert error.message.startswith("source/prisme may not do this: it is for a consumer. Use a certificate of such a")
    assert not reached
    assert served.audited() == [(shape, "refused", "ACCESS_DENIED")]


def test_rpc_that_no_rule_names_is_refused(serve: Serve) -> None:
    served = serve(Handlers(lambda: None).register, SERVICES, ACCESS)
    with served.channel("consumer-analyse") as channel, pytest.raises(grpc.RpcError) as caught:
        statistics_grpc.StatisticsServiceStub(channel).ListTables(statistics.ListTablesRequest())
    error = from_rpc_error(caught.value)
    assert error.reason == "ACCESS_DENIED"
    assert error.message.startswith("consumer/analyse may not do this, and nobody may.")


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_answered_while_the_audit_log_cannot_be_written(serve: Serve, shape: str) -> None:
    served = serve(Handlers(lambda: None).register, SERVICES, ACCESS)
    with served.engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries RENAME TO hidden"))
    answers: list[Any] = []
    with served.channel("consumer-analyse") as channel, pytest.raises(grpc.RpcError) as caught:
        answers.append(call(channel, shape))
    error = from_rpc_error(caught.value)
    assert isinstance(error, UnavailableError)
    assert error.reason == "AUDIT_UNAVAILABLE"
    assert not answers


def test_stream_sends_no_message_before_its_entry(serve: Serve) -> None:
    served = serve(Handlers(lambda: None, before=3).register, SERVICES, ACCESS)
    with served.engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries RENAME TO hidden"))
    received = []
    with served.channel("consumer-analyse") as channel:
        stub = statistics_grpc.StatisticsServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            received += list(stub.StreamTable(statistics.StreamTableRequest()))
    assert not received


def test_stream_given_up_by_its_caller_is_audited_as_cancelled(serve: Serve) -> None:
    served = serve(Handlers(lambda: None, before=1_000_000).register, SERVICES, ACCESS)
    with served.channel("consumer-analyse") as channel:
        stream = statistics_grpc.StatisticsServiceStub(channel).StreamTable(statistics.StreamTableRequest())
        next(stream)
        stream.cancel()
    served.running.stop(10)
    assert served.audited() == [("StreamTable", "ok", ""), ("StreamTable", "failed", "CANCELLED")]


def test_broken_upload_is_audited_as_cancelled(serve: Serve) -> None:
    arrived = Event()

    class Counting(Handlers):
        def Deliver(self, request_iterator: Iterator[Any], context: Any) -> Any:
            for _ in request_iterator:
                arrived.set()
            return intake.DeliverResponse()

    served = serve(Counting(lambda: None).register, SERVICES, ACCESS)

    def endless() -> Iterator[Any]:
        while True:
            yield intake.DeliverRequest(chunk=intake.DeliveryChunk(arrow_ipc=b"0" * 1000))

    with served.channel("consumer-analyse") as channel:
        upload = intake_grpc.IntakeServiceStub(channel).Deliver.future(endless())
        assert arrived.wait(10)
        upload.cancel()
    served.running.stop(10)
    assert served.audited() == [("Deliver", "failed", "CANCELLED")]


def test_upload_of_a_certificate_that_is_denied_ends_at_its_next_message(serve: Serve, tmp_path: Path) -> None:
    taken = SimpleQueue[None]()

    class Counting(Handlers):
        def Deliver(self, request_iterator: Iterator[Any], context: Any) -> Any:
            for _ in request_iterator:
                taken.put(None)
            return intake.DeliverResponse()

    (tmp_path / "denied").write_text("")
    served = serve(Counting(lambda: None).register, SERVICES, ACCESS, deny_list=tmp_path / "denied")
    messages = SimpleQueue[Any]()
    with served.channel("consumer-analyse") as channel:
        upload = intake_grpc.IntakeServiceStub(channel).Deliver.future(iter(messages.get, None), timeout=20)
        messages.put(intake.DeliverRequest())
        taken.get(timeout=10)
        (tmp_path / "denied").write_text("spiffe://kinlink.test/consumer/analyse\n")
        messages.put(intake.DeliverRequest())
        messages.put(None)
        error = from_rpc_error(upload.exception())
    assert error.reason == "CERTIFICATE_DENIED"
    assert taken.empty()


@pytest.mark.parametrize("shape", SHAPES)
def test_call_leaves_nothing_on_the_thread_that_served_it(serve: Serve, shape: str) -> None:
    served = serve(Handlers(lambda: None).register, SERVICES, ACCESS, threads=1)
    with served.channel("consumer-analyse") as channel:
        call(channel, shape)
    assert served.running._pool.submit(request_id).result() == ""


def test_handler_describes_what_its_entry_is_about(serve: Serve) -> None:
    describe = lambda: audit.describe(subject="spending_per_family 2014", count=51)  # noqa: E731
    served = serve(Handlers(describe).register, SERVICES, ACCESS)
    with served.channel("consumer-analyse") as channel:
        call(channel, "GetTable")
    [entry] = served.audit.entries()
    assert (entry["subject"], entry["count"]) == ("spending_per_family 2014", 51)


def test_call_audited_per_message_gets_one_entry_a_message_and_one_for_a_refusal(serve: Serve) -> None:
    rpc = "kinlink.pseudonymizer.v1.PseudonymisationService/Evaluate"

    class PerMessage(Handlers):
        def Evaluate(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
            for number, _ in enumerate(request_iterator):
                if number == 2:
                    refusal = AuditEntry(rpc, current_caller().uri, "refused", "BUDGET_DAY", request_id=request_id())
                    served.audit.append(refusal)
                    raise errors.ExhaustedError("over the budget", "BUDGET_DAY")
                served.audit.append(AuditEntry(rpc, current_caller().uri, "ok", request_id=request_id()))
                yield pseudonymisation.EvaluateResponse()

    served = serve(PerMessage(lambda: None).register, SERVICES, ACCESS, audited_per_message=[rpc])
    assert refused(served, "Evaluate").reason == "BUDGET_DAY"
    assert [outcome for _, outcome, _ in served.audited()] == ["ok", "ok", "refused"]
    assert refused(served, "Evaluate", "source-prisme").reason == "ACCESS_DENIED"
    assert served.audited()[3:] == [("Evaluate", "refused", "ACCESS_DENIED")]


@pytest.mark.parametrize("shape", SHAPES)
def test_refusal_of_a_per_message_call_is_written_for_the_handler_that_did_not(serve: Serve, shape: str) -> None:
    def refuse() -> None:
        raise errors.DeniedError("no grant", "GRANT_MISSING")

    rpc = next(line for line in ACCESS.split('"') if line.endswith(f"/{shape}"))
    served = serve(Handlers(refuse).register, SERVICES, ACCESS, audited_per_message=[rpc])
    refused(served, shape)
    assert served.audited() == [(shape, "refused", "GRANT_MISSING")]


def test_handler_knows_how_long_its_caller_waits(serve: Serve) -> None:
    seen: list[float | None] = []
    served = serve(Handlers(lambda: seen.append(time_remaining_s())).register, SERVICES, ACCESS)
    with served.channel("consumer-analyse") as channel:
        call(channel, "GetTable")
        call(channel, "GetTable", timeout=3600)
    assert seen[0] is None
    assert seen[1] is not None
    assert 0 < seen[1] < 4000  # gRPC rounds up on the wire


def test_database_that_is_away_is_said_to_be_away(serve: Serve) -> None:
    def broken() -> None:
        with served.engine.begin() as connection:
            connection.execute(text("SELECT * FROM missing"))

    served = serve(Handlers(broken).register, SERVICES, ACCESS)
    assert refused(served, "Deliver").reason == "DATABASE_UNAVAILABLE"
