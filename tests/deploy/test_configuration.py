"""Does the service accept what the chart gives it?"""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from kinlink import genesis, policy_signatures
from kinlink.approval_keys import new_key, public_bytes
from kinlink.change_document import Signer, SignerRole
from linker import signed_policy
from linker.settings import LinkerSettings
from pseudonymizer.policy import Policy
from pseudonymizer.settings import PseudonymizerSettings
from servicekit.certificates import DenyList, PeerCertificate
from servicekit.settings import ServerSettings
from tests.deploy.conftest import ROOT, Manifest, Render
from tests.deploy.test_charts import KUBERNETES, every, every_case, pod

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
    paths = re.findall(r"(?:\"|file:|///|=)(/[\w./-]+)", config["config.toml"])
    assert len(paths) >= 4
    for path in paths:
        assert any(f"{path}/".startswith(f"{mount}/") for mount in mounts), path
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


def test_genesis_stands_in_the_configuration_as_given(render: Render) -> None:
    """A genesis file comes out byte for byte: its hash is the log's first entry."""
    for end in ("", "\n\n", "\r\n# a & <b> æ"):
        text = genesis_file() + end
        rendered = files(render("pseudonymizer", "embedded", {"genesis": json.dumps(text)}), "-config")["genesis.toml"]
        assert rendered == text


def genesis_file() -> str:
    """Return a genesis file of three people."""
    names = ("custodian/a", "custodian/b", "reviewer/c")
    return genesis.file_of(Signer(name, SignerRole(name.partition("/")[0]), public_bytes(new_key())) for name in names)


KEKS: dict[str, tuple[dict[str, Any], str | None]] = {
    "file": ({"uri": "", "secretKey": "kek"}, "file:/run/kinlink/kek/kek"),
    "pkcs11": (
        {
            "uri": "pkcs11:token=kinlink;object=kek?module-path=/opt/pkcs11/m.so&pin-source=/run/kinlink/kek/pin",
            "moduleVolume": {"persistentVolumeClaim": {"claimName": "pkcs11"}},
        },
        None,
    ),
    "vault": (
        {"uri": "vault:https://vault.example:8200/transit/kinlink?token-file=/run/kinlink/kek/token"},
        None,
    ),
    "azurekv": (
        {
            "uri": "azurekv:https://kinlink.vault.azure.net/keys/kek",
            "secretName": "",
            "environmentSecret": "azure",
            "previousUri": "file:/run/kinlink/kek/kek",
        },
        None,
    ),
}


@pytest.mark.parametrize("scheme", KEKS)
def test_every_key_encryption_key_is_rendered_with_what_it_reads(render: Render, scheme: str) -> None:
    """The URI comes out as given, its files are mounted, its variables come from a Secret."""
    values, expected = KEKS[scheme]
    manifests = render(
        "pseudonymizer", "embedded", {f"keyEncryptionKey.{name}": json.dumps(value) for name, value in values.items()}
    )
    config = tomllib.loads(files(manifests, "-config")["config.toml"])
    assert config["kek"] == (expected or values["uri"])
    assert config.get("kek_previous", "") == values.get("previousUri", "")
    for path in re.findall(r"(?:=|file:)(/[\w./-]+)", config["kek"]):
        assert any(path.startswith(f"{mount}/") for mount in mounted(manifests)), path
    (container,) = pod(manifests)["containers"]
    secrets = {source["secretRef"]["name"] for source in container.get("envFrom", [])}
    assert secrets == ({"azure"} if scheme == "azurekv" else set())
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("chart", ["pseudonymizer", "linker"])
def test_log_is_anchored_witnessed_and_signed_as_given(render: Render, chart: str) -> None:
    """Anchors, witnesses and the log's key reach the settings; the object store's secrets the environment."""
    changes = {
        "witnesses": [{"address": "kinlink.example:8443", "key": "k", "serverName": "kinlink"}],
        "witnessedLogs": ["kommune.example/linker+00000000+AAAA"],
        "anchors.credentialsSecret": "store",
        "anchors.uris": ["s3://log/here"],
        "logKey.secretName": "log",
    }
    manifests = render(chart, "production", {path: json.dumps(value) for path, value in changes.items()})
    config = tomllib.loads(files(manifests, "-config")["config.toml"])
    assert config["anchors"] == ["s3://log/here"]
    assert config["witnesses"] == [{"address": "kinlink.example:8443", "key": "k", "server_name": "kinlink"}]
    assert config["witnessed_logs"] == changes["witnessedLogs"]
    assert config["log_key"] == "/run/kinlink/log/log.key"
    assert mounted(manifests)["/run/kinlink/log"]["readOnly"]
    (container,) = pod(manifests)["containers"]
    assert {"secretRef": {"name": "store"}} in container["envFrom"]


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
    registry = (ROOT / "services" / "linker" / "registry.toml").read_text(encoding="utf-8")
    options = {"aws_region": "eu-north-1", "aws_endpoint_url": "https://store.kommune.example"}
    linkage = (ROOT / "services" / "linker" / "linkage.toml").read_text(encoding="utf-8")
    changes = {
        "files.registry": registry,
        "files.linkage": linkage,
        "store.options": options,
        "store.optionsSecret.name": "",
    }
    rendered = render("linker", "production", {path: json.dumps(value) for path, value in changes.items()})
    config = files(rendered, "-config")
    values = tomllib.loads(config["config.toml"])
    assert values["store_url"] == "s3://kinlink-familie/tables"
    assert values["store_options"] == options
    assert values["registry"] == "/etc/kinlink/registry.toml"
    assert values["linkage"] == "/etc/kinlink/linkage.toml"
    assert tomllib.loads(config["linkage.toml"]) == tomllib.loads(linkage)
    assert "access" not in values
    assert tomllib.loads(config["registry.toml"]) == tomllib.loads(registry)


def test_signed_disclosure_policy_comes_out_as_it_was_signed(render: Render, tmp_path: Path) -> None:
    """The policy comes out byte for byte, with its signatures and signers: the linker takes it."""
    key, name = new_key(), "reviewer/revision"
    shipped = (ROOT / "services" / "linker" / "disclosure.toml").read_text(encoding="utf-8")
    for end in ("", "\n\n", "\r\n# a & <b> æ"):
        policy = shipped + end
        signature = policy_signatures.sign(key, name, policy.encode())
        changes = {
            "files.disclosure": policy,
            "files.disclosureSignatures": policy_signatures.file_of({name: signature}),
            "disclosureSigners": [{"name": name, "publicKey": b64encode(public_bytes(key)).decode()}],
        }
        rendered = render("linker", "embedded", {path: json.dumps(value) for path, value in changes.items()})
        for file, text in files(rendered, "-config").items():
            (tmp_path / file).write_bytes(text.encode())
        settings = LinkerSettings.load(tmp_path / "config.toml")
        assert settings.disclosure == Path("/etc/kinlink/disclosure.toml")
        found = signed_policy.load(tmp_path / "disclosure.toml", settings.policy_signers, real=settings.real)
        assert found.signers == (name,)
