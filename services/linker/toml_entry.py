"""A table of a TOML file that is taken key by key: what is wrong, missing or left over is an error that says where."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

Word = TypeVar("Word", bound=StrEnum)
_WORDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}


class Entry:
    """One table, of which each key is taken once. What it raises is `error`, naming `where` and the key."""

    def __init__(self, where: str, table: object, error: type[ValueError]) -> None:
        """Take the keys of `table`, which stands at `where`."""
        self.where = where
        self._error = error
        if not isinstance(table, Mapping):
            raise self.wrong("expected a table")
        self._left: dict[str, Any] = dict(table)

    def wrong(self, what: str) -> ValueError:
        """Return the error that says what is wrong here."""
        return self._error(f"{self.where}: {what}")

    def text(self, key: str, *, default: str | None = None) -> str:
        """Take a text."""
        return str(self._take(key, str, default))

    def choice(self, key: str, words: type[Word]) -> Word:
        """Take one of the words of an enumeration."""
        word = self.text(key)
        if word not in list(words):
            raise self.wrong(f"{key} is one of {', '.join(words)}")
        return words(word)

    def number(self, key: str, *, default: int | None = None, at_least: int = 0, at_most: int | None = None) -> int:
        """Take a whole number within bounds."""
        value = int(self._take(key, int, default))
        if value < at_least or (at_most is not None and value > at_most):
            bounds = f"at least {at_least}" + (f" and at most {at_most}" if at_most is not None else "")
            raise self.wrong(f"{key} must be a whole number, {bounds}")
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Take true or false."""
        return bool(self._take(key, bool, default))

    def texts(self, key: str, *, default: tuple[str, ...] | None = ()) -> tuple[str, ...]:
        """Take a list of texts; with default None it must be there."""
        values = self._take(key, list, None if default is None else list(default))
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(f"{key} must be a list of texts")
        return tuple(values)

    def numbers(self, key: str) -> tuple[int, ...]:
        """Take a list of whole numbers."""
        values = self._take(key, list, None)
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise self.wrong(f"{key} must be a list of whole numbers")
        return tuple(values)

    def number_lists(self, key: str, *, length: int) -> list[tuple[int, ...]]:
        """Take a list of lists of so many whole numbers."""
        found = [Entry(self.where, {key: value}, self._error).numbers(key) for value in self._take(key, list, None)]
        if any(len(numbers) != length for numbers in found):
            raise self.wrong(f"{key} must be a list of lists of {length} whole numbers")
        return found

    def named_texts(self, key: str) -> dict[str, str]:
        """Take a table of texts; empty when it is not there."""
        values = self._take(key, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise self.wrong(f"{key} must be a table of texts")
        return dict(values)

    def named_lists(self, key: str) -> dict[str, tuple[str, ...]]:
        """Take a table of lists of texts; empty when it is not there."""
        values = self._take(key, dict, {})
        for parts in values.values():
            if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
                raise self.wrong(f"{key} must be a table of lists of texts")
        return {name: tuple(parts) for name, parts in values.items()}

    def entry(self, key: str) -> Entry:
        """Take a table."""
        return Entry(f"{self.where}, {key}", self._take(key, dict, None), self._error)

    def named_entries(self, key: str, what: str) -> dict[str, Entry]:
        """Take a table of tables; each stands at `what` and its name."""
        values = self._take(key, dict, None)
        return {name: Entry(f"{what} {name}", value, self._error) for name, value in values.items()}

    def entries(self, key: str) -> list[Entry]:
        """Take a list of tables; none when it is not there."""
        values = self._take(key, list, [])
        return [Entry(f"{self.where}, {key} {place}", value, self._error) for place, value in enumerate(values, 1)]

    def has(self, key: str) -> bool:
        """Say whether the key is there and not yet taken."""
        return key in self._left

    def nothing_else(self) -> None:
        """Refuse keys that nobody took."""
        if self._left:
            raise self.wrong(f"unknown key {sorted(self._left)[0]!r}")

    def _take(self, key: str, kind: type, default: Any) -> Any:
        value = self._left.pop(key, default)
        if value is None:
            raise self.wrong(f"{key} is missing; it is {_WORDS[kind]}")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(f"{key} must be {_WORDS[kind]}")
        return value
