"""Alias resolution against a slow, obvious second implementation."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from linker.linkage.aliases import Aliases, resolve

Pairs = list[tuple[int, int]]
PAIRS: st.SearchStrategy[Pairs] = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=24)


def resolved(pairs: Pairs) -> Aliases:
    schema = {"former_id": pl.UInt32, "current_id": pl.UInt32}
    return resolve(pl.LazyFrame(pairs, schema=schema, orient="row"))


def mapping(aliases: Aliases) -> dict[int, int]:
    return dict(aliases.resolved.iter_rows())


def oracle(pairs: Pairs) -> tuple[dict[int, int], int, int]:
    """Walk each chain by hand; a number with several currents is walked once they agree."""
    targets: dict[int, set[int]] = {}
    for former, current in pairs:
        if former != current:
            targets.setdefault(former, set()).add(current)

    def walk(number: int) -> tuple[int, frozenset[int]]:
        """Return the end of the chain, or the number itself and the ring it runs into."""
        seen = [number]
        while len(targets.get(seen[-1], ())) == 1:
            (following,) = targets[seen[-1]]
            if following in seen:
                return number, frozenset(seen[seen.index(following) :])
            seen.append(following)
        return seen[-1], frozenset()

    while True:
        led = {former: {walk(c)[0] for c in currents} for former, currents in targets.items() if len(currents) > 1}
        agreed = {former: ends for former, ends in led.items() if len(ends) == 1 and former not in ends}
        if not agreed:
            break
        targets |= agreed
    walks = {former: walk(former) for former, currents in targets.items() if len(currents) == 1}
    ends = {former: end for former, (end, ring) in walks.items() if not ring}
    rings = {ring for _, ring in walks.values() if ring}
    return ends, len(rings), sum(len(currents) > 1 for currents in targets.values())


@given(PAIRS)
@settings(deadline=None)
def test_resolve_agrees_with_walking_each_chain(pairs: Pairs) -> None:
    found = resolved(pairs)
    assert (mapping(found), found.cycles, found.ambiguous) == oracle(pairs)


@given(PAIRS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_resolve_does_not_depend_on_order_or_repetition(pairs: Pairs, random: st.DataObject) -> None:
    shuffled = [*pairs, *pairs[: len(pairs) // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert mapping(resolved(shuffled)) == mapping(resolved(pairs))


@given(PAIRS)
@settings(deadline=None)
def test_resolve_never_ends_at_a_number_that_is_resolved_itself(pairs: Pairs) -> None:
    ends = mapping(resolved(pairs))
    assert not set(ends.values()) & set(ends)


def test_resolve_follows_a_chain_of_a_hundred_thousand() -> None:
    found = resolved([(number, number + 1) for number in range(100_000)])
    assert set(mapping(found).values()) == {100_000}


def test_resolve_agrees_when_all_steps_and_the_short_cut_were_delivered() -> None:
    assert mapping(resolved([(1, 2), (2, 3), (1, 3)])) == {1: 3, 2: 3}


def test_resolve_leaves_a_number_alone_whose_currents_all_lead_back_to_it() -> None:
    found = resolved([(0, 1), (0, 2), (1, 0), (2, 0)])
    assert (mapping(found), found.ambiguous) == ({1: 0, 2: 0}, 1)
