"""Were the changes of keys and signers decided by those who may decide them? Answered from the log alone.

The log's first entry names the first signers; an entry of a proposal holds the document that people sign, and an entry
of a change that takes effect their signatures. Read from its beginning, the log says at each entry who may sign, and in
which state each key version is.

1. A change takes effect by its document, and by the signatures that its action needs (`approvals`), of people enrolled
   at that entry, with the keys that they have there; and before it expires, also by what was signed before it.
2. What becomes of keys stands directly behind it: what the document says, no more and no less, and what follows from
   it (an activated version's predecessor retires).
3. A key version changes its state in no other way; a new one is made once, the next of its line: by the service for a
   line that has none, or by an enrolled custodian, and does nothing until a change activates it.
4. A person whose enrolment does not stand these rules is not enrolled here: what rests on it is named as well.

*Guarantee:* where nothing is found, every change of keys and signers that the log tells was signed as rule 1 says,
under Ed25519's unforgeability, by people whom the first entry names or such changes enrolled. Whether the log is the
one that was kept is `verify`'s; what was never written into it is beyond any verification.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from kinlink.approvals import RULES, Verb, conflict, verify
from kinlink.audit.align import Item
from kinlink.audit.entry import Entry, EntryError, decode, parse
from kinlink.audit.findings import Finding, FindingKind, KeyHistory, KeyVersion
from kinlink.change_document import Action, Change, ChangeError, Signer, SignerRole, canonical, digest
from kinlink.genesis import Genesis
from kinlink.signed_change import Signature, SignedChange

SERVICE: Final = "pseudonymizer"
"""Whose log tells of keys."""
TRANSITIONS: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "activate": (frozenset({"pending"}), "active"),
    "retire": (frozenset({"active"}), "retiring"),
    "disable": (frozenset({"retiring"}), "disabled"),
    "enable": (frozenset({"disabled"}), "retiring"),
    "compromise": (frozenset({"pending", "active", "retiring", "disabled"}), "compromised"),
    "salvage": (frozenset({"compromised"}), "retiring"),
    "destroy": (frozenset({"pending", "retiring", "disabled", "compromised"}), "destroyed"),
}
"""What happens to a key version: the states that it is possible in, and the one that follows."""

_API: Final = "kinlink.pseudonymizer.v1.KeyAdministrationService/"
_PROPOSE, _APPLY, _RESTORE = f"{_API}ProposeChange", f"{_API}ApplyChange", "keystore.restore"
_GENESIS, _GAP = "log.genesis", "log.restored"
_CREATE, _ATTEST = "key.create", "key.attest"
# In canonical JSON a quote within a text stands behind a backslash, so this is the field and no text.
_TOLD: Final = re.compile(rb'"rpc":"(?:key\.|' + rb"|".join(re.escape(f'{name}"'.encode()) for name in (
    _PROPOSE, _APPLY, _RESTORE, _GENESIS, _GAP
)) + rb")")  # fmt: skip
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCKS: Final = timedelta(minutes=5)  # between the look at the clock that decided, and the entry


@dataclass(slots=True)
class Decisions:
    """One pass over a log."""

    log: str  # its origin
    genesis: Genesis | None = None  # the file of the first signers that was kept
    findings: list[Finding] = field(default_factory=list)
    _genesis: str = ""
    _people: dict[str, Signer] = field(default_factory=dict)
    _once: set[tuple[str, bytes]] = field(default_factory=set)  # (name, key) of everybody who was ever enrolled
    _documents: dict[str, bytes] = field(default_factory=dict)  # SHA-256 → what was proposed
    _applied: set[str] = field(default_factory=set)
    _signed: int = 0
    _newest: datetime = _EVER  # when the last document was written that was signed
    _states: dict[KeyVersion, str] = field(default_factory=dict)
    _due: deque[tuple[str, KeyVersion]] = field(default_factory=deque)  # what must stand in the next entries
    _by: str = ""  # the change that the next entries may be of
    _unread: bool = False  # whose document is not known, and that was named for it
    _replaying: bool = False  # behind a restore, whose entries say what it put right
    _has_gap: bool = False  # entries are missing, as one says: in which state keys are is not known

    def __post_init__(self) -> None:
        """Begin with the people of the kept file, if there is one."""
        for signer in self.genesis.signers if self.genesis else ():
            self._enrol(signer)

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass entries on, in order, the first being the log's first, and read those that tell of keys."""
        for item in items:
            if _TOLD.search(item.leaf.content):
                self._read(item.place, item.leaf.content)
            elif self._by:
                self._settle()
            yield item
        self._settle()
        if self.genesis and not self._genesis:
            text = "The log's first entry does not name the genesis file that was kept."
            self._find(FindingKind.FOREIGN_GENESIS, 0, text)

    def history(self) -> KeyHistory:
        """Return what the log said, once it is read."""
        return KeyHistory(self._genesis, self.genesis is not None, self._signed, dict(self._states))

    def _read(self, place: int, content: bytes) -> None:
        try:
            entry = parse(content)
            proof = decode(entry.evidence.encode()) if entry.evidence else {}
        except EntryError as error:
            self._find(FindingKind.KEY_CHANGED, place, f"Entry {place} tells of keys and cannot be read: {error}.")
            return
        if entry.rpc.startswith("key.") and entry.rpc not in (_CREATE, _ATTEST):
            self._effect(place, entry, proof)
            return
        self._settle()
        if entry.outcome != "ok":
            return
        if entry.rpc == _CREATE:
            self._create(place, entry)
        elif entry.rpc == _GENESIS:
            self._begin(place, proof)
        elif entry.rpc == _GAP:
            self._has_gap = True
            text = f"Entry {place} says that entries before it are lost: what they decided on keys is not shown."
            self._find(FindingKind.UNPROVEN, place, text)
        elif entry.rpc == _PROPOSE:
            self._propose(place, entry, proof)
        elif entry.rpc in (_APPLY, _RESTORE):
            self._apply(place, entry, proof)

    def _begin(self, place: int, proof: Mapping[str, Any]) -> None:
        if place:
            text = f"Entry {place} names first signers, and is not the first entry: they are not believed."
            self._find(FindingKind.CHANGE_UNSIGNED, place, text)
            return
        try:
            self._genesis = str(proof["genesis_sha256"])
            told = tuple(map(_signer, proof["signers"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            self._find(FindingKind.CHANGE_UNSIGNED, place, "The first entry does not say who the first signers are.")
            return
        kept = self.genesis
        if kept is None:
            for signer in told:
                self._enrol(signer)
        elif (kept.sha256.hex(), kept.signers) != (self._genesis, told):
            text = "The first signers are not those of the kept genesis file, who are taken for what follows."
            self._find(FindingKind.FOREIGN_GENESIS, place, text)

    def _enrol(self, signer: Signer) -> None:
        self._people[signer.name] = signer
        self._once.add((signer.name, signer.public_key))

    def _propose(self, place: int, entry: Entry, proof: Mapping[str, Any]) -> None:
        self._keep_document(proof)
        if str(proof.get("action")) in {action.value for action, rule in RULES.items() if not rule.approvals}:
            self._apply(place, entry, {**proof, "signatures": [{**proof, "verb": Verb.PROPOSE.value}]})

    def _keep_document(self, proof: Mapping[str, Any]) -> None:
        if isinstance(proof.get("document"), dict):
            document = canonical(proof["document"])
            self._documents[digest(document).hex()] = document

    def _apply(self, place: int, entry: Entry, proof: Mapping[str, Any]) -> None:
        name = str(proof.get("change_id", entry.subject))
        if name in self._applied:
            return  # an answer that was lost, and asked for again
        self._applied.add(name)
        self._by, self._replaying = name, entry.rpc == _RESTORE
        change = None
        try:
            signed = self._collected(proof)
            change = signed.change
            wrong = self._lacking(entry, proof, change, signed) or self._take_effect(change)
        except ChangeError as error:
            wrong = [f"its document is none ({error})"]
        except LookupError as error:
            wrong = [str(error.args[0])]
        except OverflowError:
            wrong = ["its entry is of no time at all"]
        if wrong:
            text = f"Entry {place}: the change {name} took effect, and {'; '.join(wrong)}."
            self._find(FindingKind.CHANGE_UNSIGNED, place, text)
        else:
            self._signed += 1
        self._unread = change is None
        if change and change.action.subject == "keys":
            self._due.extend(self._effects(change))

    def _collected(self, proof: Mapping[str, Any]) -> SignedChange:
        """Return the document with its signatures, as the entries have them. Raises LookupError saying what is not."""
        self._keep_document(proof)
        document = self._documents.pop(str(proof.get("document_sha256")), None)
        if document is None:
            raise LookupError("no entry before it holds the document that it names")
        try:
            signatures = tuple(
                Signature(Verb(one["verb"]), str(one["signer"]), bytes.fromhex(one["signature"]))
                for one in proof["signatures"]
            )
        except (KeyError, TypeError, ValueError):
            raise LookupError("it does not show who signed it") from None
        return SignedChange(document, signatures)

    def _lacking(self, entry: Entry, proof: Mapping[str, Any], change: Change, signed: SignedChange) -> list[str]:
        found = []
        told = change.change_id, change.action.value, change.action is Action.RESTORE
        if told != (proof.get("change_id"), proof.get("action", change.action), entry.rpc == _RESTORE):
            found.append("its document is of another change")
        for one in signed.signatures:
            keys = [key for name, key in self._once if name == one.signer]
            if not keys:
                found.append(f"{one.signer}, who signed it, was never enrolled")
            elif not any(verify(key, one.verb, one.signer, signed.document, one.signature) for key in keys):
                found.append(f"the signature of {one.signer} is not of the document, or not theirs")
        lacking = signed.missing(self._people, self.log, max(entry.recorded_at, self._newest) - _CLOCKS)
        if lacking:
            found.append(f"it needs {lacking.sentence}")
        if change.created_at > entry.recorded_at + _CLOCKS:
            found.append("its document was not written yet")
        self._newest = self._newest if found else max(self._newest, change.created_at)
        return found

    def _take_effect(self, change: Change) -> list[str]:
        """Let a change of signers take effect; return why it cannot."""
        signer = change.signer
        if signer is None:
            return []
        if change.action is Action.REMOVE:
            if self._people.get(signer.name) != signer:
                return [f"{signer.name} was not enrolled with that key"]
            del self._people[signer.name]
            return []
        against = conflict(signer, self._people.values())
        if against or any(key == signer.public_key for _, key in self._once):
            return [against or f"the key of {signer.name} was enrolled before"]
        self._enrol(signer)
        return []

    def _effects(self, change: Change) -> Iterator[tuple[str, KeyVersion]]:
        """Yield what happens to keys, as the service does it: at an activation, the primary retires first."""
        for key in change.keys:
            version = (key.domain, key.kind.value, key.version)
            if change.action is Action.ACTIVATE:
                for other, state in sorted(self._states.items()):
                    if other[:2] == version[:2] and other != version and state == "active":
                        yield "retire", other
            yield change.action.value, version

    def _effect(self, place: int, entry: Entry, proof: Mapping[str, Any]) -> None:
        event = entry.rpc.removeprefix("key.")
        version = (entry.subject, entry.kind, entry.key_version)
        told = f"{entry.subject} {entry.kind} version {entry.key_version}"
        state = self._states.get(version, "unknown")
        if self._replaying and (event in ("lost", f"replay-{state}") or self._has_gap):
            self._states[version] = "destroyed" if event == "lost" else event.removeprefix("replay-")
            return
        is_due = bool(self._due) and self._due[0] == (event, version)
        if is_due:
            self._due.popleft()
        elif not (self._unread and proof.get("change_id") == self._by):
            text = f"Entry {place}: {told} went through {event}, and no signed change says so."
            self._find(FindingKind.KEY_CHANGED, place, text)
        before, after = TRANSITIONS.get(event, (frozenset(), "unknown"))
        if entry.outcome != "ok" or state not in before:
            why = f"is impossible where it was {state}" if entry.outcome == "ok" else "did not come about, as it says"
            text = f"Entry {place}: {told} went through {event}, which {why}."
            self._find(FindingKind.KEY_CHANGED, place, text)
        self._states[version] = after

    def _create(self, place: int, entry: Entry) -> None:
        version = (entry.subject, entry.kind, entry.key_version)
        line = [one[2] for one in self._states if one[:2] == version[:2]]
        name = "/".join(entry.caller.split("/")[3:])
        signer = self._people.get(name)
        is_first = not line and entry.key_version == 1 and not entry.caller
        if not is_first and (signer is None or signer.role is not SignerRole.CUSTODIAN):
            who = f"{name}, who is no enrolled custodian" if name else "nobody who is named"
            text = f"Entry {place}: {entry.subject} {entry.kind} version {entry.key_version} was made by {who}."
            self._find(FindingKind.KEY_CHANGED, place, text)
        if version in self._states or (entry.key_version != max(line, default=0) + 1 and not self._has_gap):
            text = f"Entry {place}: {entry.subject} {entry.kind} version {entry.key_version} is not the line's next."
            self._find(FindingKind.KEY_CHANGED, place, text)
        self._states.setdefault(version, "active" if is_first else "pending")

    def _settle(self) -> None:
        """Say what a change should have done to keys and the entries behind it do not tell."""
        for event, (domain, kind, number) in self._due:
            text = f"The change {self._by} says {event} of {domain} {kind} version {number}, and no entry tells of it."
            self.findings.append(Finding(FindingKind.KEY_CHANGED, text))
        self._due.clear()
        self._by, self._unread, self._replaying = "", False, False

    def _find(self, kind: FindingKind, place: int, text: str) -> None:
        self.findings.append(Finding(kind, text, place, place + 1))


def _signer(told: Mapping[str, str]) -> Signer:
    name = told["name"]
    return Signer(name, SignerRole(name.partition("/")[0]), bytes.fromhex(told["public_key"]))
