"""Make files and folders durable, and keep a second process out of them.

A file is durable when its data and the folder entry that names it are synced, and so
on up to a folder that was there before.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class InUseError(Exception):
    """Another process uses the folder."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder, made when missing, for this process; the system lets go of it when the process ends.

    Raises:
        InUseError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InUseError(f"{folder} is used by another linker; each needs its own") from None
        yield
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Sync one file or folder. Raises OSError when the disk refuses."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(files: Iterable[Path], root: Path) -> None:
    """Sync `files`, and then each folder from theirs up to `root`, deepest first."""
    folders: set[Path] = {root}
    for file in files:
        sync(file)
        folders.update(parent for parent in file.parents if parent == root or root in parent.parents)
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        sync(folder)
