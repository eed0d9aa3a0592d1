"""The life of a key version, as data: what may happen to it, and what it may be used for.

1. `TRANSITIONS` is the only way from one state to another; what stands in no row does not happen.
2. A line (domain, kind) has at most one active version, its primary. Activating the next retires it in
   the same transaction. Versions count from 1 and are never used twice; nothing leaves `destroyed`.
3. `USES` says what each state allows; what stands in no row is refused.
4. A key of kind `encoding` is handed out, and used for nothing else; all others never are (`uses`). So a version
   that retires can do nothing any more: what was encoded under it is encoded anew.

docs/reference/key-lifecycle.md is made from these tables. It does not know keys, grants, people or time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from kinlink.pseudonyms import Kind
from servicekit.errors import PreconditionError


class KeyState(StrEnum):
    """The states of a key version, in the words of Tink."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRING = "retiring"
    DISABLED = "disabled"
    DESTROYED = "destroyed"
    COMPROMISED = "compromised"


class Transition(StrEnum):
    """What happens to a key version; the word in a change document and, after "key.", in the audit log."""

    CREATE = "create"
    ACTIVATE = "activate"
    RETIRE = "retire"
    DISABLE = "disable"
    ENABLE = "enable"
    COMPROMISE = "compromise"
    SALVAGE = "salvage"
    DESTROY = "destroy"


class Decision(StrEnum):
    """Who decides it."""

    CUSTODIAN = "one custodian"
    SIGNED = "one custodian, signed"
    APPROVED = "approved change"
    FOLLOWS = "follows from the activation of the next version"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: from any of `before` (empty: does not exist yet) to `after`."""

    transition: Transition
    before: tuple[KeyState, ...]
    after: KeyState
    decision: Decision
    condition: str
    """What must hold besides, for the reference; the key store checks it."""


_S, _T, _D = KeyState, Transition, Decision
TRANSITIONS: Final = (
    Rule(_T.CREATE, (), _S.PENDING, _D.CUSTODIAN, "no other version of the line is pending"),
    Rule(
        _T.ACTIVATE,
        (_S.PENDING,),
        _S.ACTIVE,
        _D.APPROVED,
        "no later version was ever active; while the line has a primary, no other version of it is retiring, or "
        "disabled before every holder has attested: one rotation at a time",
    ),
    Rule(_T.RETIRE, (_S.ACTIVE,), _S.RETIRING, _D.FOLLOWS, "in the same transaction"),
    Rule(_T.DISABLE, (_S.RETIRING,), _S.DISABLED, _D.APPROVED, ""),
    Rule(_T.ENABLE, (_S.DISABLED,), _S.RETIRING, _D.APPROVED, ""),
    Rule(
        _T.COMPROMISE,
        (_S.PENDING, _S.ACTIVE, _S.RETIRING, _S.DISABLED),
        _S.COMPROMISED,
        _D.SIGNED,
        "takes effect at once; the time of it stays, whatever follows",
    ),
    Rule(
        _T.SALVAGE,
        (_S.COMPROMISED,),
        _S.RETIRING,
        _D.APPROVED,
        "it was active once, it is not of kind encoding, and the line has a primary, so that holders can rekey away "
        "from it",
    ),
    Rule(
        _T.DESTROY,
        (_S.PENDING, _S.RETIRING, _S.DISABLED, _S.COMPROMISED),
        _S.DESTROYED,
        _D.APPROVED,
        "it was never active; or every holder has attested since its successor was activated, and has not used it "
        "after that; or the signed document accepts the loss",
    ),
)


class Use(StrEnum):
    """What a key version is used for."""

    EVALUATE = "evaluate"
    CONVERT_FROM = "convert from"
    CONVERT_TO = "convert to"
    REKEY_FROM = "rekey from"
    REKEY_TO = "rekey to"
    HAND_OUT = "hand out"


class Permit(StrEnum):
    """When a state allows a use."""

    ALWAYS = "yes"
    BY_VERSION = "only when asked for by its version"
    STREAM_BEGUN = (
        "only within a call that was answered under it while it was active, until 24 hours after the call began, and "
        "not if it was ever compromised"
    )


USES: Final[Mapping[Use, Mapping[KeyState, Permit]]] = MappingProxyType(
    {
        Use.EVALUATE: {_S.ACTIVE: Permit.ALWAYS, _S.RETIRING: Permit.STREAM_BEGUN},
        Use.CONVERT_FROM: {_S.ACTIVE: Permit.ALWAYS, _S.RETIRING: Permit.ALWAYS},
        Use.CONVERT_TO: {_S.ACTIVE: Permit.ALWAYS, _S.RETIRING: Permit.BY_VERSION},
        Use.REKEY_FROM: {_S.RETIRING: Permit.ALWAYS},
        Use.REKEY_TO: {_S.ACTIVE: Permit.ALWAYS},
        Use.HAND_OUT: {_S.ACTIVE: Permit.ALWAYS},
    }
)

DANISH: Final[Mapping[StrEnum, str]] = MappingProxyType(
    {
        _S.PENDING: "afventende",
        _S.ACTIVE: "gældende",
        _S.RETIRING: "udgående",
        _S.DISABLED: "spærret",
        _S.DESTROYED: "tilintetgjort",
        _S.COMPROMISED: "kompromitteret",
        _T.CREATE: "opret",
        _T.ACTIVATE: "tag i brug",
        _T.RETIRE: "lad udgå",
        _T.DISABLE: "spær",
        _T.ENABLE: "ophæv spærring",
        _T.COMPROMISE: "meld kompromitteret",
        _T.SALVAGE: "bjærg",
        _T.DESTROY: "tilintetgør",
        _D.CUSTODIAN: "én nøgleforvalter",
        _D.SIGNED: "én nøgleforvalter, underskrevet",
        _D.APPROVED: "godkendt ændring",
        _D.FOLLOWS: "følger af, at næste version tages i brug",
    }
)
"""The words of a Danish page."""


def uses(kind: Kind) -> tuple[Use, ...]:
    """Return what keys of a kind are used for."""
    return tuple(use for use in Use if (use is Use.HAND_OUT) == (kind is Kind.ENCODING))


def usable(kind: Kind) -> frozenset[KeyState]:
    """Return the states in which a key of a kind is held in memory."""
    return frozenset(state for use in uses(kind) for state in USES[use])


def rule(transition: Transition) -> Rule:
    """Return the row of a transition."""
    return next(row for row in TRANSITIONS if row.transition is transition)


def after(transition: Transition, state: KeyState) -> KeyState:
    """Return the state that follows.

    Raises:
        PreconditionError: KEY_TRANSITION_REFUSED, the table has no such row.
    """
    row = rule(transition)
    if state not in row.before:
        text = f"a key version that is {state} cannot be taken through {transition}"
        wanted = " or ".join(row.before) or "no version yet"
        raise PreconditionError(f"{text}; it needs {wanted}", "KEY_TRANSITION_REFUSED", metadata={"state": state})
    return row.after
