"""Can somebody become a signer, or count as one, without the others? And what do those see who only look?

Enrolment and removal are changes like others; what is written into the database counts for nothing.
"""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import text

from kinlink.approval_keys import new_key
from kinlink.approvals import Verb
from kinlink.change_document import Action, Change, KeyVersionName
from kinlink.errors import from_rpc_error
from kinlink.pseudonymizer.v1 import key_administration_service_pb2 as pb
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import KeyAdministrationServiceStub
from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef
from tests.privacy.signing_service import DOMAIN, READY, SigningService, refused


def test_enrolment_is_a_change_like_others(service: SigningService) -> None:
    stranger = service.signer("custodian/stranger")
    enrolment = service.change(Action.ENROL, keys=(), signer=stranger)
    service.propose(enrolment)
    assert refused(lambda: service.apply(enrolment)).reason == "APPROVALS_MISSING"
    change = service.change()
    service.propose(change)
    assert refused(lambda: service.approve(change, "custodian/stranger")).reason == "SIGNER_UNKNOWN"
    service.approve(enrolment, "custodian/b")
    service.approve(enrolment, "reviewer/r")
    service.apply(enrolment)
    service.approve(change, "custodian/stranger")
    service.approve(change, "reviewer/s")
    assert service.apply(change).state == "applied"
    people, _ = service.client("dpo/dpo").people()
    found = {one.signer.name: one.change_id for one in people}
    assert found["custodian/stranger"] == enrolment.change_id
    assert found["custodian/a"] == ""
    again = service.change(Action.ENROL, keys=(), signer=stranger)
    assert refused(lambda: service.propose(again)).reason == "SIGNER_CONFLICT"


@pytest.mark.parametrize("name", ["reviewer/a", "custodian/b"])
def test_nobody_is_enrolled_twice(service: SigningService, name: str) -> None:
    """Else one person with two names, or two names with one key, would be two approvals."""
    keys = {"reviewer/a": new_key(), "custodian/b": service.keys["custodian/b"]}
    signer = replace(service.signer("custodian/b", keys[name]), name="custodian/x")
    if name == "reviewer/a":
        signer = service.signer("reviewer/a", keys[name])
    enrolment = service.change(Action.ENROL, keys=(), signer=signer)
    assert refused(lambda: service.propose(enrolment)).reason == "SIGNER_CONFLICT"


def test_what_a_removed_person_signed_no_longer_counts(service: SigningService) -> None:
    by_a, by_b = service.change(), service.change(proposer="custodian/b")
    service.propose(by_a)
    service.approve(by_a, "custodian/b")
    service.approve(by_a, "reviewer/r")
    service.propose(by_b, "custodian/b")
    service.approve(by_b, "custodian/c")
    service.approve(by_b, "reviewer/r")
    removal = service.change(Action.REMOVE, keys=(), signer=service.signer("custodian/b"))
    service.propose(removal)
    service.approve(removal, "custodian/c")
    service.approve(removal, "reviewer/s")
    service.apply(removal)
    assert refused(lambda: service.apply(by_a)).reason == "APPROVALS_MISSING"
    assert refused(lambda: service.apply(by_b)).reason == "PROPOSER_REMOVED"
    assert refused(lambda: service.approve(by_a, "custodian/b")).reason == "SIGNER_UNKNOWN"
    assert service.states() == READY
    service.approve(by_a, "custodian/c")
    assert service.apply(by_a).state == "applied"
    back = service.change(Action.ENROL, keys=(), signer=service.signer("custodian/b"))
    assert refused(lambda: service.propose(back)).reason == "SIGNER_CONFLICT", "with a new key only"


