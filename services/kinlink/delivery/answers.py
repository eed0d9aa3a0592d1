"""Delivers a source's answers about its own records in review: who each one is, or that it is nobody in the register.

1. The file is CSV in UTF-8 separated by semicolons, with the columns encoding_id and cpr; cpr empty means nobody. A
   record that is not decided yet is left out.
2. It holds all answers of its period: what was delivered for the period before is replaced.
3. Answers go the way of any extract: CPR numbers are pseudonymised here. One bad row refuses the file.
"""

from __future__ import annotations

from pathlib import Path

from kinlink.delivery.deliver import Doors, Sent, Stages, send
from kinlink.delivery.encoded_datasets import REVIEW_ANSWERS
from kinlink.delivery.errors import ExtractError
from kinlink.delivery.examine import Examination, examine
from kinlink.delivery.mapping import ColumnRule, FileForm, Mapping, Text
from kinlink.delivery.period import Period
from kinlink.delivery.values import NumberForm

_NAMED = 5

ANSWERS = Mapping(
    path=Path("answers"),
    dataset=REVIEW_ANSWERS,
    source="",
    period="",
    max_rejected_share=0.0,
    file=FileForm(encoding="utf-8"),
    numbers=NumberForm(),
    texts={},
    codes={},
    variants=({"encoding_id": ColumnRule(text=Text(("encoding_id",))), "person": ColumnRule(text=Text(("cpr",)))},),
)


def deliver_answers(path: Path, period: str, doors: Doors, stages: Stages) -> Sent:
    """Deliver a file of answers for a period ("2014"); return when the linker has accepted it.

    Raises:
        ExtractError: BAD_ANSWERS, rows are not an answer each, named by number and column; or the file is no such CSV.
            Nothing was sent.
        InputError: the period is not one.
        KinlinkError: a service refused, or is away; calling again resumes.
    """
    covered = Period.parse(period)
    try:
        examination = examine([path], ANSWERS, covered, stages("read"), synthetic=doors.suite.synthetic)
    except ExtractError as error:
        if error.reason in ("WRONG_SEPARATOR", "MISSING_COLUMN"):
            raise ExtractError(
                f"{path.name} is no file of answers: its first line must be encoding_id;cpr, and each line after it a "
                "record that you have decided. Make a new file; nothing was sent.",
                "BAD_ANSWERS",
            ) from None
        raise
    _refuse_rejects(examination)
    return send(examination, [path], ANSWERS, covered, doors, stages)


def _refuse_rejects(examination: Examination) -> None:
    rejects = examination.rejects.sort("row", maintain_order=True)
    if not rejects.height:
        return
    named = [
        f"row {row}{f', {column}' if column else ''}: expected {expected}"
        for _, row, column, _, expected in rejects.head(_NAMED).iter_rows()
    ]
    more = f" and {rejects.height - _NAMED} more" if rejects.height > _NAMED else ""
    raise ExtractError(
        f"{rejects['file'][0]} is not all answers: {'; '.join(named)}{more}. Mend it and deliver it again; nothing was "
        "sent.",
        "BAD_ANSWERS",
    )
