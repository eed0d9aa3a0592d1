"""What can go wrong, said so that the reader knows what to do next.

Every error has an exit code for the command line, a stable reason for programs,
and field violations where single fields were at fault. None holds a value of
the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field: its path, and the form expected."""

    field: str
    description: str


class KinlinkError(Exception):
    """Something went wrong; `str()` says what, and what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
        request_id: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Say `message`; `request_id` is the server's, for its operator's logs, `metadata` what programs may use."""
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.request_id = request_id
        self.metadata = dict(metadata)


class InternalError(KinlinkError):
    """A fault of the service or of this library."""


class InputError(KinlinkError):
    """The input is at fault: a file, a mapping, a value."""

    exit_code = 3


class RefusedError(KinlinkError):
    """Access, certificate or policy does not allow it."""

    exit_code = 4


class CertificateExpiredError(RefusedError):
    """This side's own certificate is outside its dates."""


class UnavailableError(KinlinkError):
    """The service, or something it needs, is away; try again."""

    exit_code = 5


class ConflictError(KinlinkError):
    """The state does not allow it: it exists with other content, or not at all."""

    exit_code = 6


class LimitError(KinlinkError):
    """Over a limit: budget, rejects or size."""

    exit_code = 7


_CLASSES: dict[grpc.StatusCode, type[KinlinkError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InputError,
    grpc.StatusCode.OUT_OF_RANGE: InputError,
    grpc.StatusCode.UNAUTHENTICATED: RefusedError,
    grpc.StatusCode.PERMISSION_DENIED: RefusedError,
    grpc.StatusCode.UNIMPLEMENTED: RefusedError,
    grpc.StatusCode.NOT_FOUND: ConflictError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
}

_OPERATOR = "Tell the service's operator."
_AGAIN = "Nothing was stored. Deliver again; if it is refused again, ask the service's operator which versions fit."
_MEND = "Nothing was stored. Mend the extract or its mapping, and deliver again."
_VERSIONS = "Client and service may be of different versions. Ask the service's operator which fit."
_KEYS = "Ask the service's custodians which keys there are."
_CERTIFICATE = "Ask the service's operator for a certificate of this deployment."

NEXT: dict[str, str] = {
    "ACCESS_DENIED": "Use a certificate of such a role, or ask the service's operator for access.",
    "APPROVALS_MISSING": "See `kinlink approvals show` for who has signed.",
    "ATTESTATION_INVALID": _VERSIONS,
    "AUDIT_UNAVAILABLE": "Nothing was done. Try again; if it lasts, tell the service's operator.",
    "BATCH_MALFORMED": _VERSIONS,
    "BATCH_TOO_LARGE": "",
    "BUDGET_DAY": "",
    "BUDGET_UNAVAILABLE": "",
    "BUDGET_YEAR": "",
    "CATALOGUE_CONTRADICTORY": "Mend the catalogue's extract, deliver it again, and start a new run.",
    "CERTIFICATE_DENIED": "",
    "CERTIFICATE_EXPIRED": "",
    "CHANGE_APPLIED": "There is nothing left to approve.",
    "CHANGE_EXPIRED": "",
    "CHANGE_FOR_OTHER_LOG": "Check that kinlink.toml names the service that the change is for, and propose it there.",
    "CHANGE_INVALID": _VERSIONS,
    "CHANGE_NOT_YET": "",
    "CHANGE_REPLAYED": "Nothing was done. If you mean it again, propose it anew.",
    "CHANGE_UNKNOWN": "See `kinlink approvals list` for the ids.",
    "CHECKPOINT_STALE": "",
    "CHUNK_GAP": "",
    "CHUNK_INVALID": _AGAIN,
    "CODE_NOT_REGISTERED": "Register the code, or mend the extract that holds it, and start a new run.",
    "CONTENT_MISMATCH": _AGAIN,
    "DATABASE_UNAVAILABLE": "",
    "DATASET_NOT_ALLOWED": "Check that the mapping and the certificate are of the same source; if they are, ask the "
    "service's operator to allow the dataset.",
    "DELIVERY_BUSY": "",
    "DELIVERY_ID_REUSED": "",
    "DELIVERY_INCOMPLETE": "",
    "DELIVERY_NOT_ACCEPTED": "See `kinlink deliveries list` for the one that stands.",
    "DELIVERY_TOO_LARGE": "",
    "DELIVERY_OPEN": "",
    "DELIVERY_UNKNOWN": "See `kinlink deliveries list` for the ids.",
    "DELIVERY_WITHDRAWN": "",
    "DENY_LIST_UNREADABLE": "",
    "DOMAIN_MISMATCH": "",
    "ELEMENT_INVALID": _VERSIONS,
    "ENCODINGS_HELD": "",
    "FAMILY_TABLE_EXISTS": "",
    "FAMILY_TABLE_NOT_FOUND": "",
    "GRANT_MISSING": "",
    "HEADER_INVALID": _AGAIN,
    "HOLDERS_NOT_DONE": "",
    "HOLDER_UNKNOWN": "Ask the service's custodians which keys are yours to rekey.",
    "IDENTIFIER_INVALID": "Mend the numbers, and ask again.",
    "IDENTITY_MALFORMED": _CERTIFICATE,
    "IDENTITY_MISSING": _CERTIFICATE,
    "KEYS_CHANGING": "",
    "KEY_DOMAIN_NOT_OWN": "Pseudonymise and deliver with one and the same certificate.",
    "KEY_LINE_UNKNOWN": _KEYS,
    "KEY_MISSING": _KEYS,
    "KEY_PENDING_EXISTS": "",
    "KEY_PURPOSE_NOT_OWN": "Check that linker and purpose in kinlink.toml are of one deployment.",
    "KEY_STORE_UNANCHORED": "It took effect. See that the anchors can be written, then repeat it.",
    "KEY_STORE_UNUSABLE": "Nothing was done. Tell the service's operator.",
    "KEY_TRANSITION_REFUSED": "See `kinlink keys list` for where it stands.",
    "KEY_VERSION_CLOSED": "Nothing was stored. Deliver the extract again: it is pseudonymised under the new version.",
    "KEY_VERSION_INACTIVE": "",
    "KEY_VERSION_SET": _VERSIONS,
    "KEY_VERSION_SUPERSEDED": "",
    "KEY_VERSION_UNKNOWN": _KEYS,
    "KEY_VERSION_UNSPECIFIED": _VERSIONS,
    "KIND_MISMATCH": "",
    "KIND_NOT_PLAIN": "",
    "KIND_UNSPECIFIED": _VERSIONS,
    "LOG_FORKED": "Keep both checkpoints, and tell the data-protection officers of both sides.",
    "LOG_KEY_UNKNOWN": "",
    "LOG_UNKNOWN": "",
    "NOTE_INVALID": _VERSIONS,
    "OWN_PROPOSAL": "Ask another custodian and a reviewer.",
    "PERIOD_MISMATCH": "Nothing was stored. Give --period as the extract covers it; under two it would count twice.",
    "PLAIN_DOOR_CLOSED": "",
    "PROOF_MALFORMED": "Both services must be of versions that fit. If they are, tell both data-protection officers.",
    "PROPOSER_REMOVED": "",
    "PSEUDONYMIZER_UNAVAILABLE": "",
    "REASON_IDENTIFIER": "Give a reason that names nobody, such as a case number.",
    "REKEYING_INCOMPLETE": "Rekey what is left, and attest again.",
    "REKEYING_IN_PROGRESS": "",
    "REKEYING_MISMATCH": "",
    "REKEYING_UNKNOWN": "Ask without an id for the newest rekeying.",
    "RELEASE_OVERTAKEN": "",
    "REQUEST_ID_REUSED": "",
    "REQUEST_INVALID": "Mend the request as said, and ask again.",
    "RESTORE_OFFLINE": "",
    "REVIEWER_MISSING": "Ask a reviewer to run `kinlink approvals approve`.",
    "ROLE_UNKNOWN": _CERTIFICATE,
    "ROTATION_UNFINISHED": "",
    "ROWS_INVALID": _MEND,
    "RUN_IN_PROGRESS": "",
    "RUN_UNKNOWN": "Ask without an id for the newest run.",
    "SAMPLE_MISMATCH": "Rekey from the old pseudonyms again, and attest those.",
    "SCHEMA_ID_MALFORMED": "Give the id that the schema itself says, as LinkageSchema.id does.",
    "SCHEMA_UNKNOWN": "Set schema in the mapping to one of them, or install the client of the linker's version.",
    "SERVICE_STOPPING": "Try again when it runs.",
    "SIGNATURE_INVALID": "Check approval_key in kinlink.toml: it must be the one enrolled for this certificate.",
    "SIGNER_CONFLICT": "See `kinlink approvals people`.",
    "SIGNER_NOT_CALLER": "Sign and send with one and the same person's key and certificate.",
    "SIGNER_NOT_CUSTODIAN": "Ask a custodian to propose it.",
    "SIGNER_UNKNOWN": "See `kinlink approvals people`; a custodian proposes to enrol a person.",
    "STORE_IN_USE": "",
    "STORAGE_LOW": "Tell the service's operator, and deliver again when there is room.",
    "STREAM_INVALID": _AGAIN,
    "SUITE_NOT_ALLOWED": "Set suite in kinlink.toml to that one.",
    "SUITE_UNSPECIFIED": _VERSIONS,
    "TABLE_NOT_FOUND": "See `kinlink table list` for the tables and periods there are.",
    "TARGET_GROUP_UNDEFINED": "Tell the service's operator.",
    "TOO_FEW_SIGNERS": "",
    "TOO_MANY_CALLS": "",
    "TOO_MANY_CHANGES": "Put several keys into one change, or ask a colleague.",
    "TOO_MANY_OPEN_DELIVERIES": "",
    "TRUST_DOMAIN_UNKNOWN": _CERTIFICATE,
    "WITNESS_BUSY": "",
    "YEAR_CLOSED": "Nothing is left to do: run a later year. docs/how-to/close-a-year.md says when years close.",
}
"""What to do next, by the reason of a service's refusal; "" where the service's own message says it."""
_ROLES = {
    "consumer": "a consumer",
    "custodian": "a key custodian",
    "dpo": "the data-protection officer",
    "linker": "a linker",
    "operator": "an operator",
    "reviewer": "a reviewer",
    "service": "another service",
    "source": "a source system",
}
# Where gRPC says in its own words whom it could not connect to.
_ADDRESS = re.compile(r"(?:ipv[46]:|DNS resolution failed for )([\w.:\[\]%-]+:\d+)")
_NEXT_BY_CODE: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNIMPLEMENTED: "Client and service are of different versions, or the address is another service's.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "The service did not answer in time. Try again.",
    grpc.StatusCode.CANCELLED: "The call was broken off. Try again.",
}


