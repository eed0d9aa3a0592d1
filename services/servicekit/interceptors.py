"""The layers around every handler, outermost first:

request id → span → error mapping → identity → audit → access → handler.

1. Audit stands outside access, so that refusals are logged. An entry is written
   before the (first) answer leaves; a stream that fails later has two entries.
2. RPCs in `audited_per_message` write their own entry per message; this layer
   then writes only refusals and failures that the handler did not write.
3. Health and reflection are logged when refused, not when answered. While the log is
   known to be failing, health is all that is answered: other calls are refused before
   their work is begun, and streams end at their next message.
4. gRPC runs each call, a stream's iteration included, in a context of its own;
   `identity.current_caller()` and the current span hold there.
5. A certificate that is denied or expires while its stream goes on ends it at
   the next message, whichever way that goes.
6. One caller has at most its share of the threads, so that streams it leaves open
   do not shut out the others.
7. An unexpected exception becomes INTERNAL with the request id. The log gets
   its type and place, never its text: that may hold a value.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from sqlalchemy.exc import OperationalError

from servicekit.access import AccessTable
from servicekit.audit import AuditEntry, AuditLog
from servicekit.certificates import Authenticator
from servicekit.errors import DeniedError, ExhaustedError, ServiceError, UnauthenticatedError, UnavailableError
from servicekit.identity import CURRENT, Call, Caller
from servicekit.logs import describe_exception
from servicekit.tracing import server_span

UNAUDITED_SERVICES = (
    "grpc.health.v1.Health/",
    "grpc.reflection.v1alpha.ServerReflection/",
    "grpc.reflection.v1.ServerReflection/",
)
_HEALTH = "grpc.health.v1.Health/"
_FOREVER_S = 10 * 365 * 86_400  # gRPC says "no deadline" with a number of seconds beyond this
_log = structlog.get_logger(__name__)
_Answered = Callable[[], None]


class Layers(grpc.ServerInterceptor):
    """Wraps the handler of every RPC in the layers above."""

    def __init__(
        self,
        authenticator: Authenticator,
        access: AccessTable,
        audit: AuditLog,
        audited_per_message: Collection[str] = (),
        *,
        share: int,
    ) -> None:
        """Use these adapters; `audited_per_message` names RPCs as "package.Service/Method".

        `share` is how many calls of one caller are served at once.
        """
        self._authenticator = authenticator
        self._access = access
        self._audit = audit
        self._audited_per_message = frozenset(audited_per_message)
        self._shares = _Shares(share)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: Any
    ) -> Any:
        """Return the handler, wrapped; None when there is no such RPC."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        rpc = handler_call_details.method.lstrip("/")
        behaviour = next(
            b for b in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream) if b
        )
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        if handler.request_streaming:
            behaviour = self._authenticating(behaviour)
        if getattr(behaviour, "experimental_non_blocking", False):
            wrapped = self._callback(rpc, behaviour)
        elif handler.response_streaming:
            wrapped = self._stream(rpc, behaviour)
        else:
            wrapped = self._unary(rpc, behaviour)
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _unary(self, rpc: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def respond(request: Any, context: grpc.ServicerContext) -> Any:
            with self._layers(rpc, context) as answered:
                response = behaviour(request, context)
                answered()
                return response

        return respond

    def _stream(self, rpc: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def respond(request: Any, context: grpc.ServicerContext) -> Generator[Any]:
            with self._layers(rpc, context) as answered:
                for response in behaviour(request, context):
                    answered()
                    yield response
                    self._authenticate(context)
                answered()

        return lambda request, context: _Closing(respond(request, context))

    def _authenticating(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler of a request stream, so that every message is from a caller who is still one."""

        def checked(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                self._authenticate(context)
                yield request
            if not context.is_active():
                raise TimeoutError  # gRPC may end the messages of a caller who has gone as if they were all

        return lambda requests, context: behaviour(checked(requests, context), context)

    def _callback(self, rpc: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler that answers through a callback and holds no thread: health's Watch."""

        def admit(context: grpc.ServicerContext) -> None:
            with self._layers(rpc, context) as answered:
                answered()

        def respond(request: Any, context: grpc.ServicerContext, callback: Callable[[Any], None]) -> None:
            admit(context)
            behaviour(request, context, callback)

        respond.experimental_non_blocking = True  # type: ignore[attr-defined]
        return respond

    @contextmanager
    def _layers(self, rpc: str, context: grpc.ServicerContext) -> Iterator[_Answered]:
        remaining = context.time_remaining()
        waits = remaining is not None and remaining < _FOREVER_S
        call = Call(rpc, str(uuid.uuid4()), time.monotonic() + remaining if waits else None)
        CURRENT.set(call)
        with ExitStack() as stack:
            stack.enter_context(_logged(call))
            stack.enter_context(server_span(call, context.invocation_metadata()))
            stack.enter_context(_errors_mapped(call, context))
            call_audit = _CallAudit(call, self._audit, rpc in self._audited_per_message)
            stack.enter_context(call_audit.failures_recorded(context))
            call.caller = self._authenticate(context)
            if not rpc.startswith(_HEALTH):
                self._audit.check()
            self._admit(call, call.caller)
            stack.enter_context(self._shares.held(call.caller))
            if not context.is_active():
                raise TimeoutError  # nobody waits for the answer any more: do not begin
            yield call_audit.answered

    def _authenticate(self, context: grpc.ServicerContext) -> Caller:
        pems: Any = context.auth_context().get("x509_pem_cert")
        if not pems:
            raise UnauthenticatedError("a client certificate is needed", "IDENTITY_MISSING")
        return self._authenticator.authenticate(pems[0])

    def _admit(self, call: Call, caller: Caller) -> None:
        rule = self._access.decide(call.rpc, caller)
        if rule is None:
            roles = sorted({each.role for each in self._access.rules(call.rpc)})
            raise DeniedError(
                f"{caller.role}/{caller.name} may not call {call.rpc}",
                "ACCESS_DENIED",
                metadata={"roles": " ".join(roles)},
            )
        call.grant, call.limits = rule.grant, rule.limits


class _Closing:
    """Iterates a generator, and closes it when the iteration is given up."""

    def __init__(self, generator: Generator[Any]) -> None:
        self._generator = generator

    def __iter__(self) -> _Closing:
        return self

    def __next__(self) -> Any:
        return next(self._generator)

    def __del__(self) -> None:
        # gRPC drops the iterator when the caller has gone, on the thread and in the context that iterated it.
        try:
            self._generator.close()
        except Exception as error:  # noqa: BLE001 - the caller has gone; what remains to tell is told to the log
            _log.warning("a stream that was given up did not close", **describe_exception(error))


class _Shares:
    """Counts the calls under way of each caller."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = Counter[str]()
        self._lock = Lock()

    @contextmanager
    def held(self, caller: Caller) -> Iterator[None]:
        with self._lock:
            if self._held[caller.uri] >= self._most:
                message = f"{self._most} calls of this caller are under way; end some first"
                raise ExhaustedError(message, "TOO_MANY_CALLS", metadata={"limit": str(self._most)})
            self._held[caller.uri] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[caller.uri] -= 1


class _CallAudit:
    """The audit entries of one call."""

    def __init__(self, call: Call, log: AuditLog, per_message: bool) -> None:
        self._call = call
        self._log = log
        self._silent = per_message or call.rpc.startswith(UNAUDITED_SERVICES)
        self._written = False

    def answered(self) -> None:
        """Write the entry before the first answer leaves; later, only see that the log is well."""
        if not self._silent and not self._written:
            self._append("ok", "")
        elif not self._call.rpc.startswith(_HEALTH):
            self._log.check()
        self._written = True

    @contextmanager
    def failures_recorded(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Write an entry for a call that ends in an exception, unless the handler has written it."""
        try:
            yield
        except ServiceError as error:
            if not self._call.refusal_recorded and error.reason != "AUDIT_UNAVAILABLE":
                self._append("refused", error.reason)
            raise
        except GeneratorExit:
            self._append("failed", "CANCELLED")
            raise
        except BaseException:
            self._append("failed", "INTERNAL" if context.is_active() else "CANCELLED")
            raise

    def _append(self, outcome: Any, reason: str) -> None:
        call = self._call
        uri = call.caller.uri if call.caller else ""
        facts = {"grant": call.grant, **call.facts}
        self._log.append(AuditEntry(call.rpc, uri, outcome, reason, request_id=call.request_id, **facts))


@contextmanager
def _logged(call: Call) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        caller = f"{call.caller.role}/{call.caller.name}" if call.caller else ""
        if not call.rpc.startswith(UNAUDITED_SERVICES) or call.code:
            _log.info(
                "call",
                rpc=call.rpc,
                caller=caller,
                code=call.code or "OK",
                request_id=call.request_id,
                milliseconds=round(1000 * (time.monotonic() - started), 1),
            )


@contextmanager
def _errors_mapped(call: Call, context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        call.code = error.code
        _abort(context, error, call.request_id)
    except GeneratorExit:
        call.code = "CANCELLED"
        raise
    except OperationalError as error:
        call.code = "UNAVAILABLE"
        _log.error("the state database is away", rpc=call.rpc, request_id=call.request_id, **describe_exception(error))
        away = UnavailableError("the service's database is away; try again later", "DATABASE_UNAVAILABLE")
        _abort(context, away, call.request_id)
    except NotImplementedError:  # raised by generated code for a method that a service leaves out
        call.code = "UNIMPLEMENTED"
        _abort(context, _UnimplementedError("this service does not offer that call"), call.request_id)
    except BaseException as error:  # noqa: BLE001 - nothing unexpected, a panic of polars neither, may pass by
        if not context.is_active():
            call.code = "CANCELLED"  # nobody hears the answer; gRPC has already ended the call
            context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")
        call.code = "INTERNAL"
        _log.error("unexpected exception", rpc=call.rpc, request_id=call.request_id, **describe_exception(error))
        _abort(context, _InternalError("internal error; give the service's operator the request id"), call.request_id)


class _InternalError(ServiceError):
    code = "INTERNAL"


class _UnimplementedError(ServiceError):
    code = "UNIMPLEMENTED"


def _abort(context: grpc.ServicerContext, error: ServiceError, request_id: str) -> None:
    metadata = {**error.metadata, "request_id": request_id}
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=error.reason, domain="kinlink", metadata=metadata)]
    if error.violations:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    packed = [any_pb2.Any() for _ in details]
    for target, detail in zip(packed, details, strict=True):
        target.Pack(detail)
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))
