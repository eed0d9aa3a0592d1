"""The object store as a second place; needs the extra `object-store`."""

from __future__ import annotations

import os
from datetime import timedelta

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from servicekit.anchors import AnchorConflictError, AnchorError

_ERRORS = (BaseError, OSError)  # obstore raises Python's own where there is one


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
