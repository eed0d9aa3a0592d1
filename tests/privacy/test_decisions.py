"""Can a change of keys pass that nobody signed? Forged logs of a real service, and what is said of the export alone.

The operator holds the log's key and rebuilds the whole log, and the data-protection officer keeps a checkpoint of what
was forged only: in itself the log is without fault. What the operator has not is people's keys. Each forgery is named
at its entry; the control, the log as the service wrote it, passes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinlink import genesis as genesis_file
from kinlink.approval_keys import new_key
from kinlink.approvals import Verb
from kinlink.audit.decisions import TRANSITIONS
from kinlink.audit.entry import encode
from kinlink.audit.findings import FindingKind as K
from kinlink.audit.findings import Verification
from kinlink.audit.kept import read
from kinlink.audit.note import VerifierKey
from kinlink.audit.verify import verify
from kinlink.change_document import Action, Change, KeyVersionName, canonical, digest
from kinlink.pseudonyms import Kind
from pseudonymizer.lifecycle import TRANSITIONS as LIFECYCLE
from pseudonymizer.lifecycle import Transition
from tests.privacy.signing_service import DOMAIN, LOG, PEOPLE, SigningService, refused, started
from tests.unit.audit.logs import KEY, Log

CPR_1, REPLACEMENT_1 = (KeyVersionName(DOMAIN, kind, 1) for kind in (Kind.CPR, Kind.REPLACEMENT))
NAMES = ("activate", "enrol", "disable", "remove", "compromise", "destroy")
_STEPS = ("ProposeChange", "ApplyChange", "key.destroy")
Entries = list[dict[str, Any]]


class Story:
    """What people decided, and the log that a service wrote of it."""

    def __init__(self, service: SigningService) -> None:
        self.service = service
        stranger = service.signer("custodian/stranger")
        self.changes = {
            "activate": service.change(),
            "enrol": service.change(Action.ENROL, keys=(), signer=stranger),
            "disable": service.change(Action.DISABLE, keys=(CPR_1, REPLACEMENT_1)),
            "remove": service.change(Action.REMOVE, keys=(), signer=stranger),
            "compromise": service.change(Action.COMPROMISE, keys=(REPLACEMENT_1,)),
            "destroy": service.change(Action.DESTROY, keys=(CPR_1,), accept_loss=True),
        }
        approvers = {"disable": ("custodian/stranger", "reviewer/s")}
        for name, change in self.changes.items():
            service.propose(change)
            if name == "compromise":
                continue
            refused(lambda change=change: service.apply(change))
            for by in approvers.get(name, ("custodian/b", "reviewer/r")):
                service.approve(change, by)
            service.approve(change, "reviewer/r" if name != "disable" else "reviewer/s")
            service.apply(change)
            service.apply(change)
        size = service.audit.size()
        self.entries: Entries = [json.loads(content) for page in service.audit.stored(0, size) for content, _ in page]

    def at(self, rpc: str, name: str = "") -> int:
        """Return the first entry of an rpc, of a change, that was not refused."""
        return next(
            number
            for number, one in enumerate(self.entries)
            if one["rpc"].endswith(rpc)
            and one["outcome"] == "ok"
            and (not name or self.changes[name].change_id in one.get("evidence", ""))
        )

    def signature(self, verb: Verb, by: str, change: Change, **signed: Any) -> dict[str, str]:
        made = self.service.signature(verb, by, change.document(), **signed)
        return {"verb": verb.value, "signer": by, "signature": made.hex()}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Story]:
    for service in started(tmp_path_factory.mktemp("service"), certificates):
        yield Story(service)


def verified(story: Story, entries: Entries, folder: Path, people: Sequence[str] = ()) -> Verification:
    """Rebuild the log from entries, sign it, keep its checkpoint, and verify; `people` are those of a kept genesis."""
    contents = [encode({**one, "index": index}) for index, one in enumerate(entries)]
    log = Log(contents, origin=LOG)
    kept = read([log.keep(folder / "1.checkpoint")])
    genesis = genesis_file.parse(genesis_file.file_of(map(story.service.signer, people)).encode()) if people else None
    return verify(log.export(folder / "log.audit"), kept, VerifierKey.of(LOG, KEY), genesis=genesis)


def test_log_as_the_service_wrote_it_passes(story: Story, tmp_path: Path) -> None:
    for people in ((), PEOPLE):
        result = verified(story, story.entries, tmp_path, people)
        assert result.findings == ()
        assert result.keys is not None
        assert (result.keys.signed, result.keys.genesis_kept) == (len(NAMES), bool(people))
        states = {(kind, version): state for (_, kind, version), state in result.keys.states.items()}
        assert states == story.service.states()


def test_transitions_are_those_of_the_service() -> None:
    ours = {name: (set(before), after) for name, (before, after) in TRANSITIONS.items()}
    theirs = {
        row.transition.value: ({state.value for state in row.before}, row.after.value)
        for row in LIFECYCLE
        if row.transition is not Transition.CREATE
    }
    assert ours == theirs


Forgery = Callable[[Story, Entries], int]
"""Forges the entries; returns the one at which it shows."""


def proof(entries: Entries, at: int, change: Callable[[dict[str, Any]], object]) -> int:
    """Let the evidence of an entry be another."""
    evidence = json.loads(entries[at]["evidence"])
    change(evidence)
    entries[at]["evidence"] = canonical(evidence).decode()
    return at


def one_approval(story: Story, entries: Entries) -> int:
    return proof(entries, story.at("ApplyChange", "activate"), lambda told: told["signatures"].pop())


def no_reviewer(story: Story, entries: Entries) -> int:
    other = story.signature(Verb.APPROVE, "custodian/c", story.changes["activate"])
    return proof(entries, story.at("ApplyChange", "activate"), lambda told: told["signatures"].__setitem__(2, other))


def own_approval(story: Story, entries: Entries) -> int:
    own = story.signature(Verb.APPROVE, "custodian/a", story.changes["activate"])
    return proof(entries, story.at("ApplyChange", "activate"), lambda told: told["signatures"].__setitem__(1, own))


def altered_signature(story: Story, entries: Entries) -> int:
    def alter(told: dict[str, Any]) -> None:
        told["signatures"][1]["signature"] = "00" + told["signatures"][1]["signature"][2:]

    return proof(entries, story.at("ApplyChange", "activate"), alter)


def anothers_name(story: Story, entries: Entries) -> int:
    """What custodian/c signed, as custodian/b's."""
    made = {**story.signature(Verb.APPROVE, "custodian/c", story.changes["activate"]), "signer": "custodian/b"}
    return proof(entries, story.at("ApplyChange", "activate"), lambda told: told["signatures"].__setitem__(1, made))


