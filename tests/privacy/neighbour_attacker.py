"""Who has encodings, and knows what a few of them stand for: reads the others by how alike they are to those.

A seeded attack on the similarity graph (after Vidanage, Christen, Ranbaduge, Schnell 2020): whatever linkage can
compare, an attacker can. For each encoding that is not known, its likeness to all known ones is compared with what
each candidate would have; likeness of bits is told from likeness of values by the known pairs alone. Diffusion
does not hinder this: it makes likeness noisy, so that more has to be known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_SAME = 0.999


class NeighbourAttacker:
    """Knows what some encodings stand for."""

    def __init__(self, known: Sequence[bytes], values: Indices, likeness: Floats) -> None:
        """`values`: what each known encoding stands for, a row of `likeness`.

        `likeness`: of each possible value (row) to each known one (column), 1 where they are the same.
        """
        self._known = _signs(known)
        between = (self._known @ self._known.T) / self._known.shape[1]
        told = likeness[values]
        others = told < _SAME
        curve = np.polynomial.Polynomial.fit(told[others], between[others], 4)
        self._expected = np.where(likeness < _SAME, curve(likeness), 1.0)
        self._noise = float(np.std(between[others] - curve(told[others])))
        self._taken = values

    def read(self, encodings: Sequence[bytes], allowed: NDArray[np.bool_] | None = None) -> Indices:
        """Return the likeliest value of each encoding, none of them one that is known.

        `allowed`: a row an encoding, a column a value: what the attacker knows otherwise that it can be; then known
        values are possible too.
        """
        seen = _signs(encodings) @ self._known.T / self._known.shape[1]
        square = (seen**2).sum(axis=1)[:, None] + (self._expected**2).sum(axis=1)
        scores = (2 * seen @ self._expected.T - square) / (2 * self._noise**2)
        if allowed is None:
            scores[:, self._taken] = -np.inf
        else:
            scores[~allowed] = -np.inf
        return np.asarray(scores.argmax(axis=1))


def _signs(encodings: Sequence[bytes]) -> Floats:
    bits = np.unpackbits(np.frombuffer(b"".join(encodings), np.uint8).reshape(len(encodings), -1), axis=1)
    return bits.astype(float) * 2 - 1
