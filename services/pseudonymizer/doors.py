"""The four operations: evaluate (blind door), pseudonymise (plain door), convert, rekey.

1. Every message goes the same way: grant → size → budget → key → multiply → budget, audit entry and the keys'
   generation in one transaction → answer. A message is answered whole or refused whole.
2. Where the keys changed meanwhile, in this process or another, the message is done again with
   those that are: what was destroyed, disabled or found compromised before an answer leaves is in no answer.
3. The factor between two keys is key material: it lives as long as its message and is never stored or logged.

It does not know gRPC, nor where keys come from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from kinlink import cpr, ristretto255
from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import Key, KeyName, Keyset
from pseudonymizer.ledger import KeysUsed, Ledger, Message
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.policy import Operation, Policy, Route
from servicekit.errors import ExhaustedError, FieldViolation, InvalidError, UnavailableError
from servicekit.identity import Caller

SERVICE: Final = "kinlink.pseudonymizer.v1.PseudonymisationService"
_RPCS: Final = {
    Operation.EVALUATE: f"{SERVICE}/Evaluate",
    Operation.PSEUDONYMISE: f"{SERVICE}/Pseudonymise",
    Operation.CONVERT: f"{SERVICE}/Convert",
    Operation.REKEY: f"{SERVICE}/Rekey",
}
_PLAIN_CLASSES: Final = {Kind.CPR: cpr.CPRClass.ORDINARY, Kind.REPLACEMENT: cpr.CPRClass.REPLACEMENT}
_MAX_NAMED: Final = 10
_LONGEST_NUMBER: Final = 100  # characters as written; to normalise n of them may cost n²
_ATTEMPTS: Final = 3  # keys change a few times a year


class Keys(Protocol):
    """Where the keys are; the key store."""

    def at(self, generation: int) -> Keyset:
        """Return the keys as they are, having read them again unless they are of `generation`."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message is answered with: the key used, and 32·n bytes."""

    key: KeyName
    elements: bytes


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The key that an answer stands under, what to multiply by, and the other key where there is one."""

    key: Key
    factor: bytes
    source: Key | None = None

    @property
    def retiring(self) -> tuple[KeyName, ...]:
        keys = (self.key, self.source)
        return tuple(key.name for key in keys if key is not None and key.state is KeyState.RETIRING)

    @property
    def evidence(self) -> str:
        """Which version pseudonyms were carried on from; the entry's own fields say the rest."""
        return f'{{"from_version":{self.source.name.version}}}' if self.source else ""


