"""RFC 9497, appendix A.1 (ristretto255-SHA512), modes OPRF and VOPRF.

Origin: the appendix's values as the test-vector file of the RFC's authors holds them, proofs left
in but not used. RFC 9496, appendix A.1: the first multiples of the generator.
"""

from __future__ import annotations

import json
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest

from kinlink import ristretto255

_SUITES = json.loads(Path(__file__).with_name("rfc9497_ristretto255_sha512.json").read_text())["ciphersuites"]
_CASES = [(suite, vector) for suite in _SUITES for vector in suite["vectors"]]


def _split(text: str) -> list[bytes]:
    return [bytes.fromhex(part) for part in text.split(",")]


@pytest.mark.parametrize(("suite", "vector"), _CASES)
def test_blind_evaluate_and_finalize_are_bit_exact(suite: dict[str, Any], vector: dict[str, Any]) -> None:
    tag = bytes.fromhex(suite["groupDST"]).removeprefix(b"HashToGroup-")
    inputs, blinds = _split(vector["Input"]), b"".join(_split(vector["Blind"]))

    blinded = ristretto255.multiply_each(blinds, ristretto255.hash_to_group(inputs, tag))
    assert blinded == b"".join(_split(vector["BlindedElement"]))

    evaluated = ristretto255.multiply(bytes.fromhex(suite["skSm"]), blinded)
    assert evaluated == b"".join(_split(vector["EvaluationElement"]))

    unblinded = ristretto255.multiply_each(ristretto255.invert_batch(blinds), evaluated)
    for index, (message, output) in enumerate(zip(inputs, _split(vector["Output"]), strict=True)):
        element = unblinded[32 * index : 32 * index + 32]
        framed = len(message).to_bytes(2, "big") + message + len(element).to_bytes(2, "big") + element + b"Finalize"
        assert sha512(framed).digest() == output


def test_public_key_of_the_verifiable_mode_is_the_check_value() -> None:
    suite = next(suite for suite in _SUITES if suite["mode"] == 1)
    assert ristretto255.multiply_base(bytes.fromhex(suite["skSm"])).hex() == suite["pkSm"]


@pytest.mark.parametrize(
    ("factor", "encoding"),
    [
        (1, "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"),
        (2, "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919"),
    ],
)
def test_multiples_of_the_generator_are_bit_exact(factor: int, encoding: str) -> None:
    assert ristretto255.multiply_base(factor.to_bytes(32, "little")).hex() == encoding


def test_self_test_passes_on_this_machine() -> None:
    ristretto255.self_test()
