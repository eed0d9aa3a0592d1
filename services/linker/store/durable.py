"""Make files and folders durable: what fsync says, no more.

A file is durable when its data and the folder entry that names it are synced, and
so on up to a folder that was there before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


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
