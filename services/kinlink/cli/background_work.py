"""Work that goes on in the linker while a command watches it: its bars, how to go on, and the exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import typer

from kinlink.cli.exit_codes import ExitCode
from kinlink.cli.progress import stages
from kinlink.errors import UnavailableError


class Work(Protocol):
    """A run or a rekeying as it stands; `state`: running, interrupted, succeeded or failed."""

    @property
    def state(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...


WorkT = TypeVar("WorkT", bound=Work)


def follow(
    started: WorkT,
    watch: Iterator[WorkT],
    names: Sequence[str],
    *,
    show: Callable[[WorkT], None],
    again: Sequence[str],
    config: Path | None,
) -> None:
    """Show a bar for each of the stages `names` until the work ends, then `show` it; end with its exit code.

    `again`: the command that goes on with it, told where it has not ended.
    """
    try:
        last = _with_bars(started, watch, names)
    except (UnavailableError, KeyboardInterrupt):
        _say_how_to_go_on(again, config)
        raise
    show(last)
    if last.state in ("interrupted", "running"):
        _say_how_to_go_on(again, config)
        raise typer.Exit(ExitCode.UNAVAILABLE)
    if last.state != "succeeded":
        raise typer.Exit(ExitCode.CONFLICT)


def _with_bars(last: WorkT, watch: Iterator[WorkT], names: Sequence[str]) -> WorkT:
    with stages() as open_stage:
        reports = {}
        for now in watch:
            for stage in names[: names.index(now.stage) + 1]:
                if stage not in reports:
                    reports[stage] = open_stage(stage)
                if stage != now.stage or now.state == "succeeded":
                    reports[stage](1, 1)
            if now.state == "running" and now.total:
                reports[now.stage](now.done, now.total)
            last = now
    return last


def stopped(work: Work, reason: str, message: str) -> str:
    """Return the line that says why work stopped."""
    return f"stopped in stage {work.stage}: {reason}. {message[:1].upper()}{message[1:]}".rstrip(".") + "."


def _say_how_to_go_on(again: Sequence[str], config: Path | None) -> None:
    command = [*again, *(["--config", str(config)] if config else [])]
    typer.echo(f"go on with: {shlex.join(command)}", err=True)