def stranger(story: Story, entries: Entries) -> int:
    """A true signature, of somebody who was enrolled only later."""
    made = story.signature(Verb.APPROVE, "custodian/stranger", story.changes["activate"])
    return proof(entries, story.at("ApplyChange", "activate"), lambda told: told["signatures"].append(made))


def removed_person(story: Story, entries: Entries) -> int:
    made = story.signature(Verb.APPROVE, "custodian/stranger", story.changes["destroy"])
    return proof(entries, story.at("ApplyChange", "destroy"), lambda told: told["signatures"].__setitem__(1, made))


def proposer_is_a_reviewer(story: Story, entries: Entries) -> int:
    return resigned(story, entries, "destroy", proposer="reviewer/s")


def expired(story: Story, entries: Entries) -> int:
    """Both dates lie before the entry's."""
    change = story.changes["destroy"]
    return resigned(
        story,
        entries,
        "destroy",
        created_at=change.created_at.replace(year=change.created_at.year - 1),
        expires_at=change.expires_at.replace(year=change.expires_at.year - 1),
    )


def expired_under_an_old_date(story: Story, entries: Entries) -> int:
    """A paper that was never used, and an entry dated back to its days: what was signed before it is younger."""
    at = expired(story, entries)
    written = entries[at]["recorded_at"]
    entries[at]["recorded_at"] = f"{int(written[:4]) - 1}{written[4:]}"
    return at


def not_written_yet(story: Story, entries: Entries) -> int:
    change = story.changes["destroy"]
    return resigned(
        story,
        entries,
        "destroy",
        created_at=change.created_at.replace(year=change.created_at.year + 1),
        expires_at=change.expires_at.replace(year=change.expires_at.year + 1),
    )


def another_log(story: Story, entries: Entries) -> int:
    return resigned(story, entries, "destroy", log="kinlink.test/another")


