"""Who calls, and what the current call may do.

1. A caller is the URI SAN of its certificate: `spiffe://<trust domain>/<role>/<name>`.
2. Another trust domain, an unknown role or an ill-formed name is nobody.
3. The current call lives in a context variable that the interceptors set; it
   holds inside handlers and while a stream's responses are iterated.

Knows no gRPC and no certificate: `certificates` reads those.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from servicekit.errors import UnauthenticatedError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62})")


class Role(StrEnum):
    """What a certificate is for. No role can both hold keys and read data."""

    SOURCE = "source"
    LINKER = "linker"
    CONSUMER = "consumer"
    CUSTODIAN = "custodian"
    REVIEWER = "reviewer"
    DPO = "dpo"
    OPERATOR = "operator"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller; `uri` is the certificate's, `name` for example "prisme"."""

    uri: str
    role: Role
    name: str


def parse_uri(uri: str, trust_domain: str) -> Caller:
    """Read a caller from a URI SAN.

    Raises:
        UnauthenticatedError: the form, the trust domain, the role or the name is not ours.
    """
    scheme, _, rest = uri.partition("://")
    domain, *path = rest.split("/")
    if scheme != "spiffe" or len(path) != 2:
        message = "the certificate's URI must have the form spiffe://<trust domain>/<role>/<name>"
        raise UnauthenticatedError(message, "IDENTITY_MALFORMED")
    if domain != trust_domain:
        raise UnauthenticatedError("the certificate belongs to another trust domain", "TRUST_DOMAIN_UNKNOWN")
    role, name = path
    if role not in list(Role):
        raise UnauthenticatedError("the certificate's role is not one of this deployment's", "ROLE_UNKNOWN")
    if not _NAME.fullmatch(name):
        raise UnauthenticatedError("the certificate's name is ill-formed", "IDENTITY_MALFORMED")
    return Caller(uri, Role(role), name)


@dataclass(slots=True)
class Call:
    """One RPC under way. Filled in by the interceptors, layer by layer."""

    rpc: str
    request_id: str
    deadline: float | None = None  # time.monotonic() at which the caller stops waiting
    caller: Caller | None = None
    grant: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # what the handler adds to its audit entry
    refusal_recorded: bool = False
    code: str = ""


CURRENT: ContextVar[Call] = ContextVar("kinlink_call")


def current_caller() -> Caller:
    """Return the caller of the current RPC.

    Raises:
        UnauthenticatedError: there is no RPC, or nobody was authenticated.
    """
    call = CURRENT.get(None)
    if call is None or call.caller is None:
        raise UnauthenticatedError("no caller was authenticated", "IDENTITY_MISSING")
    return call.caller


def caller_uri() -> str:
    """Return the URI of who made the current RPC, for entries beside the RPC's own; "" outside of one."""
    call = CURRENT.get(None)
    return call.caller.uri if call and call.caller else ""


def current_limits() -> Mapping[str, Any]:
    """Return the limits of the access rule that admitted the current RPC; empty when it has none."""
    call = CURRENT.get(None)
    return call.limits if call else {}


def request_id() -> str:
    """Return the id of the current RPC, a UUID; "" outside of one."""
    call = CURRENT.get(None)
    return call.request_id if call else ""


def time_remaining_s() -> float | None:
    """Return the seconds until the caller stops waiting, at least 0; None when it set no deadline."""
    call = CURRENT.get(None)
    if call is None or call.deadline is None:
        return None
    return max(0.0, call.deadline - time.monotonic())
