"""The document of a change: what is signed, and nothing beside it.

1. Canonical JSON: keys sorted, no spaces, UTF-8, whole numbers, what does not apply is absent. Two spellings of one
   change do not exist: what is not written so is refused.
2. A document lives at most `MAX_LIFE`. Its reason is for people who read it in ten years: one line that names
   nobody. Text in the form of a CPR number is refused.

*Guarantee:* `parse` returns a change only if `change.document()` is, byte for byte, what it was given. Knows no clock
and no signature: those are `approvals`'.
"""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from kinlink.ed25519 import is_usable
from kinlink.pseudonyms import Kind

FORM: Final = "kinlink-change-v1"
MAX_LIFE: Final = timedelta(days=14)
MAX_BYTES: Final = 16 * 1024
MAX_KEYS: Final = 50

_PART = "[a-z0-9][a-z0-9._-]{0,62}"
_SIGNER = re.compile(f"(custodian|reviewer)/{_PART}")
_DOMAIN = re.compile(f"(source|linkage)/{_PART}")
_LOG = re.compile("[a-z0-9][a-z0-9.-]{0,200}/[a-z]{1,40}")
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"
_STORE_NAME = re.compile("[a-z][a-z0-9_]{0,39}")
_STORE_TEXT = re.compile("[0-9A-Za-z:._/+=-]{0,200}")
_GAP = r"[\s.\-/'\u2010-\u2015\u2212]{0,3}"
_NUMBER = re.compile(
    rf"(?<!\d)(?:[0-26-8]\d|[39][01]|[1-9]){_GAP}(?:0[1-9]|1[0-2]){_GAP}\d\d{_GAP}\d{{4}}(?!\d)|kl1\.(?:source|linkage)/"
)


class ChangeError(ValueError):
    """A document is not a change; `field` says where, the message what is expected there."""

    def __init__(self, field: str, expected: str, reason: str = "CHANGE_INVALID") -> None:
        """Name the field and the form expected, never the value."""
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected
        self.reason = reason


class SignerRole(StrEnum):
    """As what a person signs."""

    CUSTODIAN = "custodian"
    REVIEWER = "reviewer"


class Action(StrEnum):
    """What a change does."""

    ACTIVATE = "activate"
    DISABLE = "disable"
    ENABLE = "enable"
    SALVAGE = "salvage"
    DESTROY = "destroy"
    COMPROMISE = "compromise"
    ENROL = "enrol"
    REMOVE = "remove"
    RESTORE = "restore"

    @property
    def subject(self) -> str:
        """What its document names beside the action: "keys", "signer" or "store"."""
        match self:
            case Action.ENROL | Action.REMOVE:
                return "signer"
            case Action.RESTORE:
                return "store"
            case _:
                return "keys"


@dataclass(frozen=True, slots=True, order=True)
class KeyVersionName:
    """One version of a key."""

    domain: str
    kind: Kind
    version: int

    def __str__(self) -> str:
        return f"{self.domain} {self.kind} {self.version}"


@dataclass(frozen=True, slots=True)
class Signer:
    """A person who signs: `name` is "<role>/<name>", `public_key` Ed25519, 32 bytes."""

    name: str
    role: SignerRole
    public_key: bytes

    @property
    def person(self) -> str:
        """The name without its role: one person is a custodian or a reviewer, not both."""
        return self.name.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Change:
    """A change, see the module. Instants are UTC, whole seconds; `log` is the origin of the log it is for."""

    change_id: str
    log: str
    action: Action
    reason: str
    proposer: str
    created_at: datetime
    expires_at: datetime
    keys: tuple[KeyVersionName, ...] = ()
    signer: Signer | None = None
    store: Mapping[str, str | int] | None = None
    accept_loss: bool = False

    def document(self) -> bytes:
        """Return what is signed: canonical JSON."""
        fields: dict[str, Any] = {
            "form": FORM,
            "change_id": self.change_id,
            "log": self.log,
            "action": self.action.value,
            "reason": self.reason,
            "proposer": self.proposer,
            "created_at": self.created_at.strftime(_INSTANT),
            "expires_at": self.expires_at.strftime(_INSTANT),
        }
        if self.keys:
            fields["keys"] = [
                {"domain": key.domain, "kind": key.kind.value, "version": key.version} for key in sorted(self.keys)
            ]
        if self.signer:
            fields["signer"] = {
                "name": self.signer.name,
                "role": self.signer.role.value,
                "public_key": b64encode(self.signer.public_key).decode(),
            }
        if self.store is not None:
            fields["store"] = dict(self.store)
        if self.accept_loss:
            fields["accept_loss"] = True
        return canonical(fields)


