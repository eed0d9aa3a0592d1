"""Do the charts lint, render, validate, and hold the cluster's and our own rules?

There is no API server here: what is checked is Helm's own lint and schema, the
Kubernetes 1.34 schemas (strict: unknown fields fail), and policy on the rendered
manifests. Admission, scheduling and the network policies' effect are not run.
"""

from __future__ import annotations

import copy
import filecmp
import json
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.conftest import CHARTS, Helm, Manifest, Render, template_arguments

CASES = [(chart, values) for chart in ("pseudonymizer", "linker") for values in ("embedded", "production")]
KUBERNETES = "1.34"

both = pytest.mark.parametrize("chart", ["pseudonymizer", "linker"])
every_case = pytest.mark.parametrize(("chart", "values"), CASES)


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the only manifest of `kind`."""
    (found,) = (m for m in manifests if m["kind"] == kind)
    return found


def every(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of `kind`."""
    return [m for m in manifests if m["kind"] == kind]


def pod(manifests: list[Manifest]) -> Manifest:
    """Return the pod template's spec."""
    spec: Manifest = one(manifests, "StatefulSet")["spec"]["template"]["spec"]
    return spec


@every_case
def test_chart_lints_strictly(helm: Helm, chart: str, values: str) -> None:
    """Helm's lint, warnings counted as errors."""
    folder = CHARTS / chart
    helm.run("lint", "--strict", str(folder), "-f", str(folder / "ci" / f"{values}.yaml"))


@every_case
def test_manifests_fit_the_kubernetes_schemas(render: Render, chart: str, values: str) -> None:
    """Every manifest passes the strict 1.34 schema."""
    manifests = render(chart, values)
    assert {m["kind"] for m in manifests} == {
        "ConfigMap",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    }
    for manifest in manifests:
        assert manifest["metadata"]["namespace"] == "kinlink"
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_schema_check_fails_on_a_wrong_field(render: Render) -> None:
    """The check above can fail: an unknown field and a wrong type are each found."""
    stateful_set = one(render("linker", "embedded"), "StatefulSet")
    for change in ({"replica": 1}, {"replicas": "one"}):
        broken = copy.deepcopy(stateful_set)
        broken["spec"].update(change)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, KUBERNETES, strict=True)


