"""The prime-order group ristretto255 (RFC 9496): the only file that touches libsodium.

1. Elements and scalars are canonical 32-byte encodings; a batch is their
   concatenation, so that no Python object is made per element.
2. Hashing to the group is RFC 9497's for ristretto255-SHA512: expand_message_xmd
   with SHA-512 (RFC 9380 §5.3.1) and the one-way map of RFC 9496 §4.3.4, under the
   domain separation tag "HashToGroup-" + tag.
3. The identity and every encoding that is not canonical are refused, by index.
4. libsodium's heavy calls release the GIL, so a pool of threads over parts of a
   batch keeps every core busy; the short scalar calls keep the GIL, since giving
   it up would cost more than they do.
5. It does not know keys, domains, identifiers or blinding.

*Guarantee:* given a scalar in [1, ℓ) and canonical encodings of elements other
than the identity, `multiply` returns canonical encodings of their multiples, in
order, none of them the identity; given anything else it returns nothing.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

SIZE: Final = 32
"""Bytes of an element and of a scalar."""

_HASH_SIZE: Final = 64
_PART: Final = 256  # elements a pool task takes: about 15 ms of work, so that cores finish together
_MAX_BAD_NAMED: Final = 10


class LibsodiumError(RuntimeError):
    """libsodium is missing, too old, or does not compute what RFC 9497 says."""


class ElementError(ValueError):
    """Elements of a batch are not canonical or are the identity. Names indices, never values."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = tuple(sorted(indices)[:_MAX_BAD_NAMED])
        super().__init__(f"{len(indices)} bad group element(s), first at index {self.indices[0]}")


class _Library:
    """libsodium's functions: pointers in, 0 or 1 out."""

    def __init__(self, heavy: ctypes.CDLL, short: ctypes.PyDLL) -> None:
        """Take long calls from `heavy`, which releases the GIL, and short ones from `short`, which keeps it."""
        self.scalarmult = _function(heavy, "crypto_scalarmult_ristretto255", 3)
        self.scalarmult_base = _function(heavy, "crypto_scalarmult_ristretto255_base", 2)
        self.from_hash = _function(heavy, "crypto_core_ristretto255_from_hash", 2)
        self.is_valid_point = _function(heavy, "crypto_core_ristretto255_is_valid_point", 1)
        self.scalar_invert = _function(short, "crypto_core_ristretto255_scalar_invert", 2)
        self.scalar_mul = _function(short, "crypto_core_ristretto255_scalar_mul", 3)
        self.scalar_reduce = _function(short, "crypto_core_ristretto255_scalar_reduce", 2)


def _function(library: ctypes.CDLL, name: str, arguments: int) -> Callable[..., int]:
    function = getattr(library, name)
    function.argtypes = (ctypes.c_void_p,) * arguments
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


@cache
def _sodium() -> _Library:
    if sys.platform == "darwin":  # Homebrew on Apple silicon is outside the default search path
        os.environ.setdefault("DYLD_FALLBACK_LIBRARY_PATH", "/opt/homebrew/lib:/usr/local/lib:/usr/lib")
    try:
        import pysodium  # noqa: PLC0415 - its import fails when the system has no libsodium

        heavy: ctypes.CDLL = pysodium.sodium
        name, handle = heavy._name, heavy._handle  # noqa: SLF001 - the one way to a second calling convention
        return _Library(heavy, ctypes.PyDLL(name, handle=handle))
    except (ImportError, ValueError, AttributeError, OSError, TypeError) as error:
        raise LibsodiumError(
            "libsodium 1.0.18 or newer is missing. Install it: Debian and Ubuntu `apt install libsodium23`, "
            "macOS `brew install libsodium`"
        ) from error


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def new_pool() -> ThreadPoolExecutor:
    """Return a pool of one thread a core, to pass to the batch functions."""
    return ThreadPoolExecutor(cores(), thread_name_prefix="ristretto255")


