"""Run `kinlink serve`, telling a folder which phase the service is in, and die when told to.

    python -m tests.acceptance.phases <service> <folder> '<fault>' python -m kinlink.cli serve linker …

1. Each change of phase is one line of the folder's `marks`: the time, the phase. The last
   line is the phase in which a killed service died.
2. The folder's `order` names a phase and a time in it: then the process gets SIGKILL, from the
   kernel like any other; it runs no handler and flushes nothing.
3. A fault is put into the service on purpose, for controls that must fail.

The phases are those of the work, put around the services' own functions from outside.
"""

from __future__ import annotations

import functools
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Phases:
    """The phase that this process is in, and when it is to die."""

    marks: int
    order: Path
    dying: bool = False
    own: threading.local = field(default_factory=threading.local)

    @contextmanager
    def phase(self, name: str, *, inner: bool = True) -> Iterator[None]:
        """Be in a phase. An inner one is named after what it stands in: "delivery/write"."""
        stack: list[str] = self.own.__dict__.setdefault("stack", [])
        stack.append(f"{stack[-1].partition('/')[0]}/{name}" if stack and inner else name)
        self.mark(stack[-1])
        try:
            yield
        finally:
            stack.pop()
            self.mark(stack[-1] if stack else "idle")

    def enter(self, name: str) -> None:
        """Go on to another phase in the one under way."""
        stack: list[str] = self.own.__dict__.setdefault("stack", [])
        if not stack:
            stack.append("")
        stack[-1] = name
        self.mark(name)

    def mark(self, name: str) -> None:
        """Note the phase; die soon, when it is the one."""
        os.write(self.marks, f"{time.monotonic():.6f} {name}\n".encode())
        if self.dying or not self.order.exists():
            return
        at, _, after_s = self.order.read_text().partition(" ")
        if name == at:
            self.dying = True
            if not float(after_s):
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Thread(target=_die, args=(float(after_s),), daemon=True).start()

    def around(self, owner: Any, name: str, phase: str, *, inner: bool = True) -> None:
        """Put a phase around a function of a class or module."""
        call = getattr(owner, name)

        @functools.wraps(call)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            with self.phase(phase, inner=inner):
                return call(*arguments, **named)

        setattr(owner, name, wrapped)


