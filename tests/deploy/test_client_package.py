"""Does `kinlink[client]`, what a source system or an analyst installs, work without any server code?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.deploy.conftest import ROOT
from tests.deploy.test_images import import_all, refused

SERVER = {"servicekit", "pseudonymizer", "linker"}


def test_client_imports_with_the_packages_of_its_extra(tmp_path: Path) -> None:
    """Every module of the public package imports with the packages of `client`, and without the services."""
    shutil.copytree(ROOT / "services" / "kinlink", tmp_path / "kinlink", ignore=shutil.ignore_patterns("__pycache__"))
    done = import_all(tmp_path, "client", refused("client") | SERVER)
    assert done.returncode == 0, done.stderr[-2000:]
    assert SERVER.isdisjoint(json.loads(done.stdout))
