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
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

_ERRORS = (BaseError, OSError)  # obstore raises Python's own where there is one


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


class S3Anchor:
    """A prefix of a bucket."""

    def __init__(self, uri: str) -> None:
        """Use the bucket and prefix of `uri`."""
        self.uri = uri
        self._newest: dict[str, str] = {}  # so that a long list is read once
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        limits = {"timeout": "20s", "connect_timeout": "5s"}
        if os.environ.get("AWS_ENDPOINT", os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http://"):
            limits["allow_http"] = "true"  # a test's object store
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            client_options=limits,  # type: ignore[arg-type]  # typed by key
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=30)},
        )

    def write(self, name: str, content: bytes) -> None:
        """See `Anchor`."""
        try:
            obstore.put(self._store, name, content, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            if self._read(name) != content:
                raise AnchorConflictError(f"{self.uri}: {name} holds other content") from error
        except _ERRORS as error:
            raise AnchorError(f"{self.uri}: cannot be written ({type(error).__name__})") from error

    def newest(self, prefix: str) -> tuple[str, bytes] | None:
        """See `Anchor`."""
        try:
            known = self._newest.get(prefix)
            pages = obstore.list(self._store, prefix.rstrip("/") + "/", offset=known, chunk_size=1000)
            name = max((found["path"] for page in pages for found in page), default=known)
        except _ERRORS as error:
            raise AnchorError(f"{self.uri}: cannot be read ({type(error).__name__})") from error
        if name is None:
            return None
        self._newest[prefix] = name
        return name, self._read(name)

    def _read(self, name: str) -> bytes:
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except _ERRORS as error:
            raise AnchorError(f"{self.uri}: cannot be read ({type(error).__name__})") from error


def open_anchors(uris: Sequence[str], folder: Path) -> tuple[Anchor, ...]:
    """Open the places that the settings name; relative folders are relative to `folder`.

    Raises:
        AnchorError: a URI is of neither form.
    """
    opened: list[Anchor] = []
    for uri in uris:
        scheme, _, rest = uri.partition(":")
        if scheme == "file" and rest and not rest.startswith("//"):
            opened.append(FileAnchor(uri, folder / rest))
        elif scheme == "s3" and rest.strip("/"):
            opened.append(S3Anchor(uri))
        else:
            raise AnchorError("anchors: expected file:<folder> or s3://<bucket>/<prefix>")
    return tuple(opened)


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
