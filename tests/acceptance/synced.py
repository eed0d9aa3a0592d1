"""Read from a process's system calls whether an accepted delivery was on disk when it was accepted.

A file is on disk when it was synced after its last byte was written; its name, when the
folder that holds it was synced after the name was made there; and so for each folder. The
state database is, when its journal was synced after the row was written. Nothing here
believes the order of the code.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CALLS = "fsync,fdatasync,write,writev,pwrite64,ftruncate,openat,rename,renameat,renameat2,link,linkat,mkdir,mkdirat"
STRACE = ("strace", "-D", "-ff", "-ttt", "-T", "-y", "-s", "8192", "-e", f"trace={_CALLS}")
_CALL = re.compile(r"^(?P<at>\d+\.\d+) (?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>\d+).* <(?P<took>\d+\.\d+)>$")
_OF_DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def traced() -> bool:
    """Tell whether this machine lets a process be traced."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run([*STRACE, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that succeeded. Times are those of the clock, in seconds."""

    name: str
    arguments: str
    begun: float
    ended: float

    @property
    def path(self) -> Path | None:
        """What its first argument, a descriptor, stands for."""
        found = _OF_DESCRIPTOR.match(self.arguments)
        return Path(found[1]) if found else None

    @property
    def paths(self) -> list[Path]:
        """The paths that it names."""
        return [Path(text) for text in _QUOTED.findall(self.arguments)]


@dataclass
class Trace:
    """What a process did, in order of time."""

    calls: Sequence[Call]
    written: dict[Path, float] = field(default_factory=dict)  # the last byte of a file
    named: dict[Path, float] = field(default_factory=dict)  # the last name made in a folder
    synced: list[Call] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path, root: Path, since: float) -> Trace:
        """Read the traces in `folder`, of the calls after `since`, on what lies below `root`."""
        found = []
        for file in folder.iterdir():
            for match in filter(None, map(_CALL.match, file.read_text(errors="replace").splitlines())):
                begun = float(match["at"])
                if begun >= since and str(root) in match["arguments"]:
                    found.append(Call(match["name"], match["arguments"], begun, begun + float(match["took"])))
        trace = cls(sorted(found, key=lambda call: call.ended))
        for call in trace.calls:
            trace._note(call)
        return trace

    def _note(self, call: Call) -> None:
        if call.name in {"fsync", "fdatasync"}:
            self.synced.append(call)
        elif call.name in {"write", "writev", "pwrite64", "ftruncate"} and call.path:
            self.written[call.path] = call.ended
        elif call.name.startswith(("rename", "link")):
            before, after = call.paths
            self.written[after] = self.written.get(before, 0)
            self.synced += [Call(s.name, f"0<{after}>", s.begun, s.ended) for s in self.synced if s.path == before]
            self.named[after.parent] = call.ended
        elif call.name.startswith("mkdir") or "O_CREAT" in call.arguments:
            self.named[call.paths[0].parent] = call.ended

    def is_synced(self, path: Path, after: float, before: float) -> bool:
        """Tell whether a sync of `path` began and ended between two instants."""
        return any(call.path == path and call.begun >= after and call.ended <= before for call in self.synced)


def faults(trace: Trace, table: Path, root: Path, delivery_id: str, answered: float) -> list[str]:
    """Say what of a table, made new by the one delivery traced, was not on disk in time.

    `root` is the linker's folder; `answered`, when the client had its answer.
    """
    row = re.compile(rf"{delivery_id}.{{,400}}?accepted")
    journal = root / "state.db-wal"
    accepting = [c for c in trace.calls if c.name == "pwrite64" and c.path == journal and row.search(c.arguments)]
    if not accepting:
        return ["the row that says accepted was never seen to be written"]
    first, last = accepting[0], accepting[0]
    found = []
    for file in (path for path in table.rglob("*") if path.is_file()):
        if file not in trace.written:
            found.append(f"{file.name}: was not seen to be written")
        elif not trace.is_synced(file, trace.written[file], first.begun):
            found.append(f"{file.name}: not synced before it was named")
    folders = {table, *(path for path in table.rglob("*") if path.is_dir())}
    folders |= {parent for parent in table.parents if root / "store" in (parent, *parent.parents)}
    found += [
        f"{folder.name}/: not synced before it was named"
        for folder in sorted(folders)
        if not trace.is_synced(folder, trace.named.get(folder, 0), first.begun)
    ]
    if not trace.is_synced(journal, last.ended, answered):
        found.append("state.db-wal: not synced before the answer")
    return found
