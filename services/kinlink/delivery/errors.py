"""What can be wrong with an extract or its mapping. No message holds a value of the extract."""

from __future__ import annotations

from kinlink.errors import InputError, LimitError


class MappingError(InputError):
    """The mapping file is at fault."""

    def __init__(self, message: str, reason: str = "BAD_MAPPING") -> None:
        """Say `message`: what is wrong and what would be right."""
        super().__init__(message, reason)


class ExtractError(InputError):
    """The extract as a whole is not what its mapping says."""


class RejectShareError(LimitError):
    """More rows are bad than the mapping allows, so the whole is refused."""
