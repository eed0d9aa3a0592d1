"""The two programs, solved by HiGHS: what an attacker can make of a cell, and the cheapest way to hide it.

Variables are differences from the true table: tables that fit what is shown are those with A y = 0, y = 0 where a
cell is shown or known, and y ≥ -value where a cell cannot be below 0.

1. One thread, limits of iterations and of nodes, and no clock: the same program has the same answer in every run.
2. An answer that is not optimal is tried once more from a cold start, and then is no answer. From a warm one, HiGHS may
   call infeasible what is not.
3. Counts are whole numbers, and everybody knows it: an answer with parts of counts says nothing of the counts that
   hang together with them, and is sought again in whole numbers.
4. Differences are in units of `scales`, so that tolerances mean the same for counts and amounts.
5. An answer is clipped to its bounds. Where equations then do not hold as closely as the certificate asks, as where
   small needs stand beside large ones, it is sought again at a finer tolerance; that is many times slower.
"""

from __future__ import annotations

from enum import Enum

import highspy
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from linker.disclosure.needs import Needs
from linker.disclosure.system import Flags, Integers, LinkedSystem, Numbers

UP, DOWN = 1, -1
_ITERATIONS = 400_000
_DUAL, _PRIMAL = 1, 4  # HiGHS's simplex strategies
_NODES = 500  # of a search in whole numbers; most need one
_GAP = 0.05  # by which an answer in whole numbers may be dearer than the cheapest
_TOLERANCE, _FINE = 1e-7, 1e-9  # HiGHS's, in units of the scale
_CLOSE = 5e-7  # how far an equation may be off, relative to the least need: the certificate allows twice that a cell
_NOISE = 1e-11  # what is nothing, in the same units
_PARTS = 1e-6  # what is left of a count that is whole
_FREE = 1e-5  # cost of a cell that is hidden anyway: enough to keep ways short


class NoAnswer(Enum):
    """Why a program has no table to show."""

    INFEASIBLE = "infeasible"
    UNFINISHED = "unfinished"


def scales(system: LinkedSystem, needs: Needs) -> Numbers:
    """Return the unit of each cell: 1 for counts, the median need for amounts."""
    amounts = needs.up[needs.primary & ~system.counted]
    return np.where(system.counted, 1.0, float(np.median(amounts)) if len(amounts) else 1.0)


def _close(system: LinkedSystem, needs: Needs) -> float:
    """Return how far an equation may be off, in units of the scale."""
    amounts = needs.up[needs.primary & ~system.counted]
    return _CLOSE * min(1.0, float(amounts.min() / np.median(amounts)) if len(amounts) else 1.0)


class _Program:
    """min cost·y over A y = 0 and bounds, warm-started from the last solution. `close`: how far a sum may be off.

    The primal simplex takes up a last solution where costs changed, many times faster than the dual one; from none,
    the dual one is the faster.
    """

    def __init__(self, equations: sp.csr_matrix, lower: Numbers, upper: Numbers, close: float, strategy: int) -> None:
        self._matrix = equations[np.flatnonzero(np.diff(equations.indptr))].tocsc()
        self._close, self._warm = close, False
        self._lower, self._upper = lower.copy(), upper.copy()
        self._columns = np.arange(self._matrix.shape[1], dtype=np.int32)
        self._highs = self._solver(self._columns, simplex_iteration_limit=_ITERATIONS, simplex_strategy=strategy)

    def _solver(self, columns: npt.NDArray[np.int32], **options: float) -> highspy.Highs:
        matrix = self._matrix[:, columns]
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = matrix.shape[1], matrix.shape[0]
        model.col_cost_ = np.zeros(matrix.shape[1])
        model.col_lower_, model.col_upper_ = self._lower[columns], self._upper[columns]
        model.row_lower_ = model.row_upper_ = np.zeros(matrix.shape[0])
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
        model.a_matrix_.value_ = matrix.data
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        fixed = {"output_flag": False, "threads": 1, "primal_feasibility_tolerance": _TOLERANCE}
        for option, value in {**fixed, **options}.items():
            highs.setOptionValue(option, value)
        highs.passModel(model)
        return highs

    def solve(self, costs: Numbers) -> Numbers | NoAnswer:
        self._highs.changeColsCost(len(self._columns), self._columns, costs)
        answer = self._clipped()
        if not isinstance(answer, NoAnswer) and np.max(np.abs(self._matrix @ answer), initial=0) > self._close:
            self._highs.setOptionValue("primal_feasibility_tolerance", _FINE)
            answer = self._clipped()
            self._highs.setOptionValue("primal_feasibility_tolerance", _TOLERANCE)
        return answer

    def _clipped(self) -> Numbers | NoAnswer:
        self._highs.run()
        status = self._highs.getModelStatus()
        infeasible = status == highspy.HighsModelStatus.kInfeasible and not self._warm
        if status != highspy.HighsModelStatus.kOptimal and not infeasible:
            self._highs.clearSolver()
            self._highs.run()
        self._warm = True
        answer = _answer(self._highs)
        return answer if isinstance(answer, NoAnswer) else np.clip(answer, self._lower, self._upper)

    def solve_whole(self, costs: Numbers, columns: Integers) -> Numbers | NoAnswer:
        """Return a cheap answer in whole numbers, over these columns alone; the others stay at 0.

        It need not be the cheapest: any answer will do, and the bound on nodes ends the search for better ones.
        """
        highs = self._solver(columns.astype(np.int32), mip_max_nodes=_NODES, mip_rel_gap=_GAP)
        every = self._columns[: len(columns)]
        highs.changeColsCost(len(every), every, costs[columns])
        highs.changeColsIntegrality(len(every), every, np.full(len(every), highspy.HighsVarType.kInteger))
        highs.run()
        answer = _answer(highs)
        if isinstance(answer, NoAnswer):
            return answer
        result = np.zeros(len(self._columns))
        result[columns] = np.rint(answer)
        return result

    def bound(self, column: int, lower: float, upper: float) -> None:
        self._lower[column], self._upper[column] = lower, upper
        self._highs.changeColBounds(column, lower, upper)


