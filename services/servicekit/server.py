"""Runs a gRPC server: mutual TLS, the layers, health, reflection, and an orderly end.

1. No client certificate, no connection. The server's own certificate is read
   again when its file changes, so short-lived ones can be renewed in place.
2. More calls than threads and as many waiting: RESOURCE_EXHAUSTED at once. One
   caller has at most half of the threads.
3. SIGTERM and SIGINT: health turns NOT_SERVING, new calls are refused, calls
   under way get `drain_s`.
4. While the audit log cannot be written nothing but health is answered, and
   that is NOT_SERVING; those who run or review the service get the cause in its
   trailing metadata (`kinlink-cause`). It turns back once an entry that says so
   was written. Health of `ANCHORS` says whether the log's second places take its checkpoints.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servicekit import telemetry
from servicekit.access import AccessTable
from servicekit.audit import AuditEntry, AuditLog
from servicekit.certificates import Authenticator, DenyList
from servicekit.errors import UnavailableError
from servicekit.identity import CURRENT, Role
from servicekit.interceptors import Layers
from servicekit.settings import ServerSettings
from servicekit.stop_signal import StopSignal

_log = structlog.get_logger(__name__)
_AUDIT_RETRY_S = 1.0
ANCHORS = "kinlink.audit.anchors"
_TOLD_THE_CAUSE = frozenset((Role.OPERATOR, Role.DPO, Role.CUSTODIAN, Role.REVIEWER, Role.SERVICE))


class ServerError(Exception):
    """The server cannot start; says what to change."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers at `address`."""

    address: str
    health_address: str
    _servers: tuple[grpc.Server, ...]
    _pool: ThreadPoolExecutor
    _health: _Health

    def look(self) -> None:
        """Let health say anew how things stand."""
        self._health.look()

    def leave(self) -> None:
        """Let health say NOT_SERVING from now on; calls are still taken."""
        self._health.leave()

    def stop(self, grace_s: float) -> None:
        """Stop taking calls, let those under way end for `grace_s`, then cut them off.

        Returns when every handler has returned, so that all entries are written.
        """
        self.leave()
        for ended in [server.stop(grace_s) for server in self._servers]:
            ended.wait()
        self._pool.shutdown()


def rpcs_of(services: Sequence[str]) -> tuple[str, ...]:
    """Return the RPCs of services by their full names, as "package.Service/Method"."""
    pool = descriptor_pool.Default()
    found = []
    for name in services:
        service = pool.FindServiceByName(name)
        found += [f"{name}/{method.name}" for method in service.methods]
    return tuple(found)


INFRASTRUCTURE = (health.SERVICE_NAME, reflection.SERVICE_NAME)