def resigned(story: Story, entries: Entries, name: str, **fields: Any) -> int:
    """Let a change be another one, which its people have signed."""
    change = replace(story.changes[name], **fields)
    propose, apply = story.at("ProposeChange", name), story.at("ApplyChange", name)
    told = {"document_sha256": digest(change.document()).hex()}
    proof(entries, propose, lambda one: one.update(told, document=json.loads(change.document())))
    signatures = [
        story.signature(Verb.PROPOSE, change.proposer, change),
        *(story.signature(Verb.APPROVE, by, change) for by in ("custodian/b", "reviewer/r")),
    ]
    return proof(entries, apply, lambda one: one.update(told, signatures=signatures))


def another_document(story: Story, entries: Entries) -> int:
    """The signatures under the activation, beneath a document that says something else."""
    change = replace(story.changes["activate"], reason="Something else")
    told = {"document_sha256": digest(change.document()).hex()}
    proof(
        entries, story.at("ProposeChange", "activate"), lambda one: one.update(document=json.loads(change.document()))
    )
    return proof(entries, story.at("ApplyChange", "activate"), lambda one: one.update(told))


def no_document(story: Story, entries: Entries) -> int:
    at = story.at("ProposeChange", "destroy")
    del entries[at]
    return story.at("ApplyChange", "destroy") - 1


def document_of_another_change(story: Story, entries: Entries) -> int:
    """What people signed for one change, once more under another id."""
    old, new = story.at("ApplyChange", "disable"), story.at("ApplyChange", "destroy")
    shown = json.loads(entries[old]["evidence"])
    entries.insert(new, copy.deepcopy(entries[story.at("ProposeChange", "disable")]))
    return proof(
        entries,
        new + 1,
        lambda one: one.update(
            action="disable", document_sha256=shown["document_sha256"], signatures=shown["signatures"]
        ),
    )


def nobody_signs_a_compromise(story: Story, entries: Entries) -> int:
    return proof(entries, story.at("ProposeChange", "compromise"), lambda told: told.pop("signature"))


def restore_by_another_document(story: Story, entries: Entries) -> int:
    """As if a store had been put back: behind a restore an entry may say that a key was lost."""
    at = story.at("ApplyChange", "remove")
    entries[at]["rpc"] = "keystore.restore"
    entries.insert(at + 1, key_entry(rpc="key.lost", key_version=2))
    return at


def no_time_at_all(story: Story, entries: Entries) -> int:
    at = story.at("ApplyChange", "destroy")
    entries[at]["recorded_at"] = "9999-12-31T23:59:59.000000+00:00"
    return at


def action_is_a_list(story: Story, entries: Entries) -> int:
    return proof(entries, story.at("ApplyChange", "destroy"), lambda told: told.update(action=["destroy"]))


def enrolled_by_one(story: Story, entries: Entries) -> int:
    return proof(entries, story.at("ApplyChange", "enrol"), lambda told: told["signatures"].pop())


def enrolled_with_anothers_key(story: Story, entries: Entries) -> int:
    return resigned(
        story, entries, "enrol", signer=story.service.signer("custodian/d", story.service.keys["custodian/b"])
    )


UNSIGNED: dict[Forgery, str] = {
    one_approval: "it needs 1 more approval, by a reviewer",
    no_reviewer: "it needs an approval by a reviewer",
    own_approval: "it needs 1 more approval",
    altered_signature: "the signature of custodian/b is not of the document, or not theirs",
    anothers_name: "the signature of custodian/b is not of the document, or not theirs",
    stranger: "custodian/stranger, who signed it, was never enrolled",
    removed_person: "it needs 1 more approval",
    proposer_is_a_reviewer: "it needs a custodian as its proposer",
    expired: "it needs to be proposed again: it expired",
    expired_under_an_old_date: "it needs to be proposed again: it expired",
    restore_by_another_document: "its document is of another change",
    no_time_at_all: "its entry is of no time at all",
    action_is_a_list: "its document is of another change",
    not_written_yet: "its document was not written yet",
    another_log: "it needs a document for the log",
    another_document: "the signature of custodian/a is not of the document, or not theirs",
    no_document: "no entry before it holds the document that it names",
    document_of_another_change: "its document is of another change",
    nobody_signs_a_compromise: "it does not show who signed it",
    enrolled_by_one: "it needs 1 more approval, by a reviewer",
    enrolled_with_anothers_key: "custodian/b has the same key",
}


