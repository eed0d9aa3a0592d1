"""Which keys there are: what ListKeys shows, and to whom.

1. A source sees the keys of its own domain, and the encoding keys that it is granted; a linker those of the domains
   that the policy grants it; everybody else whom the access table lets ask sees all.
2. What is shown is proven: it is what the store's seal was checked over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from kinlink.pseudonyms import Kind
from pseudonymizer.keystore import wrappings
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.policy import Operation, Policy
from servicekit.database import read
from servicekit.identity import Caller, Role


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key version, and what the policy says of its age."""

    version: KeyVersionRow
    backups_until: datetime | None
    """Until when a backup made before its destruction can be unsealed; None unless it was destroyed."""
    rotate_before: datetime | None
    """When the policy wants the next version; None without a rule, and unless it is the primary."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Key versions by domain, kind and version, at one generation of the store."""

    keys: tuple[ListedKey, ...]
    generation: int


class KeyInventory:
    """Lists keys."""

    def __init__(self, engine: Engine, policy: Policy, store: KeyStore) -> None:
        """List what `store` holds in `engine`."""
        self._engine = engine
        self._policy = policy
        self._store = store

    def visible_to(self, caller: Caller, domain: str = "") -> Inventory:
        """Return the keys that a caller may know of; only those of `domain` unless that is empty.

        Raises:
            UnavailableError: KEY_STORE_UNUSABLE.
        """
        versions, keyset = self._store.current()
        is_known = self._known_to(caller)
        shown = [v for v in versions if domain in ("", v.name.domain) and is_known(v)]
        with read(self._engine) as connection:
            wrapped = wrappings.every(connection)
        return Inventory(tuple(self._listed(version, wrapped) for version in shown), keyset.generation)

    def _known_to(self, caller: Caller) -> Callable[[KeyVersionRow], bool]:
        if caller.role not in (Role.SOURCE, Role.LINKER):
            return lambda _: True
        name = f"{caller.role}/{caller.name}"
        grants = [grant for grant in self._policy.grants if grant.caller == name]
        encoding = {(grant.domain, Kind.ENCODING) for grant in grants if grant.operation is Operation.ENCODE}
        routes = (r for grant in grants if grant.operation is not Operation.ENCODE for r in grant.routes())
        domains = {domain for route in routes for domain in (route.source, route.target)}
        return lambda version: version.name.domain in domains or version.line in encoding

    def _listed(self, version: KeyVersionRow, wrapped: list[wrappings.WrappingVersion]) -> ListedKey:
        rotation, until, before = self._policy.rotation, None, None
        if version.state is KeyState.DESTROYED:
            kept = timedelta(days=rotation.backups_kept_days)
            until = wrappings.backups_until(wrapped, version.created_at, version.state_since, kept)
        if version.state is KeyState.ACTIVE and rotation.rotate_after_days:
            before = (version.activated_at or version.created_at) + timedelta(days=rotation.rotate_after_days)
        return ListedKey(version, until, before)
