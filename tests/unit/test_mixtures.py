"""Mixtures of witnesses: what an attacker knows they do not move, and what is known of every table they keep."""

from __future__ import annotations

import numpy as np

from linker.disclosure.mixtures import mixtures

# Two rows and two columns with their totals: cells a b c d; then a + b, c + d, a + c, b + d; then a count.
AMOUNTS = np.array([[3.0, -1.0, -2.0, 5.0], [-6.0, 2.0, 7.0, -1.0], [1.0, 4.0, -3.0, -4.0], [-2.0, -5.0, 1.0, 2.0]])
SUMS = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
WITNESSES = np.hstack([AMOUNTS, AMOUNTS @ SUMS.T, np.array([[1.0], [-1.0], [1.0], [1.0]])])
COUNTED = np.arange(9) == 8


def test_mixtures_move_neither_what_is_known_nor_counts_and_keep_sums() -> None:
    for known in ([0], [0, 3], [3, 5], [0, 8]):
        mixed = mixtures(WITNESSES, COUNTED, np.array(known))
        assert len(mixed)
        assert not mixed[:, [*known, 8]].any()
        assert mixed[:, :4].any(axis=1).all()
        np.testing.assert_allclose(mixed[:, :4] @ SUMS.T, mixed[:, 4:8], atol=1e-12)


def test_mixtures_lie_between_witnesses_so_that_nothing_falls_below_what_they_allow() -> None:
    mixed = mixtures(WITNESSES, COUNTED, np.array([0]))
    assert (mixed >= WITNESSES.min(axis=0) - 1e-12)[:, :8].all()
    assert (mixed <= WITNESSES.max(axis=0) + 1e-12)[:, :8].all()


def test_witnesses_serve_as_they_are_for_who_knows_a_count_only() -> None:
    mixed = mixtures(WITNESSES, COUNTED, np.array([8]))
    np.testing.assert_array_equal(mixed[:, :8], WITNESSES[:, :8])


def test_there_is_no_mixture_of_witnesses_that_move_what_is_known_to_one_side() -> None:
    assert not len(mixtures(np.abs(WITNESSES), COUNTED, np.array([0])))
    assert not len(mixtures(WITNESSES[:0], COUNTED, np.array([0])))


def test_no_mixture_is_sought_where_much_is_known() -> None:
    assert not len(mixtures(WITNESSES, COUNTED, np.arange(6)))
