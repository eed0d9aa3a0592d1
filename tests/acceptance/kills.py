"""Services that are killed while clients work, started again, and looked at each time.

A command is run until it succeeds: while it runs, services die by their orders or from
outside, and are started again on the port that they had. After every death of the linker
its store is examined as the dead process left it.
"""

from __future__ import annotations

import itertools
import random
import re
import shlex
import statistics
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples.stack import SERVICES, Stack, StackError
from kinlink.cli.exit_codes import ExitCode
from tests.acceptance.phases import give, timeline, wrapper
from tests.acceptance.whole import damage, orphans

_UNKNOWN_S = 0.02  # how long a phase is thought to take before it was ever seen to end
_TRIES = 40
_LOOK_EVERY_S = 0.02
_GIVE_UP_S = 180.0


@dataclass(frozen=True, slots=True)
class Death:
    """Who died, in which phase, and whether at a moment of no order."""

    who: str
    phase: str
    outside: bool = False


@dataclass
class Battered:
    """A stack that is killed. Orders are given by phase; their moment in it is random, or `at_once`."""

    stack: Stack
    random: random.Random
    fault: str = ""
    at_once: bool = False
    deaths: list[Death] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    promised: dict[str, int] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)  # elements, by caller
    orders: dict[str, list[str]] = field(default_factory=lambda: {service: [] for service in SERVICES})
    commands_s: dict[str, float] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    tick: threading.Event = field(default_factory=threading.Event)
    _known_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def start(self, service: str) -> None:
        """Start a service under its next order; again, when it dies before it is ready."""
        while True:
            self.starts[service] += 1
            self._arm(service)
            try:
                self.stack.start(service, wrapper=wrapper(service, self.folder(service), self.fault))
            except StackError as error:
                if "exit -9" not in str(error):
                    raise
                self._died(service)
            else:
                return

    def order(self, service: str, phases: Sequence[str]) -> None:
        """Let a service die by these orders, one after the other, and by no earlier one."""
        self.orders[service] = list(phases)
        (self.folder(service) / "order").unlink(missing_ok=True)

    def finish(self) -> None:
        """Start both services once more, without orders: what is left over is cleaned now."""
        for service in SERVICES:
            self.orders[service].clear()
            self.stack.stop(service)
            self.start(service)

    def run(self, party: str, *arguments: str | Path, killed: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command, again as long as it says that a service is away, until it succeeds.

        `killed`: who is killed from outside, at random moments of the first tries: a service
        or "client".
        """
        name, outside = str(arguments[0]), list(killed)
        for service in SERVICES:
            self._arm(service)
        command = self.stack.command(*arguments)
        for _ in range(_TRIES):
            victim = outside.pop(0) if outside else ""
            at = self.random.uniform(0, self.commands_s.get(name, 2.0)) if victim else None
            begun = time.monotonic()
            ended = self._watched(party, command, victim, at)
            if ended.returncode == ExitCode.OK:
                if not killed:
                    self.commands_s[name] = time.monotonic() - begun
                self._note(party, ended.stdout)
                self.wrong += [f"after {name}: {file} is left over" for file in orphans(self.stack.folder / "linker")]
                if self.wrong:
                    raise AssertionError("\n".join(self.wrong))
                return ended
            if ended.returncode not in (ExitCode.UNAVAILABLE, -9):
                raise AssertionError(f"{name} ended with {ended.returncode}: {ended.stdout}{ended.stderr}")
            resume = re.search(r"go on with: kinlink (.*)", ended.stderr)
            if resume:
                command = self.stack.command(*shlex.split(resume[1]))
        raise AssertionError(f"{name} did not succeed in {_TRIES} tries: {ended.stdout}{ended.stderr}")

    def histogram(self) -> str:
        """Return the deaths, counted by who and phase."""
        counts = Counter((death.who, death.phase) for death in self.deaths)
        outside = Counter((death.who, death.phase) for death in self.deaths if death.outside)
        lines = [
            f"  {who:<14} {phase:<22} {n:>3}{f'  ({outside[who, phase]} from outside)' if outside[who, phase] else ''}"
            for (who, phase), n in sorted(counts.items())
        ]
        return "\n".join(lines)

    def _watched(
        self, party: str, command: list[str], victim: str, at: float | None
    ) -> subprocess.CompletedProcess[str]:
        out, err = self.stack.folder / "command.out", self.stack.folder / "command.err"
        begun = time.monotonic()
        with out.open("w") as stdout, err.open("w") as stderr:
            client = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=self.stack.environment(party))
            while client.poll() is None:
                self.tick.wait(_LOOK_EVERY_S)
                if at is not None and time.monotonic() - begun >= at:
                    at = None
                    self._kill(client, victim)
                self.revive()
                if time.monotonic() - begun > _GIVE_UP_S:
                    client.kill()
        self.revive()
        return subprocess.CompletedProcess(command, client.returncode, out.read_text(), err.read_text())

    def _kill(self, client: subprocess.Popen[bytes], victim: str) -> None:
        if victim == "client":
            client.kill()
            client.wait()
            phases = {who: self._phase(who) for who in SERVICES}
            busy = [f"{who}: {phase}" for who, phase in phases.items() if phase != "idle"]
            self.deaths.append(Death("client", ", ".join(busy) or "on its own", outside=True))
        elif self.stack.processes[victim].popen.poll() is None:
            self.stack.kill(victim)
            self._died(victim, outside=True)
            self.start(victim)

    def revive(self) -> None:
        """Start again whatever has died."""
        for service in SERVICES:
            popen = self.stack.processes[service].popen
            if popen.poll() is not None:
                if popen.returncode != -9:
                    raise AssertionError(f"the {service} ended by itself, with {popen.returncode}")
                self._died(service)
                self.start(service)

    def _died(self, service: str, *, outside: bool = False) -> None:
        phase = self._phase(service)
        self.deaths.append(Death(service, phase, outside))
        for (at, name), (until, _) in itertools.pairwise(timeline(self.folder(service))):
            self._known_s[name].append(until - at)
        if service == "linker" and service in self.stack.processes:  # it has been up before
            where = f"death {len(self.deaths)}, {phase}"
            self.wrong += [f"{where}: {fault}" for fault in damage(self.stack.folder / "linker", self.promised)]

    def _phase(self, service: str) -> str:
        marks = timeline(self.folder(service))
        return marks[-1][1] if marks else "start"

    def folder(self, service: str) -> Path:
        """Return where the running service marks its phases and takes its orders."""
        return self.stack.folder / f"phases/{service}.{self.starts[service]}"

    def _arm(self, service: str) -> None:
        folder = self.folder(service)
        if self.orders[service] and not (folder / "order").exists():
            phase = self.orders[service].pop(0)
            give(folder, phase, self._moment(phase))

    def _moment(self, phase: str) -> float:
        """Return a random moment of a phase, by how long it took before; at first its very beginning."""
        if self.at_once or not any(death.phase == phase for death in self.deaths):
            return 0
        known = self._known_s.get(phase)
        return self.random.uniform(0, statistics.median(known) if known else _UNKNOWN_S)

    def _note(self, party: str, said: str) -> None:
        for found in re.finditer(r"^  distinct +(.*)$", said, re.MULTILINE):
            self.answered[party] += sum(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) [a-zA-Z]", found[1]))
        for found in re.finditer(r"^  delivery +(\S+) (?:already )?accepted", said, re.MULTILINE):
            rows = re.search(r"^  to deliver +([\d,]+) rows", said, re.MULTILINE)
            self.promised[found[1]] = int(rows[1].replace(",", "")) if rows else -1
