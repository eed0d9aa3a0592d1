from __future__ import annotations

import subprocess
import sys

import pytest

from kinlink import ristretto255
from kinlink.ristretto255 import ElementError

_TAG = b"kinlink-synthetic-v1-cpr"
_ELEMENTS = ristretto255.hash_to_group([b"%d" % number for number in range(700)], _TAG)
_P = 2**255 - 19

_BAD = {
    "identity": bytes(32),
    "not reduced: p": _P.to_bytes(32, "little"),
    "not reduced: p + 2": (_P + 2).to_bytes(32, "little"),
    "high bit set": (1 << 255 | 2).to_bytes(32, "little"),
    "negative": (1).to_bytes(32, "little"),
    "all ones": b"\xff" * 32,
}


@pytest.mark.parametrize("bad", _BAD.values(), ids=_BAD.keys())
def test_bad_elements_are_refused_by_index_and_not_by_value(bad: bytes) -> None:
    batch = _ELEMENTS[:64] + bad + _ELEMENTS[:32] + bad
    with ristretto255.new_pool() as pool:
        for attempt in (
            lambda: ristretto255.multiply(ristretto255.random_scalars(1), batch),
            lambda: ristretto255.multiply(ristretto255.random_scalars(1), batch, pool),
            lambda: ristretto255.validate(batch),
        ):
            with pytest.raises(ElementError) as caught:
                attempt()
            assert caught.value.indices == (2, 4)
            assert bad.hex() not in str(caught.value)


def test_bad_elements_are_named_at_most_ten_times_and_lowest_first() -> None:
    with ristretto255.new_pool() as pool, pytest.raises(ElementError) as caught:
        ristretto255.multiply(ristretto255.random_scalars(1), _ELEMENTS + bytes(32 * 600), pool)
    assert caught.value.indices == tuple(range(700, 710))


def test_pool_gives_the_same_bytes_in_the_same_order() -> None:
    scalar, scalars = ristretto255.random_scalars(1), ristretto255.random_scalars(700)
    messages = [b"%d" % number for number in range(700)]
    with ristretto255.new_pool() as pool:
        assert ristretto255.hash_to_group(messages, _TAG, pool) == _ELEMENTS
        assert ristretto255.multiply(scalar, _ELEMENTS, pool) == ristretto255.multiply(scalar, _ELEMENTS)
        assert ristretto255.multiply_each(scalars, _ELEMENTS, pool) == ristretto255.multiply_each(scalars, _ELEMENTS)
        ristretto255.validate(_ELEMENTS, pool)


def test_inverses_undo_each_scalar() -> None:
    scalars = ristretto255.random_scalars(50)
    blinded = ristretto255.multiply_each(scalars, _ELEMENTS[:1600])
    assert ristretto255.multiply_each(ristretto255.invert_batch(scalars), blinded) == _ELEMENTS[:1600]
    assert ristretto255.invert_batch(b"") == b""


def test_quotient_carries_one_multiple_into_another() -> None:
    old, new = ristretto255.random_scalars(1), ristretto255.random_scalars(1)
    carried = ristretto255.multiply(ristretto255.quotient(new, old), ristretto255.multiply(old, _ELEMENTS[:320]))
    assert carried == ristretto255.multiply(new, _ELEMENTS[:320])


def test_tags_separate() -> None:
    assert ristretto255.hash_to_group([b"x"], b"kinlink-v1-cpr") != ristretto255.hash_to_group([b"x"], _TAG)


def test_random_scalars_never_repeat() -> None:
    scalars = ristretto255.random_scalars(1000)
    assert len({scalars[start : start + 32] for start in range(0, 32_000, 32)}) == 1000


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: ristretto255.multiply(bytes(31), b""),
        lambda: ristretto255.multiply(bytes(32), bytes(33)),
        lambda: ristretto255.multiply_each(bytes(32), bytes(64)),
        lambda: ristretto255.multiply_base(bytes(32)),
        lambda: ristretto255.invert_batch(bytes(64)),
        lambda: ristretto255.quotient(bytes(32), bytes(32)),
        lambda: ristretto255.hash_to_group([b""], b""),
    ],
)
def test_wrong_lengths_and_zero_scalars_are_refused(attempt: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        attempt()  # type: ignore[operator]


def test_missing_libsodium_is_said_in_one_line() -> None:
    code = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from kinlink import ristretto255\n"
        "try: ristretto255.self_test()\n"
        "except ristretto255.LibsodiumError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout.count("\n") == 1
    assert "apt install libsodium23" in done.stdout
    assert "brew install libsodium" in done.stdout


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}
