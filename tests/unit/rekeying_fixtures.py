"""A pseudonymizer in the process that rotates keys, for tests of what the linker does then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kinlink import ristretto255
from kinlink.errors import ConflictError, InputError, UnavailableError
from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef
from linker.linkage.rekeyed import Leaving
from tests.unit import linker_fixtures as given

WORDS = {kind.wire: kind for kind in Kind}
Line = tuple[str, Kind]


def scalar(domain: str, version: int) -> bytes:
    """Return the key of a version; version 1 is that of `linker_fixtures`."""
    return given.scalar(domain if version == 1 else f"{domain} {version}")


def element(name: str, domain: str, version: int = 1, kind: Kind = Kind.CPR) -> bytes:
    """Return the pseudonym of `name` under a key version."""
    hashed = ristretto255.hash_to_group([name.encode()], b"test-" + kind.encode())
    return ristretto255.multiply(scalar(domain, version), hashed)


@dataclass
class Attestation:
    """What a holder stated."""

    line: Line
    from_version: int
    to: tuple[str, int] | None
    held: int
    converted: int
    sample: int


@dataclass
class LocalKeys:
    """The keys as `KeyService` shows them. Version 1 of every line is active until it is rotated.

    `before`: called with the operation before each; may raise.
    """

    before: Callable[[str], None] = lambda _: None
    retiring: list[Line] = field(default_factory=list)
    primary: dict[Line, int] = field(default_factory=dict)
    attested: list[Attestation] = field(default_factory=list)
    rekeyed: int = 0
    wrong: bool = False

    def rotate(self, domain: str, kind: Kind = Kind.CPR) -> None:
        """Make version 2 the primary of a line."""
        self.primary[domain, kind] = 2
        self.retiring.append((domain, kind))

    def leaving(self) -> Sequence[Leaving]:
        """See `KeyService`."""
        self.before("leaving")
        return [Leaving(domain, kind, 1, 2) for domain, kind in self.retiring]

    def convert(
        self, elements: bytes, source_key: KeyRef, target_key: KeyRef, progress: Callable[[int, int], None] = ...
    ) -> tuple[bytes, KeyRef]:
        """See `KeyService`."""
        version = target_key.version or self.primary.get((target_key.domain, WORDS[target_key.kind]), 1)
        factor = ristretto255.quotient(
            scalar(target_key.domain, version), scalar(source_key.domain, source_key.version)
        )
        answer = ristretto255.multiply(factor, elements)
        self.before("convert")
        return answer, KeyRef(domain=target_key.domain, kind=target_key.kind, version=version)

    def rekey(
        self, elements: bytes, from_key: KeyRef, to_key: KeyRef, progress: Callable[[int, int], None] = lambda *_: None
    ) -> tuple[bytes, KeyRef]:
        """See `KeyService`."""
        self.before("rekey")
        if (from_key.domain, WORDS[from_key.kind]) not in self.retiring:
            raise ConflictError("this key version is active", "KEY_VERSION_INACTIVE")
        self.rekeyed += len(elements) // 32
        factor = ristretto255.quotient(
            scalar(to_key.domain, to_key.version), scalar(from_key.domain, 3 if self.wrong else from_key.version)
        )
        progress(len(elements) // 32, len(elements) // 32)
        return ristretto255.multiply(factor, elements), to_key

    def attest(
        self,
        from_key: KeyRef,
        to_key: KeyRef | None,
        *,
        held: int,
        converted: int,
        sample_from: bytes = b"",
        sample_to: bytes = b"",
    ) -> int:
        """See `KeyService`; checks the sample as the service does."""
        self.before("attest")
        if to_key is not None and to_key.domain == from_key.domain and len(sample_from) // 32 < min(64, held):
            raise InputError("the sample: expected more pairs", "ATTESTATION_INVALID")
        if sample_from:
            assert to_key is not None
            again, _ = self.rekey(sample_from, from_key, to_key)
            assert again == sample_to
        line = (from_key.domain, WORDS[from_key.kind])
        to = (to_key.domain, to_key.version) if to_key is not None else None
        found = Attestation(line, from_key.version, to, held, converted, len(sample_from) // 32)
        if found not in self.attested:
            self.attested.append(found)
        return found.sample

    @contextmanager
    def connect(self) -> Iterator[LocalKeys]:
        """Yield itself."""
        yield self


def away(operation: str, after: int = 0) -> Callable[[str], None]:
    """Return a `before` that lets `after` calls of an operation through, and is away for each later one."""
    left = [after]

    def before(asked: str) -> None:
        if asked == operation:
            left[0] -= 1
            if left[0] < 0:
                raise UnavailableError("the pseudonymizer is away", "UNREACHABLE")

    return before