def _answer(highs: highspy.Highs) -> Numbers | NoAnswer:
    status = highs.getModelStatus()
    feasible = highs.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if status == highspy.HighsModelStatus.kOptimal or (status == highspy.HighsModelStatus.kSolutionLimit and feasible):
        return np.array(highs.getSolution().col_value)
    return NoAnswer.INFEASIBLE if status == highspy.HighsModelStatus.kInfeasible else NoAnswer.UNFINISHED


class Attack:
    """An attacker's program on a pattern. `solved` counts programs."""

    def __init__(self, system: LinkedSystem, needs: Needs, hidden: Flags) -> None:
        """Take the pattern: the cells that are not shown."""
        self._cells = np.flatnonzero(hidden)
        self._size = len(system)
        self._place = np.full(len(system), -1)
        self._place[self._cells] = np.arange(len(self._cells))
        self._scales = scales(system, needs)[self._cells]
        self._counted = system.counted[self._cells]
        self._values = np.abs(system.values[self._cells]) / self._scales
        far = reach(system, needs)[self._cells]
        self._lower = np.where(system.nonnegative[self._cells], -system.values[self._cells] / self._scales, -far)
        self._upper = far
        equations = system.equations[:, self._cells]
        self._program = _Program(equations, self._lower, self._upper, _close(system, needs), _PRIMAL)
        self._blocks = _blocks(equations)
        self._shown: set[int] = set()
        self.solved = 0

    def show(self, cell: int) -> None:
        """Show a cell of the pattern after all."""
        self._shown.add(cell)
        self.know(np.array([cell]))

    def hide(self, cell: int) -> None:
        """Hide it again."""
        self._shown.discard(cell)
        self.forget(np.array([cell]))

    def know(self, cells: Integers) -> None:
        """Let the attacker know these cells."""
        for column in self._place[cells]:
            if column >= 0:
                self._program.bound(int(column), 0.0, 0.0)

    def forget(self, cells: Integers) -> None:
        """Let the attacker not know these cells, unless they are shown."""
        for cell in cells.tolist():
            column = int(self._place[cell])
            if column >= 0 and cell not in self._shown:
                self._program.bound(column, self._lower[column], self._upper[column])

    def extreme(self, cell: int, side: int, distance: float) -> Numbers | NoAnswer:
        """Return the difference that takes the cell as far up or down as it goes.

        Where that is an answer with parts of counts: one in whole numbers that takes the cell as far as the distance.
        """
        place = int(self._place[cell])
        costs = np.zeros(len(self._cells))
        costs[place] = -side
        self.solved += 1
        answer = self._program.solve(costs)
        if isinstance(answer, NoAnswer):
            return answer
        whole = _whole(answer, self._counted, self._blocks)
        if whole[place] or side * answer[place] < distance / self._scales[place]:
            return self._difference(whole)
        return self._in_whole_numbers(place, side, distance)

    def _in_whole_numbers(self, place: int, side: int, distance: float) -> Numbers | NoAnswer:
        self.solved += 1
        lower, upper = self._lower[place], self._upper[place]
        self._program.bound(place, *((distance, upper) if side == UP else (lower, -distance)))
        block = np.flatnonzero(self._blocks == self._blocks[place])
        answer = self._program.solve_whole(np.zeros(len(self._cells)), block)
        self._program.bound(place, lower, upper)
        return answer if isinstance(answer, NoAnswer) else self._difference(answer)

    def push(self, cells: Integers, signs: Numbers) -> Numbers | NoAnswer:
        """Return a difference that takes many cells far at once, small ones first."""
        places = self._place[cells]
        costs = np.zeros(len(self._cells))
        costs[places] = -signs / (0.01 + self._values[places])
        self.solved += 1
        answer = self._program.solve(costs)
        return answer if isinstance(answer, NoAnswer) else self._difference(_whole(answer, self._counted, self._blocks))

    def _difference(self, answer: Numbers) -> Numbers:
        result = np.zeros(self._size)
        result[self._cells] = np.where(np.abs(answer) > _NOISE, answer, 0.0) * self._scales
        return result


