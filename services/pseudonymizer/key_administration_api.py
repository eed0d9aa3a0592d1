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
from pseudonymizer.inventory import KeyInventory, ListedKey
from pseudonymizer.key_changes import KeyChanges
from pseudonymizer.key_refs import name_of, ref_of
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.people import Enrolment
from pseudonymizer.policy import Policy
from pseudonymizer.rotations import Rotation, Rotations, Statement
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

    def __init__(
        self, control: DualControl, keys: KeyChanges, inventory: KeyInventory, rotations: Rotations, policy: Policy
    ) -> None:
        """Serve these use cases."""
        self._control = control
        self._keys = keys
        self._inventory = inventory
        self._rotations = rotations
        self._policy = policy

    def ListKeys(self, request: pb.ListKeysRequest, _context: grpc.ServicerContext) -> pb.ListKeysResponse:
        """See the proto."""
        found = self._inventory.visible_to(current_caller(), request.domain)
        return pb.ListKeysResponse(keys=map(_listed, found.keys), generation=found.generation)

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
        people = self._control.people()
        return pb.ListSignersResponse(signers=map(_signer, people.everyone), genesis_hash=people.genesis)

    def GetPolicy(self, _request: pb.GetPolicyRequest, _context: grpc.ServicerContext) -> pb.GetPolicyResponse:
        """See the proto."""
        return _policy(self._policy)

    def AttestRekeying(
        self, request: pb.AttestRekeyingRequest, _context: grpc.ServicerContext
    ) -> pb.AttestRekeyingResponse:
        """See the proto."""
        source = name_of(getattr(request, "from"), "from")  # a word of Python
        target = name_of(request.to, "to") if request.HasField("to") else None
        numbers = (request.held, request.converted, request.sample_from, request.sample_to)
        size = self._rotations.attest(current_caller(), Statement(source, target, *numbers))
        return pb.AttestRekeyingResponse(sample_size=size)

    def ListRotations(
        self, _request: pb.ListRotationsRequest, _context: grpc.ServicerContext
    ) -> pb.ListRotationsResponse:
        """See the proto."""
        return pb.ListRotationsResponse(rotations=map(_rotation, self._rotations.visible_to(current_caller())))


def _listed(one: ListedKey) -> pb.KeyVersion:
    found = _key(one.version)
    if one.backups_until:
        found.backups_until.FromDatetime(one.backups_until)
    if one.rotate_before:
        found.rotate_before.FromDatetime(one.rotate_before)
    return found


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


def _policy(one: Policy) -> pb.GetPolicyResponse:
    return pb.GetPolicyResponse(
        policy_hash=one.digest,
        grants=[
            pb.Grant(
                name=grant.name,
                caller=grant.caller,
                operation=grant.operation.value,
                domains=grant.domains,
                to=grant.to or "",
                kinds=[kind.wire for kind in grant.kinds],
            )
            for grant in one.grants
        ],
        budgets=[pb.Budget(caller=each.caller, per_day=each.per_day, per_year=each.per_year) for each in one.budgets],
        plain_doors=one.plain_doors,
        rotate_after_days=one.rotation.rotate_after_days,
        backups_kept_days=one.rotation.backups_kept_days,
    )


def _rotation(one: Rotation) -> pb.Rotation:
    return pb.Rotation(
        **{"from": ref_of(one.source), "to": ref_of(one.target)},
        state=_KEY_STATES[one.state],
        activated_at=_instant(one.activated_at),
        destroyed_at=_instant(one.destroyed_at),
        holders=[
            pb.Holder(
                holder=each.holder,
                attested_at=_instant(each.attested_at),
                held=each.held,
                converted=each.converted,
                sample_size=each.sample_size,
            )
            for each in one.holders
        ],
        last_used_at=_instant(one.last_used_at),
    )


def _instant(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    found = Timestamp()
    found.FromDatetime(at)
    return found
