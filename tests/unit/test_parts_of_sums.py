"""Parts of sums over several axes: what is left when all that is known is taken away."""

from __future__ import annotations

import numpy as np

from linker.disclosure.parts import rests
from linker.disclosure.registered_system import registered_system
from linker.disclosure.views import views
from tests.unit import gate_fixtures as g

TABLE = g.table("t", [g.axis("group", ["a", "b"]), g.axis("type", ["x", "y", "z"])], g.AMOUNT)
ROWS = [
    (number, group, type_, 1, 100)
    for number, (group, type_) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("b", "z")])
]


def found(*hidden: tuple[str, str]) -> set[frozenset[tuple[str, str]]]:
    """Return what is left where these cells are hidden."""
    facts = [g.facts("spending", ["group", "type"], ["amount_ore"], ROWS, flow=True)]
    [view] = views([TABLE], facts, 12)
    registered = registered_system([view], [], facts, [view.policy])
    codes, cells = view.codes(), registered.cells(view)
    known = np.ones(len(registered.system), bool)
    known[[cells[codes.index(each)] for each in hidden]] = False
    at = dict(zip(cells.tolist(), codes, strict=True))
    return {frozenset((at[cell][0], at[cell][1]) for cell in each.cells) for each in rests(registered, view, known)}


MARGINS = [("a", "all"), ("b", "all"), ("all", "x"), ("all", "y")]


def test_hidden_cells_that_share_no_row_or_column_are_left_of_the_total() -> None:
    assert found(("a", "x"), ("b", "y"), *MARGINS) == {frozenset({("a", "x"), ("b", "y")})}


def test_nothing_is_left_over_several_axes_where_rows_and_columns_are_known() -> None:
    assert found() == set()
    for left in found(("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")):
        assert min(len({group for group, _ in left}), len({type_ for _, type_ in left})) == 1


def test_empty_cells_are_no_part() -> None:
    assert found(("a", "z"), ("b", "y"), ("a", "all"), ("b", "all"), ("all", "y"), ("all", "z")) == set()
