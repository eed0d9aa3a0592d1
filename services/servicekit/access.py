"""Who may call what: a table of data, deny by default.

    [[allow]]
    rpc = "kinlink.linker.v1.IntakeService/Deliver"
    role = "source"
    name = "folkeregister"                  # absent: any name of the role
    limits = { datasets = ["persons"] }     # absent: none; read by the handler

1. What no rule names is refused, and so is an RPC that the table does not name.
2. A rule with a name wins over one without, limits and all; they do not add up.
3. `rpc` and `role` may be lists: one rule for each pair.
4. A key that is not listed here, or the same rule twice, is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servicekit.identity import Caller, Role


class AccessTableError(Exception):
    """The access table cannot be read; says which rule and why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One permission: callers of `role` (and `name`, unless empty) may call `rpc` within `limits`."""

    rpc: str
    role: Role
    name: str
    limits: Mapping[str, Any]

    @property
    def grant(self) -> str:
        """Name the rule for the audit log, for example "source/folkeregister" or "consumer/*"."""
        return f"{self.role}/{self.name or '*'}"


class AccessTable:
    """The permissions of one service."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        """Hold `rules`.

        Raises:
            AccessTableError: two rules name the same RPC, role and name.
        """
        self._rules: dict[tuple[str, Role, str], Rule] = {}
        for rule in rules:
            key = (rule.rpc, rule.role, rule.name)
            if key in self._rules:
                raise AccessTableError(f"two rules for {rule.rpc} and {rule.grant}")
            self._rules[key] = rule

    @classmethod
    def load(cls, path: Path) -> AccessTable:
        """Read a table.

        Raises:
            AccessTableError: not TOML, or a rule is not as described above.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise AccessTableError(f"{path.name} cannot be read as TOML") from error
        entries = data.pop("allow", [])
        if data or not isinstance(entries, list):
            raise AccessTableError(f"{path.name} may hold [[allow]] only")
        rules: list[Rule] = []
        for number, entry in enumerate(entries, start=1):
            try:
                rules += _rules(entry)
            except (KeyError, TypeError, ValueError) as error:
                message = f"{path.name}, rule {number}: expected rpc, role (one of {', '.join(Role)}), name, limits"
                raise AccessTableError(message) from error
        return cls(tuple(rules))

    @property
    def rpcs(self) -> frozenset[str]:
        """Every RPC that somebody may call."""
        return frozenset(rpc for rpc, _, _ in self._rules)

    def rules(self, rpc: str) -> tuple[Rule, ...]:
        """Return the rules for an RPC."""
        return tuple(rule for rule in self._rules.values() if rule.rpc == rpc)

    def decide(self, rpc: str, caller: Caller) -> Rule | None:
        """Return the rule that admits the caller, or None: refused."""
        return self._rules.get((rpc, caller.role, caller.name)) or self._rules.get((rpc, caller.role, ""))


def _rules(entry: Mapping[str, Any]) -> list[Rule]:
    if set(entry) - {"rpc", "role", "name", "limits"}:
        raise ValueError
    rpcs = [entry["rpc"]] if isinstance(entry["rpc"], str) else list(entry["rpc"])
    roles = [entry["role"]] if isinstance(entry["role"], str) else list(entry["role"])
    name, limits = entry.get("name", ""), entry.get("limits", {})
    if not isinstance(name, str) or not isinstance(limits, dict) or not all(rpc.count("/") == 1 for rpc in rpcs):
        raise ValueError
    return [Rule(rpc, Role(role), name, limits) for rpc in rpcs for role in roles]