def _blocks(equations: sp.csr_matrix) -> Integers:
    """Return a number for each column, the same for all that equations tie together."""
    rows, columns = equations.shape
    graph = sp.bmat([[None, equations], [equations.T, None]], format="csr")
    blocks: Integers = connected_components(graph, directed=False)[1][rows : rows + columns].astype(np.int64)
    return blocks


def _whole(difference: Numbers, counted: Flags, blocks: Integers) -> Numbers:
    """Return the difference with whole counts; nothing of a block in which counts are not whole."""
    whole = np.rint(difference)
    broken = counted & (np.abs(difference - whole) > _PARTS)
    return np.where(np.isin(blocks, blocks[broken]), 0.0, np.where(counted, whole, difference))


def reach(system: LinkedSystem, needs: Needs) -> Numbers:
    """Return how far a difference may go, in units of the scale: far beyond any need, so that no range is cut short."""
    unit = scales(system, needs)
    most = [np.max(np.abs(system.values[of]) + needs.up[of], initial=1) for of in (system.counted, ~system.counted)]
    return 10 * np.where(system.counted, most[0], most[1]) / unit


def route(
    system: LinkedSystem, needs: Needs, movable: Flags, costs: Numbers, demand: tuple[int, int, float]
) -> Numbers | NoAnswer:
    """Return the cheapest difference over movable cells that takes a cell as far as it must go.

    `costs`: of moving a cell by one unit of its scale. `demand`: cell, side, distance.
    """
    cells = np.flatnonzero(movable)
    count = len(cells)
    unit = scales(system, needs)[cells]
    far = reach(system, needs)[cells]
    lowest = np.where(system.nonnegative[cells], system.values[cells] / unit, far)
    equations = system.equations[:, cells]
    both, most = sp.hstack([equations, -equations]).tocsr(), np.concatenate([far, lowest])
    program = _Program(both, np.zeros(2 * count), most, _close(system, needs), _DUAL)
    cell, side, distance = demand
    place = int(np.searchsorted(cells, cell))
    rises, falls = (place, place + count) if side == UP else (place + count, place)
    least = distance / unit[place]
    program.bound(rises, least, max(least, float(far[place] if side == UP else lowest[place])))
    program.bound(falls, 0.0, 0.0)
    each = np.maximum(costs[cells], _FREE)
    twice = np.concatenate([each, each])
    answer = program.solve(twice)
    if isinstance(answer, NoAnswer):
        return answer
    moved = answer[:count] - answer[count:]
    blocks = _blocks(equations)
    whole = _whole(moved, system.counted[cells], blocks)
    if moved[place] and not whole[place]:
        block = np.tile(blocks == blocks[place], 2)
        near = block & np.tile((moved != 0) | (each <= _FREE), 2)  # no dearer than the answer in parts, and soon solved
        answer = program.solve_whole(np.zeros(2 * count), np.flatnonzero(near))
        if isinstance(answer, NoAnswer):
            answer = program.solve_whole(twice, np.flatnonzero(block))
        if isinstance(answer, NoAnswer):
            return answer
        whole = answer[:count] - answer[count:]
    result = np.zeros(len(system))
    result[cells] = np.where(np.abs(whole) > _NOISE, whole, 0.0) * unit
    return result
