"""Do the images' files suffice, and hold nothing else?

There is no container engine here and no image is built. The Dockerfiles are read; the
files they copy are laid out in a folder, and each service is imported from there by
an interpreter that refuses every installed package the image would not have.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT

SERVICES = ("pseudonymizer", "linker")
FOREIGN = {
    "pseudonymizer": {"linker", "polars", "pyarrow", "deltalake", "pandas", "recordlinkage"},
    "linker": {"pseudonymizer", "kinlink.cpr", "kinlink.cli"},
}

each = pytest.mark.parametrize("service", SERVICES)

IMPORT_ALL = """
import json, sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path

refused, root, service = json.loads(sys.argv[1])

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in refused or name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, root)
for file in sorted(Path(root).rglob("*.py")):
    if "migrations" not in file.parts and "alembic_environment" not in file.parts:
        name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        import_module(name)
        assert Path(sys.modules[name].__file__).is_relative_to(root), name
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def instructions(service: str) -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions and their arguments, continued lines joined."""
    text = (ROOT / "deploy" / "docker" / f"{service}.Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def final_stage(service: str) -> list[tuple[str, str]]:
    """Return the instructions from the last FROM on."""
    found = instructions(service)
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def copies(service: str) -> Iterator[tuple[list[Path], str]]:
    """Yield what the final stage copies from the repository, and where to."""
    for word, rest in final_stage(service):
        if word == "COPY" and not rest.startswith("--from="):
            *sources, target = rest.split()
            yield [ROOT / source for source in sources], target


def lay_out(service: str, root: Path) -> None:
    """Copy into `root` what the image has in its work folder."""
    for sources, target in copies(service):
        for source in sources:
            if source.is_dir():
                shutil.copytree(source, root / target, ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
            else:
                (root / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(source, root / target)


def extras(service: str) -> list[str]:
    """Return the extras that an image installs; the name of another extra stands for itself alone."""
    if service not in SERVICES:
        return [service]
    (sync,) = (json.loads(rest) for word, rest in instructions(service) if word == "RUN" and '"sync"' in rest)
    return [value for option, value in itertools.pairwise(sync) if option == "--extra"]


def installed(service: str) -> set[str]:
    """Return the distributions that the image's `uv sync` installs, by normalised name."""
    uv = shutil.which("uv") or shutil.which(ROOT / ".tools" / "uv" / "bin" / "uv")
    if uv is None:
        pytest.skip("uv is not installed")
    arguments = ["export", "--frozen", "--offline", "--no-dev", "--no-emit-project", "--no-hashes"]
    arguments += [word for extra in extras(service) for word in ("--extra", extra)]
    exported = subprocess.run([uv, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    lines = (line for line in exported.stdout.splitlines() if re.match(r"[a-z0-9]", line))
    return {re.sub(r"[-_.]+", "-", line.split("==")[0].lower()) for line in lines}


def refused(service: str) -> set[str]:
    """Return the installed top-level modules that the image would lack."""
    kept = installed(service)
    owners = metadata.packages_distributions()
    return {
        module
        for module, names in owners.items()
        if not any(re.sub(r"[-_.]+", "-", name.lower()) in kept for name in names)
    } - {"_virtualenv"}


@each
def test_image_copies_only_what_is_there(service: str) -> None:
    """Every path copied exists, and the other service is not among them."""
    other = next(name for name in SERVICES if name != service)
    paths = [path for sources, _ in copies(service) for path in sources]
    assert paths
    assert all(path.exists() for path in paths)
    assert ROOT / "services" / other not in paths
    assert ROOT / "services" / service in paths


@each
def test_image_imports_with_its_own_files_and_packages(service: str, tmp_path: Path) -> None:
    """Every module of the image imports from its files, with only the packages of its extra."""
    lay_out(service, tmp_path)
    absent = refused(service) | FOREIGN[service]
    done = import_all(tmp_path, service, absent)
    assert done.returncode == 0, done.stderr[-2000:]
    assert FOREIGN[service].isdisjoint(json.loads(done.stdout))
    for name in FOREIGN[service]:
        assert not (tmp_path / name.replace(".", "/")).exists()
        assert not (tmp_path / name.replace(".", "/")).with_suffix(".py").exists()


def test_import_check_fails_when_a_package_is_missing(tmp_path: Path) -> None:
    """The check above can fail: without gRPC the pseudonymizer does not import."""
    lay_out("pseudonymizer", tmp_path)
    done = import_all(tmp_path, "pseudonymizer", {"grpc"})
    assert done.returncode != 0
    assert "grpc is not in the image" in done.stderr


def import_all(root: Path, service: str, absent: set[str]) -> subprocess.CompletedProcess[str]:
    """Import every module below `root` in a fresh interpreter that refuses `absent`."""
    arguments = json.dumps([sorted(absent), str(root), service])
    environment = {"PATH": os.defpath, "HOME": str(root)}
    return subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, arguments],
        capture_output=True,
        text=True,
        cwd=root,
        env=environment,
        check=False,
        timeout=120,
    )


@each
def test_image_runs_as_nobody_in_particular(service: str) -> None:
    """Numeric user, no shell between the runtime and the service, no ADD, no moving tag, secrets nowhere."""
    words = instructions(service)
    final = dict(final_stage(service))
    assert not [rest for word, rest in words if word == "ADD"]
    uid, _, gid = final["USER"].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert json.loads(final["ENTRYPOINT"]) == ["python", "-m", service]
    assert json.loads(final["CMD"]) == ["--config", "/etc/kinlink/config.toml"]
    (base,) = (rest for word, rest in words if word == "ARG")
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", base)
    assert all(rest.startswith("${BASE}") for word, rest in words if word == "FROM")


@each
def test_image_and_chart_agree(service: str) -> None:
    """User, port and state folder are the same in the Dockerfile and in the chart's template."""
    final = dict(final_stage(service))
    template = (ROOT / "deploy" / "helm" / service / "templates" / "statefulset.yaml").read_text(encoding="utf-8")
    assert f"runAsUser: {final['USER'].partition(':')[0]}" in template
    assert all(f"containerPort: {port}" in template for port in final["EXPOSE"].split())
    assert f"mountPath: {json.loads(final['VOLUME'])[0]}" in template


def test_build_context_holds_no_more_than_the_sources() -> None:
    """The ignore file shuts everything out and lets in just what the Dockerfiles copy."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {"!pyproject.toml", "!uv.lock", "!services"}
