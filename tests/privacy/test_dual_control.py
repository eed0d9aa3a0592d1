"""Can one person change a key, or somebody whom nobody enrolled? Attempts by name against the real door, over mTLS.

Each is refused with its reason, changes nothing, and stands in the log with the change, the action and what was
signed. The control is the same change done as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kinlink.approval_keys import new_key
from kinlink.approvals import Verb
from kinlink.change_document import Action, Change, KeyVersionName, digest
from kinlink.pseudonyms import Kind
from pseudonymizer import dual_control
from tests.privacy.signing_service import DOMAIN, READY, SigningService, refused, started

_DONE = {("cpr", 1): "retiring", ("cpr", 2): "active", ("replacement", 1): "retiring", ("replacement", 2): "active"}


@pytest.fixture(scope="module")
def attempted(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[SigningService]:
    """One service for all attempts: none of them changes a key."""
    yield from started(tmp_path_factory.mktemp("service"), certificates)


def test_two_approvals_one_by_a_reviewer_change_keys(service: SigningService) -> None:
    """The control: with everything in order the same change takes effect, and the log proves by whom."""
    change = service.change()
    assert service.propose(change).state == "proposed"
    assert service.approve(change, "custodian/b").missing == "1 more approval, by a reviewer"
    assert service.approve(change, "reviewer/r").state == "approved"
    assert service.states() == READY, "approving alone changes nothing"
    assert service.apply(change).state == "applied"
    assert service.states() == _DONE

    entry = service.last("ApplyChange")
    assert (entry["outcome"], entry["subject"]) == ("ok", change.change_id)
    signed = entry["evidence"]
    assert signed["document_sha256"] == digest(change.document()).hex()
    assert [one["signer"] for one in signed["signatures"]] == ["custodian/a", "custodian/b", "reviewer/r"]
    verbs = (Verb.PROPOSE, Verb.APPROVE, Verb.APPROVE)
    for one, verb in zip(signed["signatures"], verbs, strict=True):
        assert bytes.fromhex(one["signature"]) == service.signature(verb, one["signer"], change.document())
    transitions = [
        (one["rpc"], one["kind"], one["key_version"], one["evidence"]["change_id"])
        for one in service.log()
        if one["rpc"] in ("key.activate", "key.retire")
    ]
    assert transitions == [
        ("key.retire", "cpr", 1, change.change_id),
        ("key.activate", "cpr", 2, change.change_id),
        ("key.retire", "replacement", 1, change.change_id),
        ("key.activate", "replacement", 2, change.change_id),
    ]


def _proposed(service: SigningService, change: Change, *approvers: str) -> Callable[[], object]:
    service.propose(change)
    for name in approvers:
        service.approve(change, name)
    return lambda: service.apply(change)


def _own_signature_twice(service: SigningService, change: Change) -> Callable[[], object]:
    service.propose(change)
    return lambda: service.approve(change, "custodian/a")


def _late(step: str) -> Callable[[SigningService, Change], Callable[[], object]]:
    def attempt(service: SigningService, change: Change) -> Callable[[], object]:
        if step != "propose":
            service.propose(change)
        if step == "apply":
            service.approve(change, "custodian/b")
            service.approve(change, "reviewer/r")
        service.clock.now = change.expires_at
        calls: dict[str, Callable[[], object]] = {
            "propose": lambda: service.propose(change),
            "approve": lambda: service.approve(change, "custodian/b"),
            "apply": lambda: service.apply(change),
        }
        return calls[step]

    return attempt


def _in_the_name_of(service: SigningService, change: Change) -> Callable[[], object]:
    """A custodian sends what a colleague signed."""
    signature = service.signature(Verb.PROPOSE, "custodian/a", change.document())
    return lambda: service.client("custodian/b").propose(change.document(), signature)


def _names_another(service: SigningService, change: Change) -> Callable[[], object]:
    """A custodian signs, as themselves, a document that says a colleague proposed it."""
    return lambda: service.propose(change, "custodian/b")


def _approval_of_another(service: SigningService, change: Change) -> Callable[[], object]:
    service.propose(change)
    signature = service.signature(Verb.APPROVE, "reviewer/r", change.document())
    return lambda: service.client("custodian/b").approve(change.change_id, signature)


def _approval_of_another_change(service: SigningService, change: Change) -> Callable[[], object]:
    other = service.change(reason="Another")
    service.propose(change)
    signature = service.signature(Verb.APPROVE, "reviewer/r", other.document())
    return lambda: service.client("reviewer/r").approve(change.change_id, signature)


def _proposal_as_approval(service: SigningService, change: Change) -> Callable[[], object]:
    service.propose(change)
    signature = service.signature(Verb.PROPOSE, "custodian/b", change.document())
    return lambda: service.client("custodian/b").approve(change.change_id, signature)


def _stranger_approves(service: SigningService, change: Change) -> Callable[[], object]:
    service.propose(change)
    return lambda: service.approve(change, "custodian/stranger")


def _operator(step: str) -> Callable[[SigningService, Change], Callable[[], object]]:
    def attempt(service: SigningService, change: Change) -> Callable[[], object]:
        operator, document = service.client("operator/drift"), change.document()
        stolen = service.signature(Verb.APPROVE, "custodian/b", document)
        if step != "propose":
            service.propose(change)
        if step == "apply":
            service.approve(change, "custodian/b")
            service.approve(change, "reviewer/r")
        calls: dict[str, Callable[[], object]] = {
            "propose": lambda: service.propose(change, "operator/drift", key=service.keys["custodian/a"]),
            "approve": lambda: operator.approve(change.change_id, stolen),
            "apply": lambda: operator.apply(change.change_id),
        }
        return calls[step]

    return attempt


def _reviewer_proposes(service: SigningService, change: Change) -> Callable[[], object]:
    mine = replace(change, proposer="reviewer/r")
    return lambda: service.propose(mine, "reviewer/r")


def _dpo_approves(service: SigningService, change: Change) -> Callable[[], object]:
    service.propose(change)
    return lambda: service.client("dpo/dpo").approve(change.change_id, bytes(64))


Attempt = Callable[[SigningService, Change], Callable[[], object]]
ATTEMPTS: dict[str, tuple[Attempt, str, str]] = {
    "no approval": (_proposed, "ApplyChange", "APPROVALS_MISSING"),
    "one approval": (lambda s, c: _proposed(s, c, "reviewer/r"), "ApplyChange", "APPROVALS_MISSING"),
    "no reviewer": (lambda s, c: _proposed(s, c, "custodian/b", "custodian/c"), "ApplyChange", "REVIEWER_MISSING"),
    "the proposer's own": (_own_signature_twice, "ApproveChange", "OWN_PROPOSAL"),
    "expired before it is proposed": (_late("propose"), "ProposeChange", "CHANGE_EXPIRED"),
    "expired before it is approved": (_late("approve"), "ApproveChange", "CHANGE_EXPIRED"),
    "expired before it is applied": (_late("apply"), "ApplyChange", "CHANGE_EXPIRED"),
    "an unenrolled person proposes": (
        lambda s, c: lambda: s.propose(replace(c, proposer="custodian/stranger"), "custodian/stranger"),
        "ProposeChange",
        "SIGNER_UNKNOWN",
    ),
    "an unenrolled person approves": (_stranger_approves, "ApproveChange", "SIGNER_UNKNOWN"),
    "a key that was not enrolled": (
        lambda s, c: lambda: s.propose(c, key=new_key()),
        "ProposeChange",
        "SIGNATURE_INVALID",
    ),
    "a signature of nothing": (
        lambda s, c: lambda: s.client("custodian/a").propose(c.document(), b""),
        "ProposeChange",
        "SIGNATURE_INVALID",
    ),
    "sent by a colleague": (_in_the_name_of, "ProposeChange", "SIGNER_NOT_CALLER"),
    "in a colleague's name": (_names_another, "ProposeChange", "SIGNER_NOT_CALLER"),
    "a colleague's approval": (_approval_of_another, "ApproveChange", "SIGNER_NOT_CALLER"),
    "an approval of another change": (_approval_of_another_change, "ApproveChange", "SIGNATURE_INVALID"),
    "a proposal as an approval": (_proposal_as_approval, "ApproveChange", "SIGNATURE_INVALID"),
    "for another log": (
        lambda s, c: lambda: s.propose(replace(c, log="kinlink.prod/pseudonymizer")),
        "ProposeChange",
        "CHANGE_FOR_OTHER_LOG",
    ),
    "from the future": (
        lambda s, c: (
            lambda: s.propose(
                replace(c, created_at=c.created_at + timedelta(days=1), expires_at=c.expires_at + timedelta(days=1))
            )
        ),
        "ProposeChange",
        "CHANGE_NOT_YET",
    ),
    "an identifier as a reason": (
        lambda s, c: lambda: s.propose(replace(c, reason="because of 610180-4321")),
        "ProposeChange",
        "REASON_IDENTIFIER",
    ),
    "no document": (
        lambda s, _: lambda: s.client("custodian/a").propose(b"610180-4321", bytes(64)),
        "ProposeChange",
        "CHANGE_INVALID",
    ),
    "nothing to approve": (
        lambda s, _: lambda: s.client("custodian/b").approve("610180-4321", bytes(64)),
        "ApproveChange",
        "CHANGE_UNKNOWN",
    ),
    "nothing to apply": (
        lambda s, _: lambda: s.client("custodian/b").apply("610180-4321"),
        "ApplyChange",
        "CHANGE_UNKNOWN",
    ),
    "a version that there is not": (
        lambda s, c: lambda: s.propose(replace(c, keys=(KeyVersionName(DOMAIN, Kind.CPR, 7),))),
        "ProposeChange",
        "KEY_VERSION_UNKNOWN",
    ),
    "the operator proposes": (_operator("propose"), "ProposeChange", "ACCESS_DENIED"),
    "the operator approves": (_operator("approve"), "ApproveChange", "ACCESS_DENIED"),
    "the operator applies": (_operator("apply"), "ApplyChange", "ACCESS_DENIED"),
    "a reviewer proposes": (_reviewer_proposes, "ProposeChange", "ACCESS_DENIED"),
    "the data-protection officer approves": (_dpo_approves, "ApproveChange", "ACCESS_DENIED"),
}
_UNREAD = ("no document", "nothing to approve", "nothing to apply", "an identifier as a reason")


@pytest.mark.parametrize("case", ATTEMPTS)
def test_anything_less_is_refused_with_its_reason_and_logged(attempted: SigningService, case: str) -> None:
    service = attempted
    attempt, method, reason = ATTEMPTS[case]
    service.clock.now = service.began
    change = service.change()
    call = attempt(service, change)
    before = service.log()
    error = refused(call)
    assert error.reason == reason
    assert error.message.endswith((".", "`")), "what to do next is said"

    assert service.states() == READY
    after = [one for one in service.log()[len(before) :] if not one["rpc"].endswith("/ListKeys")]
    [entry] = after
    assert (entry["rpc"].partition("/")[2], entry["outcome"], entry["reason"]) == (method, "refused", reason)
    assert "610180-4321" not in str(entry)
    assert reason != "CHANGE_EXPIRED" or "has expired" in error.message
    if reason == "ACCESS_DENIED" or case in _UNREAD:
        return
    named = entry["evidence"]
    assert entry["subject"] == named["change_id"]
    assert named["action"] == "activate"
    assert len(named["document_sha256"]) == 64
    assert named["signer"] in entry["caller"]
    if method != "ApplyChange" and case != "a signature of nothing":
        assert len(named["signature"]) == 128


def test_a_change_that_took_effect_is_not_proposed_again(service: SigningService) -> None:
    """Disabled, enabled, and then everything of the disabling sent once more: somebody kept it."""
    service.carry_out(service.change())
    old = tuple(KeyVersionName(DOMAIN, kind, 1) for kind in (Kind.CPR, Kind.REPLACEMENT))
    disable = service.change(Action.DISABLE, keys=old)
    service.carry_out(disable)
    service.carry_out(service.change(Action.ENABLE, keys=old))
    assert service.states() == _DONE
    assert refused(lambda: service.propose(disable)).reason == "CHANGE_REPLAYED"
    assert service.last("ProposeChange")["reason"] == "CHANGE_REPLAYED"
    assert refused(lambda: service.approve(disable, "custodian/c")).reason == "CHANGE_APPLIED"
    assert service.apply(disable).state == "applied", "repeating it is harmless"
    assert service.states() == _DONE

    reused = replace(service.change(Action.DISABLE, keys=old), change_id=disable.change_id)
    assert refused(lambda: service.propose(reused)).reason == "CHANGE_REPLAYED"


def test_the_same_proposal_again_is_one_proposal(service: SigningService) -> None:
    """The answer was lost: nothing is counted twice."""
    change = service.change()
    service.propose(change)
    service.approve(change, "reviewer/r")
    again = service.propose(change)
    assert (again.state, [one.signer for one in again.approvals]) == ("proposed", ["reviewer/r"])
    assert len(service.client("dpo/dpo").changes()) == 1


def test_the_same_approval_again_is_one_approval(service: SigningService) -> None:
    """The answer was lost: whoever approved is told so once more, and counts once; also when the rest is done."""
    change = service.change()
    service.propose(change)
    service.approve(change, "reviewer/r")
    again = service.approve(change, "reviewer/r")
    assert (again.state, [one.signer for one in again.approvals]) == ("proposed", ["reviewer/r"])
    service.approve(change, "custodian/b")
    service.apply(change)
    assert service.approve(change, "reviewer/r").state == "applied"


def test_one_custodian_alone_marks_a_key_compromised_and_nothing_else(service: SigningService) -> None:
    change = service.change(Action.COMPROMISE, keys=(KeyVersionName(DOMAIN, Kind.CPR, 1),))
    assert refused(lambda: service.propose(change, key=new_key())).reason == "SIGNATURE_INVALID"
    assert service.states() == READY
    assert service.propose(change).state == "applied"
    assert service.states() == READY | {("cpr", 1): "compromised"}
    assert service.last("ProposeChange")["evidence"]["action"] == "compromise"
    salvage = service.change(Action.SALVAGE, keys=change.keys)
    assert refused(lambda: service.propose(salvage)).reason == "KEY_MISSING", "there is nothing yet to rekey to"
    activation = service.change(keys=(KeyVersionName(DOMAIN, Kind.CPR, 2),))
    service.carry_out(activation)
    service.propose(salvage)
    assert refused(lambda: service.apply(salvage)).reason == "APPROVALS_MISSING"
    assert service.states()["cpr", 1] == "compromised"


def test_one_custodian_puts_up_only_so_many_changes(service: SigningService) -> None:
    """So that nobody's storm fills the log and the key store, which keep what they have for ever."""
    made: list[int] = []

    def storm() -> None:
        for version in range(2, 200):
            key = (KeyVersionName(DOMAIN, Kind.CPR, version),)
            service.propose(service.change(Action.COMPROMISE, keys=key))
            service.client("custodian/a").create(DOMAIN, Kind.CPR)
            made.append(version)

    assert refused(storm).reason == "TOO_MANY_CHANGES"
    assert len(made) == 100
    assert service.last("ProposeChange")["reason"] == "TOO_MANY_CHANGES"
    others = service.change(proposer="custodian/b", keys=(KeyVersionName(DOMAIN, Kind.REPLACEMENT, 2),))
    assert service.propose(others, "custodian/b").state == "proposed", "a colleague is not held up"
    service.clock.now += timedelta(days=14)
    assert service.propose(service.change(keys=others.keys)).state == "proposed"


