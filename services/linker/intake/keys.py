"""Decide whether the key versions that a delivery names are ones to take it in under.

1. Pseudonyms: versions that they can be converted from. While nobody can say, they are taken: a run asks for the
   conversion, and says what is wrong.
2. Encodings: the version that is handed out now, so that all sources' meet. Nothing is asked of the pseudonymizer
   later, so while nobody can say, they are not taken.
3. None that the linker has attested to hold nothing of any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa

from kinlink.pseudonyms import Kind
from linker.store import rekeyings
from linker.store.deliveries import Header
from servicekit.errors import PreconditionError, UnavailableError

KeyStates = Callable[[str], Mapping[tuple[str, int], bool] | None]
"""For a domain, each key version there is, (kind, version), and whether what stands under it is taken in now; None
when nobody can say."""

_ANEW = "encode and deliver again: the client fetches the new key"


class KeyRefusedError(PreconditionError):
    """What was delivered has to be made anew, under another key version: nothing of it is of use."""


def check(header: Header, source: str, purpose: str, key_states: KeyStates) -> None:
    """Refuse a delivery under a key version that the pseudonymizer does not work with.

    Raises:
        KeyRefusedError: KEY_VERSION_UNKNOWN; KEY_VERSION_INACTIVE: pseudonymise or encode again.
        UnavailableError: PSEUDONYMIZER_UNAVAILABLE, nobody can say whether an encoding key is in use.
    """
    for domain, versions in _by_domain(header, source, purpose).items():
        states = key_states(domain) if versions else None
        if states is None:
            if Kind.ENCODING in versions:
                message = "the linker cannot ask the pseudonymizer whether the encoding key is in use; try again"
                raise UnavailableError(message, "PSEUDONYMIZER_UNAVAILABLE")
            continue
        if any(pair not in states for pair in versions.items()):
            raise KeyRefusedError("the header names a key version that does not exist", "KEY_VERSION_UNKNOWN")
        if not all(states[pair] for pair in versions.items()):
            message = "the pseudonyms stand under a key version that cannot be converted from; pseudonymise again"
            if Kind.ENCODING in versions:
                message = f"the encodings were made under a key version that was replaced; {_ANEW}"
            raise KeyRefusedError(message, "KEY_VERSION_INACTIVE")


def check_open(connection: sa.Connection, header: Header, source: str, purpose: str) -> None:
    """Refuse a delivery under a closed key version, in the transaction that notes or accepts it.

    Raises:
        KeyRefusedError: KEY_VERSION_CLOSED.
    """
    rekeyings.alone(connection)
    for domain, versions in _by_domain(header, source, purpose).items():
        if closed := rekeyings.closed(connection, domain, versions):
            again = _ANEW if Kind.ENCODING in closed else "pseudonymise again"
            message = f"what was delivered stands under a key version that was replaced; {again}"
            raise KeyRefusedError(message, "KEY_VERSION_CLOSED")


def _by_domain(header: Header, source: str, purpose: str) -> Mapping[str, Mapping[str, int]]:
    """Return the key versions of a delivery, by kind, by the domain that they are of."""
    own = {kind: version for kind, version in header.keys.items() if kind != Kind.ENCODING}
    encoding = {kind: version for kind, version in header.keys.items() if kind == Kind.ENCODING}
    return {f"source/{source}": own, f"linkage/{purpose}": encoding}
