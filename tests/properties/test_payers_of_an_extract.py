"""Whatever a source sends, replaces, takes back and numbers anew, and whenever a run is made: nobody pays for another.

The source keeps to one order, postings of an extract before anything else of it; everything may be left out, repeated
or come late. What of its payers is not linked is said in a note.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.extracts_over_time import NAMES, Extracts

PERIODS = ("2014-01", "2014-02")
STEPS: Mapping[str, Callable[[Extracts, str], None]] = {
    "postings": Extracts.send_postings,
    "payers": Extracts.send_payers,
    "answers": Extracts.send_answers,
    "no postings": lambda source, period: source.withdraw("postings", period),
    "no payers": lambda source, period: source.withdraw("payer_encodings", period),
    "expiry": lambda source, _: expire(source),
    "run": lambda source, _: run(source),
}
EXTRACTS = st.lists(st.sampled_from(NAMES), min_size=2, max_size=5)
STEP = EXTRACTS | st.sampled_from(["payers", "run", *STEPS])
HISTORY = st.lists(st.tuples(st.sampled_from(PERIODS), STEP), min_size=4, max_size=9)


def expire(source: Extracts) -> None:
    """Let the retention of what is encoded end, and the register deliver again."""
    source.expire()
    source.register()


def run(source: Extracts) -> None:
    """Run. Whose payers are here pays, or a note says what is not used, and what to do."""
    source.run()
    paid = source.paid()
    for period, rows in source.rows.items():
        held = {("postings", period), ("payer_encodings", period)} <= set(source.accepted)
        unpaid = [amount for amount, _ in rows if amount in paid and paid[amount] is None]
        if held and unpaid:
            assert any(note.startswith(("Not used: ", "Not linked: ")) for note in source.notes), source.notes


@settings(max_examples=12, deadline=None)
@given(EXTRACTS, HISTORY)
def test_nobody_ever_pays_for_anothers_row_and_nothing_goes_unsaid(
    first: list[str], history: list[tuple[str, str | list[str]]]
) -> None:
    begin: list[tuple[str, str | list[str]]] = [(period, first) for period in PERIODS]
    with tempfile.TemporaryDirectory() as folder:
        source = Extracts(Path(folder))
        for period, step in [*begin, (PERIODS[0], "payers"), *history, (PERIODS[0], "run")]:
            if isinstance(step, list):
                source.extract(period, step)
                source.send_postings(period)
            else:
                STEPS[step](source, period)
            wrong = {amount for amount, payer in source.paid().items() if payer not in (None, source.truth[amount])}
            assert wrong == set()
        source.close()
