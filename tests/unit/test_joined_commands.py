"""Commands that other packages bring: with them, without them, and with what they need missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint

import pytest

from kinlink.cli import joined
from kinlink.cli.__main__ import run


def bring(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """Let just these entry points be installed."""
    found = [EntryPoint(name, value, "kinlink.commands") for name, value in points]
    monkeypatch.setattr(joined, "entry_points", lambda *, group: [each for each in found if each.group == group])


def echo(arguments: Sequence[str]) -> int:
    """A joined command: says what it was given."""
    print(*arguments)  # noqa: T201
    return 4


HERE = f"{__name__}:echo"


def test_command_joins_a_group_that_the_client_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(monkeypatch, ("release.protect", HERE), ("other", HERE))
    assert run(["release", "protect", "cells.csv", "--policy", "p.toml"]) == 4
    assert capsys.readouterr().out == "protect cells.csv --policy p.toml\n"
    assert run(["other", "--help"]) == 4
    assert capsys.readouterr().out == "--help\n"
    assert run(["release", "--help"]) == 0
    assert "show" in capsys.readouterr().out


def test_group_is_there_without_what_joins_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(monkeypatch)
    assert run(["release", "show", "--help"]) == 0
    assert run(["release", "protect"]) == 2
    assert "No such command" in capsys.readouterr().err


def test_command_whose_packages_are_missing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(monkeypatch, ("release.protect", "no_such_package.commands:release"))
    assert run(["release", "protect", "cells.csv"]) == 2
    said = capsys.readouterr().err
    assert "release protect needs no_such_package" in said
    assert "not installed here" in said