def from_rpc_error(error: grpc.RpcError) -> KinlinkError:
    """Turn a failed call into one of the errors above."""
    code: grpc.StatusCode = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    text: str = (error.details() or "") if isinstance(error, grpc.Call) else ""
    info, violations = _details(error)
    if not info.reason:
        return _from_transport(code, text)
    is_name = "/" in text.partition(" ")[0]  # a caller's, which stands as it is
    message = (text if is_name else f"{text[:1].upper()}{text[1:]}").rstrip(".") + "."
    if code is grpc.StatusCode.INTERNAL:
        message = f"The service failed; give its operator the request id {info.metadata['request_id']}."
    elif info.reason == "ACCESS_DENIED":
        message = _denied(text.partition(" ")[0], info.metadata["roles"].split())
    advice = "" if code is grpc.StatusCode.INTERNAL else NEXT.get(info.reason, _OPERATOR)
    return _CLASSES.get(code, InternalError)(
        f"{message} {advice}".strip(), info.reason, violations, info.metadata["request_id"], info.metadata
    )


def _denied(caller: str, roles: Sequence[str]) -> str:
    """Say who may do what `caller`, for example "operator/drift", may not."""
    names = [_ROLES.get(role, role) for role in roles]
    if not names:
        return f"{caller} may not do this, and nobody may."
    if caller.partition("/")[0] in roles:
        return f"{caller} may not do this: it is for those only whom the service's access table names."
    *others, last = names
    before = f"{', '.join(others)} or " if others else ""
    return f"{caller} may not do this: it is for {before}{last}."


