"""One audit entry a message, written together with what the message used of its caller's budget.

1. No entry, no answer: `Message.settle` commits both or neither, before the answer leaves. It commits
   nothing when the keys have changed since they were taken: the message is done again with those that are.
2. A refusal is an entry too, with its reason; it uses no budget.
3. An entry names domains, kinds and versions only if they are known here: what else stands in
   those fields of a request is somebody's mistake, and might be an identifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from opentelemetry import metrics
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import attested
from pseudonymizer.keystore.tables import generation
from pseudonymizer.policy import BudgetLimit
from servicekit.audit import AuditEntry, AuditLog
from servicekit.budget import Budget
from servicekit.errors import ServiceError, UnavailableError
from servicekit.identity import Caller, request_id

_elements = metrics.get_meter("pseudonymizer").create_counter(
    "kinlink.pseudonymizer.elements", "{element}", "Elements answered, by caller's domain and kind."
)


@dataclass(frozen=True, slots=True)
class KeysUsed:
    """Of which generation the keys were that a message was answered with, and which of them retire."""

    generation: int
    retiring: tuple[KeyName, ...]


@dataclass(slots=True)
class Message:
    """A message under way. The entry gains what becomes known of it."""

    ledger: Ledger
    entry: AuditEntry

    def note(
        self, *, subject: str = "", kind: str = "", key_version: int = 0, grant: str = "", evidence: str = ""
    ) -> None:
        """Add what is known by now to the entry."""
        self.entry = replace(
            self.entry,
            subject=subject or self.entry.subject,
            kind=kind or self.entry.kind,
            key_version=key_version or self.entry.key_version,
            grant=grant or self.entry.grant,
            evidence=evidence or self.entry.evidence,
        )

    def check_budget(self, limit: BudgetLimit) -> int:
        """Refuse before the work what `settle` would refuse after it; return the keys' generation.

        Raises:
            ExhaustedError, UnavailableError: as `settle`.
        """
        return self.ledger.reserve(self.entry, limit, None)

    def settle(self, limit: BudgetLimit, keys: KeysUsed) -> int:
        """Reserve the budget and write the entry in one transaction; answer only after it.

        Returns the keys' generation. Where it is another than was used, nothing was kept; answer nothing.

        Raises:
            ExhaustedError: another message took the rest of the budget meanwhile; nothing is reserved.
            UnavailableError: the database cannot be written.
        """
        generation = self.ledger.reserve(self.entry, limit, keys)
        if generation != keys.generation:
            return generation
        labels = {"kinlink.domain": self.entry.subject, "kinlink.kind": self.entry.kind}
        _elements.add(self.entry.count, {"kinlink.caller": limit.caller, **labels})
        return generation


class Ledger:
    """Audit and budgets of the pseudonymizer."""

    def __init__(self, engine: Engine, audit: AuditLog, today: Callable[[], date]) -> None:
        """Use `engine`, whose tables are migrated; `today` tells the day a budget is counted on."""
        self._engine = engine
        self._audit = audit
        self._budget = Budget(engine)
        self._today = today

    @contextmanager
    def message(self, rpc: str, caller: Caller, count: int) -> Iterator[Message]:
        """Yield a message of `count` elements; whatever is raised inside is written as refused or failed."""
        entry = AuditEntry(rpc, caller.uri, "ok", count=count, request_id=request_id())
        message = Message(self, entry)
        try:
            yield message
        except ServiceError as error:
            if error.reason != "AUDIT_UNAVAILABLE":  # then this could not be written either
                self._audit.append(replace(message.entry, outcome="refused", reason=error.reason))
            raise

    def reserve(self, entry: AuditEntry, limit: BudgetLimit, keys: KeysUsed | None) -> int:
        """Take the elements of `entry` from the budget and append it; without keys only try whether they fit.

        Returns the generation of the keys. It is read last: the log's head is locked by then, and a change of
        keys appends to the log as well, so that it comes whole before this or whole after it.
        """
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                self._budget.reserve(
                    limit.caller, self._today(), entry.count, limit.per_day, limit.per_year, connection
                )
                if keys:
                    for name in keys.retiring:
                        attested.used(connection, name, limit.caller, datetime.now(UTC))
                    self._audit.append(entry, connection)
                found = generation(connection)
                if keys is None or found != keys.generation:
                    transaction.rollback()
                return found
        except SQLAlchemyError as error:
            raise UnavailableError("the budget cannot be counted; try again later", "BUDGET_UNAVAILABLE") from error
