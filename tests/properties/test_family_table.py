"""For any families and any k and l: what the family table's coding guarantees, counted by hand."""

from __future__ import annotations

from collections import Counter, defaultdict

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from linker.disclosure.family_table.coding import TooFewFamiliesError, code
from linker.disclosure.family_table.columns import HIDDEN, PROPERTIES, SOME, TOTAL

DEPARTMENTS = (f"{TOTAL}_A", f"{TOTAL}_B")
NOTHING = "0"
BANDS = st.sampled_from((NOTHING, "1", "2", "3"))
ROW = st.tuples(
    *(st.sampled_from(("a", "b", "c")[: 2 + place % 2]) for place, _ in enumerate(PROPERTIES)), BANDS, BANDS, BANDS
)
NAMES = [*PROPERTIES, TOTAL, *DEPARTMENTS]


def frame(rows: list[tuple[str, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(NAMES, pl.String()), orient="row")


@given(
    st.lists(ROW, min_size=1, max_size=12),
    st.lists(st.integers(1, 12), min_size=12, max_size=12),
    st.integers(2, 6),
    st.integers(2, 4),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_rows_are_k_alike_and_classes_show_l_values(
    kinds: list[tuple[str, ...]],
    numbers: list[int],
    k: int,
    l: int,  # noqa: E741
    source: object,
) -> None:
    rows = [row for row, number in zip(kinds, numbers, strict=False) for _ in range(number)]
    try:
        coded = code(frame(rows), DEPARTMENTS, NOTHING, k, l)
    except TooFewFamiliesError:
        assert len(rows) < k
        return
    assert coded.height == len(rows)
    assert min(Counter(coded.rows()).values()) >= k
    classes: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for row in coded.rows():
        classes[row[: len(PROPERTIES)]].append(row)
    for members in classes.values():
        assert len(members) >= k
        totals = {row[len(PROPERTIES)] for row in members}
        assert totals == {HIDDEN} or len(totals) >= l
        for place in range(len(PROPERTIES) + 1, len(NAMES)):
            shown = {row[place] for row in members} - {SOME, HIDDEN}
            assert shown <= {NOTHING} or len(shown) >= l
    for before, after in zip(rows, coded.rows(), strict=True):  # what is shown is true
        for name, was, shown in zip(NAMES, before, after, strict=True):
            assert shown in (was, HIDDEN) or (name in DEPARTMENTS and shown == SOME and was != NOTHING)
    order = list(range(len(rows)))
    source.shuffle(order)  # type: ignore[attr-defined]
    again = code(frame([rows[place] for place in order]), DEPARTMENTS, NOTHING, k, l)
    assert again.rows() == [coded.row(place) for place in order]
