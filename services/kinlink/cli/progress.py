"""A progress bar for each long stage, on stderr; silent when stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kinlink.blinding import Progress as Report
from kinlink.blinding import unreported
from kinlink.delivery.deliver import Stages


@contextmanager
def stages() -> Iterator[Stages]:
    """Yield a function that opens a stage by name and returns how to report it: (done, total) in any unit."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _name: unreported
        return
    columns = (TextColumn("{task.description:<16}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:

        def open_stage(name: str) -> Report:
            task = progress.add_task(name, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield open_stage
