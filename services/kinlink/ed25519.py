"""Which Ed25519 public keys are taken.

Under a key of small order a signature verifies that nobody made: under the neutral element one and the same for every
text. RFC 8032 lets a verifier accept them, and libraries do. So they are refused where keys come in, and so are keys
that are not written in the one canonical way.
"""

from __future__ import annotations

from typing import Final

PUBLIC_BYTES: Final = 32
_P: Final = 2**255 - 19
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL: Final = frozenset((0, 1, _P - 1, _ORDER_8, _P - _ORDER_8))
"""The y of all points whose order is 8 or less; each with either sign of x."""


def is_usable(public: bytes) -> bool:
    """Say whether these bytes may stand for a signer: 32, canonical, and not of small order."""
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    return len(public) == PUBLIC_BYTES and y < _P and y not in _SMALL
