"""CPR numbers where none belongs: parted otherwise than usual in a text, or read as an amount."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from kinlink.delivery.datasets import DATASETS
from kinlink.delivery.refused_values import CPR_IN_TEXT, MAX_PERSON_AMOUNT_ORE
from linker.intake.rows import faults
from tests.unit import linker_fixtures as given
from tests.unit.delivery.extracts import HEADER, PAYER_HEADER, SOUND, TWIN_POSTINGS, examined, payer


@pytest.mark.parametrize(
    "text",
    [
        "6101800010", "610180-0010", "610180 0010", "610180.0010", "610180 - 0010", "61.01.80-0010", "61 01 80 0010",
        "61/01/80/0010", "61-01-80-0010", "610180\u20130010", "610180\u00a00010", "S6101800010X", "se 610180-0010.",
    ],
)  # fmt: skip
def test_a_number_in_text_is_seen_however_it_is_parted(text: str) -> None:
    assert pl.Series([text]).str.contains(CPR_IN_TEXT).item()


@pytest.mark.parametrize(
    "text",
    [
        "SEL § 52, stk. 3, nr. 3", "5.57.73", "01-01-2014", "2014-12-31", "31.12.2014 kl. 12", "BIF-KONTANTHJAELP",
        "12 34 56 78", "610180001099", "6199800010", "DTL § 19, 2007-01-01", "0.00.61 18 00",
    ],
)  # fmt: skip
def test_codes_dates_and_paragraphs_are_not_taken_for_numbers(text: str) -> None:
    assert not pl.Series([text]).str.contains(CPR_IN_TEXT).item()


def test_the_intake_refuses_an_amount_on_a_person_that_is_as_large_as_a_number() -> None:
    amounts = [MAX_PERSON_AMOUNT_ORE, MAX_PERSON_AMOUNT_ORE + 1, -MAX_PERSON_AMOUNT_ORE - 1, -(2**63), 0]
    persons = pl.concat([given.postings("a", amount_ore=amount) for amount in amounts])
    nobody = given.postings(None, amount_ore=2**62)
    record = given.postings(None, amount_ore=2**62, encoding_id="r1")
    rows = pl.concat([persons, nobody, record])
    found = faults(rows, DATASETS["postings"], kinds={"cpr"}, first_row=0, text_length=500)
    assert [(fault.column, fault.row) for fault in found] == [("amount_ore", row) for row in (1, 2, 3, 6)]
    assert all(str(abs(amount)) not in fault.expected for fault in found for amount in amounts[1:4])


def test_the_client_rejects_a_cpr_column_that_is_mapped_to_an_amount(tmp_path: Path) -> None:
    rows = SOUND + SOUND.replace("1.234,56-", "6101800010") + SOUND.replace("610180-0010", "").replace("1.", "999.999.")
    found = examined(tmp_path, HEADER + rows).rejects
    assert found.select("row", "column", "reason").rows() == [(3, "amount_ore", "too_large")]
    payers = PAYER_HEADER + payer().replace("1,00", "6101800010") + payer("8")
    found = examined(tmp_path, payers, TWIN_POSTINGS).rejects
    assert found.select("row", "column", "reason").rows() == [(2, "amount_ore", "too_large")]
