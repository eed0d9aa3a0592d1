"""The three operations: evaluate (blind door), pseudonymise (plain door), convert.

Every message goes the same way: grant → size → key → budget → multiply → budget and audit entry in one
transaction → answer. A message is answered whole or refused whole. The factor of a
conversion lives as long as its message and is never stored or logged.

It does not know gRPC, nor where keys come from.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from kinlink import cpr, ristretto255
from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import KeyName, Keyset
from pseudonymizer.ledger import Ledger, Message
from pseudonymizer.policy import Operation, Policy, Route
from servicekit.errors import ExhaustedError, FieldViolation, InvalidError
from servicekit.identity import Caller

SERVICE: Final = "kinlink.pseudonymizer.v1.PseudonymisationService"
_RPCS: Final = {
    Operation.EVALUATE: f"{SERVICE}/Evaluate",
    Operation.PSEUDONYMISE: f"{SERVICE}/Pseudonymise",
    Operation.CONVERT: f"{SERVICE}/Convert",
}
_PLAIN_CLASSES: Final = {Kind.CPR: cpr.CPRClass.ORDINARY, Kind.REPLACEMENT: cpr.CPRClass.REPLACEMENT}
_MAX_NAMED: Final = 10
_LONGEST_NUMBER: Final = 100  # characters as written; to normalise n of them may cost n²


class Doors:
    """The operations over one policy and one keyset."""

    def __init__(
        self, policy: Policy, keyset: Keyset, ledger: Ledger, pool: ThreadPoolExecutor, max_elements: int
    ) -> None:
        """Serve `keyset` under `policy`; `pool` does the multiplications, `max_elements` bounds a message."""
        self._policy = policy
        self._keyset = keyset
        self._ledger = ledger
        self._pool = pool
        self._max_elements = max_elements

    def evaluate(self, caller: Caller, wanted: KeyName, suite: int, elements: bytes) -> tuple[KeyName, bytes]:
        """Multiply blinded elements by a key of the caller's own domain. Returns the key used and 32·n bytes.

        Raises:
            DeniedError: no grant. InvalidError: the batch is empty or an element is bad, named by index; no suite.
            PreconditionError: key version or suite not usable. ExhaustedError: batch too large, budget.
        """
        count = len(elements) // ristretto255.SIZE
        with self._ledger.message(_RPCS[Operation.EVALUATE], caller, count) as message:
            self._admit(message, caller, Operation.EVALUATE, wanted)
            self._check_size(len(elements), ristretto255.SIZE, "elements")
            self._policy.check_suite(suite)
            key = self._keyset.for_output(wanted)
            message.note(key_version=key.name.version)
            return key.name, self._multiply(message, caller, key.scalar, elements)

    def pseudonymise(
        self, caller: Caller, wanted: KeyName, suite: int, identifiers: list[str]
    ) -> tuple[KeyName, bytes]:
        """Hash identifiers and multiply them by a key of the caller's own domain, where its policy has a plain door.

        Returns and raises as `evaluate`; DeniedError also when the door is closed. An identifier
        that is malformed or of another kind is named by index.
        """
        with self._ledger.message(_RPCS[Operation.PSEUDONYMISE], caller, len(identifiers)) as message:
            self._admit(message, caller, Operation.PSEUDONYMISE, wanted)
            self._check_size(len(identifiers), 1, "identifiers")
            self._policy.check_suite(suite)
            key = self._keyset.for_output(wanted)
            message.note(key_version=key.name.version)
            texts = self._canonical(identifiers, wanted.kind)
            hashed = ristretto255.hash_to_group(texts, self._policy.suite.tag(wanted.kind), self._pool)
            return key.name, self._multiply(message, caller, key.scalar, hashed)

    def convert(self, caller: Caller, source: KeyName, target: KeyName, elements: bytes) -> tuple[KeyName, bytes]:
        """Multiply blinded pseudonyms by target key / source key. Returns the target key used and 32·n bytes.

        Raises as `evaluate`; InvalidError also when the kinds differ or the source version is not set.
        """
        count = len(elements) // ristretto255.SIZE
        with self._ledger.message(_RPCS[Operation.CONVERT], caller, count) as message:
            self._admit(message, caller, Operation.CONVERT, source, target)
            self._check_size(len(elements), ristretto255.SIZE, "elements")
            old, new = self._keyset.for_input(source), self._keyset.for_output(target)
            message.note(key_version=new.name.version)
            factor = ristretto255.quotient(new.scalar, old.scalar)
            return new.name, self._multiply(message, caller, factor, elements)

    def _admit(
        self, message: Message, caller: Caller, operation: Operation, source: KeyName, target: KeyName | None = None
    ) -> None:
        names = (source.domain, target.domain) if target else (source.domain,)
        message.note(subject=">".join(name if self._policy.knows(name) else "?" for name in names), kind=source.kind)
        if target and target.kind is not source.kind:
            raise InvalidError("a conversion keeps the kind; set the same in from and to", "KIND_MISMATCH")
        route = Route(
            f"{caller.role}/{caller.name}", operation, source.domain, target.domain if target else "", source.kind
        )
        message.note(grant=self._policy.authorise(route))

    def _check_size(self, size: int, unit: int, field: str) -> None:
        if size == 0 or size % unit:
            expected = f"expected {unit}·n bytes with n of 1 or more" if unit > 1 else "expected 1 or more"
            raise InvalidError(f"{field}: {expected}", "BATCH_MALFORMED", (FieldViolation(field, expected),))
        if size // unit > self._max_elements:
            limit = str(self._max_elements)
            text = f"a message holds at most {limit} {field}; send smaller batches"
            raise ExhaustedError(text, "BATCH_TOO_LARGE", metadata={"limit": limit})

    def _multiply(self, message: Message, caller: Caller, scalar: bytes, elements: bytes) -> bytes:
        limit = self._policy.budget(f"{caller.role}/{caller.name}")
        message.check_budget(limit)
        try:
            multiplied = ristretto255.multiply(scalar, elements, self._pool)
        except ristretto255.ElementError as error:
            expected = "expected a canonical ristretto255 element other than the identity"
            violations = [FieldViolation(f"elements[{index}]", expected) for index in error.indices]
            raise InvalidError(str(error), "ELEMENT_INVALID", violations) from None
        message.settle(limit)
        return multiplied

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
