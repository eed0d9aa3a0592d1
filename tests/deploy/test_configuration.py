"""Does the service accept what the chart gives it?"""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from linker.settings import LinkerSettings
from pseudonymizer.policy import Policy
from pseudonymizer.settings import PseudonymizerSettings
from servicekit.certificates import DenyList, PeerCertificate
from servicekit.settings import ServerSettings
from tests.deploy.conftest import ROOT, Manifest, Render
from tests.deploy.test_charts import every, every_case, pod

CLASSES: dict[str, type[ServerSettings]] = {"pseudonymizer": PseudonymizerSettings, "linker": LinkerSettings}

SECRETS = {
    "KINLINK_DATABASE_URL": "postgresql+psycopg://kinlink@database/kinlink",
    "KINLINK_STORE_OPTIONS": '{"aws_region": "eu-north-1"}',
}
STOPPING_S = 35  # a run stops within 30 s, before calls are drained


def files(manifests: list[Manifest], suffix: str) -> dict[str, str]:
    """Return the files of the config map whose name ends so."""
    (found,) = (m["data"] for m in every(manifests, "ConfigMap") if m["metadata"]["name"].endswith(suffix))
    data: dict[str, str] = found
    return data


def mounted(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the container's mounts by path."""
    (container,) = pod(manifests)["containers"]
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


@every_case
def test_settings_class_accepts_the_configuration(
    render: Render, chart: str, values: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rendered TOML and the environment are all that the real settings class asks for."""
    manifests = render(chart, values)
    (container,) = pod(manifests)["containers"]
    for variable in container.get("env", []):
        monkeypatch.setenv(variable["name"], SECRETS[variable["name"]])
    path = tmp_path / "config.toml"
    path.write_text(files(manifests, "-config")["config.toml"], encoding="utf-8")
    settings = CLASSES[chart].load(path)
    assert 0 < settings.drain_s <= pod(manifests)["terminationGracePeriodSeconds"] - STOPPING_S
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.listen == f"0.0.0.0:{ports['grpc']}"
    assert settings.health_listen == f"0.0.0.0:{ports['health']}"
    assert container["startupProbe"]["grpc"]["port"] == container["readinessProbe"]["grpc"]["port"] == ports["health"]


@every_case
def test_every_configured_path_is_mounted(render: Render, chart: str, values: str) -> None:
    """Each absolute path in the configuration lies below a mount, and a file of a config map has its name there."""
    manifests = render(chart, values)
    config = files(manifests, "-config")
    mounts = mounted(manifests)
    paths = re.findall(r"(?:\"|file:|///)(/[\w./-]+)", config["config.toml"])
    assert len(paths) >= 4
    for path in paths:
        assert any(path.startswith(f"{mount}/") for mount in mounts), path
        if path.startswith("/etc/kinlink/"):
            assert path.removeprefix("/etc/kinlink/") in config
    assert "deny_list" in files(manifests, "-deny")


def test_policy_stands_in_the_configuration_as_given(render: Render, tmp_path: Path) -> None:
    """A policy file set as the value comes out as the service reads it."""
    text = (ROOT / "services" / "pseudonymizer" / "policy.example.toml").read_text(encoding="utf-8")
    rendered = files(render("pseudonymizer", "embedded", {"policy": json.dumps(text)}), "-config")["policy.toml"]
    assert tomllib.loads(rendered) == tomllib.loads(text)
    path = tmp_path / "policy.toml"
    path.write_text(rendered, encoding="utf-8")
    assert Policy.load(path).grants


@pytest.mark.parametrize("chart", ["pseudonymizer", "linker"])
def test_deny_list_denies_whom_it_names(render: Render, chart: str, tmp_path: Path) -> None:
    """The rendered deny list is one that the service reads."""
    uri = "spiffe://kommune.example/source/momentum"
    text = files(render(chart, "embedded", {"denyList": f'["{uri}", "5f:3a:01"]'}), "-deny")["deny_list"]
    path = tmp_path / "deny_list"
    path.write_text(text, encoding="utf-8")
    deny = DenyList(path)
    assert deny.denies(certificate("1", uri))
    assert deny.denies(certificate("5f3a01", "spiffe://kommune.example/source/prisme"))
    assert not deny.denies(certificate("1", "spiffe://kommune.example/source/prisme"))


def certificate(serial: str, uri: str) -> PeerCertificate:
    """Return a certificate as identity sees it, long valid."""
    return PeerCertificate(serial, (uri,), datetime(2100, 1, 1, tzinfo=UTC))


def test_linker_takes_the_store_and_the_controllers_files(render: Render) -> None:
    """An object store is set with its options, and a file of the controller's own stands beside the settings."""
    policy = (ROOT / "services" / "linker" / "disclosure.toml").read_text(encoding="utf-8")
    options = {"aws_region": "eu-north-1", "aws_endpoint_url": "https://store.kommune.example"}
    changes = {"files.disclosure": policy, "store.options": options, "store.optionsSecret.name": ""}
    rendered = render("linker", "production", {path: json.dumps(value) for path, value in changes.items()})
    config = files(rendered, "-config")
    values = tomllib.loads(config["config.toml"])
    assert values["store_url"] == "s3://kinlink-familie/tables"
    assert values["store_options"] == options
    assert values["disclosure"] == "/etc/kinlink/disclosure.toml"
    assert "registry" not in values
    assert tomllib.loads(config["disclosure.toml"]) == tomllib.loads(policy)
