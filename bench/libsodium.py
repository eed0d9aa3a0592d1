"""What libsodium itself does on all cores: one process a core, a bare loop over its C functions in each.

It shares no code with the product, so that the product is measured against the
library and not against itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool

import pysodium

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_POINTER = ctypes.c_void_p


@contextmanager
def workers() -> Iterator[Pool]:
    """Yield a pool of one warm process a core."""
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        pool.map(multiplications, [100] * CORES, chunksize=1)
        yield pool


def rate(pool: Pool, task: object, count: int) -> float:
    """Return operations a second of `task` (multiplications or persons) on all cores, `count` in all."""
    share = count // CORES
    spans = pool.map(task, [share] * CORES, chunksize=1)  # type: ignore[arg-type]
    return CORES * share / (max(end for _, end in spans) - min(start for start, _ in spans))


def multiplications(count: int) -> tuple[float, float]:
    """Multiply `count` times; return when it began and ended, on the clock all processes share."""
    multiply = pysodium.sodium.crypto_scalarmult_ristretto255
    multiply.argtypes = (_POINTER, _POINTER, _POINTER)
    out, scalar, element = _operands()
    start = time.monotonic()
    for _ in range(count):
        multiply(out, scalar, element)
    return start, time.monotonic()


def persons(count: int) -> tuple[float, float]:
    """Hash to the group once and multiply three times, `count` times; returns as `multiplications`."""
    multiply, map_to_group = (
        pysodium.sodium.crypto_scalarmult_ristretto255,
        pysodium.sodium.crypto_core_ristretto255_from_hash,
    )
    multiply.argtypes, map_to_group.argtypes = (_POINTER, _POINTER, _POINTER), (_POINTER, _POINTER)
    out, scalar, element = _operands()
    tag = b"HashToGroup-kinlink-synthetic-v1-cpr"
    tail = tag + bytes([len(tag)])
    start = time.monotonic()
    for number in range(count):
        first = hashlib.sha512(bytes(128) + b"%010d" % number + b"\0\x40\0" + tail).digest()
        map_to_group(element, hashlib.sha512(first + b"\1" + tail).digest())
        multiply(out, scalar, element)
        multiply(out, scalar, element)
        multiply(out, scalar, element)
    return start, time.monotonic()


def _operands() -> tuple[ctypes.Array[ctypes.c_char], ...]:
    scalar = ctypes.create_string_buffer(pysodium.crypto_core_ristretto255_scalar_random(), 32)
    element = ctypes.create_string_buffer(pysodium.crypto_core_ristretto255_random(), 32)
    return ctypes.create_string_buffer(32), scalar, element
