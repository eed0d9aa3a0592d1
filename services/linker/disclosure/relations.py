"""What holds between measures: combinations of cells that are nothing, and combinations that are cells of their own.

1. A combination that is 0 for every contributor is an equation, such as persons less adults less children.
2. One that is not, and that few contributors make up, is a virtual cell: nobody shows it, but what is shown must not
   give it away. One that everybody knows cannot be negative is a virtual cell too, for the sake of its bound.

It does not know which combinations matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from linker.disclosure.system import LinkedSystem, distinct


class RelationError(ValueError):
    """A relation is between counts and amounts, or of no cell; names its label."""


@dataclass(frozen=True, slots=True)
class CombinationFacts:
    """What a combination is made of: as the fields of one cell of a `LinkedSystem`."""

    contributors: int
    absolute: int
    largest: int
    second: int
    sole: int
    nonnegative: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A combination of cells with whole coefficients. `facts`: of the virtual cell that it is; None: it is 0."""

    label: str
    coefficients: Mapping[int, int]
    facts: CombinationFacts | None = None


def related(system: LinkedSystem, relations: Sequence[Relation]) -> LinkedSystem:
    """Return the system with the relations; virtual cells follow the others, in the order of the relations.

    Virtual cells are not shown; `needs` judges them if told to, and the caller says in which cells they are primary.

    Raises:
        RelationError: a relation has no cell, or is between counts and amounts.
        NotAdditiveError: a combination that should be 0 is not.
    """
    for relation in relations:
        if len({bool(system.counted[cell]) for cell in relation.coefficients}) != 1:
            raise RelationError(f"{relation.label}: a relation is of counts only, or of amounts only")
    places = [np.array(list(relation.coefficients), np.int64) for relation in relations]
    weights = [np.array(list(relation.coefficients.values()), np.int64) for relation in relations]
    indptr = np.concatenate([[0], np.cumsum([len(each) for each in places])]).astype(np.int64)
    whole = sp.csr_matrix(
        (np.concatenate([*weights, []]), np.concatenate([*places, []]).astype(np.int64), indptr),
        (len(relations), len(system)),
    )
    virtual = [row for row, relation in enumerate(relations) if relation.facts is not None]
    facts = [relation.facts for relation in relations if relation.facts is not None]
    itself = sp.csr_matrix((np.ones(len(virtual)), (virtual, range(len(virtual)))), (len(relations), len(virtual)))
    none = sp.csr_matrix((system.equations.shape[0], len(virtual)))
    atoms = sp.hstack([system.atoms, system.atoms @ whole[virtual].T]).tocsc()
    atoms.eliminate_zeros()

    def longer(field: str, added: Sequence[int]) -> np.ndarray:
        now = getattr(system, field)
        return np.concatenate([now, np.array(added, now.dtype)])

    return replace(
        system,
        labels=(*system.labels, *(relations[row].label for row in virtual)),
        values=longer("values", (whole[virtual].astype(np.int64) @ system.values).tolist()),
        contributors=longer("contributors", [each.contributors for each in facts]),
        absolute=longer("absolute", [each.absolute for each in facts]),
        largest=longer("largest", [each.largest for each in facts]),
        second=longer("second", [each.second for each in facts]),
        sole=longer("sole", [each.sole for each in facts]),
        counted=longer("counted", [system.counted[places[row][0]] for row in virtual]),
        nonnegative=longer("nonnegative", [each.nonnegative for each in facts]),
        shown=longer("shown", [False] * len(virtual)),
        equations=distinct(sp.vstack([sp.hstack([system.equations, none]), sp.hstack([whole, -itself])]).tocsr()),
        atoms=atoms,
    )