def _die(after_s: float) -> None:
    threading.Event().wait(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def linker(phases: Phases, fault: str) -> None:
    """Put phases around the linker's work."""
    from kinlink.conversion_client import ConversionClient  # noqa: PLC0415 - only the service that is served
    from linker import background, pipeline, runs  # noqa: PLC0415
    from linker.intake import rows  # noqa: PLC0415
    from linker.intake.intake import Intake  # noqa: PLC0415
    from linker.intake.staging import Staging  # noqa: PLC0415
    from linker.linkage import rekeying  # noqa: PLC0415
    from linker.linkage.rekeying import RekeyingWork  # noqa: PLC0415
    from linker.store import delta, durable  # noqa: PLC0415
    from linker.store.delta import DeltaTables  # noqa: PLC0415
    from linker.store.releases import Releases  # noqa: PLC0415
    from linker.store.runs import Stage  # noqa: PLC0415
    from linker.store.snapshots import Change, Snapshots  # noqa: PLC0415
    from servicekit import database  # noqa: PLC0415

    if fault == "the snapshot is named before its files are written":
        _name_first(Change)
    if fault == "folders are not synced":
        delta.sync_files = lambda files, _root: [durable.sync(file) for file in files]  # type: ignore[attr-defined]
    if fault == "the database does not sync":
        connect = database._on_sqlite_connect

        def connecting(connection: Any, record: Any) -> None:
            connect(connection, record)
            connection.execute("PRAGMA synchronous=OFF")

        database._on_sqlite_connect = connecting
    phases.around(Intake, "deliver", "delivery", inner=False)
    phases.around(Intake, "_receive", "receive")
    phases.around(Staging, "put", "stage")
    phases.around(rows, "element_fault", "verify")
    phases.around(Intake, "withdraw", "withdrawal", inner=False)
    phases.around(pipeline, "convert_all", "conversion", inner=False)
    phases.around(ConversionClient, "convert", "convert")
    phases.around(DeltaTables, "write", "write")
    phases.around(DeltaTables, "_sync", "sync")
    phases.around(Snapshots, "open", "start", inner=False)
    phases.around(Snapshots, "purge", "purge")
    phases.around(Staging, "drop", "purge")
    commit = Change.commit

    @contextmanager
    def committing(change: Change) -> Iterator[Any]:
        with phases.phase("commit"), commit(change) as connection:
            yield connection

    Change.commit = committing  # type: ignore[method-assign]
    phases.around(RekeyingWork, "__call__", "rekeying", inner=False)
    for step in ("copy", "switched", "close", "attest"):
        phases.around(RekeyingWork, f"_{step}", step)
    phases.around(rekeying, "verified", "verify")  # the new identities are written, and no snapshot names them
    phases.around(runs.Runs, "_work", "run", inner=False)
    report, store = background._Reporter.__call__, Releases.store

    def reporting(reporter: Any, stage: Any, done: int, total: int) -> None:
        if isinstance(stage, Stage) and stage != Stage.CONVERSION:
            phases.enter(f"run/{stage}")
        report(reporter, stage, done, total)

    def storing(releases: Releases, *arguments: Any) -> None:
        phases.enter("run/commit")  # until the transaction that ends the run has ended
        store(releases, *arguments)

    background._Reporter.__call__ = reporting  # type: ignore[method-assign]
    Releases.store = storing  # type: ignore[method-assign]


def _name_first(change: Any) -> None:
    commit = change.commit

    def writing_later(self: Any, table: str, **what: Any) -> None:
        base = self._versions.get(table)
        late.append((self, table, base, what))
        self._versions[table] = 1 if base is None else base + 1

    @contextmanager
    def committing(self: Any) -> Iterator[Any]:
        with commit(self) as connection:
            yield connection
        for own, table, base, what in late:
            own._tables.write(table, base, **what)
        late.clear()

    late: list[tuple[Any, str, int | None, dict[str, Any]]] = []
    change.write, change.commit = writing_later, committing


def pseudonymizer(phases: Phases, _fault: str) -> None:
    """Put phases around the pseudonymizer's work."""
    from kinlink import ristretto255  # noqa: PLC0415
    from pseudonymizer import __main__ as root  # noqa: PLC0415
    from pseudonymizer.doors import Doors  # noqa: PLC0415
    from pseudonymizer.dual_control import DualControl  # noqa: PLC0415
    from pseudonymizer.key_changes import KeyChanges  # noqa: PLC0415
    from pseudonymizer.keystore import erasure  # noqa: PLC0415
    from pseudonymizer.keystore.store import KeyStore  # noqa: PLC0415
    from pseudonymizer.ledger import Message  # noqa: PLC0415
    from pseudonymizer.rotations import Rotations  # noqa: PLC0415
    from servicekit.anchors import FileAnchor  # noqa: PLC0415

    phases.around(root, "open_key_encryption_key", "start/kek", inner=False)
    phases.around(KeyStore, "open", "start/keys", inner=False)
    phases.around(Doors, "evaluate", "evaluate", inner=False)
    phases.around(Doors, "convert", "convert", inner=False)
    phases.around(Doors, "rekey", "rekey", inner=False)
    phases.around(ristretto255, "multiply", "multiply")
    phases.around(Message, "settle", "settle")
    phases.around(KeyChanges, "create", "create", inner=False)
    for step in ("propose", "approve"):
        phases.around(DualControl, step, step, inner=False)
    phases.around(Rotations, "attest", "attest", inner=False)
    phases.around(KeyStore, "_seal", "seal")
    phases.around(erasure, "rewrite", "rewrite")
    phases.around(erasure, "finish", "erase")
    phases.around(FileAnchor, "write", "anchor")
    apply = DualControl.apply

    def applying(control: DualControl, caller: Any, change_id: str) -> Any:
        with phases.phase(control._named(change_id).change.action.value, inner=False):  # "activate", "destroy"
            return apply(control, caller, change_id)

    DualControl.apply = applying  # type: ignore[method-assign]


def main() -> None:
    """Serve, as told."""
    service, folder, fault = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    marks = os.open(folder / "marks", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    phases = Phases(marks, folder / "order")
    phases.mark("start")  # until the first phase of its own
    {"linker": linker, "pseudonymizer": pseudonymizer}[service](phases, fault)
    sys.argv = ["kinlink", *sys.argv[7:]]
    runpy.run_module("kinlink.cli", run_name="__main__")


def wrapper(service: str, folder: Path, fault: str = "") -> tuple[str, ...]:
    """Return the wrapper with which `Stack.start` runs a service so."""
    folder.mkdir(parents=True, exist_ok=True)
    return (sys.executable, "-m", "tests.acceptance.phases", service, str(folder), fault)


def give(folder: Path, at: str, after_s: float) -> None:
    """Order the service to die `after_s` into the next phase `at`."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "order.new"
    new.write_text(f"{at} {after_s}")
    new.rename(folder / "order")


def timeline(folder: Path) -> list[tuple[float, str]]:
    """Return each change of phase: when, and to which."""
    marks = folder / "marks"
    lines = marks.read_text().splitlines() if marks.exists() else []
    return [(float(at), phase) for at, _, phase in (line.partition(" ") for line in lines)]


if __name__ == "__main__":
    main()