def multiply(scalar: bytes, elements: bytes, pool: ThreadPoolExecutor | None = None) -> bytes:
    """Return scalar · element for each element of a batch, in order.

    `scalar`: 32 bytes. `elements`: 32·n bytes, n ≥ 0. Raises ElementError naming the
    first bad indices, ValueError for other lengths. Costs one variable-base
    multiplication an element, about 60 µs of one core.
    """
    _expect(len(scalar) == SIZE, "a scalar is 32 bytes")
    return _multiply(scalar, 0, elements, pool)


def multiply_each(scalars: bytes, elements: bytes, pool: ThreadPoolExecutor | None = None) -> bytes:
    """Return scalar[i] · element[i] for each i; both 32·n bytes. Errors and cost as `multiply`."""
    _expect(len(scalars) == len(elements), "as many scalars as elements")
    return _multiply(scalars, SIZE, elements, pool)


def multiply_base(scalar: bytes) -> bytes:
    """Return scalar · G for the group's generator: 32 bytes. Raises ValueError for the zero scalar."""
    _expect(len(scalar) == SIZE, "a scalar is 32 bytes")
    out = ctypes.create_string_buffer(SIZE)
    _expect(_sodium().scalarmult_base(ctypes.addressof(out), _address(scalar)) == 0, "a scalar is not zero")
    return out.raw


def hash_to_group(messages: Sequence[bytes], tag: bytes, pool: ThreadPoolExecutor | None = None) -> bytes:
    """Return HashToGroup(message) for each message: 32·n bytes, in order.

    RFC 9497 §4.1 (ristretto255, SHA-512), with `tag` in the place of its context
    string. Deterministic. The tag is at most 200 bytes.
    """
    _expect(0 < len(tag) <= 200, "a tag is 1 to 200 bytes")
    dst = b"HashToGroup-" + tag
    suffix = b"\1" + dst + bytes([len(dst)])
    prefix = _HASH_SIZE.to_bytes(2, "big") + b"\0" + suffix[1:]
    sodium = _sodium()
    padded = hashlib.sha512(bytes(128))  # Z_pad: one block, hashed once for the whole batch
    out = bytearray(SIZE * len(messages))
    target = _address_of_output(out)

    def part(start: int, stop: int) -> None:
        sha512, from_hash, address = hashlib.sha512, sodium.from_hash, _address
        for index in range(start, stop):
            first = padded.copy()
            first.update(messages[index] + prefix)
            uniform = sha512(first.digest() + suffix).digest()
            from_hash(target + SIZE * index, address(uniform))

    _in_parts(part, len(messages), pool)
    return bytes(out)


def validate(elements: bytes, pool: ThreadPoolExecutor | None = None) -> None:
    """Raise ElementError unless each element of the batch is canonical and not the identity."""
    source, identity, is_valid = _address(elements), bytes(SIZE), _sodium().is_valid_point
    bad: list[int] = []

    def part(start: int, stop: int) -> None:
        for index in range(start, stop):
            offset = SIZE * index
            if not is_valid(source + offset) or elements[offset : offset + SIZE] == identity:
                bad.append(index)

    _in_parts(part, _count(elements), pool)
    if bad:
        raise ElementError(bad)


def random_scalars(count: int) -> bytes:
    """Return `count` scalars, uniform in [1, ℓ) up to a bias below 2^-250, from the system's generator."""
    wide = os.urandom(2 * SIZE * count)
    out = bytearray(SIZE * count)
    source, target = _address(wide), _address_of_output(out)
    reduce = _sodium().scalar_reduce
    for index in range(count):  # a zero scalar comes once in 2^252 and then fails the multiplication
        reduce(target + SIZE * index, source + 2 * SIZE * index)
    return bytes(out)


