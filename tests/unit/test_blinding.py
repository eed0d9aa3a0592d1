"""The client's side of an exchange, against a service that is a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest

from kinlink import ristretto255
from kinlink.blinding import AnswerError, exchange, shuffled
from kinlink.types.v1.types_pb2 import KeyRef

_KEY = ristretto255.random_scalars(1)
_ELEMENTS = ristretto255.hash_to_group([b"%d" % number for number in range(40)], b"test")
_BATCHES = [_ELEMENTS[start : start + 320] for start in range(0, 1280, 320)]


@dataclass
class _Message:
    elements: bytes
    version: int
    domain: str = "source/test"


class _Service:
    """Multiplies by a key and keeps what it saw; the primary version changes while it runs."""

    def __init__(self, answer: Callable[[int, _Message], Iterable[_Message]] | None = None) -> None:
        self.seen: list[_Message] = []
        self._answer = answer or (lambda _, message: [self.honest(message)])

    @staticmethod
    def honest(message: _Message) -> _Message:
        return _Message(ristretto255.multiply(_KEY, message.elements), message.version or 7)

    def __call__(self, messages: Iterator[_Message]) -> Iterator[_Message]:
        for index, message in enumerate(messages):
            self.seen.append(message)
            yield from self._answer(index, message)


def _run(service: _Service, batches: Iterable[bytes] = _BATCHES, version: int = 0) -> tuple[bytes, KeyRef, list[int]]:
    steps: list[int] = []
    with ristretto255.new_pool() as pool:
        answers, key = exchange(
            service,
            batches,
            request=_Message,
            key_of=lambda message: KeyRef(domain=message.domain, version=message.version),
            wanted=KeyRef(domain="source/test", version=version),
            pool=pool,
            progress=steps.append,
        )
    return answers, key, steps


def test_answers_are_the_plain_multiples_in_order_and_progress_is_told() -> None:
    answers, key, steps = _run(_Service())
    assert answers == ristretto255.multiply(_KEY, _ELEMENTS)
    assert key.version == 7
    assert steps == [10, 20, 30, 40]


def test_the_first_answer_pins_the_version_for_all_later_messages() -> None:
    service = _Service()
    _run(service)
    assert [message.version for message in service.seen] == [0, 7, 7, 7]
    asked = _Service()
    _run(asked, version=3)
    assert [message.version for message in asked.seen] == [3, 3, 3, 3]


def test_nothing_that_is_asked_about_is_sent_and_nothing_is_sent_twice() -> None:
    service = _Service()
    _run(service)
    _run(service)
    sent = [message.elements[start : start + 32] for message in service.seen for start in range(0, 320, 32)]
    asked = {_ELEMENTS[start : start + 32] for start in range(0, 1280, 32)}
    assert len(set(sent)) == len(sent) == 80
    assert not asked & set(sent)


_MISFITS: dict[str, Callable[[int, _Message], list[_Message]]] = {
    "another version": lambda index, honest: [_Message(honest.elements, 1 + index)],
    "another domain": lambda _, honest: [_Message(honest.elements, 7, "source/other")],
    "no version": lambda _, honest: [_Message(honest.elements, 0)],
    "one too many": lambda index, honest: [honest] * (2 if index == 3 else 1),
    "one too few": lambda index, honest: [] if index == 3 else [honest],
    "too short": lambda _, honest: [_Message(honest.elements[32:], 7)],
    "the identity": lambda _, honest: [_Message(bytes(len(honest.elements)), 7)],
    "not canonical": lambda _, honest: [_Message(b"\xff" * len(honest.elements), 7)],
}


@pytest.mark.parametrize("misfit", _MISFITS.values(), ids=_MISFITS.keys())
def test_answers_that_do_not_fit_are_refused(misfit: Callable[[int, _Message], list[_Message]]) -> None:
    with pytest.raises(AnswerError):
        _run(_Service(lambda index, message: misfit(index, _Service.honest(message))))


def test_an_answer_under_another_version_than_asked_for_is_refused() -> None:
    with pytest.raises(AnswerError):
        _run(_Service(lambda _, message: [_Message(_Service.honest(message).elements, 7)]), version=3)


def test_a_failure_while_blinding_ends_the_exchange_and_is_raised() -> None:
    def batches() -> Iterator[bytes]:
        yield _BATCHES[0]
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        _run(_Service(), batches())


def test_shuffled_is_a_permutation_that_differs_each_time() -> None:
    first, second = shuffled(200), shuffled(200)
    assert sorted(first) == sorted(second) == list(range(200))
    assert len({tuple(first), tuple(second), tuple(range(200))}) == 3