@pytest.mark.parametrize("forgery", UNSIGNED, ids=lambda forgery: forgery.__name__)
def test_change_that_was_not_signed_is_named(story: Story, tmp_path: Path, forgery: Forgery) -> None:
    entries = copy.deepcopy(story.entries)
    at = forgery(story, entries)
    first = verified(story, entries, tmp_path).findings[0]
    assert (first.kind, first.first) == (K.CHANGE_UNSIGNED, at)
    assert UNSIGNED[forgery] in first.text


def test_what_rests_on_a_person_whom_nobody_enrolled_is_named_too(story: Story, tmp_path: Path) -> None:
    entries = copy.deepcopy(story.entries)
    enrolled = enrolled_by_one(story, entries)
    found = [(one.kind, one.first) for one in verified(story, entries, tmp_path).findings]
    disabled, removed = (story.at("ApplyChange", name) for name in ("disable", "remove"))
    assert found == [(K.CHANGE_UNSIGNED, at) for at in (enrolled, disabled, removed)]


def key_entry(**fields: Any) -> dict[str, Any]:
    told = {"outcome": "ok", "recorded_at": "2026-10-01T12:00:00.000000+00:00", "subject": DOMAIN, "kind": "cpr"}
    return {**told, **fields}


def silent_destruction(story: Story, entries: Entries) -> int:
    entries.append(key_entry(rpc="key.destroy", key_version=2))
    return len(entries) - 1


def destruction_in_the_name_of_an_old_change(story: Story, entries: Entries) -> int:
    at = story.at("key.destroy")
    entries.append({**entries[at], "kind": "replacement"})
    return len(entries) - 1


def more_than_was_signed(story: Story, entries: Entries) -> int:
    at = story.at("key.destroy")
    entries.insert(at + 1, {**entries[at], "kind": "replacement"})
    return at + 1


def another_key(story: Story, entries: Entries) -> int:
    at = story.at("key.destroy")
    entries[at]["kind"] = "replacement"
    return at


def replayed(story: Story, entries: Entries) -> int:
    """An old change once more, its entries as they were: what it did to keys it may not do again."""
    begin, end = story.at("ApplyChange", "activate"), story.at("ApplyChange", "activate") + 5
    entries += copy.deepcopy(entries[begin:end])
    return len(entries) - 4


def out_of_the_grave(story: Story, entries: Entries) -> int:
    entries.append(key_entry(rpc="key.enable", key_version=1))
    return len(entries) - 1


def destroyed_twice(story: Story, entries: Entries) -> int:
    """Signed by everybody, and impossible: the service would have refused it."""
    change = replace(story.changes["destroy"], change_id="6f9f1d4e-0000-4000-8000-000000000009")
    propose, apply, effect = (copy.deepcopy(entries[story.at(rpc, "destroy")]) for rpc in _STEPS)
    told = {"change_id": change.change_id, "document_sha256": digest(change.document()).hex()}
    by = ((Verb.PROPOSE, "custodian/a"), (Verb.APPROVE, "custodian/b"), (Verb.APPROVE, "reviewer/r"))
    signatures = [story.signature(verb, name, change) for verb, name in by]
    entries += [propose, apply, effect]
    proof(entries, -3, lambda one: one.update(told, document=json.loads(change.document())))
    proof(entries, -2, lambda one: one.update(told, signatures=signatures))
    proof(entries, -1, lambda one: one.update(told))
    return len(entries) - 1


def unknown_event(story: Story, entries: Entries) -> int:
    entries.append(key_entry(rpc="key.replay-active", key_version=1))
    return len(entries) - 1


def made_by_a_stranger(story: Story, entries: Entries) -> int:
    entries.append(key_entry(rpc="key.create", key_version=3, caller="spiffe://kinlink.test/custodian/stranger"))
    return len(entries) - 1


def made_by_nobody(story: Story, entries: Entries) -> int:
    entries.append(key_entry(rpc="key.create", key_version=3))
    return len(entries) - 1


def made_again(story: Story, entries: Entries) -> int:
    """Another key under the number of the one that is in use, made by whoever may make the next."""
    entries.append(key_entry(rpc="key.create", key_version=2, caller="spiffe://kinlink.test/custodian/a"))
    return len(entries) - 1