def test_a_removal_that_leaves_too_few_isrefused(service: SigningService) -> None:
    def removal(name: str) -> Change:
        return service.change(Action.REMOVE, keys=(), signer=service.signer(name))

    last = removal("reviewer/r")
    service.propose(last)
    service.approve(last, "custodian/b")
    service.approve(last, "reviewer/r")
    service.carry_out(removal("reviewer/s"))
    assert refused(lambda: service.apply(last)).reason == "TOO_FEW_SIGNERS"
    assert refused(lambda: service.propose(removal("reviewer/r"))).reason == "TOO_FEW_SIGNERS"
    nobody = service.change(Action.REMOVE, keys=(), signer=service.signer("custodian/stranger"))
    assert refused(lambda: service.propose(nobody)).reason == "SIGNER_UNKNOWN"


def test_everything_fails_together(service: SigningService) -> None:
    """Of two keys one cannot be activated any more: neither is, and the change stays approved."""
    both = service.change()
    service.propose(both)
    service.approve(both, "custodian/b")
    service.approve(both, "reviewer/r")
    service.carry_out(service.change(keys=(KeyVersionName(DOMAIN, Kind.CPR, 2),)))
    before = service.states()
    assert refused(lambda: service.apply(both)).reason == "KEY_TRANSITION_REFUSED"
    assert service.states() == before
    [standing] = service.client("dpo/dpo").changes(both.change_id)
    assert standing.state == "approved"


def test_no_log_no_change(service: SigningService) -> None:
    change = service.change(Action.COMPROMISE, keys=(KeyVersionName(DOMAIN, Kind.CPR, 1),))
    full = "CREATE TRIGGER full BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'full'); END"
    with service.engine.begin() as connection:
        connection.execute(text(full))
    assert refused(lambda: service.propose(change)).reason == "AUDIT_UNAVAILABLE"
    with service.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER full"))
    assert service.states() == READY
    assert service.client("dpo/dpo").changes() == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO signers SELECT x'{key}', 'reviewer/x', 'reviewer', '', enrolled_at, NULL FROM signers LIMIT 1",
        "UPDATE signers SET public_key = x'{key}' WHERE name = 'reviewer/r'",
        "UPDATE signers SET removed_at = enrolled_at WHERE name = 'reviewer/s'",
        "DELETE FROM signers WHERE name = 'custodian/b'",
        "UPDATE changes SET applied_at = NULL",
        "DELETE FROM changes WHERE applied_at IS NOT NULL",
    ],
    ids=lambda statement: statement.partition(" SELECT")[0],
)
def test_who_owns_the_database_enrols_nobody_and_makes_nothing_forgotten(
    service: SigningService, statement: str
) -> None:
    service.propose(service.change(Action.COMPROMISE, keys=(KeyVersionName(DOMAIN, Kind.CPR, 1),)))
    with service.engine.begin() as connection:
        connection.execute(text("PRAGMA foreign_keys = OFF"))
        connection.execute(text(statement.format(key="ab" * 32)))
    assert refused(lambda: service.propose(service.change())).reason == "KEY_STORE_UNUSABLE"


def test_signatures_written_into_the_database_count_for_nothing(service: SigningService) -> None:
    """Approvals are not sealed: they prove themselves."""
    change, forged = service.change(), service.change(reason="Forged")
    service.propose(change)
    service.propose(forged)
    row = "INSERT INTO approvals VALUES (:change_id, :signer, :signature, '2026-10-01T12:00:00+00:00')"
    with service.engine.begin() as connection:
        for name in ("custodian/b", "reviewer/r"):
            stolen = service.signature(Verb.APPROVE, name, forged.document())
            connection.execute(text(row), {"change_id": change.change_id, "signer": name, "signature": stolen})
    assert refused(lambda: service.apply(change)).reason == "APPROVALS_MISSING"
    [standing] = service.client("dpo/dpo").changes(change.change_id)
    assert not standing.approvals, "nor is anybody shown who did not sign"
    with service.engine.begin() as connection:
        swapped = "UPDATE changes SET document = :document WHERE change_id = :change_id"
        other = replace(forged, change_id=change.change_id).document()
        connection.execute(text(swapped), {"document": other, "change_id": change.change_id})
    assert refused(lambda: service.apply(change)).reason == "PROPOSER_REMOVED"
    assert service.states() == READY