def _details(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo, tuple[FieldViolation, ...]]:
    info = error_details_pb2.ErrorInfo()
    violations: list[FieldViolation] = []
    try:
        status: status_pb2.Status | None = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    except ValueError:  # details that contradict the status: not one of ours
        status = None
    for detail in status.details if status is not None else []:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            violations += [FieldViolation(v.field, v.description) for v in request.field_violations]
    return info, tuple(violations)


def _from_transport(code: grpc.StatusCode, text: str) -> KinlinkError:
    """Name errors that gRPC itself made, which carry no details of ours."""
    lower = text.lower()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in lower:
        return LimitError("The message is over the service's size limit. Send smaller batches.", "MESSAGE_TOO_LARGE")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return UnavailableError("The service is at its limit of calls. Try again in a while.", "OVERLOADED")
    if code is grpc.StatusCode.UNAVAILABLE:
        found = _ADDRESS.search(text)
        at = f" at {found[1]}" if found else ""
        # So TLS 1.3 shows a client whose certificate the service refuses; but a service that ends closes as well,
        # also in the middle of a handshake.
        if "failed to connect" in lower and any(words in lower for words in ("socket closed", "connection reset")):
            message = (
                f"The service{at} closed the connection while it was made: it does not accept this certificate, or is "
                "starting or stopping. Check that the certificate comes from the service's CA, then try again."
            )
            return UnavailableError(message, "CONNECTION_CLOSED")
        if any(word in lower for word in ("ssl", "tls", "handshake", "certificate")):
            message = (
                "The TLS connection was refused. Check that both certificates come from the same CA, have not "
                "expired, and that the service's certificate names the address dialled."
            )
            return RefusedError(message, "TLS_REFUSED")
        message = (
            f"The service{at} cannot be reached. Check that it runs and that the address is right, then try again."
        )
        return UnavailableError(message, "UNREACHABLE")
    advice = _NEXT_BY_CODE.get(code, _OPERATOR)
    return _CLASSES.get(code, InternalError)(f"The call ended with {code.name}. {advice}", code.name)
