"""Elements per caller, per day and per year.

A reservation is one transaction with the work's audit entry. It locks the
caller's year first and its day second, so that neither two messages nor two
replicas can together pass a limit. Over a limit nothing is reserved.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, Table, Text, select, text, update

from servicekit.database import read
from servicekit.errors import ExhaustedError

_budget_use = Table(
    "budget_use",
    MetaData(),
    Column("caller", Text, primary_key=True),
    Column("period", Text, primary_key=True),  # "2026" or "2026-11-22"
    Column("elements", BigInteger),
)
# Both databases know this form; SQLAlchemy has no common construct for it.
_OPEN = text("INSERT INTO budget_use (caller, period, elements) VALUES (:caller, :period, 0) ON CONFLICT DO NOTHING")


class Budget:
    """Counts what callers use."""

    def __init__(self, engine: Engine) -> None:
        """Count in `engine`, whose tables are migrated."""
        self._engine = engine

    def reserve(
        self, caller_name: str, day: date, elements: int, per_day: int, per_year: int, connection: Connection
    ) -> None:
        """Reserve `elements`, whole or not at all, in the connection's transaction.

        Raises:
            ExhaustedError: BUDGET_DAY or BUDGET_YEAR; says the limit and what is left of it.
        """
        with connection.begin_nested():
            for period, limit, reason in (
                (f"{day:%Y}", per_year, "BUDGET_YEAR"),
                (day.isoformat(), per_day, "BUDGET_DAY"),
            ):
                connection.execute(_OPEN, {"caller": caller_name, "period": period})
                row = (_budget_use.c.caller == caller_name) & (_budget_use.c.period == period)
                fits = _budget_use.c.elements + elements <= limit
                change = update(_budget_use).where(row & fits).values(elements=_budget_use.c.elements + elements)
                if connection.execute(change).rowcount != 1:
                    used = connection.execute(select(_budget_use.c.elements).where(row)).scalar_one()
                    raise ExhaustedError(
                        f"over the budget of {limit} elements for {period}: {max(0, limit - used)} left, "
                        f"{elements} asked; nothing was done. Ask the service's operator for a larger budget",
                        reason,
                        metadata={"limit": str(limit), "left": str(max(0, limit - used)), "asked": str(elements)},
                    )

    def used(self, caller_name: str, period: str) -> int:
        """Return the elements used in a period, "2026" or "2026-11-22"."""
        row = (_budget_use.c.caller == caller_name) & (_budget_use.c.period == period)
        with read(self._engine) as connection:
            return connection.execute(select(_budget_use.c.elements).where(row)).scalar() or 0