class Doors:
    """The operations over one policy and one key store."""

    def __init__(self, policy: Policy, keys: Keys, ledger: Ledger, pool: ThreadPoolExecutor, max_elements: int) -> None:
        """Serve `keys` under `policy`; `pool` does the multiplications, `max_elements` bounds a message."""
        self._policy = policy
        self._keys = keys
        self._ledger = ledger
        self._pool = pool
        self._max_elements = max_elements

    def evaluate(
        self, caller: Caller, wanted: KeyName, suite: int, elements: bytes, begun: Collection[KeyName] = ()
    ) -> Answer:
        """Multiply blinded elements by a key of the caller's own domain.

        `begun`: the keys that this call was answered under while active; those that retire now are still used.

        Raises:
            DeniedError: no grant. InvalidError: the batch is empty or an element is bad, named by index; no suite.
            PreconditionError: key version or suite not usable. ExhaustedError: batch too large, budget.
            UnavailableError: the keys are being changed, or a part of the service is away.
        """
        count = len(elements) // ristretto255.SIZE
        with self._ledger.message(_RPCS[Operation.EVALUATE], caller, count) as message:
            self._admit(message, caller, Operation.EVALUATE, wanted)
            self._check_size(len(elements), ristretto255.SIZE, "elements")
            self._policy.check_suite(suite)
            return self._multiply(message, caller, elements, _evaluating(wanted, begun))

    def pseudonymise(
        self, caller: Caller, wanted: KeyName, suite: int, identifiers: list[str], begun: Collection[KeyName] = ()
    ) -> Answer:
        """Hash identifiers and multiply them by a key of the caller's own domain, where its policy has a plain door.

        Takes, returns and raises as `evaluate`; DeniedError also when the door is closed. An identifier
        that is malformed or of another kind is named by index.
        """
        with self._ledger.message(_RPCS[Operation.PSEUDONYMISE], caller, len(identifiers)) as message:
            self._admit(message, caller, Operation.PSEUDONYMISE, wanted)
            self._check_size(len(identifiers), 1, "identifiers")
            self._policy.check_suite(suite)
            texts = self._canonical(identifiers, wanted.kind)
            hashed = ristretto255.hash_to_group(texts, self._policy.suite.tag(wanted.kind), self._pool)
            return self._multiply(message, caller, hashed, _evaluating(wanted, begun))

    def convert(self, caller: Caller, source: KeyName, target: KeyName, elements: bytes) -> Answer:
        """Multiply blinded pseudonyms by target key / source key; the answer's key is the target.

        Raises as `evaluate`; InvalidError also when the kinds differ or the source version is not set.
        """

        def choose(keyset: Keyset) -> _Chosen:
            return _quotient(*keyset.for_conversion(source, target))

        return self._carry(Operation.CONVERT, caller, source, target, elements, choose)

    def rekey(self, caller: Caller, source: KeyName, target: KeyName, elements: bytes) -> Answer:
        """Multiply blinded pseudonyms by the line's primary / a retiring version of it.

        Raises as `convert`; InvalidError also when source and target are of different lines.
        """

        def choose(keyset: Keyset) -> _Chosen:
            return _quotient(*keyset.for_rekeying(source, target))

        return self._carry(Operation.REKEY, caller, source, target, elements, choose)

    def _carry(
        self,
        operation: Operation,
        caller: Caller,
        source: KeyName,
        target: KeyName,
        elements: bytes,
        choose: Callable[[Keyset], _Chosen],
    ) -> Answer:
        count = len(elements) // ristretto255.SIZE
        with self._ledger.message(_RPCS[operation], caller, count) as message:
            self._admit(message, caller, operation, source, target)
            self._check_size(len(elements), ristretto255.SIZE, "elements")
            return self._multiply(message, caller, elements, choose)

    def _admit(
        self, message: Message, caller: Caller, operation: Operation, source: KeyName, target: KeyName | None = None
    ) -> None:
        names = dict.fromkeys((source.domain, target.domain) if target else (source.domain,))
        message.note(subject=">".join(name if self._policy.knows(name) else "?" for name in names), kind=source.kind)
        if target and target.kind is not source.kind:
            raise InvalidError("from and to are of one kind; set the same in both", "KIND_MISMATCH")
        if target and operation is Operation.REKEY and target.domain != source.domain:
            raise InvalidError("a rekeying stays in its domain; set the same in from and to", "DOMAIN_MISMATCH")
        to = target.domain if target and operation is Operation.CONVERT else ""
        route = Route(f"{caller.role}/{caller.name}", operation, source.domain, to, source.kind)
        message.note(grant=self._policy.authorise(route))

    def _check_size(self, size: int, unit: int, field: str) -> None:
        if size == 0 or size % unit:
            expected = f"expected {unit}·n bytes with n of 1 or more" if unit > 1 else "expected 1 or more"
            raise InvalidError(f"{field}: {expected}", "BATCH_MALFORMED", (FieldViolation(field, expected),))
        if size // unit > self._max_elements:
            limit = str(self._max_elements)
            text = f"a message holds at most {limit} {field}; send smaller batches"
            raise ExhaustedError(text, "BATCH_TOO_LARGE", metadata={"limit": limit})

    def _multiply(
        self, message: Message, caller: Caller, elements: bytes, choose: Callable[[Keyset], _Chosen]
    ) -> Answer:
        limit = self._policy.budget(f"{caller.role}/{caller.name}")
        generation = message.check_budget(limit)
        for _ in range(_ATTEMPTS):
            keyset = self._keys.at(generation)
            chosen = choose(keyset)
            message.note(key_version=chosen.key.name.version, evidence=chosen.evidence)
            try:
                multiplied = ristretto255.multiply(chosen.factor, elements, self._pool)
            except ristretto255.ElementError as error:
                expected = "expected a canonical ristretto255 element other than the identity"
                violations = [FieldViolation(f"elements[{index}]", expected) for index in error.indices]
                raise InvalidError(str(error), "ELEMENT_INVALID", violations) from None
            generation = message.settle(limit, KeysUsed(keyset.generation, chosen.retiring))
            if generation == keyset.generation:
                return Answer(chosen.key.name, multiplied)
        raise UnavailableError("the keys are being changed; try again", "KEYS_CHANGING")

    def _canonical(self, identifiers: list[str], kind: Kind) -> list[bytes]:
        wanted = _PLAIN_CLASSES.get(kind)
        if wanted is None:
            raise InvalidError("the plain door takes numbers only; use the blind door", "KIND_NOT_PLAIN")
        readable = (text if len(text) <= _LONGEST_NUMBER else "" for text in identifiers)
        numbers = [cpr.normalise(text, synthetic=self._policy.suite.synthetic) for text in readable]
        bad = [index for index, number in enumerate(numbers) if number.number_class is not wanted]
        if bad:
            expected = f"expected a number of class {wanted}"
            violations = [FieldViolation(f"identifiers[{index}]", expected) for index in bad[:_MAX_NAMED]]
            raise InvalidError(f"{len(bad)} identifier(s) are not of this kind", "IDENTIFIER_INVALID", violations)
        return [number.text.encode() for number in numbers]


def _evaluating(wanted: KeyName, begun: Collection[KeyName]) -> Callable[[Keyset], _Chosen]:
    def choose(keyset: Keyset) -> _Chosen:
        key = keyset.for_evaluation(wanted, begun)
        return _Chosen(key, key.scalar)

    return choose


def _quotient(source: Key, target: Key) -> _Chosen:
    return _Chosen(target, ristretto255.quotient(target.scalar, source.scalar), source)
