"""Second places: where a service writes what must not be taken back, checkpoints and generations.

1. An object is written once. The same content again is fine; other content under its name is
   `AnchorConflictError`, which means that somebody has two histories.
2. Names sort: `<service>/checkpoint/<size, 20 digits>`, so that the newest is the greatest.
3. Written means durable: a file and its folder are synced; S3 has answered.
4. What the place itself forbids (object lock, a file system that only grows) is its owner's to set.

    file:<folder>             a folder, best on another machine's disk
    s3://<bucket>/<prefix>    an object store; credentials, region and endpoint from the AWS_… environment
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol


class AnchorError(Exception):
    """A second place cannot be reached or used; says which and why."""


class AnchorConflictError(AnchorError):
    """Other content stands under the name already."""


class Anchor(Protocol):
    """A place of objects that are written once."""

    uri: str

    def write(self, name: str, content: bytes) -> None:
        """Write a new object, durably.

        Raises:
            AnchorConflictError: other content stands there. AnchorError: it cannot be written.
        """

    def newest(self, prefix: str) -> tuple[str, bytes] | None:
        """Return name and content of the object with the greatest name under `prefix`; None when there is none.

        Raises:
            AnchorError: it cannot be read.
        """


class FileAnchor:
    """A folder."""

    def __init__(self, uri: str, folder: Path) -> None:
        """Use `folder`; it is made when it is missing."""
        self.uri = uri
        self._folder = folder

    def write(self, name: str, content: bytes) -> None:
        """See `Anchor`. A file gets its name when it is whole and synced."""
        path = self._folder / name
        try:
            _make_folder(path.parent)
            descriptor, new = tempfile.mkstemp(prefix=".new-", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileExistsError):
                    os.link(new, path)  # unlike a rename, never over another file
            finally:
                Path(new).unlink()
            _sync(path.parent)
            if path.read_bytes() != content:
                raise AnchorConflictError(f"{self.uri}: {name} holds other content")
        except OSError as error:
            raise AnchorError(f"{self.uri}: cannot be written ({error.strerror})") from error

    def newest(self, prefix: str) -> tuple[str, bytes] | None:
        """See `Anchor`."""
        folder = self._folder / prefix
        try:
            if not folder.is_dir():
                return None
            with os.scandir(folder) as found:
                name = max((entry.name for entry in found if not entry.name.startswith(".")), default=None)
            return (f"{prefix.rstrip('/')}/{name}", (folder / name).read_bytes()) if name else None
        except OSError as error:
            raise AnchorError(f"{self.uri}: cannot be read ({error.strerror})") from error


def open_anchors(uris: Sequence[str], folder: Path) -> tuple[Anchor, ...]:
    """Open the places that the settings name; relative folders are relative to `folder`.

    Raises:
        AnchorError: a URI is of neither form, or needs a package that is not installed.
    """
    opened: list[Anchor] = []
    for uri in uris:
        scheme, _, rest = uri.partition(":")
        if scheme == "file" and rest and not rest.startswith("//"):
            opened.append(FileAnchor(uri, folder / rest))
        elif scheme == "s3" and rest.strip("/"):
            opened.append(_s3(uri))
        else:
            raise AnchorError("anchors: expected file:<folder> or s3://<bucket>/<prefix>")
    return tuple(opened)


def _s3(uri: str) -> Anchor:
    try:
        from servicekit.object_anchor import S3Anchor  # noqa: PLC0415 - only who names one needs the package
    except ModuleNotFoundError as error:
        raise AnchorError(f"anchors: s3 needs {error.name}: pip install 'kinlink[object-store]'") from error
    return S3Anchor(uri)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