REFUSED: list[tuple[str, str, dict[str, str], str]] = [
    ("both", "embedded", {"replicas": "2"}, "replicas is 2, but SQLite allows one"),
    (
        "linker",
        "embedded",
        {"replicas": "3", "database.urlSecret.name": '"db"'},
        "replicas is 3, but Delta tables on local disk allow one",
    ),
    ("linker", "production", {"replicas": "2", "store.url": '""'}, "replicas is 2, but Delta tables on local disk"),
    ("linker", "production", {"replicas": "2"}, "replicas is 2, but this version's linker is one process"),
    (
        "linker",
        "production",
        {"store.options": '{"aws_secret_access_key": "x"}'},
        "invalid propertyName 'aws_secret_access_key'",
    ),
    (
        "linker",
        "production",
        {"store.options": '{"aws_region": "eu-north-1"}'},
        "store.options and store.optionsSecret are both set",
    ),
    ("linker", "embedded", {"config.municipality": "0"}, "at '/config/municipality'"),
    ("linker", "embedded", {"config.suites": '["kinlink-v1", "synthetic"]'}, "at '/config/suites': maxItems"),
    ("linker", "embedded", {"clientTls.secretName": '""'}, "at '/clientTls/secretName'"),
    ("linker", "embedded", {"store.url": '"file:///tmp/x"'}, "at '/store/url'"),
    ("linker", "embedded", {"config.pseudonymizer": '""'}, "at '/config/pseudonymizer'"),
    ("linker", "production", {"tls.secretName": '""'}, "at '/tls/secretName'"),
    ("pseudonymizer", "embedded", {"policy": '""'}, "policy is empty: install with --set-file policy=policy.toml"),
    ("pseudonymizer", "embedded", {"keyEncryptionKey.secretName": '""'}, "keyEncryptionKey is empty: set uri"),
    ("pseudonymizer", "embedded", {"keyEncryptionKey.uri": '"file:/tmp/kek"'}, "at '/keyEncryptionKey/uri'"),
    ("pseudonymizer", "embedded", {"keyEncryptionKey.uri": '"vault:http://vault/transit/k"'}, "/keyEncryptionKey/uri"),
    (
        "pseudonymizer",
        "embedded",
        {"keyEncryptionKey.moduleVolume": '{"hostPath": {"path": "/usr/lib"}}'},
        "at '/keyEncryptionKey/moduleVolume'",
    ),
    ("pseudonymizer", "embedded", {"genesis": '""'}, "genesis is empty: install with --set-file genesis=genesis.toml"),
    ("both", "production", {"anchors.uris": "[]"}, "anchors.uris is empty: a log of real identifiers is anchored"),
    ("linker", "embedded", {"anchors.uris": "[]"}, "anchors.uris is empty"),
    (
        "pseudonymizer",
        "embedded",
        {"anchors.uris": "[]", "policy": json.dumps('# suites = ["synthetic"]\nsuites = ["kinlink-v1"]\n')},
        "anchors.uris is empty",
    ),
    ("linker", "embedded", {"disclosureSigners": "[]"}, "disclosureSigners is empty: the disclosure policy for real"),
    ("linker", "embedded", {"files.disclosure": '""'}, "disclosureSigners: install with --set-file files.disclosure="),
    ("linker", "embedded", {"files.disclosureSignatures": '""'}, "disclosureSigners: install with --set-file"),
    (
        "linker",
        "embedded",
        {"disclosureSigners": '[{"name": "dpo/x", "publicKey": "x"}]'},
        "at '/disclosureSigners/0/name'",
    ),
    ("both", "embedded", {"anchors.uris": '["file:/var/lib/kinlink/anchors"]'}, "at '/anchors/uris/0'"),
    ("both", "embedded", {"anchors.claimName": '""'}, "file:/var/lib/kinlink-anchors is on no claim"),
    ("pseudonymizer", "production", {"logKey.secretName": '""'}, "logKey.secretName is empty"),
    ("both", "embedded", {"witnesses": '[{"address": "kinlink.example"}]'}, "at '/witnesses/0'"),
    ("both", "embedded", {"replicas": "0"}, "at '/replicas': minimum"),
    ("both", "embedded", {"image.tag": '"latest"'}, "at '/image/tag'"),
    ("both", "embedded", {"image.digest": '"sha256:12"'}, "at '/image/digest'"),
    ("both", "embedded", {"unknown": "1"}, "additional properties 'unknown' not allowed"),
    ("both", "embedded", {"config.databaseUrl": '"x"'}, "additional properties 'databaseUrl' not allowed"),
    ("both", "embedded", {"network.ingress.everyone": "[]"}, "additional properties 'everyone' not allowed"),
    ("both", "embedded", {"network.ingress.sources": "[{}]"}, "at '/network/ingress/sources/0': minProperties"),
    (
        "both",
        "embedded",
        {"network.ingress.sources": '[{"namespaceSelector": {}}]'},
        "at '/network/ingress/sources/0/namespaceSelector': minProperties",
    ),
    (
        "both",
        "embedded",
        {"network.ingress.sources": '[{"ipBlock": {"cidr": "0.0.0.0/0"}}]'},
        "at '/network/ingress/sources/0/ipBlock/cidr'",
    ),
    ("both", "embedded", {"service.type": '"NodePort"'}, "at '/service/type'"),
    ("both", "embedded", {"denyList": '["prisme"]'}, "at '/denyList/0'"),
]


@pytest.mark.parametrize(
    ("chart", "values", "settings", "message"),
    [
        (one_chart, values, settings, message)
        for chart, values, settings, message in REFUSED
        for one_chart in (("pseudonymizer", "linker") if chart == "both" else (chart,))
    ],
)
def test_chart_refuses(helm: Helm, chart: str, values: str, settings: dict[str, str], message: str) -> None:
    """Each unsafe or misspelt value stops the rendering, and the message names it."""
    done = helm.run(*template_arguments(chart, values, settings), check=False)
    assert done.returncode != 0
    assert message in done.stderr


@every_case
def test_pod_is_confined(render: Render, chart: str, values: str) -> None:
    """The pod fits Pod Security's `restricted`, with a read-only root and no cluster token."""
    manifests = render(chart, values)
    spec = pod(manifests)
    assert spec["automountServiceAccountToken"] is False
    assert one(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["containers"], *spec.get("initContainers", [])):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"]
    assert not any("hostPath" in volume for volume in spec["volumes"])


@every_case
def test_secrets_stand_by_reference_only(render: Render, chart: str, values: str) -> None:
    """No Secret is rendered; keys and URLs come from Secrets that exist already."""
    manifests = render(chart, values)
    assert not every(manifests, "Secret")
    for container in pod(manifests)["containers"]:
        assert all("value" not in variable for variable in container.get("env", []))
        assert all(set(source) == {"secretRef"} for source in container.get("envFrom", []))


