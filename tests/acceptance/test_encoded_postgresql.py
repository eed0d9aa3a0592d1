"""Payers without a CPR number over a linker whose state is in PostgreSQL: two processes, the real commands, to the end.

Deliver, run, review, answer, run, send again what has not changed, and let the encodings expire.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from examples.stack import REGISTER, SERVICES, Stack
from linker.store.state import DELIVERIES, DeliveryState, now
from servicekit.database import engine
from tests import postgres
from tests.acceptance.test_review import ALIKE, OPERATOR, Told, answer, number, told_all


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    (tmp_path / "files").mkdir()
    with ExitStack() as opened:
        databases = postgres.databases(opened.enter_context(postgres.cluster()), SERVICES)
        settings = Stack(tmp_path / "stack", settings=databases, encoders=(REGISTER, "prisme"))
        yield told_all(opened.enter_context(settings), tmp_path / "files")


@pytest.mark.slow
def test_the_encoded_road_on_postgresql(told: Told, tmp_path: Path) -> None:
    told.link()
    before = told.persons()
    asked = told.in_review()
    assert set(ALIKE) <= set(asked)
    answer(told, tmp_path, [f"asked-1;{number(1)}", "nobody-1;"])
    told.link()
    answered = told.explained("asked-1", "nobody-1", "open-1", "sure-1")
    assert list(answered.values()) == ["linked", "not linked", "in review", "linked"]
    shown = told.run_as(OPERATOR, "link", "status").stdout
    assert "Kroner with a person, of all postings (absolute, whole thousands), before and after" in shown
    assert told.send_postings_and_payers().count("already accepted") == 2
    told.link()
    assert told.persons() == {**before, "asked-1": told.described_as("free-1"), "nobody-1": None}
    linked = {record: person for record, person in told.persons().items() if person is not None}
    expire(told)
    states = {delivery: state for delivery, state in held(told) if delivery.endswith("encodings")}
    assert states == {"payer_encodings": DeliveryState.EXPIRED, "person_encodings": DeliveryState.EXPIRED}
    told.link()
    assert {record: person for record, person in told.persons().items() if person is not None} == linked


def url(told: Told) -> str:
    return str(told.stack.settings["linker"]["database_url"])


def held(told: Told) -> list[tuple[str, str]]:
    database = engine(url(told))
    with database.begin() as connection:
        rows = connection.execute(sa.select(DELIVERIES.c.dataset, DELIVERIES.c.state)).all()
    database.dispose()
    return [(row.dataset, row.state) for row in rows]


def expire(told: Told) -> None:
    """Let the encodings be older than their retention, and the linker look, as it does when it starts."""
    database = engine(url(told))
    with database.begin() as connection:
        encoded = DELIVERIES.update().where(DELIVERIES.c.dataset.endswith("encodings"))
        connection.execute(encoded.values(accepted_at=now() - timedelta(days=1_000)))
    database.dispose()
    told.stack.stop("linker")
    told.stack.start("linker")
