"""The life of a key version as a page, from the tables that the pseudonymizer goes by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from kinlink.pseudonyms import Kind
from pseudonymizer.lifecycle import DANISH, TRANSITIONS, USES, KeyState, Permit, Use, uses
from tools.markdown import NOTE, table

_MEANING = {
    KeyState.PENDING: "made, not used yet",
    KeyState.ACTIVE: "the primary of its line: what is evaluated, converted or rekeyed anew stands under it",
    KeyState.RETIRING: "the former primary: what stands under it is carried over",
    KeyState.DISABLED: "does nothing; can be enabled again",
    KeyState.DESTROYED: "gone: its row stays, without the key",
    KeyState.COMPROMISED: "somebody else may know it: does nothing",
}
_MARKS = {Permit.ALWAYS: "yes", Permit.BY_VERSION: "by version", Permit.STREAM_BEGUN: "call begun"}


def key_lifecycle() -> Iterator[str]:
    """Yield states, transitions and uses."""
    yield "# The life of a key"
    yield NOTE
    yield (
        "Each key line, that is domain and kind, has versions, counted from 1 and never used twice. At most one is the "
        "primary. The first start makes version 1 of every line that the policy declares, active; everything after "
        "that goes by these tables, which are the service's own. What stands in no row does not happen."
    )
    yield "\n## States\n"
    rows = ((f"`{state}`", DANISH[state], _MEANING[state]) for state in KeyState)
    yield from table(("state", "dansk", "meaning"), rows)
    yield "## Transitions\n"
    yield (
        "An *approved change* has two approvals, by two enrolled people other than its proposer, at least one of them "
        "a reviewer. One change may name several keys; it happens to all of them or to none. Each transition of each "
        "key is an entry in the audit log, `key.` and its name, in the transaction that does it.\n"
    )
    rows_of_transitions = (
        (
            f"`{row.transition}`",
            DANISH[row.transition],
            ", ".join(f"`{state}`" for state in row.before) or "(none)",
            f"`{row.after}`",
            _two(row.decision),
            row.condition,
        )
        for row in TRANSITIONS
    )
    yield from table(("transition", "dansk", "from", "to", "decided by", "provided that"), rows_of_transitions)
    yield "## What each state allows\n"
    yield (
        "An empty cell is a refusal, `KEY_VERSION_INACTIVE`, of every replica and process at once: each message "
        "looks at the key store's generation in the transaction that answers it.\n"
    )
    rows_of_uses = (
        (f"`{state}`", *(_MARKS.get(USES[use].get(state), "") for use in Use))  # type: ignore[arg-type]
        for state in KeyState
    )
    yield from table(("state", *(str(use) for use in Use)), rows_of_uses)
    for permit in (Permit.BY_VERSION, Permit.STREAM_BEGUN):
        yield f"- *{_MARKS[permit]}*: {permit}."
    yield "\n## Encoding keys\n"
    handed, multiplied = (_listed(uses(kind)) for kind in (Kind.ENCODING, Kind.CPR))
    yield (
        f"A key of kind `{Kind.ENCODING}` is a secret of 32 random bytes, not a scalar. It is used to {handed}, what "
        f"sources encode under being derived from it, and for nothing else; keys of the other kinds are used to "
        f"{multiplied}, and are never handed out. So a retiring version of an encoding key does nothing any more, and "
        "nothing is carried over from it: sources encode and deliver anew. Its holders are the sources that the policy "
        "lets encode, and the linker, which holds what they encoded. Each attests, with `held` 0 and no `to`: a source "
        "that nothing it encoded under the version is used any more, the linker that it holds nothing encoded under "
        "it and takes nothing in. When all have, or the signed document accepts the loss, it can be destroyed. Step by "
        "step: [rotate an encoding key](../how-to/rotate-an-encoding-key.md)."
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _two(word: StrEnum) -> str:
    return f"{word} ({DANISH[word]})"