def test_what_waits_is_listed_however_much_is_over(service: SigningService, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody's old changes, which are kept for ever, hide what people must look at."""
    old = [service.change(reason=f"Old {number}") for number in range(5)]
    for change in old:
        service.propose(change)
        service.clock.now += timedelta(days=1)
    service.clock.now += timedelta(days=20)
    waiting = [service.change(reason="Waits"), service.change(reason="Waits too")]
    for change in waiting:
        service.propose(change)
    monkeypatch.setattr(dual_control, "LISTED_BYTES", 2 * len(old[0].document()))
    listed = service.client("dpo/dpo").changes()
    assert {one.change.change_id for one in listed[:2]} == {one.change_id for one in waiting}
    assert [one.change.reason for one in listed[2:]] == ["Old 4", "Old 3"]
    [found] = service.client("dpo/dpo").changes(old[0].change_id)
    assert (found.state, found.change.reason) == ("expired", "Old 0")


def test_a_custodians_certificate_alone_applies_nothing_and_makes_no_key(service: SigningService) -> None:
    """A certificate of the role is not an enrolment: whoever issues certificates enrols nobody."""
    change = service.change()
    service.propose(change)
    service.approve(change, "custodian/b")
    service.approve(change, "reviewer/r")
    assert refused(lambda: service.apply(change, "custodian/stranger")).reason == "SIGNER_UNKNOWN"
    assert service.last("ApplyChange")["reason"] == "SIGNER_UNKNOWN"
    assert service.apply(change, "custodian/c").state == "applied"
    assert refused(lambda: service.client("custodian/stranger").create(DOMAIN, Kind.CPR)).reason == "SIGNER_UNKNOWN"
    assert service.last("CreateKey")["reason"] == "SIGNER_UNKNOWN"
    assert service.states() == _DONE