def made_out_of_turn(story: Story, entries: Entries) -> int:
    entries.append(key_entry(rpc="key.create", key_version=4, caller="spiffe://kinlink.test/custodian/a"))
    return len(entries) - 1


def effect_that_failed(story: Story, entries: Entries) -> int:
    """Everybody signed; the key, as the entry says, is still there."""
    at = story.at("key.destroy")
    entries[at]["outcome"] = "failed"
    return at


def not_readable(story: Story, entries: Entries) -> int:
    entries.append(key_entry(rpc="key.destroy", key_version=2, evidence="{ }"))
    return len(entries) - 1


CHANGED: tuple[Forgery, ...] = (
    silent_destruction,
    destruction_in_the_name_of_an_old_change,
    more_than_was_signed,
    another_key,
    replayed,
    out_of_the_grave,
    destroyed_twice,
    unknown_event,
    made_by_a_stranger,
    made_by_nobody,
    made_again,
    made_out_of_turn,
    effect_that_failed,
    not_readable,
)


@pytest.mark.parametrize("forgery", CHANGED, ids=lambda forgery: forgery.__name__)
def test_key_that_changed_without_a_signed_change_is_named(story: Story, tmp_path: Path, forgery: Forgery) -> None:
    entries = copy.deepcopy(story.entries)
    at = forgery(story, entries)
    first = verified(story, entries, tmp_path).findings[0]
    assert (first.kind, first.first) == (K.KEY_CHANGED, at)


def test_effect_that_is_missing_is_named(story: Story, tmp_path: Path) -> None:
    entries = copy.deepcopy(story.entries)
    del entries[story.at("key.destroy")]
    [found] = verified(story, entries, tmp_path).findings
    assert found.kind == K.KEY_CHANGED
    assert f"destroy of {DOMAIN} cpr version 1, and no entry tells of it" in found.text


def test_other_first_signers_are_named(story: Story, tmp_path: Path) -> None:
    """The operator puts a key of its own under a custodian's name, and signs as that person."""
    entries = copy.deepcopy(story.entries)
    own = new_key()

    def alter(told: dict[str, Any]) -> None:
        told["signers"][1]["public_key"] = story.service.signer("custodian/b", own).public_key.hex()

    proof(entries, 0, alter)
    for name in ("activate", "enrol", "remove", "destroy"):
        made = story.signature(Verb.APPROVE, "custodian/b", story.changes[name], key=own)
        at = story.at("ApplyChange", name)
        proof(entries, at, lambda told, made=made: told["signatures"].__setitem__(1, made))
    assert verified(story, entries, tmp_path).findings == (), "without the genesis file the first entry is believed"
    found = verified(story, entries, tmp_path, PEOPLE).findings
    assert (found[0].kind, found[0].first) == (K.FOREIGN_GENESIS, 0)
    assert {one.first for one in found[1:] if one.kind == K.CHANGE_UNSIGNED} >= {story.at("ApplyChange", "activate")}
    entries.append({**entries[0]})
    assert verified(story, entries, tmp_path).findings[0].first == len(entries) - 1, "a second genesis"


def test_first_entry_that_names_nobody_is_named(story: Story, tmp_path: Path) -> None:
    for signers in (5, [5], [{"name": 5, "public_key": ""}]):
        entries = copy.deepcopy(story.entries)
        proof(entries, 0, lambda told, signers=signers: told.update(signers=signers))
        first = verified(story, entries, tmp_path).findings[0]
        assert (first.kind, first.first) == (K.CHANGE_UNSIGNED, 0)
    entries = copy.deepcopy(story.entries)
    at = proof(entries, story.at("ProposeChange", "compromise"), lambda told: told.update(action=["compromise"]))
    assert {one.first for one in verified(story, entries, tmp_path).findings} == {at + 1}


def test_part_of_a_log_is_not_judged(story: Story, tmp_path: Path) -> None:
    log = Log([encode(one) for one in story.entries], origin=LOG)
    kept = read([log.keep(tmp_path / "1.checkpoint")])
    result = verify(log.export(tmp_path / "part", start=3), kept, VerifierKey.of(LOG, KEY))
    assert (result.findings, result.keys) == ((), None)
