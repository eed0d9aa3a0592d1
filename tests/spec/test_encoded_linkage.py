"""Does docs/spec/encoded-linkage.md state the numbers that the code has?"""

from __future__ import annotations

from pathlib import Path

import pytest

import linker
from linker.linkage.fuzzy import chance, classes, drift, estimates, fitting
from linker.linkage.fuzzy.blocking import CAPS
from linker.linkage.fuzzy.plan import BANDS
from linker.linkage.policy import load

PAGE = " ".join((Path(__file__).parents[2] / "docs/spec/encoded-linkage.md").read_text(encoding="utf-8").split())
SHIPPED = load(Path(linker.__file__).parent / "linkage.toml")


@pytest.mark.parametrize(
    "said",
    [
        f"{CAPS.persons:,} persons or {CAPS.share:.0%} of all",
        f"more than {CAPS.block:,} pairs",
        f"more than {CAPS.pairs:,}",
        "| the same bits | " + " | ".join(f"{band:.2f}" for band in BANDS) + " | |",
        f"crosswise ≥ {BANDS[1]:.2f}",
        f"{classes.TWINS:.1%} agree (twins)",
        f"from {'a million' if chance.SAMPLE == 1_000_000 else ''} random pairs",
        f"held by {'five' if fitting.HELD == 5 else ''} records' weight",
        f"fewer than {fitting.FEWEST_RECORDS} records, or fewer than {fitting.FEWEST_MATCHES} expected matches",
        f"fitted {'ten' if estimates.REFITS == 10 else ''} times to pattern counts drawn anew",
        f"Intervals, {estimates.COVERED:.0%}",
        f"moved by more than {drift.FIELD_MOVED:.2f} in total variation",
        f"matches a record by more than {drift.MATCHES_MOVED:.2f}",
        f"the shipped ones: {SHIPPED.thresholds.probability:.0%}, {SHIPPED.thresholds.margin:.0f} bits, "
        f"{1000 * SHIPPED.thresholds.expected_error:.0f} ‰, {SHIPPED.thresholds.review:.0%}".replace("%", " %"),
    ],
)
def test_page_states_the_number(said: str) -> None:
    plain = PAGE.replace(" %", "%")
    assert said.replace(" %", "%") in plain


def test_page_names_every_class() -> None:
    for each in classes.CLASSES:
        assert f"| {each.name.replace('moved', 'match that moved').replace('_', ' ')} |" in PAGE
