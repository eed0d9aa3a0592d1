"""What a change does to the store, step by step, or why it may not: the conditions of the lifecycle.

Pure: from the versions as they are to the steps; the store carries them out in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.lifecycle import KeyState, Transition, after
from servicekit.errors import PreconditionError

Step = tuple[KeyVersionRow, Transition]
Unattested = Callable[[KeyVersionRow], Sequence[str]]
"""Returns the holders of a version who are not done with it."""


def next_version(versions: Iterable[KeyVersionRow], domain: str, kind: Kind) -> int:
    """Return the version that is made next in a line.

    Raises:
        PreconditionError: KEY_PENDING_EXISTS.
    """
    line = [version for version in versions if version.line == (domain, kind)]
    for version in line:
        if version.state is KeyState.PENDING:
            message = f"version {version.name.version} of this key is pending; activate it, or have it destroyed first"
            raise PreconditionError(message, "KEY_PENDING_EXISTS")
    return 1 + max((version.name.version for version in line), default=0)


def steps(
    versions: Iterable[KeyVersionRow],
    names: Sequence[KeyName],
    transition: Transition,
    unattested: Unattested,
    *,
    accept_loss: bool,
) -> list[Step]:
    """Return what happens to which version, in order, when `transition` is applied to all of `names`.

    Raises:
        PreconditionError: KEY_VERSION_UNKNOWN, KEY_TRANSITION_REFUSED, KEY_VERSION_SUPERSEDED,
            ROTATION_UNFINISHED, KEY_MISSING, HOLDERS_NOT_DONE; nothing is to be changed then.
    """
    known = {version.name: version for version in versions}
    states = {name: version.state for name, version in known.items()}
    planned: list[Step] = []
    for name in names:
        if name not in known:
            raise PreconditionError(f"there is no version {name.version} of this key", "KEY_VERSION_UNKNOWN")
        state = after(transition, states[name])
        line = {other: row for other, row in known.items() if row.line == known[name].line and other != name}
        match transition:
            case Transition.ACTIVATE:
                retired = _replaced(known[name], line, states, unattested)
                planned += [(row, Transition.RETIRE) for row in retired]
                states |= {row.name: KeyState.RETIRING for row in retired}
            case Transition.SALVAGE:
                _check_salvage(known[name], line, states)
            case Transition.DESTROY if not accept_loss:
                _check_holders(known[name], unattested)
            case _:
                pass
        states[name] = state
        planned.append((known[name], transition))
    return planned


def _replaced(
    version: KeyVersionRow,
    line: Mapping[KeyName, KeyVersionRow],
    states: Mapping[KeyName, KeyState],
    unattested: Unattested,
) -> list[KeyVersionRow]:
    """Return the primary that a version replaces, as a list of none or one."""
    if any(row.activated_at and row.name.version > version.name.version for row in line.values()):
        raise PreconditionError("a later version was active already; make a new one", "KEY_VERSION_SUPERSEDED")
    active = [row for name, row in line.items() if states[name] is KeyState.ACTIVE]
    if not active:
        return []  # the first version, or the primary was compromised: the line must get a new one
    for name, row in line.items():
        if states[name] is KeyState.RETIRING or (states[name] is KeyState.DISABLED and unattested(row)):
            message = f"version {name.version} of this key is {states[name]}; finish its rotation, and destroy it first"
            raise PreconditionError(message, "ROTATION_UNFINISHED")
    return active


def _check_salvage(
    version: KeyVersionRow, line: Mapping[KeyName, KeyVersionRow], states: Mapping[KeyName, KeyState]
) -> None:
    if version.name.kind is Kind.ENCODING:
        message = "nothing is carried over from an encoding key: encode anew, then have it destroyed"
        raise PreconditionError(message, "KEY_TRANSITION_REFUSED", metadata={"state": version.state})
    if version.activated_at is None:
        message = "this version was never active, so that nothing stands under it; have it destroyed"
        raise PreconditionError(message, "KEY_TRANSITION_REFUSED", metadata={"state": version.state})
    if KeyState.ACTIVE not in (states[name] for name in line):
        message = "this key has no primary to rekey to; create and activate the next version first"
        raise PreconditionError(message, "KEY_MISSING")


def _check_holders(version: KeyVersionRow, unattested: Unattested) -> None:
    waiting = () if version.activated_at is None else unattested(version)
    if waiting:
        message = (
            f"pseudonyms may still stand under this version: {', '.join(waiting)} did not attest since it was last "
            "used; let them rekey and attest, or propose a change that accepts the loss"
        )
        raise PreconditionError(message, "HOLDERS_NOT_DONE")
