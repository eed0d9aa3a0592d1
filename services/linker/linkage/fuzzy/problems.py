"""Why a linkage is not made: each reason has a name, and says what to do next."""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    """What stood in the way."""

    COLUMNS = "columns"
    FILTER_LENGTH = "filter_length"
    TOKENS = "tokens"
    RECORDS = "records"
    TOO_FEW_FIELDS = "too_few_fields"
    TOO_FEW_RECORDS = "too_few_records"
    NOT_CONVERGED = "not_converged"
    LABELS = "labels"
    OTHER_FIELDS = "other_fields"


class FuzzyLinkageError(Exception):
    """No link was made; `problem` is the reason's name, `str()` says what to do next and holds no value of the data."""

    def __init__(self, problem: Problem, message: str) -> None:
        """Say `message`."""
        super().__init__(message)
        self.problem = problem
