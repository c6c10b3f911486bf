"""The Kubernetes manifests: valid in each supported version, with the rights and metrics that they need."""

import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.settings import ServiceSettings
from conftest import REPOSITORY
from graph.errors import SettingsError
from harness.planting import plant, plant_in
from harness.programs import kustomize
from harness.prometheus import promtool
from harness.scripted_model import ScriptedModel
from harness.targets import DEPLOY, KUBERNETES, OVERLAYS, PORT, Json, blocks, container, one, overlay, page


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_accepts_every_object(name: str, version: str) -> None:
    """Every field of every object exists in this version of Kubernetes."""
    assert {thing["kind"] for thing in overlay(name)} == {
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress"),
        *("NetworkPolicy", "PodDisruptionBudget", "Service"),
    }
    for thing in overlay(name):
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("deployment.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
        ("deployment.yaml", "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: soon"),
        ("hpa.yaml", "averageValue:", "averageValu:"),
        ("hpa.yaml", "autoscaling/v2", "autoscaling/v2beta2"),
        ("pdb.yaml", "maxUnavailable: 1", "maxUnavailable: [1]"),
        ("ingress.yaml", "pathType: Prefix", "pathTyp: Prefix"),
        ("networkpolicy.yaml", "policyTypes:", "policyType:"),
    ],
)
def test_kubernetes_refuses_what_is_wrong(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    """An unknown field, a value of the wrong type and a removed API version are errors."""
    folder = shutil.copytree(DEPLOY / "k8s", tmp_path / "k8s")
    plant_in(folder / "base" / file, right, wrong)
    rendered = kustomize(folder / "production")
    for version in KUBERNETES:
        with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
            for thing in rendered:
                kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_may_do_no_more_than_they_must(name: str) -> None:
    """Pods run as non-root with a read-only file system, no token, no capability and a default-deny policy."""
    pod = one(name, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    policy = one(name, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["podSelector"] == {"matchLabels": one(name, "Service")["spec"]["selector"]}


@pytest.mark.parametrize(
    ("status", "code", "is_ready"),
    [("ready", 200, True), ("unavailable", 503, True), ("starting", 503, False), ("draining", 503, False)],
)
def test_a_pod_without_an_index_gets_no_traffic(status: str, code: int, is_ready: bool) -> None:
    """Nor one that drains; one whose Redis or Postgres is down still answers what it can."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"status": status}).encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in OVERLAYS:
            python, *command = container(name)["readinessProbe"]["exec"]["command"]
            assert python == "python"
            command = [sys.executable, *(word.replace("8000", str(server.server_port)) for word in command)]
            assert (subprocess.run(command, timeout=20, check=False).returncode == 0) is is_ready
        server.shutdown()


def test_kubernetes_names_of_services_do_not_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service links are off, since their SUPPORT_AGENT_… variables would be unknown settings."""
    monkeypatch.setenv("SUPPORT_AGENT_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(SettingsError, match="SUPPORT_AGENT_SERVICE_HOST"):
        ServiceSettings.load()
    for name in OVERLAYS:
        assert one(name, "Deployment")["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_overlays_differ_in_what_they_should() -> None:
    """Staging and production differ in namespace, image, host and size only."""
    spaces = {thing["metadata"]["namespace"] for thing in overlay("staging") + overlay("production")}
    assert spaces == {"support-agent-staging", "support-agent"}
    hosts = [one(name, "Ingress")["spec"]["rules"][0]["host"] for name in OVERLAYS]
    assert len(set(hosts)) == 2
    assert hosts == [one(name, "Ingress")["spec"]["tls"][0]["hosts"][0] for name in OVERLAYS]
    assert container("production")["image"].startswith("ghcr.io/example/support-agent:v")
    assert one("production", "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2


async def test_pods_are_scaled_by_a_metric_that_they_export(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """The autoscaler and its adapter use the gauge of active runs that /metrics exports."""
    assert (await client.post("/ask", json={"question": "Can I get a refund?"})).is_success
    exported = {
        family.name: family.type for family in text_string_to_metric_families((await client.get("/metrics")).text)
    }
    adapter = yaml.safe_load((DEPLOY / "k8s/prometheus-adapter.yaml").read_text())
    [rule] = adapter["rules"]["custom"]
    for name in OVERLAYS:
        metrics = one(name, "HorizontalPodAutoscaler")["spec"]["metrics"]
        [metric] = [each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"]
        assert exported[metric] == "gauge"
        assert rule["seriesQuery"].partition("{")[0] == metric


def test_prometheus_finds_the_pods(tmp_path: Path) -> None:
    """The scrape configuration is valid and selects the label and port of the pods."""
    [job] = yaml.safe_load((DEPLOY / "k8s/prometheus-scrape.yaml").read_text())
    keep = next(each for each in job["relabel_configs"] if each.get("action") == "keep")
    [port] = container("production")["ports"]
    labels = one("production", "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert keep["regex"] == f"{labels['app.kubernetes.io/name']};{port['name']}"
    assert port["containerPort"] == PORT
    namespaces = job["kubernetes_sd_configs"][0]["namespaces"]["names"]
    assert set(namespaces) == {one(name, "Deployment")["metadata"]["namespace"] for name in OVERLAYS}
    job.pop("kubernetes_sd_configs")  # Debian's Prometheus is built without Kubernetes discovery
    for action, right in (("keep", True), ("kept", False)):
        keep["action"] = action
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
        checked = promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")
        assert (checked.returncode == 0) is right, checked.stderr


def test_kubernetes_sets_what_is_no_secret() -> None:
    """The ConfigMap has plain settings only; the others come from the Secret."""
    settings = {str(field.alias) for field in ServiceSettings.model_fields.values()}
    for name in OVERLAYS:
        given = one(name, "ConfigMap")["data"]
        assert given.keys() <= settings
        assert given["SUPPORT_ENV"] == "production"
        sources = container(name)["envFrom"]
        assert {"configMapRef": {"name": one(name, "ConfigMap")["metadata"]["name"]}} in sources
        assert {"secretRef": {"name": "support-agent"}} in sources


def test_the_policy_takes_the_addresses_of_the_docs() -> None:
    """The load-balancer addresses of the docs are valid at the end of the policy's list."""
    [said] = [block for language, block in blocks(page("kubernetes")) if language == "yaml"]
    file = (DEPLOY / "k8s/base/networkpolicy.yaml").read_text()
    policy = yaml.safe_load(plant(file, "      ports:\n", f"{said}      ports:\n"))
    for version in KUBERNETES:
        kubernetes_validate.validate(policy, version, strict=True)
    others = [peer for peer in policy["spec"]["ingress"][0]["from"] if "ipBlock" in peer]
    assert {"ipBlock": {"cidr": "35.191.0.0/16"}} in others
    assert len(others) == len(yaml.safe_load(said))


@pytest.fixture
def with_sync(tmp_path: Path) -> list[Json]:
    """Production with the schedule, as the docs say."""
    folder = shutil.copytree(DEPLOY / "k8s", tmp_path / "k8s")
    [said] = [block for _, block in blocks(page("kubernetes")) if "components:" in block]
    with (folder / "production/kustomization.yaml").open("a") as file:
        file.write(said)
    return kustomize(folder / "production")


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_schedule_is_accepted(with_sync: list[Json], version: str) -> None:
    """Every field exists, and the pods have the replicas' image, settings and rights."""
    for thing in with_sync:
        kubernetes_validate.validate(thing, version, strict=True)
    [job] = [thing for thing in with_sync if thing["kind"] == "CronJob"]
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [own], replica = pod["containers"], container("production")
    assert own["args"] == ["knowledge", "sync"]
    for name in ("image", "envFrom", "securityContext"):
        assert own[name] == replica[name]
    for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert pod[name] == one("production", "Deployment")["spec"]["template"]["spec"][name]


def test_the_schedules_pods_are_none_of_the_services(with_sync: list[Json]) -> None:
    """Service, autoscaler and disruption budget count replicas only; the pods have a policy of their own."""
    [job] = [thing for thing in with_sync if thing["kind"] == "CronJob"]
    labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    selector = one("production", "Service")["spec"]["selector"]
    assert labels.items().isdisjoint(selector.items())
    policies = [thing["spec"] for thing in with_sync if thing["kind"] == "NetworkPolicy"]
    [own] = [policy for policy in policies if policy["podSelector"] == {"matchLabels": labels}]
    [replicas] = [policy for policy in policies if policy["podSelector"] == {"matchLabels": selector}]
    assert "ingress" not in own
    assert own["egress"][0] == replicas["egress"][0]
    assert [port["port"] for port in own["egress"][1]["ports"]] == [443, 5432]


@pytest.fixture
def with_servers(tmp_path: Path) -> list[Json]:
    """Production with the e-mail and calendar servers, as the docs say."""
    folder = shutil.copytree(DEPLOY / "k8s", tmp_path / "k8s")
    [said] = [block for _, block in blocks((REPOSITORY / "docs/mcp.md").read_text()) if "replicas:" in block]
    with (folder / "production/kustomization.yaml").open("a") as file:
        file.write(said)
    return kustomize(folder / "production")


def deployments(things: list[Json]) -> dict[str, Json]:
    return {thing["metadata"]["name"]: thing["spec"] for thing in things if thing["kind"] == "Deployment"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_without_their_settings_no_pod_of_the_servers_is_started(name: str) -> None:
    """A team that has set up no mail and no calendar server has pods of the service alone, and all become ready."""
    servers = deployments(overlay(name))
    assert "replicas" not in servers.pop("support-agent")
    assert {server: spec["replicas"] for server, spec in servers.items()} == {
        "support-agent-email": 0,
        "support-agent-calendar": 0,
    }
    assert "SUPPORT_MCP_SERVERS" not in one(name, "ConfigMap")["data"]


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_servers_are_accepted(with_servers: list[Json], version: str) -> None:
    """One of each runs what the image has, with the replicas' rights; a new one starts after the old one has ended."""
    for thing in with_servers:
        kubernetes_validate.validate(thing, version, strict=True)
    found = deployments(with_servers)
    replica = found.pop("support-agent")["template"]["spec"]
    assert set(found) == {"support-agent-email", "support-agent-calendar"}
    for name, spec in found.items():
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        pod = spec["template"]["spec"]
        [own] = pod["containers"]
        assert own["image"] == "ghcr.io/example/support-agent-servers:v0.1.0"
        assert own["args"] == [f"mcp_servers.{name.removeprefix('support-agent-')}"]
        assert own["envFrom"] == [{"secretRef": {"name": name}}]
        assert own["securityContext"] == replica["containers"][0]["securityContext"]
        for field in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
            assert pod[field] == replica[field]


def test_the_service_reaches_the_servers_by_their_names(with_servers: list[Json]) -> None:
    """Its addresses are their Services, whose names they allow; its policy lets it out, and theirs lets it alone in."""
    [said] = [thing["data"] for thing in with_servers if thing["kind"] == "ConfigMap"]
    policies = {thing["metadata"]["name"]: thing["spec"] for thing in with_servers if thing["kind"] == "NetworkPolicy"}
    [out] = [rule for rule in policies["support-agent"]["egress"] if "podSelector" in rule["to"][0]]
    names: list[str] = []
    for pair in said["SUPPORT_MCP_SERVERS"].split(","):
        name, _, url = pair.partition("=")
        port = httpx.URL(url).port
        names.append(httpx.URL(url).host)
        [service] = [one for one in with_servers if one["kind"] == "Service" and one["metadata"]["name"] == names[-1]]
        [pod] = [one for one in with_servers if one["kind"] == "Deployment" and one["metadata"]["name"] == names[-1]]
        labels = pod["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"] == labels == pod["spec"]["selector"]["matchLabels"]
        [own] = pod["spec"]["template"]["spec"]["containers"]
        assert service["spec"]["ports"][0]["port"] == own["ports"][0]["containerPort"] == port
        assert {"port": port} in out["ports"]
        assert own["env"] == [{"name": f"MCP_{name.upper()}_ALLOWED_HOSTS", "value": names[-1]}]
        assert labels["app.kubernetes.io/name"] in out["to"][0]["podSelector"]["matchExpressions"][0]["values"]
    own_policy = policies["support-agent-servers"]
    assert own_policy["podSelector"]["matchExpressions"][0]["values"] == names
    [rule] = own_policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "support-agent"}}}]
    assert own_policy["egress"][0] == policies["support-agent"]["egress"][0]
