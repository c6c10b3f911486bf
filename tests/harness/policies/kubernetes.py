"""Rules for Kubernetes and for the pages about deployment, and for each rule a mistake that breaks it."""

import re
import tempfile
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

from harness.policies.descriptions import (
    ADAPTER,
    ANY,
    DOCS,
    ENOUGH,
    GROWS,
    KUBERNETES,
    LISTENS,
    NO_KEY,
    NO_STRANGERS,
    PATIENT,
    STARTS,
    Files,
    Judge,
    Rules,
    at,
    named,
    page,
    port,
    probed,
    variables,
)
from harness.programs import kustomize
from harness.targets import SERVERS

RESOLVERS = ("169.254.20.10", "169.254.169.254")
METADATA = RESOLVERS[1]
DNS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
LET_IN = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["traefik", "monitoring"]}


@cache
def rendered(overlay: str, *texts: tuple[str, str]) -> dict[str, Any]:
    """Return the service's own objects of an overlay by their kinds."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_text(text)
        things = kustomize(Path(folder, KUBERNETES, overlay))
    return {thing["kind"]: thing for thing in things if thing["metadata"]["name"] not in SERVERS}


def reaches(policy: Any, address: str, port: int, protocol: str = "TCP") -> bool:
    """Return whether a NetworkPolicy allows egress to an address outside the cluster."""
    where = ip_address(address)
    return any(
        where in ip_network(block["cidr"]) and not any(where in ip_network(one) for one in block.get("except", []))
        for rule in policy["egress"]
        if any((to["port"], to.get("protocol", "TCP")) == (port, protocol) for to in rule["ports"])
        for to in rule["to"]
        if (block := to.get("ipBlock"))
    )


def overlay(things: dict[str, Any], files: Files) -> Rules:
    said = page(files, "kubernetes")
    [turns] = re.findall(r"`support_agent_active_runs`\): (\d+) per pod", said)
    ports = re.findall(r"\d+", re.findall(r"may reach DNS\s+and the ports ([\d, and]+)", said)[0])
    pod = at(things, "Deployment spec template spec")
    container = at(pod, "containers 0")
    policy = things["NetworkPolicy"]["spec"]
    service = things["Service"]["spec"]
    ingress = things["Ingress"]["spec"]
    scaled = things["HorizontalPodAutoscaler"]["spec"]
    [listens], [served] = container["ports"], service["ports"]
    backend = {"name": at(things, "Service metadata name"), "port": {"name": served["name"]}}
    probes = probed(container, listens["name"])
    return {
        **variables([*things["ConfigMap"]["data"].items(), *named(container.get("env"))]),
        **probes,
        LISTENS: probes[LISTENS]
        and listens["containerPort"] == port(files)
        and served["targetPort"] == listens["name"]
        and at(policy, "ingress 0 ports") == [{"port": listens["name"]}]
        and at(ingress, "rules 0 http paths 0 backend service") == backend,
        GROWS: scaled["maxReplicas"] >= 2 * scaled["minReplicas"],
        "pods are added where the docs say": turns
        in [at(one, "pods target averageValue") for one in scaled["metrics"]],
        "the autoscaler alone says how many": scaled["scaleTargetRef"]
        == {"apiVersion": "apps/v1", "kind": "Deployment", "name": at(things, "Deployment metadata name")}
        and "replicas" not in things["Deployment"]["spec"],
        "the ingress gets its certificate": bool(at(ingress, "tls 0 secretName"))
        and "cert-manager.io/cluster-issuer" in things["Ingress"]["metadata"].get("annotations", {}),
        "pods reach what the docs say": all(
            reaches(policy, address, int(each)) for address in ("10.0.0.1", "203.0.113.1") for each in ports
        ),
        "the proxies hear of an end before it comes": at(container, "lifecycle preStop sleep seconds") >= 5,
        ANY: service.get("sessionAffinity", "None") == "None",
        "the ingress alone leads in": service.get("type", "ClusterIP") == "ClusterIP" and "externalIPs" not in service,
        "only the proxy and Prometheus are let in": policy["ingress"]
        == [{"from": [{"namespaceSelector": {"matchExpressions": [LET_IN]}}], "ports": [{"port": "http"}]}],
        "names are found on every cluster": all(
            reaches(policy, address, 53, protocol) for address in RESOLVERS for protocol in ("TCP", "UDP")
        )
        and any(DNS in rule["to"] for rule in policy["egress"] if {"port": 53, "protocol": "UDP"} in rule["ports"]),
        "the cloud's metadata is out of reach": not any(reaches(policy, METADATA, port) for port in (80, 443, 8080)),
        "pods share nothing with their node": not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()
        and not any("hostPort" in port for port in container["ports"]),
        "a node's end leaves pods": at(things, "PodDisruptionBudget spec maxUnavailable") == 1,
        "a roll-out leaves pods": at(things, "Deployment spec strategy rollingUpdate maxUnavailable") == 0,
        "pods say what they need": all(
            at(container, f"resources {what}") for what in ("requests cpu", "requests memory", "limits memory")
        ),
        "the image is a release": bool(re.fullmatch(r"\S+:v\d+\.\d+\.\d+", container["image"])),
    }


def kubernetes(files: Files) -> Rules:
    texts = [(name, text) for name, text in files.items() if name.startswith(KUBERNETES)]
    both = [overlay(rendered(name, *texts), files) for name in ("staging", "production")]
    adapter = yaml.safe_load(files[ADAPTER])
    return {rule: all(each[rule] for each in both) for rule in both[0]} | {
        "the adapter asks the cluster's Prometheus": str(at(adapter, "prometheus url")).endswith(".monitoring.svc"),
        "the adapter hands on what each pod says": at(adapter, "rules custom 0 metricsQuery")
        == "sum by (<<.GroupBy>>) (<<.Series>>{<<.LabelMatchers>>})",
    }


def docs(files: Files) -> Rules:
    text = "".join(text for name, text in files.items() if name.startswith(DOCS))
    charts = re.findall(r"^helm install \S+ ([\w-]+)/", text, re.MULTILINE)
    ports = re.findall(r"\bPORT=(\d+)|--port=(\d+)|-p (\d+):(\d+)", text)
    return {
        LISTENS: {each for found in ports for each in found if each} == {str(port(files))},
        "Helm knows its charts": all(f"helm repo add {name} https://" in text for name in charts),
    }


PLATFORMS: dict[str, Judge] = {
    KUBERNETES: kubernetes,
    DOCS: docs,
}

DEPLOYMENT, POLICY = f"{KUBERNETES}base/deployment.yaml", f"{KUBERNETES}base/networkpolicy.yaml"
MAP, SERVICE = f"{KUBERNETES}base/kustomization.yaml", f"{KUBERNETES}base/service.yaml"
HPA, INGRESS = f"{KUBERNETES}base/hpa.yaml", f"{KUBERNETES}base/ingress.yaml"
ALONE = "the autoscaler alone says how many"
CERTIFICATE = "the ingress gets its certificate"
HANDS_ON = "the adapter hands on what each pod says"
TIGHT = "timeoutSeconds: 1\n            failureThreshold: 3"

# A file, a correct text in it, a mistake to replace it, and the rule that breaks
MISTAKES = [
    (MAP, "production", "production\n      - OPENAI_API_KEY=sk-1", NO_KEY),
    (MAP, "production", "production\n      - SUPPORT_ALLOW_ANONYMOUS=true", NO_STRANGERS),
    (
        DEPLOYMENT,
        "          envFrom:",
        "          env: [{name: REDIS_URL, value: redis://a}]\n          envFrom:",
        NO_KEY,
    ),
    (DEPLOYMENT, "    spec:\n", "    spec:\n      hostNetwork: true\n", "pods share nothing with their node"),
    (DEPLOYMENT, "    spec:\n", "    spec:\n      hostPID: true\n", "pods share nothing with their node"),
    (DEPLOYMENT, "maxUnavailable: 0", "maxUnavailable: 100%", "a roll-out leaves pods"),
    (DEPLOYMENT, "          resources:", "          x-resources:", "pods say what they need"),
    (f"{KUBERNETES}base/pdb.yaml", "maxUnavailable: 1", "maxUnavailable: 100%", "a node's end leaves pods"),
    (
        f"{KUBERNETES}staging/kustomization.yaml",
        "agent\n    newTag: v0.1.0",
        "agent\n    newTag: main",
        "the image is a release",
    ),
    (SERVICE, "spec:\n", "spec:\n  type: LoadBalancer\n", "the ingress alone leads in"),
    (SERVICE, "spec:\n", "spec:\n  sessionAffinity: ClientIP\n", ANY),
    (SERVICE, "targetPort: http", "targetPort: 80", LISTENS),
    (SERVICE, "- name: http", "- name: web", LISTENS),
    (DEPLOYMENT, "- name: http", "- name: web", LISTENS),
    (DEPLOYMENT, "containerPort: 8000", "containerPort: 8080", LISTENS),
    (INGRESS, "      secretName: support-agent-tls\n", "", CERTIFICATE),
    (INGRESS, "cert-manager.io/cluster-issuer", "cert-manager.io/issuer-kind", CERTIFICATE),
    (HPA, 'averageValue: "30"', 'averageValue: "300"', "pods are added where the docs say"),
    (HPA, "kind: Deployment\n    name: support-agent", "kind: Deployment\n    name: api", ALONE),
    (HPA, "kind: Deployment", "kind: StatefulSet", ALONE),
    (DEPLOYMENT, "  revisionHistoryLimit", "  replicas: 2\n  revisionHistoryLimit", ALONE),
    (HPA, "maxReplicas: 10", "maxReplicas: 1", GROWS),
    (HPA, "maxReplicas: 10", "maxReplicas: 2", GROWS),
    (DEPLOYMENT, "failureThreshold: 60", "failureThreshold: 5", STARTS),
    (DEPLOYMENT, "timeoutSeconds: 3\n            failureThreshold: 3", TIGHT, PATIENT),
    (DEPLOYMENT, "failureThreshold: 3", "failureThreshold: 1", PATIENT),
    (DEPLOYMENT, "memory: 1Gi", "memory: 256Mi", ENOUGH),
    (DEPLOYMENT, "seconds: 5", "seconds: 1", "the proxies hear of an end before it comes"),
    *((POLICY, f"        - port: {each}\n", "", "pods reach what the docs say") for each in (443, 6379, 5432, 4318)),
    (POLICY, "kube-system", "kube-public", "names are found on every cluster"),
    (ADAPTER, "(<<.Series>>{<<.LabelMatchers>>})", "(rate(<<.Series>>{<<.LabelMatchers>>}[2m]))", HANDS_ON),
    (POLICY, "  ingress:\n", "  ingress:\n    - {}\n", "only the proxy and Prometheus are let in"),
    (POLICY, "169.254.20.10", "169.254.20.11", "names are found on every cluster"),
    (POLICY, "169.254.169.254", "169.254.169.253", "names are found on every cluster"),
    (POLICY, "except: [169.254.0.0/16]", "except: []", "the cloud's metadata is out of reach"),
    (ADAPTER, "  url:", "  x-url:", "the adapter asks the cluster's Prometheus"),
    (f"{DOCS}/railway.md", "PORT=8000", "PORT=8080", LISTENS),
    (f"{DOCS}/kubernetes.md", "helm repo add prometheus-community", "helm repo add stable", "Helm knows its charts"),
]
