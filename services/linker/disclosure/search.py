"""The search for a pattern, on one that grows and shrinks.

1. Attack: every attacker's linear program, on every primary cell that no witness covers yet, nor a mixture of
   witnesses against who knows nothing (`mixtures`). What that one pins down everybody does, without a program.
2. Repair: a cell that is known too well gets the cheapest way out, first over hidden cells and those on its own
   equations, else over all cells.
3. Reroute: ways are found anew, at a cost only for cells that no way uses yet; what nothing uses is shown.
4. Clean up: cells that few demands lean on are shown one by one, if the attack still fails without them, as long as
   a fixed number of programs lasts.
5. The certificate is checked anew. What it does not prove is a failure, or unchecked.

It does not know policies, tables or clocks, nor where a pattern starts from (`suppression`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from linker.disclosure.attackers import Attacker
from linker.disclosure.certificate import fits, uncertified
from linker.disclosure.mixtures import mixtures
from linker.disclosure.needs import Needs
from linker.disclosure.pattern import Pattern
from linker.disclosure.programs import Attack, NoAnswer, route, scales
from linker.disclosure.system import Flags, LinkedSystem, Numbers
from linker.disclosure.witnesses import Demand, Witnesses

Progress = Callable[[str, int, int], None]  # stage, done, of how many

_WARM_UPS = 12
_MIXED = 40  # witnesses against the first attacker that are mixed for the others
_REROUTES = 4
_LEAN = 20  # demands that may lean on a cell for it to be tried in the clean-up
_CLEAN_UP = 400  # programs after which the clean-up stops: it frees few cells of a large system
_SPREAD = 1000.0  # how much dearer a large cell is to hide than a small one: cost is log(1 + spread · value / unit)
_PREFERRED = 0.5  # what a cell costs that was hidden before


class Search:
    """A pattern in the making."""

    def __init__(
        self,
        system: LinkedSystem,
        found: Needs,
        attackers: tuple[Attacker, ...],
        may_hide: Flags,
        unshown: Flags,
        start: Flags,
        progress: Progress,
        prefer: Flags | None = None,
    ) -> None:
        self._system, self._needs, self._attackers = system, found, attackers
        self._movable = may_hide | unshown
        self._core = start | unshown  # stays hidden until the clean-up
        self._hidden = self._core.copy()
        self._progress = progress
        self._witnesses = Witnesses(system, found, attackers)
        self._failures: list[Demand] = []
        self._programs = 0
        self._weights = np.log1p(_SPREAD * np.abs(system.values) / scales(system, found))
        if prefer is not None:
            self._weights = np.where(prefer, _PREFERRED * self._weights, self._weights)

    def run(self) -> Pattern:
        open_ = self.attack()
        self._repair(open_)
        if self._failures:  # nothing cures them
            return self.pattern()
        for turn in range(_REROUTES):
            before = int(self._hidden.sum())
            self._reroute(open_ if turn % 2 else open_[::-1])
            if int(self._hidden.sum()) >= before:
                break
        self._clean_up()
        return self.pattern()

    def extended(self, witnesses: Sequence[Numbers], programs: int) -> Pattern:
        """Start from witnesses of the pattern, that took so many programs; repair what they leave open, clean up."""
        self._programs = programs
        for witness in witnesses:
            self._witnesses.add(witness)
        self._repair(self.attack())
        if not self._failures:
            self._clean_up()
        return self.pattern()

    def pattern(self) -> Pattern:
        """Return the pattern as it stands, its certificate checked."""
        every = self._witnesses.tables()
        tables = tuple(each for each in every if fits(self._system, self._needs, self._hidden, each))
        left = uncertified(self._system, self._needs, self._attackers, self._hidden, tables)
        failures = sorted(self._failures)
        unchecked = sorted(Demand(*each) for each in left - {(f.attacker, f.cell, f.side) for f in failures})
        return Pattern(
            self._hidden, self._needs, self._attackers, tuple(failures), tuple(unchecked), self._programs, tables
        )

    def fail(self, demand: Demand) -> None:
        """Put a demand on record as failed."""
        self._failures.append(demand)
        self._witnesses.waive(demand)

    def attack(self) -> list[Demand]:
        """Return the demands that the pattern does not meet, those that go farthest first. Adds witnesses.

        What cannot be moved so far for who knows nothing cannot be for anybody, and is not tried again.
        """
        attack = Attack(self._system, self._needs, self._hidden)
        lost, hopeless = list[Demand](), np.zeros_like(self._witnesses.required)
        mixed = self._witnesses.newest(0)
        for number, attacker in enumerate(self._attackers):
            attack.know(attacker.known)
            if len(attacker.known) and (self._witnesses.open()[number] & ~hopeless[number]).any():
                self._witnesses.add_useful(number, mixtures(mixed, self._system.counted, attacker.known))
            self._warm_up(attack, number, ~hopeless[number])
            mine = np.zeros_like(hopeless)
            mine[number] = True
            lost += self._witnesses.demands(self._witnesses.open() & mine & hopeless)
            demands = self._witnesses.demands(self._witnesses.open() & mine & ~hopeless)
            for done, demand in enumerate(demands):
                if not self._witnesses.is_met(demand) and not self._tried(attack, demand):
                    lost.append(demand)
                    if not len(attacker.known):
                        hopeless |= self._witnesses.as_far(demand)
                self._progress(f"attack by {attacker.name}", done + 1, len(demands))
            attack.forget(attacker.known)
            if not number:
                mixed = self._witnesses.newest(_MIXED)
        self._programs += attack.solved
        return self._farthest_first([demand for demand in lost if not self._witnesses.is_met(demand)])

    def _farthest_first(self, demands: Sequence[Demand]) -> list[Demand]:
        return sorted(demands, key=lambda demand: (-self._witnesses.distance(demand), demand))

    def _warm_up(self, attack: Attack, attacker: int, tried: Flags) -> None:
        """Push all open cells at once, in fixed directions: most demands need no program of their own."""
        for turn in range(_WARM_UPS):
            up, down = np.split(self._witnesses.open()[attacker] & tried, 2)
            if not (up | down).any():
                return
            cells = self._witnesses.cells
            bits = (cells * 0x9E3779B1 + (turn + 1) * 0x85EBCA6B) >> 16
            signs = np.where(up & ~down, 1.0, np.where(down & ~up, -1.0, np.where(bits & 1, 1.0, -1.0)))
            answer = attack.push(cells[up | down], signs[up | down])
            if not isinstance(answer, NoAnswer):
                self._witnesses.add(answer)

    def _tried(self, attack: Attack, demand: Demand) -> bool:
        answer = attack.extreme(demand.cell, demand.side, self._witnesses.distance(demand))
        if isinstance(answer, NoAnswer) or not self._witnesses.meets(answer, demand):
            return False
        self._witnesses.add(answer)
        return True

    def _repair(self, demands: Sequence[Demand]) -> None:
        hopeless = set[Demand]()
        for done, demand in enumerate(demands):
            if demand in hopeless:
                self.fail(demand)
            elif not self._witnesses.is_met(demand):
                way = self._way(demand, self._near(demand.cell), self._hidden)
                if isinstance(way, NoAnswer):
                    way = self._way(demand, self._movable, self._hidden)
                self._take(demand, way)
                if way is NoAnswer.INFEASIBLE and not len(self._attackers[demand.attacker].known):
                    hopeless.update(self._witnesses.demands(self._witnesses.as_far(demand)))
            self._progress("repair", done + 1, len(demands))

    def _reroute(self, demands: Sequence[Demand]) -> None:
        self._witnesses.drop(self._hidden & ~self._core)
        allowed, used = self._hidden, self._core.copy()
        for done, demand in enumerate(demands):
            if demand not in self._failures and not self._witnesses.is_met(demand):
                way = self._way(demand, allowed, used)
                if not isinstance(way, NoAnswer):  # else the certificate will call it unchecked
                    self._take(demand, way)
                    used |= way != 0
            self._progress("reroute", done + 1, len(demands))
        self._hidden = used

    def _take(self, demand: Demand, way: Numbers | NoAnswer) -> None:
        if way is NoAnswer.INFEASIBLE:
            self.fail(demand)
        elif not isinstance(way, NoAnswer):  # an unfinished one stays open: the certificate will call it unchecked
            self._hidden = self._hidden | (way != 0)
            self._witnesses.add(way)

    def _way(self, demand: Demand, movable: Flags, free: Flags) -> Numbers | NoAnswer:
        self._programs += 1
        mine = movable.copy()
        mine[self._attackers[demand.attacker].known] = False
        costs = np.where(free, 0.0, self._weights)
        goal = (demand.cell, demand.side, self._witnesses.distance(demand))
        return route(self._system, self._needs, mine, costs, goal)

    def _near(self, cell: int) -> Flags:
        rows = self._system.equations[:, [cell]].nonzero()[0]
        near = self._hidden.copy()
        near[self._system.equations[rows].indices] = True
        return near & self._movable

    def _clean_up(self) -> None:
        """Show each secondary cell that the proof can do without, largest first."""
        attack = Attack(self._system, self._needs, self._hidden)
        secondary = np.flatnonzero(self._hidden & self._system.shown & ~self._needs.primary)
        order = secondary[np.argsort(-np.abs(self._system.values[secondary]), kind="stable")]
        for done, cell in enumerate(order):
            if attack.solved < _CLEAN_UP:
                leaning = self._witnesses.open(int(cell))
                if np.count_nonzero(leaning) <= _LEAN:
                    self._try_without(attack, int(cell), self._farthest_first(self._witnesses.demands(leaning)))
            self._progress("clean-up", done + 1, len(order))
        self._programs += attack.solved

    def _try_without(self, attack: Attack, cell: int, leaning: Sequence[Demand]) -> None:
        before = len(self._witnesses)
        attack.show(cell)
        for demand in leaning:
            if not self._witnesses.is_met_since(demand, before):
                known = self._attackers[demand.attacker].known
                attack.know(known)
                met = self._tried(attack, demand)
                attack.forget(known)
                if not met:
                    attack.hide(cell)
                    return
        moving = np.zeros(len(self._system), bool)
        moving[cell] = True
        self._witnesses.drop(moving)
        self._hidden[cell] = False
