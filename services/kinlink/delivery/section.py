"""A table of a mapping file, from which each key is taken once; what is left is not known, and refused."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from kinlink.delivery.errors import MappingError

T = TypeVar("T")


class Section:
    """A table of the file; `place` is how errors name it."""

    def __init__(self, place: str, values: dict[str, Any]) -> None:
        self.place = place
        self._values = dict(values)
        self._known: list[str] = []

    def take(self, key: str, kind: type[T], default: T | None = None, among: tuple[str, ...] = ()) -> T:
        """Return the value of `key`; without a default it must be there."""
        self._known.append(key)
        value = self._values.pop(key, default)
        if value is None:
            near = difflib.get_close_matches(key, self._values, 1)
            raise MappingError(f"{self.place} lacks {key}. {f'Did you write {near[0]} for it?' if near else 'Add it.'}")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise MappingError(f"{self.place}: {key} must be of type {kind.__name__}.")
        if among and value not in among:
            raise MappingError(f"{self.place}: {key} must be one of {', '.join(among)}.")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return one text or a list of texts as a tuple."""
        self._known.append(key)
        value = self._values.pop(key, list(default))
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise MappingError(f"{self.place}: {key} must be a text or a list of texts.")
        return tuple(found)

    def number(self, key: str) -> int | None:
        """Return a whole number from 0; None when it is not there."""
        value = self.take(key, int, -1)
        return None if value < 0 else value

    def place_of(self, key: str) -> tuple[int, int] | None:
        """Return [start, length], counted from 1."""
        self._known.append(key)
        value = self._values.pop(key, None)
        return None if value is None else place(f"{self.place}: {key}", value)

    def section(self, key: str) -> Section:
        """Return a sub-table; an empty one when it is not there."""
        return Section(f"{self.place} [{key}]", self.take(key, dict, {}))

    def sections(self) -> dict[str, Section]:
        """Return everything as named sub-tables."""
        for name, value in self._values.items():
            if not isinstance(value, dict):
                raise MappingError(f'{self.place}: {name} must be a table, for example {{ from = "..." }}.')
        return {name: Section(f"{self.place} {name}", value) for name, value in self._values.items()}

    def finish(self) -> None:
        """Refuse what was not taken."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(self._known)}."
            raise MappingError(f"{self.place}: {key} is not known. {hint}")


def place(where: str, value: object) -> tuple[int, int]:
    """Return [start, length]. Raises MappingError: it is something else."""
    match value:
        case [int() as start, int() as length] if start >= 1 and length >= 1:
            return start, length
    raise MappingError(f"{where} must be [start, length], both from 1.")
