"""A server's outside: TLS, health, reflection, limits, and how it starts and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import text

from kinlink.channel import open_channel
from kinlink.dev_certificates import make_certificates
from kinlink.errors import LimitError, RefusedError, UnavailableError, from_rpc_error
from kinlink.linker.v1 import statistics_service_pb2 as statistics
from kinlink.linker.v1 import statistics_service_pb2_grpc as statistics_grpc
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymisation
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2_grpc as pseudonymisation_grpc
from servicekit import server
from tests.running import Served, identity

SERVICE = "kinlink.linker.v1.StatisticsService"
EVALUATE = "kinlink.pseudonymizer.v1.PseudonymisationService"
ACCESS = f"""
[[allow]]
rpc = ["{SERVICE}/ListTables", "{SERVICE}/GetTable"]
role = "consumer"
[[allow]]
rpc = "{EVALUATE}/Evaluate"
role = "consumer"
"""
Serve = Callable[..., Served]


class Tables(statistics_grpc.StatisticsServiceServicer):
    def __init__(self) -> None:
        self.entered, self.leave = Event(), Event()

    def ListTables(self, request: Any, context: Any) -> Any:
        return statistics.ListTablesResponse()

    def GetTable(self, request: Any, context: Any) -> Any:
        self.entered.set()
        assert self.leave.wait(60)
        return statistics.GetTableResponse()


class Doors(pseudonymisation_grpc.PseudonymisationServiceServicer):
    def Evaluate(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        for _ in request_iterator:
            yield pseudonymisation.EvaluateResponse()


def register(tables: Tables) -> Callable[[grpc.Server], None]:
    def add(target: grpc.Server) -> None:
        statistics_grpc.add_StatisticsServiceServicer_to_server(tables, target)
        pseudonymisation_grpc.add_PseudonymisationServiceServicer_to_server(Doors(), target)

    return add


@pytest.fixture
def tables() -> Iterator[Tables]:
    made = Tables()
    yield made
    made.leave.set()


@pytest.fixture
def served(serve: Serve, tables: Tables, tmp_path: Path) -> Served:
    (tmp_path / "denied").write_text("")
    return serve(
        register(tables), [SERVICE, EVALUATE], ACCESS, deny_list=tmp_path / "denied", threads=1, max_message_bytes=65536
    )


def list_tables(channel: grpc.Channel, **options: Any) -> Any:
    return statistics_grpc.StatisticsServiceStub(channel).ListTables(statistics.ListTablesRequest(), **options)


def failure(channel: grpc.Channel) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        list_tables(channel)
    return from_rpc_error(caught.value)


# ---- TLS and identity


def test_client_without_a_certificate_gets_no_connection(served: Served) -> None:
    credentials = grpc.ssl_channel_credentials((served.certificates / "ca.pem").read_bytes())
    with grpc.secure_channel(served.running.address, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
        list_tables(channel)
    refusal: Any = caught.value
    assert refusal.code() is grpc.StatusCode.UNAVAILABLE
    assert not served.audited()


def test_client_without_tls_gets_no_connection(served: Served) -> None:
    with grpc.insecure_channel(served.running.address) as channel, pytest.raises(grpc.RpcError):
        list_tables(channel)


def unchecked_channel(served: Served, name: str, certificates: Path) -> grpc.Channel:
    """Open a channel without the client's own check of dates."""
    who = identity(certificates, name)
    ours = (served.certificates / "ca.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(ours, who.key.read_bytes(), who.certificate.read_bytes())
    return grpc.secure_channel(served.running.address, credentials)


def test_certificate_of_another_ca_gets_no_connection(served: Served, tmp_path: Path) -> None:
    make_certificates(tmp_path / "others", ["consumer/analyse"])
    with unchecked_channel(served, "consumer-analyse", tmp_path / "others") as channel:
        assert isinstance(failure(channel), RefusedError | UnavailableError)
    assert not served.audited()


def test_expired_certificate_gets_no_connection(serve: Serve, tables: Tables, tmp_path: Path) -> None:
    """The CA and the service are sound, so it is the client's date that TLS refuses."""
    certificates = tmp_path / "certificates"
    make_certificates(certificates, ["consumer/old"], expired=["consumer/old"])
    served = serve(register(tables), [SERVICE, EVALUATE], ACCESS, certificates=certificates)
    with unchecked_channel(served, "consumer-old", certificates) as channel:
        failure(channel)
    assert not served.audited()


@pytest.mark.parametrize(
    "line", ["spiffe://kinlink.test/consumer/analyse  # x", "{serial:x}", "{serial:X}", "00{serial:x}"]
)
def test_denied_certificate_is_refused_at_the_next_call(served: Served, line: str) -> None:
    certificate = x509.load_pem_x509_certificate((served.certificates / "consumer-analyse.pem").read_bytes())
    with served.channel("consumer-analyse") as channel:
        list_tables(channel)
        (served.folder.parent / "denied").write_text(f"# revoked\n{line.format(serial=certificate.serial_number)}\n")
        assert failure(channel).reason == "CERTIFICATE_DENIED"
        (served.folder.parent / "denied").write_text("")
        list_tables(channel)
    assert [reason for _, _, reason in served.audited()] == ["", "CERTIFICATE_DENIED", ""]


def test_stream_of_a_certificate_that_is_denied_ends_at_the_next_answer(served: Served) -> None:
    with served.channel("consumer-analyse") as channel:
        messages = SimpleQueue[Any]()
        stub = pseudonymisation_grpc.PseudonymisationServiceStub(channel)
        answers = stub.Evaluate(iter(messages.get, None), timeout=20)
        for _ in range(2):
            messages.put(pseudonymisation.EvaluateRequest())
            next(answers)
        (served.folder.parent / "denied").write_text("spiffe://kinlink.test/consumer/analyse\n")
        messages.put(pseudonymisation.EvaluateRequest())
        messages.put(None)
        with pytest.raises(grpc.RpcError) as caught:
            list(answers)
    assert from_rpc_error(caught.value).reason == "CERTIFICATE_DENIED"


def test_everybody_is_refused_while_the_deny_list_cannot_be_read(served: Served) -> None:
    (served.folder.parent / "denied").unlink()
    with served.channel("consumer-analyse") as channel:
        assert failure(channel).reason == "DENY_LIST_UNREADABLE"


def test_role_and_trust_domain_that_are_not_ours_are_refused(serve: Serve, tables: Tables, tmp_path: Path) -> None:
    make_certificates(tmp_path / "certificates", ["mayor/anna", "consumer/analyse"])
    served = serve(register(tables), [SERVICE, EVALUATE], ACCESS, certificates=tmp_path / "certificates")
    with served.channel("mayor-anna") as channel:
        assert failure(channel).reason == "ROLE_UNKNOWN"
    elsewhere = serve(
        register(tables), [SERVICE, EVALUATE], ACCESS, certificates=tmp_path / "certificates", trust_domain="other.test"
    )
    with elsewhere.channel("consumer-analyse") as channel:
        assert failure(channel).reason == "TRUST_DOMAIN_UNKNOWN"


def test_server_certificate_is_read_again_when_it_is_renewed(serve: Serve, tables: Tables, tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    make_certificates(certificates, ["consumer/analyse"])
    served = serve(register(tables), [SERVICE, EVALUATE], ACCESS, certificates=certificates)
    with served.channel("consumer-analyse") as channel:
        list_tables(channel)
    make_certificates(certificates, ["consumer/analyse"])  # another CA: the old server certificate would be refused
    with served.channel("consumer-analyse") as channel:
        list_tables(channel)


# ---- health and reflection


def health_of(channel: grpc.Channel, service: str = "") -> str:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_health_answers_for_each_service_and_overall_and_is_not_audited(served: Served) -> None:
    with served.channel("operator-drift") as channel:
        assert {health_of(channel, name) for name in ("", SERVICE, EVALUATE)} == {"SERVING"}
    with served.channel("source-prisme") as channel, pytest.raises(grpc.RpcError):
        health_of(channel)
    assert served.audited() == [("Check", "refused", "ACCESS_DENIED")]


def test_health_turns_with_the_audit_log_and_back(serve: Serve, tables: Tables) -> None:
    served = serve(register(tables), [SERVICE, EVALUATE], ACCESS, health_listen="127.0.0.1:0")
    with (
        served.channel("consumer-analyse") as channel,
        grpc.insecure_channel(served.running.health_address) as probe,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        with served.engine.begin() as connection:
            connection.execute(text("ALTER TABLE audit_entries RENAME TO hidden"))
        assert failure(channel).reason == "AUDIT_UNAVAILABLE"
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert health_of(channel) == health_of(probe) == "NOT_SERVING"
        with served.engine.begin() as connection:
            connection.execute(text("ALTER TABLE hidden RENAME TO audit_entries"))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        assert health_of(probe) == "SERVING"
        list_tables(channel)
    assert [reason for _, _, reason in served.audited()] == ["AUDIT_RESUMED", ""]


def test_plain_health_port_serves_nothing_else(serve: Serve, tables: Tables) -> None:
    served = serve(register(tables), [SERVICE, EVALUATE], ACCESS, health_listen="127.0.0.1:0")
    with grpc.insecure_channel(served.running.health_address) as probe, pytest.raises(grpc.RpcError) as caught:
        list_tables(probe)
    refusal: Any = caught.value
    assert refusal.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_lists_and_describes_services_to_grpcurl(serve: Serve, tables: Tables) -> None:
    served = serve(register(tables), [SERVICE, EVALUATE], ACCESS)
    tool = Path(sys.executable).parent / "grpcurl"
    who = identity(served.certificates, "operator-drift")
    tls = ["-cacert", who.ca, "-cert", who.certificate, "-key", who.key]
    run = lambda *words: subprocess.run([tool, *tls, *words], capture_output=True, text=True, check=False)  # noqa: E731
    listed = run(served.running.address, "list")
    assert {SERVICE, EVALUATE, "grpc.health.v1.Health"} <= set(listed.stdout.split()), listed.stderr
    described = run(served.running.address, "describe", SERVICE)
    assert "GetTableRequest" in described.stdout, described.stderr
    checked = run("-d", json.dumps({"service": SERVICE}), served.running.address, "grpc.health.v1.Health/Check")
    assert json.loads(checked.stdout) == {"status": "SERVING"}, checked.stderr


# ---- limits


def test_more_calls_than_threads_and_as_many_waiting_are_shed(served: Served, tables: Tables) -> None:
    stub = statistics_grpc.StatisticsServiceStub
    with served.channel("consumer-analyse") as channel:
        held = [stub(channel).GetTable.future(statistics.GetTableRequest()) for _ in range(2)]
        assert tables.entered.wait(10)
        error = UnavailableError("")
        while error.reason != "OVERLOADED":  # until both held calls have arrived
            error = failure_or_none(channel) or error
        assert error.exit_code == 5
        tables.leave.set()
        for call in held:
            call.result()
        list_tables(channel)


def test_one_caller_holds_at_most_half_of_the_threads(serve: Serve, tables: Tables, tmp_path: Path) -> None:
    make_certificates(tmp_path / "two", ["consumer/analyse", "consumer/other"])
    served = serve(register(tables), [SERVICE, EVALUATE], ACCESS, threads=4, certificates=tmp_path / "two")
    with served.channel("consumer-analyse") as greedy, served.channel("consumer-other") as other:
        stub = statistics_grpc.StatisticsServiceStub(greedy)
        ended = SimpleQueue[Any]()
        for _ in range(6):
            stub.GetTable.future(statistics.GetTableRequest()).add_done_callback(ended.put)
        refused = [from_rpc_error(ended.get(timeout=10).exception()) for _ in range(4)]
        assert {error.reason for error in refused} == {"TOO_MANY_CALLS"}
        list_tables(other, timeout=10)
        tables.leave.set()
        assert [ended.get(timeout=10).exception() for _ in range(2)] == [None, None]
        list_tables(greedy)


def failure_or_none(channel: grpc.Channel) -> Any:
    try:
        list_tables(channel, timeout=0.2)
    except grpc.RpcError as error:
        return from_rpc_error(error)
    return None


def test_call_whose_deadline_passed_in_the_queue_is_not_begun(served: Served, tables: Tables) -> None:
    """One thread, held: the second call waits past its deadline."""
    with served.channel("consumer-analyse") as channel:
        stub = statistics_grpc.StatisticsServiceStub(channel)
        held = stub.GetTable.future(statistics.GetTableRequest())
        assert tables.entered.wait(10)
        with pytest.raises(grpc.RpcError) as caught:
            list_tables(channel, timeout=0.2)
        late: Any = caught.value
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        tables.leave.set()
        held.result()
    served.running.stop(10)
    assert served.audited() == [("GetTable", "ok", "")]


def test_message_over_the_limit_says_so_in_a_single_call_and_in_a_stream(served: Served) -> None:
    with served.channel("consumer-analyse") as channel:
        request = statistics.GetTableRequest(table_id="x" * 70_000)
        with pytest.raises(grpc.RpcError) as caught:
            statistics_grpc.StatisticsServiceStub(channel).GetTable(request)
        single = from_rpc_error(caught.value)
        message = pseudonymisation.EvaluateRequest(elements=bytes(70_000))
        with pytest.raises(grpc.RpcError) as caught:
            list(pseudonymisation_grpc.PseudonymisationServiceStub(channel).Evaluate(iter([message])))
        stream = from_rpc_error(caught.value)
    for error in (single, stream):
        assert isinstance(error, LimitError)
        assert error.reason == "MESSAGE_TOO_LARGE"


def test_access_table_that_names_an_unknown_rpc_stops_the_start(serve: Serve, tables: Tables) -> None:
    with pytest.raises(server.ServerError, match="StatisticsService/GetTabel"):
        serve(register(tables), [SERVICE], f'[[allow]]\nrpc="{SERVICE}/GetTabel"\nrole="consumer"\n')


def test_address_that_is_taken_stops_the_start(served: Served, serve: Serve, tables: Tables) -> None:
    with pytest.raises(server.ServerError, match="is it taken"):
        serve(register(tables), [SERVICE, EVALUATE], ACCESS, listen=served.running.address)


# ---- the whole process

PROGRAM = """
    import sys, time
    from pathlib import Path
    from kinlink.linker.v1 import statistics_service_pb2 as pb, statistics_service_pb2_grpc as stubs
    from servicekit import database, server, telemetry
    from servicekit.access import AccessTable
    from servicekit.audit import AuditLog
    from servicekit.settings import ServerSettings

    class Tables(stubs.StatisticsServiceServicer):
        def GetTable(self, request, context):
            sys.stdout.write("entered\\n"); sys.stdout.flush()
            sys.stdin.readline()
            return pb.GetTableResponse()

    folder = Path(sys.argv[1])
    settings = ServerSettings.load(folder / "settings.toml")
    telemetry.setup(settings, "linker")
    engine = database.engine(settings.database_url)
    database.migrate(engine, "servicekit")
    server.run(
        settings, lambda s: stubs.add_StatisticsServiceServicer_to_server(Tables(), s),
        ["kinlink.linker.v1.StatisticsService"], AccessTable.load(folder / "access.toml"), AuditLog(engine),
        stopping=lambda: (sys.stdout.write("stopping\\n"), sys.stdout.flush()),
    )
"""


@pytest.fixture
def process(tmp_path: Path, certificates: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "access.toml").write_text(f'[[allow]]\nrpc="{SERVICE}/GetTable"\nrole="consumer"\n')
    lines = {
        "certificate": certificates / "service-linker.pem",
        "key": certificates / "service-linker.key",
        "ca": certificates / "ca.pem",
        "trust_domain": "kinlink.test",
        "database_url": "sqlite:///state.db",
    }
    (tmp_path / "settings.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()))
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    running = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(server.__file__).parents[1])},
    )
    yield running
    running.kill()
    running.communicate()


def test_sigterm_lets_calls_under_way_end_and_refuses_new_ones(
    process: subprocess.Popen[str], certificates: Path
) -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    line = process.stdout.readline()
    assert line.startswith("ready "), process.communicate()[1]
    address = line.split()[1]
    with open_channel(address, identity(certificates, "consumer-analyse")) as channel:
        stub = statistics_grpc.StatisticsServiceStub(channel)
        under_way = stub.GetTable.future(statistics.GetTableRequest())
        assert process.stdout.readline() == "entered\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.stdin.write("go on\n")
        process.stdin.flush()
        under_way.result()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith("{")]
    assert events == ["serving", "stopping", "call"]
    with open_channel(address, identity(certificates, "consumer-analyse")) as channel:
        assert failure(channel).reason == "UNREACHABLE"
