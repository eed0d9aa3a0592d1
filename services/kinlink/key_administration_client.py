"""Shows and changes keys, under dual control: what custodians, reviewers and the data-protection officer use.

Signs nothing: signatures come from `approvals`, made with a key that stays on the person's machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from kinlink.change_document import Change, ChangeError, KeyVersionName, Signer, SignerRole, parse
from kinlink.errors import InternalError, from_rpc_error
from kinlink.pseudonymizer.v1 import key_administration_service_pb2 as pb
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import KeyAdministrationServiceStub
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1.types_pb2 import KeyRef

_ROLES = {
    pb.SIGNER_ROLE_CUSTODIAN: SignerRole.CUSTODIAN,
    pb.SIGNER_ROLE_REVIEWER: SignerRole.REVIEWER,
}


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """A key version, never the key. `state` in lower case; instants are None where they do not apply."""

    name: KeyVersionName
    state: str
    suite: Suite
    created_at: datetime
    activated_at: datetime | None
    state_since: datetime
    compromised_at: datetime | None
    backups_until: datetime | None
    wrapping_version: str
    check_value: bytes
    rotate_before: datetime | None


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature and when it arrived."""

    signer: str
    signature: bytes
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """A change as it stands. `state`: proposed, approved, applied or expired; `missing`: a sentence, or empty."""

    change: Change
    document: bytes
    state: str
    proposal: Signed
    approvals: Sequence[Signed]
    applied_at: datetime | None
    missing: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A person who signs or signed; `change_id` is empty for the genesis file."""

    signer: Signer
    enrolled_at: datetime
    removed_at: datetime | None
    change_id: str


@dataclass(frozen=True, slots=True)
class Holder:
    """One holder's part in a rotation; the numbers are those attested."""

    name: str
    attested_at: datetime | None
    held: int
    converted: int
    sample_size: int


@dataclass(frozen=True, slots=True)
class Rotation:
    """The replacement of one key version by the next; `state` is where the old one stands."""

    source: KeyVersionName
    target: KeyVersionName
    state: str
    activated_at: datetime | None
    destroyed_at: datetime | None
    holders: Sequence[Holder]
    last_used_at: datetime | None


class KeyAdministrationClient:
    """Asks a pseudonymizer about its keys, and to change them. Every call raises KinlinkError when refused."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel."""
        self._stub = KeyAdministrationServiceStub(channel)

    def keys(self, domain: str = "") -> Sequence[KeyVersion]:
        """Return the key versions that the caller may know of, by domain, kind and version."""
        return [_key(key) for key in _call(self._stub.ListKeys, pb.ListKeysRequest(domain=domain)).keys]

    def generation(self) -> int:
        """Return the key store's generation: it grows with every change, and stands in the anchors."""
        return int(_call(self._stub.ListKeys, pb.ListKeysRequest()).generation)

    def create(self, domain: str, kind: Kind) -> KeyVersion:
        """Make the next version of a key, pending."""
        request = pb.CreateKeyRequest(key=KeyRef(domain=domain, kind=kind.wire))
        return _key(_call(self._stub.CreateKey, request).key)

    def propose(self, document: bytes, signature: bytes) -> Standing:
        """Put a signed change up for approval."""
        request = pb.ProposeChangeRequest(document=document, signature=signature)
        return _standing(_call(self._stub.ProposeChange, request).change)

    def approve(self, change_id: str, signature: bytes) -> Standing:
        """Add the caller's signature to a change."""
        request = pb.ApproveChangeRequest(change_id=change_id, signature=signature)
        return _standing(_call(self._stub.ApproveChange, request).change)

    def apply(self, change_id: str) -> Standing:
        """Make an approved change take effect; harmless when it has."""
        return _standing(_call(self._stub.ApplyChange, pb.ApplyChangeRequest(change_id=change_id)).change)

    def changes(self, change_id: str = "") -> Sequence[Standing]:
        """Return changes, newest first; only the one of `change_id` unless that is empty."""
        answer = _call(self._stub.ListChanges, pb.ListChangesRequest(change_id=change_id))
        return [_standing(change) for change in answer.changes]

    def people(self) -> tuple[Sequence[Enrolment], bytes]:
        """Return the people who sign or signed, by name, and the SHA-256 of the genesis file."""
        answer = _call(self._stub.ListSigners, pb.ListSignersRequest())
        return [_enrolment(signer) for signer in answer.signers], answer.genesis_hash

    def policy(self) -> pb.GetPolicyResponse:
        """Return the policy in force, as it stands on the wire."""
        answer: pb.GetPolicyResponse = _call(self._stub.GetPolicy, pb.GetPolicyRequest())
        return answer

    def rotations(self) -> Sequence[Rotation]:
        """Return the rotations, newest first."""
        answer = _call(self._stub.ListRotations, pb.ListRotationsRequest())
        return [_rotation(rotation) for rotation in answer.rotations]


def _call(method: Callable[[Any], Any], request: Any) -> Any:
    try:
        return method(request)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def _key(key: pb.KeyVersion) -> KeyVersion:
    return KeyVersion(
        _name(key.key),
        _state(key.state),
        Suite.of_wire(key.suite) or Suite.KINLINK_V1,
        _instant(key.created_at),
        _optional(key, "activated_at"),
        _instant(key.state_since),
        _optional(key, "compromised_at"),
        _optional(key, "backups_until"),
        key.wrapping_version,
        key.check_value,
        _optional(key, "rotate_before"),
    )


def _standing(message: pb.Change) -> Standing:
    try:
        change = parse(message.document)
    except ChangeError as error:
        text = f"The service returned a change that is none ({error.field}). Client and service may not fit together."
        raise InternalError(text, "CHANGE_INVALID") from None
    return Standing(
        change,
        message.document,
        pb.ChangeState.Name(message.state).removeprefix("CHANGE_STATE_").lower(),
        _signed(message.proposal),
        [_signed(one) for one in message.approvals],
        _optional(message, "applied_at"),
        message.missing,
    )


def _signed(one: pb.Signature) -> Signed:
    return Signed(one.signer, one.signature, _instant(one.signed_at))


def _enrolment(one: pb.Signer) -> Enrolment:
    role = _ROLES.get(one.role, SignerRole.CUSTODIAN)
    signer = Signer(one.name, role, one.public_key)
    return Enrolment(signer, _instant(one.enrolled_at), _optional(one, "removed_at"), one.change_id)


def _rotation(one: pb.Rotation) -> Rotation:
    return Rotation(
        _name(getattr(one, "from")),  # a word of Python
        _name(one.to),
        _state(one.state),
        _optional(one, "activated_at"),
        _optional(one, "destroyed_at"),
        [
            Holder(each.holder, _optional(each, "attested_at"), each.held, each.converted, each.sample_size)
            for each in one.holders
        ],
        _optional(one, "last_used_at"),
    )


def _name(key: KeyRef) -> KeyVersionName:
    return KeyVersionName(key.domain, Kind.of_wire(key.kind) or Kind.CPR, key.version)


def _state(state: pb.KeyState.ValueType) -> str:
    return pb.KeyState.Name(state).removeprefix("KEY_STATE_").lower()


def _instant(value: Timestamp) -> datetime:
    return value.ToDatetime(UTC)


def _optional(message: Any, field: str) -> datetime | None:
    return _instant(getattr(message, field)) if message.HasField(field) else None
