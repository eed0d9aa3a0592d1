"""The gRPC door to the keys' administration: proto to values, one use case, values to proto."""

from __future__ import annotations

from datetime import datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from kinlink.change_document import SignerRole
from kinlink.pseudonymizer.v1 import key_administration_service_pb2 as pb
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import KeyAdministrationServiceServicer
from pseudonymizer.changes import ChangeState, Signed, Standing
from pseudonymizer.dual_control import DualControl
from pseudonymizer.key_changes import KeyChanges
from pseudonymizer.key_refs import name_of, ref_of
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.signers import Enrolment
from servicekit.identity import current_caller

SERVICE = "kinlink.pseudonymizer.v1.KeyAdministrationService"
AUDITED_BY_ITSELF = tuple(f"{SERVICE}/{method}" for method in ("ProposeChange", "ApproveChange", "ApplyChange"))
"""RPCs that write their entry in the transaction of what they do."""

_STATES = {
    ChangeState.PROPOSED: pb.CHANGE_STATE_PROPOSED,
    ChangeState.APPROVED: pb.CHANGE_STATE_APPROVED,
    ChangeState.APPLIED: pb.CHANGE_STATE_APPLIED,
    ChangeState.EXPIRED: pb.CHANGE_STATE_EXPIRED,
}
_KEY_STATES = {
    KeyState.PENDING: pb.KEY_STATE_PENDING,
    KeyState.ACTIVE: pb.KEY_STATE_ACTIVE,
    KeyState.RETIRING: pb.KEY_STATE_RETIRING,
    KeyState.DISABLED: pb.KEY_STATE_DISABLED,
    KeyState.DESTROYED: pb.KEY_STATE_DESTROYED,
    KeyState.COMPROMISED: pb.KEY_STATE_COMPROMISED,
}
_ROLES = {SignerRole.CUSTODIAN: pb.SIGNER_ROLE_CUSTODIAN, SignerRole.REVIEWER: pb.SIGNER_ROLE_REVIEWER}


class KeyAdministrationApi(KeyAdministrationServiceServicer):
    """Serves people who look at keys and change them, and holders who attest."""

    def __init__(self, control: DualControl, keys: KeyChanges) -> None:
        """Serve these use cases."""
        self._control = control
        self._keys = keys

    def CreateKey(self, request: pb.CreateKeyRequest, _context: grpc.ServicerContext) -> pb.CreateKeyResponse:
        """See the proto."""
        made = self._keys.create(current_caller(), name_of(request.key, "key"))
        return pb.CreateKeyResponse(key=_key(made))

    def ProposeChange(
        self, request: pb.ProposeChangeRequest, _context: grpc.ServicerContext
    ) -> pb.ProposeChangeResponse:
        """See the proto."""
        standing = self._control.propose(current_caller(), request.document, request.signature)
        return pb.ProposeChangeResponse(change=_change(standing))

    def ApproveChange(
        self, request: pb.ApproveChangeRequest, _context: grpc.ServicerContext
    ) -> pb.ApproveChangeResponse:
        """See the proto."""
        standing = self._control.approve(current_caller(), request.change_id, request.signature)
        return pb.ApproveChangeResponse(change=_change(standing))

    def ApplyChange(self, request: pb.ApplyChangeRequest, _context: grpc.ServicerContext) -> pb.ApplyChangeResponse:
        """See the proto."""
        return pb.ApplyChangeResponse(change=_change(self._control.apply(current_caller(), request.change_id)))

    def ListChanges(self, request: pb.ListChangesRequest, _context: grpc.ServicerContext) -> pb.ListChangesResponse:
        """See the proto."""
        return pb.ListChangesResponse(changes=map(_change, self._control.changes(request.change_id)))

    def ListSigners(self, _request: pb.ListSignersRequest, _context: grpc.ServicerContext) -> pb.ListSignersResponse:
        """See the proto."""
        people, genesis_hash = self._control.people()
        return pb.ListSignersResponse(signers=map(_signer, people), genesis_hash=genesis_hash)


def _key(one: KeyVersionRow) -> pb.KeyVersion:
    return pb.KeyVersion(
        key=ref_of(one.name),
        state=_KEY_STATES[one.state],
        suite=one.suite.wire,
        created_at=_instant(one.created_at),
        activated_at=_instant(one.activated_at),
        state_since=_instant(one.state_since),
        compromised_at=_instant(one.compromised_at),
        wrapping_version=one.wrapping_version,
        check_value=one.check_value,
    )


def _change(one: Standing) -> pb.Change:
    return pb.Change(
        change_id=one.change.change_id,
        document=one.document,
        state=_STATES[one.state],
        proposal=_signature(one.proposal),
        approvals=map(_signature, one.approvals),
        applied_at=_instant(one.applied_at),
        missing=one.missing.sentence if one.missing else "",
    )


def _signature(one: Signed) -> pb.Signature:
    return pb.Signature(signer=one.signer, signature=one.signature, signed_at=_instant(one.signed_at))


def _signer(one: Enrolment) -> pb.Signer:
    return pb.Signer(
        name=one.signer.name,
        role=_ROLES[one.signer.role],
        public_key=one.signer.public_key,
        enrolled_at=_instant(one.enrolled_at),
        removed_at=_instant(one.removed_at),
        change_id=one.change_id,
    )


def _instant(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    found = Timestamp()
    found.FromDatetime(at)
    return found
