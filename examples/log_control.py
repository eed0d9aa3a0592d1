"""The data-protection officer's part: keep the logs' keys and checkpoints, and control the logs against them later."""

from __future__ import annotations

from pathlib import Path

from examples.rotation import Run
from examples.stack import SERVICES

DPO = "dpo/dpo"


def keep(run: Run, folder: Path) -> None:
    """Keep both logs' keys, and a checkpoint of each, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for service in SERVICES:
        key = run(DPO, "audit", "checkpoint", "--service", service, "--key").stdout
        kept = folder / f"{service}.key.txt"
        kept.write_text(key, encoding="utf-8")
        out = folder / f"{service}.checkpoint"
        run(DPO, "audit", "checkpoint", "--service", service, "--log-key", kept, "--out", out)


def control(run: Run, folder: Path) -> str:
    """Export both logs to `folder`, and verify them against what was kept there; return what was said."""
    said = []
    for service in SERVICES:
        exported = folder / f"{service}.audit"
        run(DPO, "audit", "export", "--service", service, "--out", exported)
        kept = ("--checkpoint", folder / f"{service}.checkpoint", "--log-key", folder / f"{service}.key.txt")
        said.append(run(DPO, "audit", "verify", exported, *kept).stdout)
    return "".join(said)