def test_the_log_alone_proves_every_change_from_the_genesis_file_on(service: SigningService) -> None:
    """It names whom a change enrols, with the key: so a signature given later can be verified by the log."""
    service.carry_out(service.change(Action.ENROL, keys=(), signer=service.signer("custodian/stranger")))
    change = service.change()
    service.propose(change)
    service.approve(change, "custodian/stranger")
    service.approve(change, "reviewer/s")
    service.apply(change)
    first, *others = [one["evidence"] for one in service.log() if one["outcome"] == "ok"]
    keys = {one["name"]: bytes.fromhex(one["public_key"]) for one in first["signers"]}
    applied = [one for one in others if "signatures" in one]
    assert [one["action"] for one in applied] == ["enrol", "activate"]
    for one in applied:
        for verb, signed in zip((Verb.PROPOSE, Verb.APPROVE, Verb.APPROVE), one["signatures"], strict=True):
            told = b"kinlink change v1\n" + f"{verb}\n{signed['signer']}\n".encode()
            public = Ed25519PublicKey.from_public_bytes(keys[signed["signer"]])
            public.verify(bytes.fromhex(signed["signature"]), told + bytes.fromhex(one["document_sha256"]))
        if one["action"] == "enrol":
            keys[one["person"]["name"]] = bytes.fromhex(one["person"]["public_key"])


def test_no_forged_name_stands_in_the_log_beside_those_who_signed(service: SigningService) -> None:
    change = service.change()
    service.propose(change)
    row = "INSERT INTO approvals VALUES (:change_id, 'reviewer/s', :signature, '2026-10-01T12:00:00+00:00')"
    with service.engine.begin() as connection:
        connection.execute(text(row), {"change_id": change.change_id, "signature": bytes(64)})
    service.approve(change, "custodian/b")
    service.approve(change, "reviewer/r")
    service.apply(change)
    signed = [one["signer"] for one in service.last("ApplyChange")["evidence"]["signatures"]]
    assert signed == ["custodian/a", "custodian/b", "reviewer/r"]


def test_the_data_protection_officer_sees_everything(service: SigningService) -> None:
    service.carry_out(service.change())
    dpo = service.client("dpo/dpo")
    [standing] = dpo.changes()
    assert [one.signer for one in standing.approvals] == ["custodian/b", "reviewer/r"]
    assert len(dpo.people()[0]) == 5
    assert {rotation.state for rotation in dpo.rotations()} == {"retiring"}
    assert [grant.name for grant in dpo.policy().grants] == ["g"]
    assert len(dpo.keys()) == 4
    assert refused(lambda: dpo.create(DOMAIN, Kind.CPR)).reason == "ACCESS_DENIED"


def test_the_genesis_file_is_the_logs_first_entry(service: SigningService) -> None:
    first = service.log()[0]
    _, genesis_hash = service.client("reviewer/r").people()
    assert (first["rpc"], first["evidence"]["genesis_sha256"]) == ("log.genesis", genesis_hash.hex())
    assert [one["name"] for one in first["evidence"]["signers"]] == [
        "custodian/a",
        "custodian/b",
        "custodian/c",
        "reviewer/r",
        "reviewer/s",
    ]


def test_a_new_version_is_asked_for_without_its_number(service: SigningService) -> None:
    stub = KeyAdministrationServiceStub(service.channel("custodian/a"))
    numbered = pb.CreateKeyRequest(key=KeyRef(domain=DOMAIN, kind=Kind.CPR.wire, version=3))
    with pytest.raises(grpc.RpcError) as ended:
        stub.CreateKey(numbered)
    assert from_rpc_error(ended.value).reason == "KEY_VERSION_SET"
    assert refused(lambda: service.client("custodian/a").create("source/none", Kind.CPR)).reason == "KEY_LINE_UNKNOWN"
    assert refused(lambda: service.client("custodian/a").create(DOMAIN, Kind.CPR)).reason == "KEY_PENDING_EXISTS"