def start(
    settings: ServerSettings,
    register: Callable[[grpc.Server], None],
    services: Sequence[str],
    access: AccessTable,
    audit: AuditLog,
    audited_per_message: Collection[str] = (),
    ready: Callable[[], None] = lambda: None,
    failing: Callable[[], str] = lambda: "",
) -> RunningServer:
    """Start a server: bind, call `ready`, then take calls and let health say SERVING, unless `failing` says why not.

    Raises:
        ServerError: a rule of the access table names an RPC that does not exist; the address is taken; the
            certificates cannot be read.
    """
    known = {*rpcs_of((*services, *INFRASTRUCTURE))}
    if unknown := (access.rpcs | set(audited_per_message)) - known:
        raise ServerError(f"the access table names RPCs that do not exist: {', '.join(sorted(unknown))}")
    authenticator = Authenticator(settings.trust_domain, DenyList(settings.deny_list))
    pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="rpc")
    server = grpc.server(
        pool,
        interceptors=[Layers(authenticator, access, audit, audited_per_message, share=max(1, settings.threads // 2))],
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", 60_000),  # a caller that vanished holds a thread until this finds it out
            ("grpc.keepalive_timeout_ms", 20_000),
        ],
        maximum_concurrent_rpcs=2 * settings.threads,
    )
    register(server)
    state = _Health(services, audit, failing)
    health_pb2_grpc.add_HealthServicer_to_server(state.servicer, server)
    reflection.enable_server_reflection((*services, *INFRASTRUCTURE), server)
    address = _bind(settings.listen, lambda at: server.add_secure_port(at, _credentials(settings)))
    servers = [server]
    health_address = ""
    if settings.health_listen:
        probe = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(state.servicer, probe)
        health_address = _bind(settings.health_listen, probe.add_insecure_port)
        probe.start()
        servers.append(probe)
    ready()
    server.start()
    state.enter()
    return RunningServer(address, health_address, tuple(servers), pool, state)


def run(
    settings: ServerSettings,
    register: Callable[[grpc.Server], None],
    services: Sequence[str],
    access: AccessTable,
    audit: AuditLog,
    audited_per_message: Collection[str] = (),
    ready: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
    failing: Callable[[], str] = lambda: "",
) -> None:
    """Serve until SIGTERM or SIGINT; call from the main thread.

    `ready` runs once the address is bound and before calls are taken: end the
    start-up there. `stopping` runs when the signal has come, before calls are
    drained: tell background work, and handlers that wait for it, to end. Prints
    `ready <address>`.

    Raises:
        ServerError: as `start` does.
    """
    stop = StopSignal()
    server = start(settings, register, services, access, audit, audited_per_message, ready, failing)
    _log.info("serving", address=server.address)
    sys.stdout.write(f"ready {server.address}\n")
    sys.stdout.flush()
    while not stop.wait(1.0):
        server.look()
    _log.info("stopping", drain_s=settings.drain_s)
    server.leave()
    stopping()
    server.stop(settings.drain_s)
    telemetry.flush()


def _bind(address: str, add: Callable[[str], int]) -> str:
    try:
        port = add(address)
    except RuntimeError as error:
        message = f"{address} cannot be listened on; is it taken, or are key and certificate not of one pair?"
        raise ServerError(message) from error
    return f"{address.rpartition(':')[0]}:{port}"


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    """Read certificate, key and CA; read them again at a handshake after a file has changed."""
    files = (settings.certificate, settings.key, settings.ca)

    def stamps() -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in files)

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, ca = (file.read_bytes() for file in files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=ca)

    seen: list[tuple[int, ...]] = []

    def fetch() -> Any:
        try:
            current = stamps()
            if seen == [current]:
                return None
            fresh = configuration()
        except OSError as error:
            _log.error("the certificate cannot be read again", error=type(error).__name__)
            return None
        seen[:] = [current]
        return fresh

    try:
        seen.append(stamps())
        first = configuration()
        for file in (settings.certificate, settings.ca):
            x509.load_pem_x509_certificates(file.read_bytes())
        load_pem_private_key(settings.key.read_bytes(), password=None)
    except OSError as error:
        raise ServerError(f"certificate, key or ca cannot be read: {error.filename}") from error
    except (ValueError, TypeError) as error:
        raise ServerError("certificate, key and ca must be PEM, the key without a passphrase") from error
    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)


class _Servicer(health.HealthServicer):  # type: ignore[misc]  # untyped
    """Answers a check, and whoever runs or reviews the service with the cause beside it: that names places and keys."""

    def __init__(self, cause: Callable[[], str]) -> None:
        super().__init__()
        self._cause = cause

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's
        call = CURRENT.get(None)
        role = call.caller.role if call and call.caller else None  # none: a probe without TLS
        if role in _TOLD_THE_CAUSE and (cause := self._cause()):
            context.set_trailing_metadata((("kinlink-cause", cause.encode("ascii", "replace").decode()),))
        return super().Check(request, context)


class _Health:
    """Says SERVING for every service and overall while the server is open, and nothing says why it should not."""

    def __init__(self, services: Sequence[str], audit: AuditLog, failing: Callable[[], str]) -> None:
        self._failing: Callable[[], str] = lambda: audit.failing or failing()
        self.servicer = _Servicer(self._failing)
        self._names = ("", *services)
        self._audit = audit
        self._lock = Lock()
        self._open = False
        self._recovering = False
        self._told: dict[str, Any] = {}
        self._left = Event()
        audit.on_failure = self._audit_failed
        audit.on_anchored = self._anchored
        self._publish()

    def enter(self) -> None:
        with self._lock:
            self._open = True
            self._publish()
        if self._audit.failing:  # since before anybody was told of it
            self._audit_failed()

    def look(self) -> None:
        """Say anew how things stand."""
        with self._lock:
            self._publish()

    def leave(self) -> None:
        self._left.set()
        self.servicer.enter_graceful_shutdown()

    def _publish(self) -> None:
        serving = self._open and not self._failing()
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        told = dict.fromkeys(self._names, status)
        well = self._audit.anchored
        told[ANCHORS] = health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in told:
            if self._told.get(name) != told[name]:  # who watches is told of changes
                self.servicer.set(name, told[name])
        self._told = told

    def _anchored(self) -> None:
        with self._lock:
            self._publish()

    def _audit_failed(self) -> None:
        with self._lock:
            self._publish()
            if self._recovering:
                return
            self._recovering = True
        Thread(target=self._await_audit, name="audit-recovery", daemon=True).start()

    def _await_audit(self) -> None:
        while not self._left.wait(_AUDIT_RETRY_S):
            try:
                self._audit.append(AuditEntry("audit", "", "ok", "AUDIT_RESUMED"))
            except UnavailableError:
                continue
            with self._lock:
                if self._audit.failing:  # again, meanwhile
                    continue
                self._recovering = False
                self._publish()
            _log.info("audit log can be written again")
            return
