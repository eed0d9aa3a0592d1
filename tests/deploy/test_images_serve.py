"""Does the service start from the image's files with the chart's configuration, and answer the probe?

The files are laid out as the image has them, and the rendered settings are used as
they are, but for the folders (/etc, /run, /var), which become folders of the test. The
container itself, its user and its read-only root, are not run here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kinlink import policy_signatures
from kinlink.approval_keys import new_key, public_bytes
from kinlink.dev_certificates import make_certificates
from tests.deploy.conftest import ROOT, Render
from tests.deploy.test_configuration import files, genesis_file
from tests.deploy.test_images import lay_out


def signed_policy() -> dict[str, str]:
    """Return the linker's values with the shipped disclosure policy as a reviewer signed it."""
    content, key, name = (ROOT / "services/linker/disclosure.toml").read_bytes(), new_key(), "reviewer/revision"
    signatures = policy_signatures.file_of({name: policy_signatures.sign(key, name, content)})
    public_key = b64encode(public_bytes(key)).decode()
    return {
        "disclosureSigners": json.dumps([{"name": name, "publicKey": public_key}]),
        "files.disclosure": json.dumps(content.decode()),
        "files.disclosureSignatures": json.dumps(signatures),
    }


VALUES = {
    "pseudonymizer": {
        "policy": json.dumps((ROOT / "services/pseudonymizer/policy.example.toml").read_text("utf-8")),
        "genesis": json.dumps(genesis_file()),
    },
    "linker": signed_policy(),
}


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mount(root: Path, service: str, config: dict[str, str], deny: dict[str, str]) -> None:
    """Fill `root` as the pod's volumes would be: configuration, certificates, key, empty state."""
    for folder, content in (("etc/kinlink", config), ("run/kinlink/deny", deny)):
        (root / folder).mkdir(parents=True)
        for name, text in content.items():
            (root / folder / name).write_text(text, encoding="utf-8")
    certs = root / "certs"
    make_certificates(certs, ["linker/familie"])
    for folder, name in (("tls", f"service-{service}"), ("client", "linker-familie")):
        target = root / "run/kinlink" / folder
        target.mkdir(parents=True)
        shutil.copy(certs / f"{name}.pem", target / "tls.crt")
        shutil.copy(certs / f"{name}.key", target / "tls.key")
        shutil.copy(certs / "ca.pem", target / "ca.crt")
    kek = root / "run/kinlink/kek/kek"
    kek.parent.mkdir()
    kek.write_bytes(b64encode(os.urandom(32)))
    kek.chmod(0o440)  # as the kubelet mounts a secret with defaultMode 0440
    for folder in ("var/lib/kinlink", "var/lib/kinlink-anchors"):
        (root / folder).mkdir(parents=True)


@pytest.mark.parametrize("service", ["pseudonymizer", "linker"])
def test_service_starts_from_the_images_files_and_answers_the_probe(
    service: str, render: Render, tmp_path: Path
) -> None:
    """Started as the image starts it, the service says ready, its health port says SERVING, and SIGTERM ends it."""
    manifests = render(service, "embedded", VALUES[service])
    config, deny = files(manifests, "-config"), files(manifests, "-deny")
    health = f"127.0.0.1:{free_port()}"
    for path in ("/etc/kinlink", "/run/kinlink", "/var/lib/kinlink"):
        config["config.toml"] = config["config.toml"].replace(path, f"{tmp_path}{path}")
    config["config.toml"] = config["config.toml"].replace("0.0.0.0:8443", "127.0.0.1:0").replace("0.0.0.0:8081", health)
    mount(tmp_path, service, config, deny)
    lay_out(service, tmp_path / "srv")
    with subprocess.Popen(
        [sys.executable, "-B", "-m", service, "--config", str(tmp_path / "etc/kinlink/config.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path / "srv",
        env={"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "srv")},
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said.startswith("ready "):
            pytest.fail(process.communicate()[1][-2000:])
        with grpc.insecure_channel(health) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert process.returncode == 0
