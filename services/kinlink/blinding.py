"""Blinding: what a caller does so that the pseudonymizer sees random group elements only.

1. Repeats are sent once and the order is shuffled from the system's generator, so
   the service sees neither who occurs twice nor in what order they stood.
2. Every element gets a fresh random scalar, also when the same person is sent
   again in a later call, so that no two messages have an element in common.
3. The first answer pins the key version, so that one call never mixes versions; a key that
   was not asked for is refused.
4. While one batch is blinded the service works on earlier ones: the stream is
   kept full, but never more than a window ahead.

It does not know identifiers, keys or grants.

*Guarantee:* the bytes sent are uniformly random tuples of group elements,
independent of the elements asked about except for how many distinct ones there are.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, Protocol, TypeVar

import grpc

from kinlink import ristretto255
from kinlink.errors import InternalError, from_rpc_error
from kinlink.types.v1 import types_pb2

BATCH_SIZE: Final = 8192
"""Elements in a message: 256 KiB, about 0.2 s of work on two cores."""

_WINDOW: Final = 4

Request = TypeVar("Request")
Progress = Callable[[int, int], None]
"""Called after each batch with how many distinct elements are done, and how many there are."""


def unreported(done: int, total: int) -> None:
    """Report progress to nobody."""


class Answer(Protocol):
    """What any answer of the service holds."""

    @property
    def elements(self) -> bytes: ...


AnswerT = TypeVar("AnswerT", bound=Answer)


class AnswerError(InternalError):
    """The service's answers do not fit the questions. Report it to its operator."""


def shuffled(count: int) -> list[int]:
    """Return the numbers 0..count-1 in an order drawn from the system's generator."""
    drawn = os.urandom(16 * count)
    return sorted(range(count), key=lambda index: drawn[16 * index : 16 * index + 16])


def exchange(
    call: Callable[[Iterator[Request]], Iterable[AnswerT]],
    batches: Iterable[bytes],
    *,
    request: Callable[[bytes, int], Request],
    key_of: Callable[[AnswerT], types_pb2.KeyRef],
    wanted: types_pb2.KeyRef,
    pool: ThreadPoolExecutor,
    progress: Callable[[int], None],
) -> tuple[bytes, types_pb2.KeyRef]:
    """Send batches of elements blinded, and return the answers unblinded: 32·n bytes in order, and their key.

    `batches` is drawn from as the stream wants more, in another thread. `request`
    makes a message of blinded elements and a key version: that of `wanted` in the first one, where
    0 means the primary, and the version of the first answer in all others. Raises KinlinkError when the service
    refuses or is away, AnswerError when its answers do not fit.
    """
    sender = _Sender(batches, request, wanted, pool)
    answers = call(sender.requests())
    out: list[bytes] = []
    key, done = types_pb2.KeyRef(), 0
    try:
        for answer in answers:
            unblinders = sender.answered(key_of(answer))
            out.append(_unblind(unblinders, answer.elements, pool))
            key = key_of(answer)
            done += len(answer.elements) // ristretto255.SIZE
            progress(done)
        if sender.failure:
            raise sender.failure
        if sender.outstanding:
            raise AnswerError("the pseudonymizer ended its answers early; try again")
    except grpc.RpcError as error:
        raise sender.failure or from_rpc_error(error) from error
    finally:
        sender.stop()
        if isinstance(answers, grpc.RpcContext):
            answers.cancel()
    return b"".join(out), key


def carry(
    call: Callable[[Iterator[Request]], Iterable[AnswerT]],
    elements: bytes,
    *,
    request: Callable[[bytes, int], Request],
    key_of: Callable[[AnswerT], types_pb2.KeyRef],
    wanted: types_pb2.KeyRef,
    batch_size: int,
    progress: Progress,
) -> tuple[bytes, types_pb2.KeyRef]:
    """Exchange stored pseudonyms, 32·n bytes, for the same under another key: in the order given, and that key.

    Repeats are sent once, in random order. `progress` counts distinct elements. Otherwise as `exchange`.
    """
    if not elements:
        return b"", wanted
    size = ristretto255.SIZE
    pieces = [elements[start : start + size] for start in range(0, len(elements), size)]
    distinct = list(dict.fromkeys(pieces))
    sent = [distinct[index] for index in shuffled(len(distinct))]
    with ristretto255.new_pool() as pool:
        answers, key = exchange(
            call,
            (b"".join(batch) for batch in batched(sent, batch_size)),
            request=request,
            key_of=key_of,
            wanted=wanted,
            pool=pool,
            progress=lambda done: progress(done, len(sent)),
        )
    places = {element: size * place for place, element in enumerate(sent)}
    return b"".join(answers[places[piece] : places[piece] + size] for piece in pieces), key


def batched(items: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Cut a sequence in pieces of `size`, the last one shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _unblind(unblinders: bytes, elements: bytes, pool: ThreadPoolExecutor) -> bytes:
    try:
        return ristretto255.multiply_each(unblinders, elements, pool)
    except ValueError as error:
        raise AnswerError("the pseudonymizer answered with something else than the elements asked for") from error


class _Sender(Generic[Request]):
    """Blinds batches in the stream's own thread, at most a window ahead of the answers."""

    def __init__(
        self,
        batches: Iterable[bytes],
        request: Callable[[bytes, int], Request],
        wanted: types_pb2.KeyRef,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.failure: Exception | None = None
        self._batches = batches
        self._request = request
        self._wanted = wanted
        self._pool = pool
        self._pinned: Future[int] = Future()
        self._unblinders: deque[bytes] = deque()
        self._slots = threading.Semaphore(_WINDOW)
        self._stopped = self._finished = False

    @property
    def outstanding(self) -> bool:
        """Whether there are batches that were not sent or not answered."""
        return not self._finished or bool(self._unblinders)

    def requests(self) -> Iterator[Request]:
        """Yield the messages. A failure ends the stream and is kept, since gRPC would log it with its values."""
        try:
            yield from self._requests()
            self._finished = not self._stopped
        except Exception as error:  # noqa: BLE001 - raised again by `exchange`
            self.failure = error

    def _requests(self) -> Iterator[Request]:
        for index, elements in enumerate(self._batches):
            self._slots.acquire()
            if self._stopped:
                return
            scalars = ristretto255.random_scalars(len(elements) // ristretto255.SIZE)
            blinded = ristretto255.multiply_each(scalars, elements, self._pool)
            unblinders = ristretto255.invert_batch(scalars)
            version = self._pinned.result() if index else self._wanted.version
            self._unblinders.append(unblinders)
            yield self._request(blinded, version)

    def answered(self, key: types_pb2.KeyRef) -> bytes:
        """Take the answer to the oldest batch: pin or compare its key, return its unblinding scalars."""
        if not self._pinned.done():
            self._pinned.set_result(self._wanted.version or key.version)
        asked = (self._wanted.domain, self._wanted.kind, self._pinned.result())
        if key.version == 0 or (key.domain, key.kind, key.version) != asked or not self._unblinders:
            raise AnswerError("the pseudonymizer's answers do not fit the questions; report it to its operator")
        self._slots.release()
        return self._unblinders.popleft()

    def stop(self) -> None:
        """Let the sending thread end."""
        self._stopped = True
        self._pinned.cancel()
        self._slots.release()