def canonical(value: Any) -> bytes:
    """Return canonical JSON: keys sorted, no spaces, UTF-8. Raises ValueError for text that UTF-8 cannot hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(document: bytes) -> bytes:
    """Return the SHA-256 of a document: what a signature and the log name it by."""
    return sha256(document).digest()


def parse(document: bytes) -> Change:
    """Read a document, strictly.

    Raises:
        ChangeError: it is not canonical JSON of this form; a field is missing, unknown, ill-formed or does not belong
            to the action; REASON_IDENTIFIER when the reason holds text in the form of an identifier.
    """
    if len(document) > MAX_BYTES:
        raise ChangeError("document", f"at most {MAX_BYTES} bytes")
    try:
        values = json.loads(document)
    except (ValueError, RecursionError):
        raise ChangeError("document", "must be JSON in UTF-8") from None
    if not isinstance(values, dict) or values.get("form") != FORM:
        raise ChangeError("form", f"must be {FORM}; is the client of the service's version?")
    change = _change(_Fields(values))
    if change.document() != document:
        raise ChangeError("document", "must be canonical JSON: sorted keys and lists, no spaces, nothing twice")
    return change


def _change(fields: _Fields) -> Change:
    action = Action(fields.text("action", lambda text: text in set(Action), f"one of {', '.join(Action)}"))
    change = Change(
        change_id=fields.text("change_id", _is_uuid, "a UUID in lower case"),
        log=fields.text("log", _LOG.fullmatch, "the origin of a log, <trust domain>/<service>"),
        action=action,
        reason=fields.text("reason", _is_sentence, "one line of 1 to 500 characters that can be printed"),
        proposer=fields.text("proposer", _SIGNER.fullmatch, "custodian/<name> or reviewer/<name>"),
        created_at=fields.instant("created_at"),
        expires_at=fields.instant("expires_at"),
        keys=fields.keys() if action.subject == "keys" else (),
        signer=fields.signer() if action.subject == "signer" else None,
        store=fields.store() if action.subject == "store" else None,
        accept_loss=fields.flag("accept_loss") if action is Action.DESTROY else False,
    )
    fields.refuse_others()
    if not timedelta(0) < change.expires_at - change.created_at <= MAX_LIFE:
        raise ChangeError("expires_at", f"after created_at, by at most {MAX_LIFE.days} days")
    if holds_identifier(change.reason):
        expected = "must name nobody: take out what looks like a CPR number or a pseudonym"
        raise ChangeError("reason", expected, "REASON_IDENTIFIER")
    return change


class _Fields:
    """Takes fields out of a JSON object, each with the form it must have."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = dict(values)
        self._path = path
        self._values.pop("form", None)

    def take(self, name: str) -> Any:
        if name not in self._values:
            raise ChangeError(f"{self._path}{name}", "is missing")
        return self._values.pop(name)

    def text(self, name: str, fits: Callable[[str], Any], expected: str) -> str:
        value = self.take(name)
        if not isinstance(value, str) or not fits(value):
            raise ChangeError(f"{self._path}{name}", f"must be {expected}")
        return value

    def instant(self, name: str) -> datetime:
        text = self.text(name, lambda _: True, "text")
        try:
            return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
        except ValueError:
            raise ChangeError(f"{self._path}{name}", "must be an instant, YYYY-MM-DDTHH:MM:SSZ") from None

    def flag(self, name: str) -> bool:
        value = self._values.pop(name, False)
        if not isinstance(value, bool):
            raise ChangeError(f"{self._path}{name}", "must be true, or absent")
        return value

    def keys(self) -> tuple[KeyVersionName, ...]:
        values = self.take("keys")
        if not isinstance(values, list) or not 0 < len(values) <= MAX_KEYS:
            raise ChangeError("keys", f"must be a list of 1 to {MAX_KEYS} key versions")
        found = []
        for number, value in enumerate(values):
            fields = _object(value, f"keys[{number}]")
            domain = fields.text("domain", _DOMAIN.fullmatch, "source/<system> or linkage/<purpose>")
            kind = Kind(fields.text("kind", lambda text: text in set(Kind), f"one of {', '.join(Kind)}"))
            version = fields.take("version")
            if type(version) is not int or not 0 < version < 2**31:
                raise ChangeError(f"keys[{number}].version", "must be a whole number from 1")
            fields.refuse_others()
            found.append(KeyVersionName(domain, kind, version))
        if len(set(found)) != len(found):
            raise ChangeError("keys", "must name each key version once")
        return tuple(found)

    def signer(self) -> Signer:
        fields = _object(self.take("signer"), "signer")
        name = fields.text("name", _SIGNER.fullmatch, "custodian/<name> or reviewer/<name>")
        role = fields.text("role", lambda text: text == name.partition("/")[0], "the first part of the name")
        key = fields.text("public_key", lambda text: is_usable(_decoded(text)), "an Ed25519 key, 32 bytes in base64")
        fields.refuse_others()
        return Signer(name, SignerRole(role), _decoded(key))

    def store(self) -> dict[str, str | int]:
        values = self.take("store")
        if not isinstance(values, dict) or not values:
            raise ChangeError("store", "must name the key store to put back")
        for name, value in values.items():
            is_number = type(value) is int and 0 <= value < 2**63
            is_text = isinstance(value, str) and _STORE_TEXT.fullmatch(value)
            if not _STORE_NAME.fullmatch(name) or not (is_number or is_text):
                raise ChangeError("store", "must hold whole numbers and short plain text only")
        return values

    def refuse_others(self) -> None:
        if self._values:
            raise ChangeError(self._path.rstrip(".") or "document", "holds a field that does not belong there")


def _object(value: Any, path: str) -> _Fields:
    if not isinstance(value, dict):
        raise ChangeError(path, "must be an object")
    return _Fields(value, f"{path}.")


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _is_sentence(text: str) -> bool:
    """Say whether a terminal shows the text as it is: no control, format or unassigned character, no line end."""
    return (
        0 < len(text.strip()) <= len(text) <= 500
        and text == unicodedata.normalize("NFC", text)
        and not any(unicodedata.category(character)[0] == "C" for character in text)
        and not any(unicodedata.category(character) in ("Zl", "Zp") for character in text)
    )


def holds_identifier(text: str) -> bool:
    """Say whether text holds something in the form of a CPR number or of a pseudonym. Errs on the side of yes."""
    return _NUMBER.search(unicodedata.normalize("NFKC", text)) is not None


def is_signer_name(text: str) -> bool:
    """Say whether text is "custodian/<name>" or "reviewer/<name>"."""
    return _SIGNER.fullmatch(text) is not None
