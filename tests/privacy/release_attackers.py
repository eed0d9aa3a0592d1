"""Attackers on releases. Each knows what everybody can know, and what makes it the attacker that it is.

An attacker wins a secret *exactly* when only its true value fits all that is told, and *within* the interval when the
values that fit do not reach as far as the policy requires. A program that does not finish proves nothing: it stops the
attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, milp

from tests.privacy.protected_cells import Run, Secret
from tests.privacy.public_knowledge import Term, World, atoms, equal, holds

Row = dict[int, Fraction]
_UNIT = 100_000.0  # øre
_GREATEST = 1_000_000.0  # everybody knows that nothing is more: a million families, a billion kroner


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest value that fit all that is told."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attacker won of the secrets that it attacked."""

    attacker: str
    attacked: int
    exact: list[Secret] = field(default_factory=list)
    within: list[Secret] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in the words of a disclosure record."""
        exact, within = len(self.exact), len(self.within)
        return f"{self.attacker}: of {self.attacked} protected cells {exact} exactly, {within} within the interval"

    def won(self) -> int:
        """Return the number of secrets won in either way."""
        return len({one.terms for one in (*self.exact, *self.within)})


class Equations:
    """All that is told, over the finest combinations that can be told apart."""

    def __init__(self, world: World, asked: Iterable[Term]) -> None:
        """Number the combinations."""
        terms = {term for statement in world.statements for term in statement.terms} | set(asked)
        self.world = world
        self._atoms = atoms(world.columns, sorted(terms, key=str))
        self._start: dict[str, int] = {}
        self.size = 0
        for column in sorted(self._atoms):
            self._start[column] = self.size
            self.size += len(self._atoms[column])
        self._places: dict[Term, list[int]] = {}

    def places(self, term: Term) -> list[int]:
        """Return the combinations that a term sums."""
        if term not in self._places:
            column, where = term
            start = self._start[column]
            self._places[term] = [start + n for n, atom in enumerate(self._atoms[column]) if holds(where, atom)]
        return self._places[term]

    def row(self, statement: Mapping[Term, int | Fraction]) -> Row:
        """Return coefficients by combination."""
        found: Row = {}
        for term, coefficient in statement.items():
            for place in self.places(term):
                found[place] = found.get(place, Fraction(0)) + Fraction(coefficient)
        return {place: coefficient for place, coefficient in found.items() if coefficient}

    def of(self, what: Callable[[str], bool]) -> np.ndarray:
        """Return flags of combinations whose column is of a kind."""
        flags = np.zeros(self.size, bool)
        for column, start in self._start.items():
            flags[start : start + len(self._atoms[column])] = what(column)
        return flags


class SubtractionAttacker:
    """Adds, subtracts and multiplies what is told, in exact arithmetic; knows no bounds."""

    name = "subtraction"

    def attack(self, world: World, secrets: Sequence[Secret]) -> Outcome:
        """Return the secrets that are combinations of what is told."""
        known = Equations(world, (term for secret in secrets for term, _ in secret.terms))
        solved: dict[int, tuple[Row, Fraction]] = {}
        for statement in world.statements:
            if statement.low is not None and statement.low == statement.high:
                row, value = _reduced(known.row(statement.terms), Fraction(statement.low), solved)
                if row:
                    pivot = min(row)
                    solved[pivot] = ({p: c / row[pivot] for p, c in row.items()}, value / row[pivot])
        exact = []
        for secret in secrets:
            rest, value = _reduced(known.row(dict(secret.terms)), Fraction(0), solved)
            if not rest:
                assert -value == secret.value, "the release contradicts the facts"
                exact.append(secret)
        return Outcome(self.name, len(secrets), exact, exact)


def _reduced(row: Row, value: Fraction, solved: Mapping[int, tuple[Row, Fraction]]) -> tuple[Row, Fraction]:
    """Return what is left of an equation once the solved combinations are put in, smallest first."""
    left = dict(row)
    done: set[int] = set()
    while pivots := [place for place in left if place in solved and place not in done]:
        pivot = min(pivots)
        factor = left[pivot]
        other, number = solved[pivot]
        for place, coefficient in other.items():
            left[place] = left.get(place, Fraction(0)) - factor * coefficient
            if not left[place]:
                del left[place]
        value -= factor * number
    return left, value


class BoundsAttacker:
    """Bounds every secret by programs: sums are as told, counts are whole, nobody is below 0 where nobody can be."""

    name = "bounds"

    def attack(self, world: World, secrets: Sequence[Secret]) -> Outcome:
        """Return the secrets whose range is too narrow, and those that have one value only."""
        ranges = self.ranges(world, [dict(secret.terms) for secret in secrets])
        return judged(self.name, secrets, ranges)

    def ranges(self, world: World, sums: Sequence[Mapping[Term, int]]) -> list[Range]:
        """Return the range of each sum of terms."""
        known = Equations(world, (term for terms in sums for term in terms))
        told = {tuple(each.terms.items()): each.low for each in world.statements if each.low == each.high}
        programs = _Programs(known)
        found = []
        for terms in sums:
            exact = told.get(tuple(terms.items()))
            found.append(programs.range(known.row(terms)) if exact is None else Range(float(exact), float(exact)))
        return found


class _Programs:
    """The programs of a world, block by block. Amounts are in 1,000 kr. here, so that numbers are of one size."""

    def __init__(self, known: Equations) -> None:
        """Write down what is told."""
        columns, statements = known.world.columns, known.world.statements
        self._size = known.size
        self._whole = known.of(lambda column: columns[column].counted)
        self._lower = np.where(known.of(lambda column: columns[column].nonnegative), 0.0, -_GREATEST)
        self._unit = np.where(self._whole, 1.0, _UNIT)
        rows = [known.row(statement.terms) for statement in statements]
        units = [_UNIT if any(not self._whole[place] for place in row) else 1.0 for row in rows]
        self._low, self._high = (
            np.array([none if end is None else float(end) / unit for end, unit in zip(ends, units, strict=True)])
            for none, ends in (
                (-np.inf, [each.low for each in statements]),
                (np.inf, [each.high for each in statements]),
            )
        )
        self._matrix = sp.diags(1 / np.array(units)) @ _matrix(rows, known.size) @ sp.diags(self._unit)
        self._blocks = _blocks(self._matrix, known.size)

    def range(self, row: Row) -> Range:
        """Return the range of a combination."""
        kept = np.isin(self._blocks, np.unique(self._blocks[list(row)]))
        told = np.unique(self._matrix[:, kept].nonzero()[0])
        objective = np.zeros(self._size)
        objective[list(row)] = [float(each) for each in row.values()]
        unit = self._unit[list(row)].max(initial=1.0)
        ends = []
        for sign in (1.0, -1.0):
            for presolve in (True, False):  # presolve at times calls a program infeasible that has a solution
                answer = milp(
                    sign * (objective * self._unit / unit)[kept],
                    integrality=self._whole[kept].astype(int),
                    bounds=Bounds(self._lower[kept], _GREATEST),
                    constraints=LinearConstraint(self._matrix[told][:, kept], self._low[told], self._high[told]),
                    options={"presolve": presolve},
                )
                if answer.status == 0:
                    break
            assert answer.status == 0, f"an unfinished program is no proof: {answer.message}"
            ends.append(answer.fun * unit)
        return Range(ends[0], -ends[1])


def _matrix(rows: Sequence[Row], size: int) -> sp.csr_matrix:
    matrix = sp.lil_matrix((len(rows), size))
    for number, row in enumerate(rows):
        for place, coefficient in row.items():
            matrix[number, place] = float(coefficient)
    return matrix.tocsr()


def _blocks(matrix: sp.csr_matrix, size: int) -> np.ndarray:
    """Return for each combination the number of the block of statements that it stands in."""
    rows, places = matrix.nonzero()
    graph = sp.coo_matrix((np.ones(len(rows)), (places, size + rows)), (size + matrix.shape[0],) * 2)
    labels: np.ndarray = sp.csgraph.connected_components(graph, directed=False)[1]
    return labels[:size]


def judged(name: str, secrets: Sequence[Secret], ranges: Sequence[Range]) -> Outcome:
    """Return what was won by knowing these ranges."""
    exact, within = [], []
    for secret, found in zip(secrets, ranges, strict=True):
        slack = 1e-6 * max(1.0, abs(secret.value))
        assert found.low <= secret.value + slack, "the release contradicts the facts"
        assert found.high >= secret.value - slack, "the release contradicts the facts"
        if found.high < secret.value + secret.up - slack or found.low > secret.value - secret.down + slack:
            within.append(secret)
        if found.high - found.low < slack:
            exact.append(secret)
    return Outcome(name, len(secrets), exact, within)


class KnowingAttacker(BoundsAttacker):
    """Knows some numbers by itself, besides what everybody knows."""

    def __init__(self, name: str, run: Run, known: Sequence[Term]) -> None:
        """Look the numbers up."""
        self.name = name
        self._known = {term: run.value(term) for term in known}

    def attack(self, world: World, secrets: Sequence[Secret]) -> Outcome:
        """Attack what it does not know. Nothing need be possible below what the attacker knows to be in it."""
        told = world.told(*(equal(term, value) for term, value in self._known.items()))
        unknown = [secret for secret in secrets if not self._knows(secret)]
        return super().attack(told, [self._bounded(secret, world) for secret in unknown])

    def _knows(self, secret: Secret) -> bool:
        return all(term in self._known for term, _ in secret.terms)

    def _bounded(self, secret: Secret, world: World) -> Secret:
        (term, _), *more = secret.terms
        if more or not world.columns[term[0]].nonnegative:
            return secret
        return Secret(secret.terms, secret.value, secret.up, min(secret.down, secret.value - self._inside(term)))

    def _inside(self, term: Term) -> int:
        """Return the most of a number that disjoint known numbers inside it make, found greedily."""
        column, where = term
        inside = sorted(
            (
                (value, other)
                for (name, other), value in self._known.items()
                if name == column and all(dict(other).get(axis, leaves | {""}) <= leaves for axis, leaves in where)
            ),
            key=lambda each: (-each[0], str(each[1])),
        )
        taken: list[dict[str, frozenset[str]]] = []
        whole = 0
        for value, other in inside:
            parts = dict(other)
            if all(any(not parts[axis] & one[axis] for axis in parts.keys() & one.keys()) for one in taken):
                taken.append(parts)
                whole += value
        return whole


class LoneContributor(KnowingAttacker):
    """A contributor that is alone in some numbers. It knows these, and what it has itself in every other."""

    def __init__(self, run: Run, frame: str, who: int, known: Sequence[Term]) -> None:
        """Know the numbers of a frame that this contributor is alone in."""
        super().__init__("lone contributor", run, known)
        self._run, self._frame, self._who = run, frame, who

    def _knows(self, secret: Secret) -> bool:
        nets: dict[int, int] = {}
        for term, weight in secret.terms:
            if self._run.frame(term[0]).name != self._frame:
                return False
            for contributor, amount in self._run.contributions(term).items():
                nets[contributor] = nets.get(contributor, 0) + weight * amount
        return super()._knows(secret) or {who for who, net in nets.items() if net} <= {self._who}

    def _inside(self, term: Term) -> int:
        same = self._run.frame(term[0]).name == self._frame
        return self._run.contributions(term).get(self._who, 0) if same else 0


def lone_contributors(run: Run) -> list[LoneContributor]:
    """Return an attacker for each contributor that is alone in a number, which it therefore knows."""
    known: dict[tuple[str, int], list[Term]] = {}
    for term in run.terms():
        sums = run.contributions(term)
        if len(sums) == 1:
            known.setdefault((run.frame(term[0]).name, next(iter(sums))), []).append(term)
    return [LoneContributor(run, *who, known[who]) for who in sorted(known)]


def department_insiders(run: Run) -> list[KnowingAttacker]:
    """Return an attacker for each department, who knows every number of it."""
    known: dict[str, list[Term]] = {}
    for term in run.terms():
        leaves = dict(term[1]).get("department", frozenset())
        if len(leaves) == 1:
            known.setdefault(next(iter(leaves)), []).append(term)
    return [KnowingAttacker(f"insider of {name}", run, known[name]) for name in sorted(known)]


class DifferencingAttacker:
    """Holds all releases against one another: a change lies between the differences of the ranges of two numbers."""

    name = "differencing"

    def __init__(self, worlds: Sequence[World]) -> None:
        """Hold what is told of the data behind each release, oldest first."""
        self._worlds = worlds
        self._known: dict[tuple[int, Term], Range] = {}

    def attack(self, pairs: Mapping[tuple[int, int], Sequence[Secret]]) -> Outcome:
        """Return the changes that it learns; `pairs` are the protected changes between two releases, new less old."""
        for number, world in enumerate(self._worlds):
            asked = {
                secret.terms[0 if number == new else 1][0]
                for (old, new), found in pairs.items()
                if number in (old, new)
                for secret in found
            }
            terms = sorted(asked, key=str)
            ranges = BoundsAttacker().ranges(world, [{term: 1} for term in terms])
            self._known.update(((number, term), found) for term, found in zip(terms, ranges, strict=True))
        outcomes = [self._compared(old, new, found) for (old, new), found in pairs.items()]
        return Outcome(
            self.name,
            sum(each.attacked for each in outcomes),
            [secret for each in outcomes for secret in each.exact],
            [secret for each in outcomes for secret in each.within],
        )

    def _compared(self, old: int, new: int, changes: Sequence[Secret]) -> Outcome:
        ranges = []
        for change in changes:
            (now, _), (then, _) = change.terms
            after, before = self._known[new, now], self._known[old, then]
            ranges.append(Range(after.low - before.high, after.high - before.low))
        return judged(self.name, changes, ranges)
