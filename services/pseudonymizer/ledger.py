"""One audit entry a message, written together with what the message used of its caller's budget.

1. No entry, no answer: `Message.settle` commits both or neither, before the answer leaves.
2. A refusal is an entry too, with its reason; it uses no budget.
3. An entry names domains, kinds and versions only if they are known here: what else stands in
   those fields of a request is somebody's mistake, and might be an identifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date

from opentelemetry import metrics
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pseudonymizer.policy import BudgetLimit
from servicekit.audit import AuditEntry, AuditLog
from servicekit.budget import Budget
from servicekit.errors import ServiceError, UnavailableError
from servicekit.identity import Caller, request_id

_elements = metrics.get_meter("pseudonymizer").create_counter(
    "kinlink.pseudonymizer.elements", "{element}", "Elements answered, by caller's domain and kind."
)


@dataclass(slots=True)
class Message:
    """A message under way. The entry gains what becomes known of it."""

    ledger: Ledger
    entry: AuditEntry

    def note(self, *, subject: str = "", kind: str = "", key_version: int = 0, grant: str = "") -> None:
        """Add what is known by now to the entry."""
        self.entry = replace(
            self.entry,
            subject=subject or self.entry.subject,
            kind=kind or self.entry.kind,
            key_version=key_version or self.entry.key_version,
            grant=grant or self.entry.grant,
        )

    def check_budget(self, limit: BudgetLimit) -> None:
        """Refuse before the work what `settle` would refuse after it. Raises ExhaustedError, UnavailableError."""
        self.ledger.reserve(self.entry, limit, keep=False)

    def settle(self, limit: BudgetLimit) -> None:
        """Reserve the budget and write the entry in one transaction; answer only after it.

        Raises:
            ExhaustedError: another message took the rest of the budget meanwhile; nothing is reserved.
            UnavailableError: the database cannot be written.
        """
        self.ledger.reserve(self.entry, limit, keep=True)
        labels = {"kinlink.domain": self.entry.subject, "kinlink.kind": self.entry.kind}
        _elements.add(self.entry.count, {"kinlink.caller": limit.caller, **labels})


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

    def reserve(self, entry: AuditEntry, limit: BudgetLimit, *, keep: bool) -> None:
        """Take the elements of `entry` from the budget and append it; or only try whether they fit."""
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                self._budget.reserve(
                    limit.caller, self._today(), entry.count, limit.per_day, limit.per_year, connection
                )
                if not keep:
                    transaction.rollback()
                    return
                self._audit.append(entry, connection)
        except SQLAlchemyError as error:
            raise UnavailableError("the budget cannot be counted; try again later", "BUDGET_UNAVAILABLE") from error
