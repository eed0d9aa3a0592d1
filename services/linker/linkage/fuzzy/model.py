"""The fitted model: how likely each level is among matches (m) and by chance (u), and how many pairs a class has.

The match weight of a level is log2(m / u) bits. A model can be kept as JSON and used for a later delivery that is too
small for one of its own. It holds probabilities by field and level, nothing about a record.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from linker.linkage.fuzzy.plan import Level, Plan
from linker.linkage.fuzzy.problems import FuzzyLinkageError, Problem

Numbers = npt.NDArray[np.float64]

# What a schema that has never met data expects of a match, by level from NULL to SWAPPED.
DEFAULT_M = (0.0, 0.80, 0.07, 0.04, 0.03, 0.02, 0.03, 0.01)


@dataclass(frozen=True, slots=True)
class Model:
    """Probabilities by field and level (`Level` order, null 0) and by class.

    `per_record`: how many pairs of each class but the random one a record is expected to have. `records`: how many.
    `compared`: fields that both sides had; the others' m are the defaults. `rounds`: of EM until it stood still;
    0 for a model whose m was not fitted to these records.
    """

    schema_id: str
    fields: tuple[str, ...]
    compared: tuple[bool, ...]
    m: tuple[tuple[float, ...], ...]
    u: tuple[tuple[float, ...], ...]
    per_record: dict[str, float]
    records: int
    rounds: int

    def weights(self) -> Numbers:
        """Return the match weight of each level in bits: one row a field; null and what never occurs weigh 0."""
        m, u = np.array(self.m), np.array(self.u)
        known = (m > 0) & (u > 0)
        return np.where(known, np.log2(np.where(known, m, 1) / np.where(known, u, 1)), 0.0)

    def to_json(self) -> str:
        """Return the model as text; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Model:
        """Return the model of `to_json`."""
        held = json.loads(text)
        for name in ("fields", "compared"):
            held[name] = tuple(held[name])
        for name in ("m", "u"):
            held[name] = tuple(tuple(row) for row in held[name])
        return cls(**held)


def default_m(plan: Plan) -> Numbers:
    """Return the m probabilities before any data: one row a field."""
    rows = np.tile(np.array(DEFAULT_M), (len(plan.fields), 1))
    for row, field in enumerate(plan.fields):
        if field.name not in (plan.swap or ()):
            rows[row, Level.SWAPPED] = 0
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def m_of(model: Model, plan: Plan) -> Numbers:
    """Return a kept model's m for this plan. Raises FuzzyLinkageError if it was fitted to other fields."""
    if (model.schema_id, model.fields) != (plan.schema_id, tuple(field.name for field in plan.fields)):
        raise FuzzyLinkageError(
            Problem.OTHER_FIELDS,
            f"the kept model belongs to schema {model.schema_id}, not to {plan.schema_id}: link without it",
        )
    return np.array(model.m)
