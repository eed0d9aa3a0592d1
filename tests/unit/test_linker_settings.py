"""What a linker must not be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from linker.settings import LinkerSettings
from servicekit.settings import SettingsFileError

TOLD = """
certificate = "a.pem"
key = "a.key"
ca = "ca.pem"
trust_domain = "kinlink.test"
database_url = "sqlite:///state.db"
purpose = "familie"
municipality = 101
pseudonymizer = "localhost:8443"
client_certificate = "b.pem"
client_key = "b.key"
"""


def test_real_and_synthetic_identifiers_are_never_taken_together(tmp_path: Path) -> None:
    file = tmp_path / "linker.toml"
    for suites, taken in (('["kinlink-v1"]', {1}), ('["synthetic"]', {2})):
        file.write_text(f"{TOLD}suites = {suites}\n")
        assert LinkerSettings.load(file).suite_numbers == taken
    file.write_text(f'{TOLD}suites = ["kinlink-v1", "synthetic"]\n')
    with pytest.raises(SettingsFileError, match=r"suites: .*at most 1 item"):
        LinkerSettings.load(file)