@every_case
def test_every_mount_has_its_volume(render: Render, chart: str, values: str) -> None:
    """Volumes, claims and mounts name each other, and only state and /tmp are writable."""
    stateful_set = one(render(chart, values), "StatefulSet")["spec"]
    spec = stateful_set["template"]["spec"]
    claims = {claim["metadata"]["name"] for claim in stateful_set.get("volumeClaimTemplates", [])}
    volumes = {volume["name"] for volume in spec["volumes"]}
    (container,) = spec["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert claims.isdisjoint(volumes)
    assert claims | volumes == mounts.keys()
    writable = {m["mountPath"] for m in mounts.values() if not m.get("readOnly")}
    anchored = {"/var/lib/kinlink-anchors"} if values == "embedded" else set()
    assert writable == {"/var/lib/kinlink", "/tmp"} | anchored  # noqa: S108
    keeps_state = values == "embedded" or chart == "linker"
    assert claims == ({"state"} if keeps_state else set())


@every_case
def test_network_is_shut_but_for_the_values(render: Render, chart: str, values: str) -> None:
    """All policies select just this pod; one shuts both ways; the others open one port to one named list."""
    manifests = render(chart, values)
    labels = one(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    policies = every(manifests, "NetworkPolicy")
    for policy in policies:
        selector = policy["spec"]["podSelector"]["matchLabels"]
        assert selector.items() <= labels.items()
        assert "app.kubernetes.io/instance" in selector
    (shut,) = (p for p in policies if p["metadata"]["name"].endswith("-deny"))
    assert shut["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & shut["spec"].keys()
    for rule in opened(policies):
        peers = rule.get("from", rule.get("to"))
        assert peers, "an empty list of peers would open the port to everybody"
        assert all(peers)
        assert rule["ports"]


def opened(policies: list[Manifest]) -> Iterator[dict[str, Any]]:
    """Yield each rule that opens something."""
    for policy in policies:
        yield from policy["spec"].get("ingress", [])
        yield from policy["spec"].get("egress", [])


@both
def test_network_opens_nothing_when_the_lists_are_empty(render: Render, chart: str) -> None:
    """Without peers only the shutting policy is left."""
    empty = {f"network.ingress.{name}": "[]" for name in ("sources", "dpo", "operators", "witnessed")}
    people = ("linker", "custodians", "reviewers")
    empty |= {f"network.ingress.{name}": "[]" for name in {"pseudonymizer": people}.get(chart, ())}
    empty |= {"network.ingress.consumers": "[]"} if chart == "linker" else {}
    empty |= {f"network.egress.{name}.to": "[]" for name in ("dns", "telemetry", "database", "anchors", "witnesses")}
    empty |= {"network.egress.keyEncryptionKey.to": "[]"} if chart == "pseudonymizer" else {}
    empty |= {f"network.egress.{name}.to": "[]" for name in ("pseudonymizer", "store") if chart == "linker"}
    (policy,) = every(render(chart, "embedded", empty), "NetworkPolicy")
    assert policy["metadata"]["name"] == f"test-{chart}-deny"


@every_case
def test_selectors_meet_the_pod(render: Render, chart: str, values: str) -> None:
    """Services, the disruption budget and the stateful set select the pod they mean."""
    manifests = render(chart, values)
    stateful_set = one(manifests, "StatefulSet")
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    services = every(manifests, "Service")
    for selector in (
        stateful_set["spec"]["selector"]["matchLabels"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in services),
    ):
        assert selector.items() <= labels.items()
    assert stateful_set["spec"]["serviceName"] in {
        s["metadata"]["name"] for s in services if s["spec"].get("clusterIP") == "None"
    }
    assert (
        stateful_set["spec"]["template"]["spec"]["serviceAccountName"]
        == (one(manifests, "ServiceAccount")["metadata"]["name"])
    )


@both
def test_pods_restart_when_the_configuration_changes(render: Render, chart: str) -> None:
    """The checksum follows the configuration, and not the deny list, which is read anew while running."""

    def checksum(settings: dict[str, str]) -> str:
        annotations = one(render(chart, "embedded", settings), "StatefulSet")["spec"]["template"]["metadata"]
        return str(annotations["annotations"]["checksum/config"])

    before = checksum({})
    assert checksum({"config.threads": "9"}) != before
    assert checksum({"denyList": '["spiffe://kinlink.test/source/prisme"]'}) == before


def test_shared_templates_are_the_same_in_both_charts() -> None:
    """Only `_service.tpl` and NOTES.txt may differ."""
    left, right = (CHARTS / chart / "templates" for chart in ("pseudonymizer", "linker"))
    names = {path.name for path in left.iterdir()}
    assert names == {path.name for path in right.iterdir()}
    assert {n for n in names if not filecmp.cmp(left / n, right / n, shallow=False)} == {"_service.tpl", "NOTES.txt"}
