"""Signed notes, checkpoints and cosignatures, in the forms of C2SP (c2sp.org).

1. signed-note: a text, an empty line, signature lines. A note is worth nothing until
   a key that was obtained elsewhere has verified it.
2. tlog-checkpoint: the text is origin, size and root. No extension lines: nobody
   could check what they say.
3. tlog-cosignature: a witness signs text and time (`cosignature/v1`). Its key has
   another type than a log's, so that neither signature can pass for the other.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kinlink.audit.merkle import HASH_BYTES
from kinlink.ed25519 import PUBLIC_BYTES, is_usable

LOG = 0x01
"""The type of a key that signs notes: Ed25519 over the text."""
WITNESS = 0x04
"""The type of a key that cosigns: Ed25519 over the time and the text."""

_MAX_BYTES = 65_536
_MAX_SIGNATURES = 100
_TIME_BYTES = 8
_NAME = re.compile(r"[^\s+\x00-\x20\x7f]+")
_TOO_MANY = 1 << 63  # entries: no database counts further
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteError(ValueError):
    """A note, a key or a checkpoint is malformed, or not signed by the key asked for; `str()` says which."""


class UnsignedError(NoteError):
    """The note is well-formed, but bears no signature of the key asked for."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name it signs under: a log's or, of type WITNESS, a witness's."""

    name: str
    public: bytes  # 32 bytes
    type: int = LOG

    def __post_init__(self) -> None:
        """Raise NoteError for a name, key or type that no note can bear."""
        if not _NAME.fullmatch(self.name):
            raise NoteError("a key's name is not empty and holds neither spaces nor '+'")
        if not is_usable(self.public) or self.type not in {LOG, WITNESS}:
            raise NoteError("a verifier key is an Ed25519 key of type 1 (a log's) or 4 (a witness's)")

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read `name+hexid+base64`. Raises NoteError when it is not of that form, or its id is another key's."""
        parts = text.strip().split("+", 2)
        content = _base64(parts[2]) if len(parts) == 3 else b""
        if len(content) != 1 + PUBLIC_BYTES:
            raise NoteError("a verifier key has the form name+id+base64, as `kinlink audit checkpoint --key` prints it")
        key = cls(parts[0], content[1:], content[0])
        if key.id.hex() != parts[1]:
            raise NoteError("the verifier key's id is not that of its name and key; copy it again, whole")
        return key

    @classmethod
    def of(cls, name: str, private: Ed25519PrivateKey, key_type: int = LOG) -> VerifierKey:
        """Return the public half of a private key."""
        return cls(name, private.public_key().public_bytes_raw(), key_type)

    @property
    def id(self) -> bytes:
        """The four bytes that stand before each of its signatures."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self) -> str:
        """Return `name+hexid+base64`."""
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes([self.type]) + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log signs: this many entries have this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note's text."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text. Raises NoteError when it is not exactly origin, size and root."""
        lines = text.split("\n")
        is_size = len(lines) == 4 and _SIZE.fullmatch(lines[1]) and int(lines[1]) < _TOO_MANY
        if not is_size or lines[3] or not lines[0]:
            raise NoteError("a checkpoint has three lines: the log's name, its size, its root")
        root = _base64(lines[2])
        if len(root) != HASH_BYTES:
            raise NoteError("a checkpoint's root is 32 bytes in base64")
        return cls(lines[0], int(lines[1]), root)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line: whose it says it is, and the bytes after the key's id."""

    name: str
    key_id: bytes
    content: bytes

    def line(self) -> str:
        """Return the line, its newline included."""
        return f"— {self.name} {b64encode(self.key_id + self.content).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note taken apart, unverified."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        """Return the whole note."""
        return f"{self.text}\n{''.join(signature.line() for signature in self.signatures)}"

    def with_signature(self, line: str) -> Note:
        """Return the note with one more signature line, unless it bears it already. Raises NoteError."""
        signature = _signature(line)
        return self if signature in self.signatures else Note(self.text, (*self.signatures, signature))


def parse(note: str) -> Note:
    """Take a note apart, unverified. Raises NoteError when it is malformed."""
    text, found, lines = note.rpartition("\n\n")
    if not found or not text or len(note) > _MAX_BYTES or _CONTROL.search(note) or not lines.endswith("\n"):
        raise NoteError("a signed note is a text, an empty line, and signature lines")
    signatures = tuple(_signature(f"{line}\n") for line in lines[:-1].split("\n"))
    if len(signatures) > _MAX_SIGNATURES:
        raise NoteError(f"a note has at most {_MAX_SIGNATURES} signatures")
    return Note(f"{text}\n", signatures)


def sign(text: str, name: str, private: Ed25519PrivateKey) -> str:
    """Return `text`, which ends in a newline, as a note signed under `name`."""
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError("a note's text ends in a newline and holds no other control character")
    signature = Signature(name, VerifierKey.of(name, private).id, private.sign(text.encode()))
    return str(Note(text, (signature,)))


def cosign(text: str, name: str, private: Ed25519PrivateKey, at: int) -> str:
    """Return a witness's signature line on `text`; `at` is in seconds since 1970."""
    content = at.to_bytes(_TIME_BYTES) + private.sign(_cosigned(text, at))
    return Signature(name, VerifierKey.of(name, private, WITNESS).id, content).line()


def verify(note: str, key: VerifierKey) -> int:
    """Check that `key` signed the note; return when, in seconds since 1970 (0 for a log's key, which says no time).

    Raises:
        UnsignedError: no signature is the key's.
        NoteError: the note is malformed, or a signature that should be the key's is not.
    """
    parsed = parse(note)
    own = [s for s in parsed.signatures if s.name == key.name and s.key_id == key.id]
    if not own:
        raise UnsignedError(f"the note is not signed by the key {key.name}+{key.id.hex()}")
    at = 0
    for signature in own:
        signed, message = signature.content, parsed.text.encode()
        if key.type == WITNESS:
            at, signed = int.from_bytes(signed[:_TIME_BYTES]), signed[_TIME_BYTES:]
            message = _cosigned(parsed.text, at)
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signed, message)
        except InvalidSignature as error:
            raise NoteError(f"the signature of {key.name} is not on this text: one of the two was changed") from error
    return at


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint in a note that the log's `key` signed.

    Raises UnsignedError and NoteError as `verify` does; NoteError also for a checkpoint of another log.
    """
    verify(note, key)
    checkpoint = Checkpoint.parse(parse(note).text)
    if key.type == LOG and checkpoint.origin != key.name:
        raise NoteError(f"the checkpoint is of another log than {key.name}")
    return checkpoint


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _signature(line: str) -> Signature:
    parts = line.removesuffix("\n").split(" ")
    content = _base64(parts[2]) if len(parts) == 3 and parts[0] == "—" and _NAME.fullmatch(parts[1]) else b""
    if len(content) < 5 or not line.endswith("\n"):
        raise NoteError("a signature line has the form: — name base64")
    return Signature(parts[1], content[:4], content[4:])


def _base64(text: str) -> bytes:
    """Decode standard base64 with its padding; b"" when `text` is not exactly that."""
    try:
        content = b64decode(text, validate=True)
    except ValueError:
        return b""
    return content if b64encode(content).decode() == text else b""