def invert_batch(scalars: bytes) -> bytes:
    """Return the inverses modulo ℓ of a batch of scalars, in order; one inversion in all.

    Montgomery's trick: running products, one inversion, and the products walked back.
    Raises ValueError when a scalar is zero. Costs three scalar products each.
    """
    count = _count(scalars)
    if not count:
        return b""
    products, out = bytearray(scalars), bytearray(scalars)
    running = ctypes.create_string_buffer(SIZE)
    source, product, target, run = (
        _address(scalars),
        _address_of_output(products),
        _address_of_output(out),
        ctypes.addressof(running),
    )
    sodium = _sodium()
    for offset in range(SIZE, SIZE * count, SIZE):
        sodium.scalar_mul(product + offset, product + offset - SIZE, source + offset)
    _expect(sodium.scalar_invert(run, product + SIZE * (count - 1)) == 0, "no scalar is zero")
    for offset in range(SIZE * (count - 1), 0, -SIZE):
        sodium.scalar_mul(target + offset, run, product + offset - SIZE)
        sodium.scalar_mul(run, run, source + offset)
    ctypes.memmove(target, run, SIZE)
    return bytes(out)


def quotient(dividend: bytes, divisor: bytes) -> bytes:
    """Return dividend / divisor modulo ℓ. Raises ValueError when the divisor is zero."""
    out, inverse = ctypes.create_string_buffer(SIZE), invert_batch(divisor)
    _expect(len(dividend) == len(divisor) == SIZE, "a scalar is 32 bytes")
    _sodium().scalar_mul(ctypes.addressof(out), _address(dividend), _address(inverse))
    return out.raw


def self_test() -> None:
    """Recompute a vector of RFC 9497 §A.1.1 and refuse bad encodings. Raises LibsodiumError when anything differs.

    Services run it at start: a wrong or tampered library must not make pseudonyms.
    """
    tag = b"OPRFV1-\x00-ristretto255-SHA512"
    key = bytes.fromhex("5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e")
    blind = bytes.fromhex("64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706")
    blinded = bytes.fromhex("da27ef466870f5f15296299850aa088629945a17d1f5b7f5ff043f76b3c06418")
    evaluated = bytes.fromhex("b4cbf5a4f1eeda5a63ce7b77c7d23f461db3fcab0dd28e4e17cecb5c90d02c25")
    hashed = hash_to_group([b"\x5a" * 17], tag)
    same = (
        multiply(blind, hashed) == blinded
        and multiply(key, blinded) == evaluated
        and multiply(invert_batch(blind), evaluated) == multiply(key, hashed)
    )
    for bad in (bytes(SIZE), b"\xff" * SIZE):
        try:
            multiply(key, bad)
        except ElementError:
            continue
        same = False
    if not same:
        raise LibsodiumError("libsodium does not reproduce RFC 9497: do not use this installation")


def _multiply(scalars: bytes, step: int, elements: bytes, pool: ThreadPoolExecutor | None) -> bytes:
    count = _count(elements)
    out = bytearray(len(elements))
    scalar, source, target = _address(scalars), _address(elements), _address_of_output(out)
    scalarmult, bad = _sodium().scalarmult, list[int]()

    def part(start: int, stop: int) -> None:
        for index in range(start, stop):
            offset = SIZE * index
            if scalarmult(target + offset, scalar + step * index, source + offset):
                bad.append(index)

    _in_parts(part, count, pool)
    if bad:
        raise ElementError(bad)
    return bytes(out)


def _in_parts(part: Callable[[int, int], None], count: int, pool: ThreadPoolExecutor | None) -> None:
    if pool is None or count <= _PART:
        part(0, count)
        return
    starts = range(0, count, _PART)
    for _ in pool.map(part, starts, (min(start + _PART, count) for start in starts)):
        pass


def _count(batch: bytes) -> int:
    _expect(len(batch) % SIZE == 0, "a batch is a multiple of 32 bytes")
    return len(batch) // SIZE


def _address(data: bytes) -> int:
    """Return where the bytes lie; valid while the caller keeps them."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _address_of_output(data: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(data)).from_buffer(data)) if data else 0


def _expect(condition: bool, expected: str) -> None:
    if not condition:
        raise ValueError(f"expected: {expected}")
