"""What the key store was at each generation, as a chain: what the anchors hold, and a restore goes by.

1. A document holds the manifest of one generation, the SHA-256 of the document before it, and the people who might
   sign with the ids of all changes applied. It is canonical JSON and public.
2. A store that is newer than an anchor proves it by the documents in between: each names the one before.
3. The people are those whose digest the manifest seals: a document that says otherwise is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, MetaData, Table, insert, select

from kinlink.change_document import canonical
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.manifest import Manifest

_FORM: Final = "kinlink-keystore-generation-v1"
history = Table(
    "keystore_history",
    MetaData(),
    Column("generation", BigInteger, primary_key=True),
    Column("document", LargeBinary),
)


@dataclass(frozen=True, slots=True)
class Document:
    """The store at one generation; `content` is the bytes that are anchored."""

    content: bytes
    manifest: Manifest
    previous: str  # SHA-256 in hex; "" for the first
    people: bytes  # canonical JSON: [genesis hash, people, applied changes], see `signers`

    @property
    def sha256(self) -> str:
        """Its name in the next document, in a change and in the log."""
        return sha256(self.content).hexdigest()

    @property
    def generation(self) -> int:
        """The store's generation."""
        return self.manifest.generation


def compose(manifest: Manifest, previous: str, people: bytes) -> Document:
    """Return the document of a generation."""
    whole = {
        "form": _FORM,
        "manifest": json.loads(manifest.content),
        "people": json.loads(people),
        "previous": previous,
    }
    return Document(canonical(whole), manifest, previous, people)


def parse(content: bytes) -> Document:
    """Read a document. Raises KeyStoreError when it is none, or does not agree with itself."""
    try:
        values: dict[str, Any] = json.loads(content)
        manifest = Manifest(values["manifest"]["generation"], canonical(values["manifest"]))
        found = compose(manifest, values["previous"], canonical(values["people"]))
        agrees = found.content == content and values["manifest"]["signers"] == sha256(found.people).hexdigest()
    except (ValueError, KeyError, TypeError) as error:
        raise KeyStoreError("this is no generation of a key store") from error
    if not agrees:
        raise KeyStoreError("this generation of a key store does not agree with itself: it was changed")
    return found


def append(connection: Connection, manifest: Manifest, people: bytes) -> Document:
    """Add the generation that a transaction makes."""
    last = newest(connection)
    made = compose(manifest, last.sha256 if last else "", people)
    insert_document(connection, made)
    return made


def insert_document(connection: Connection, document: Document) -> None:
    """Add a document as it is; one that is there already stays."""
    if not at(connection, document.generation):
        connection.execute(insert(history).values(generation=document.generation, document=document.content))


def newest(connection: Connection) -> Document | None:
    """Return the document of the newest generation."""
    query = select(history.c.document).order_by(history.c.generation.desc()).limit(1)
    content = connection.execute(query).scalar_one_or_none()
    return parse(bytes(content)) if content else None


def at(connection: Connection, generation: int) -> Document | None:
    """Return the document of a generation; None when there is none."""
    content = connection.execute(select(history.c.document).where(history.c.generation == generation)).scalar()
    return parse(bytes(content)) if content else None


def since(connection: Connection, generation: int) -> list[Document]:
    """Return the documents from a generation on, in order.

    Raises:
        KeyStoreError: one is missing, or does not continue the one before.
    """
    query = select(history.c.document).where(history.c.generation >= generation).order_by(history.c.generation)
    found = [parse(bytes(content)) for content in connection.execute(query).scalars()]
    check_chain(found)
    return found


def check_chain(documents: Sequence[Document]) -> None:
    """Check that each document continues the one before. Raises KeyStoreError."""
    for before, after in pairwise(documents):
        if after.previous != before.sha256 or after.generation != before.generation + 1:
            raise KeyStoreError(f"the key store's history does not hold together at generation {after.generation}")
