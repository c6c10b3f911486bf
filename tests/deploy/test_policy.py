"""What descriptions may not say though their platforms accept it: rules, and for each a mistake that breaks it."""

import ast
import json
import re
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.drain import GRACE
from conftest import REPOSITORY
from harness.caddy import adapted
from harness.image import instructions
from harness.planting import plant
from harness.programs import kustomize

Files = dict[str, str]
"""The text of each description, by its path."""

Rules = dict[str, bool]
"""Whether each rule is kept."""

DOCS = "docs/deploy.md"
COMPOSE = "docker-compose.yml"
CADDYFILE = "deploy/caddy/Caddyfile"
SECRETS = "deploy/compose/secrets.sh"
SCRAPING = "deploy/compose/prometheus.yml"
KUBERNETES = "deploy/k8s/"
ADAPTER = f"{KUBERNETES}prometheus-adapter.yaml"
ECS = "deploy/ecs/"
ECS_SCRIPT = ".github/scripts/targets/ecs.sh"
CLOUD_RUN = "deploy/cloudrun/service.yaml"
RENDER = "deploy/render.yaml"
RAILWAY = "deploy/railway.json"
MODAL = "deploy/modal_app.py"
GRAFANA = "deploy/grafana/"
SOURCE = f"{GRAFANA}provisioning/datasources/prometheus.yml"
DASHBOARDS = f"{GRAFANA}provisioning/dashboards/support-agent.yml"


@cache
def committed() -> Files:
    kinds = ("Caddyfile", "*.json", "*.py", "*.yaml", "*.yml")
    files = [file for kind in kinds for file in (REPOSITORY / "deploy").rglob(kind)]
    names = [DOCS, COMPOSE, SECRETS, ECS_SCRIPT, "Dockerfile", *(str(file.relative_to(REPOSITORY)) for file in files)]
    return {name: (REPOSITORY / name).read_text() for name in names}


def at(thing: Any, way: str) -> Any:
    """Return what is there, by names and numbers with blanks between them; None where nothing is."""
    for step in way.split():
        try:
            thing = thing[int(step) if isinstance(thing, list) else step]
        except (KeyError, IndexError, TypeError):
            return None
    return thing


# What is said in several of them

NO_KEY = "no key is written down"
NO_STRANGERS = "strangers are not let in"
SIGTERM = "SIGTERM is what ends it"
RESTARTS = "what ends is started again"
ANY = "any instance serves any request"
LISTENS = "it is asked where the image listens"
STARTS = "a start may take a minute"
PATIENT = "one slow answer ends nothing"
ENOUGH = "it has the memory that it takes"
BUILT = "it is built by the Dockerfile that there is"
GROWS = "there is room for more of them"
MEMORY = 512
"""Megabytes that an instance takes at least."""

KEY = re.compile(r"KEY|PASSWORD(?!_+FILE)|SECRET|TOKEN|(REDIS|DATABASE)_URL")


def variables(given: Iterable[tuple[str, Any]]) -> Rules:
    """What is true of every environment; a value that is filled in later is none."""
    written = [(name, str(value)) for name, value in given if value is not None and not str(value).startswith("${")]
    return {
        NO_KEY: not [name for name, _ in written if KEY.search(name)],
        NO_STRANGERS: all(value.lower() == "false" for name, value in written if name == "SUPPORT_ALLOW_ANONYMOUS"),
    }


def megabytes(size: Any) -> int:
    """Return how much 1Gi, 512M or 384mb is."""
    found = re.fullmatch(r"(\d+)([gm])i?b?", str(size).lower())
    return int(found[1]) * (1024 if found[2] == "g" else 1) if found else 0


def port(files: Files) -> int:
    """Return where the image's command listens."""
    return int(re.findall(r'^CMD .*"--port", "(\d+)"', files["Dockerfile"], re.MULTILINE)[0])


def probed(container: Any, where: str | int) -> Rules:
    """What is true of a container that is asked by probes."""
    start, lives = container["startupProbe"], container["livenessProbe"]
    probes = [value for name, value in container.items() if name.endswith("Probe")]
    return {
        LISTENS: {probe["httpGet"]["port"] for probe in probes} == {where},
        STARTS: 60 <= start["periodSeconds"] * start["failureThreshold"] <= 240,  # which is Cloud Run's limit
        PATIENT: lives["timeoutSeconds"] >= 2
        and lives["failureThreshold"] >= 2
        and lives["periodSeconds"] * lives["failureThreshold"] >= 20,
        ENOUGH: megabytes(at(container, "resources limits memory")) >= MEMORY,
    }


def section(files: Files, title: str) -> str:
    """Return what the docs say of a platform."""
    return files[DOCS].partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def named(pairs: list[dict[str, str]] | None, name: str = "name") -> list[tuple[str, str | None]]:
    """Return names and plain values of a list of variables."""
    return [(pair[name], pair.get("value")) for pair in pairs or []]


# The image

CHMOD = "chmod -R u=rwX,go=rX lib knowledge deploy"
SETS = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONUNBUFFERED", "SUPPORT_ENV"}


def image(files: Files) -> Rules:
    steps = instructions(files["Dockerfile"])
    last = steps[max(index for index, step in enumerate(steps) if step.name == "FROM") :]
    runs = [step.value[0] for step in steps if step.name == "RUN"]
    only = {step.name: step for step in steps}
    check, labels = only["HEALTHCHECK"], only["LABEL"].pairs
    bases = dict(step.value[0].split("=") for step in steps if step.name == "ARG" and "BASE=" in step.value[0])
    return {
        SIGTERM: "STOPSIGNAL" not in only,
        LISTENS: ip_address(dict(pairwise(only["CMD"].value))["--host"]).is_unspecified
        and only["EXPOSE"].value == (str(port(files)),)
        and f"('127.0.0.1', {port(files)}, " in check.value[-1],
        "both bases are of one Python": bases["BUILD_BASE"] == bases["BASE"].replace("-slim", ""),
        "its labels are what they are called": all(
            labels[f"org.opencontainers.image.{name}"] == f"${{{name.upper()}}}"
            for name in ("version", "revision", "source")
        ),
        "it is healthy while /health answers": "'/health'" in check.value[-1],
        "it is asked every few seconds": any(re.fullmatch(r"--interval=[12]?\ds", flag) for flag in check.flags),
        "it lets nobody write": [run for run in runs if "chmod" in run] == [CHMOD],
        "it has no setting but its kind": {name for step in last if step.name == "ENV" for name in step.pairs} == SETS,
        "every platform's builder takes it": not [
            step
            for step in steps
            for flag in step.flags
            if step.name in ("ADD", "COPY", "RUN") and "--from" not in flag
        ],
        "it runs nothing that it was just handed": not [run for run in runs if re.search(r"\b(curl|wget)\b|://", run)],
    }


# One machine

RIGHTS = {"privileged", "user", "pid", "ipc", "uts", "userns_mode", "devices", "group_add", "volumes_from"}
IMAGES = {"caddy": "caddy:2", "redis": "redis:8", "postgres": "pgvector/pgvector:pg17", "secrets": "redis:8"}
PING = 'REDISCLI_AUTH="$$(cat /run/secrets/password)" redis-cli ping | grep -q PONG'


def mounts(services: dict[str, Any], kind: str) -> list[tuple[str, str, str]]:
    """Return a service, what it mounts and where, of all that is mounted of a kind."""
    every = [(name, *volume.split(":")[:2]) for name in services for volume in services[name].get("volumes", [])]
    return [(name, what, where) for name, what, where in every if re.match(kind, what)]


def reached(file: Any, replicas: set[str]) -> bool:
    """Return whether services share a network with what they ask, or have one that leads out where they must."""
    services = file["services"]
    networks = {name: set(service.get("networks", [])) for name, service in services.items()}
    inside = {name for name, network in file["networks"].items() if network.get("internal")}
    asks = [(name, other) for name in services for other in services[name].get("depends_on", {}) if other != "secrets"]
    asks += [("prometheus", replica) for replica in replicas]
    outside = {name for name, service in services.items() if "ports" in service} | replicas
    return all(networks[name] & networks[other] for name, other in asks) and all(
        networks[name] - inside for name in outside
    )


def secrets(files: Files, services: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Return the secrets that are read where a service says so, and those that are written for that."""
    folders = {what: where for _, what, where in mounts({"secrets": services["secrets"]}, ".*-secrets")}
    texts = {name: json.dumps(service) for name, service in services.items()}
    texts["prometheus"] += files[SCRAPING]
    read = {
        f"{folders[what]}/{secret}"
        for name, what, where in mounts(services, ".*-secrets")
        for secret in re.findall(rf"{where}/([\w.]+)", texts[name])
        if name != "secrets"
    }
    written = re.findall(r"\b(?:password|secret) (\w+/[\w.]+)", files[SECRETS])
    return read, {f"/secrets/{secret}" for secret in written if not secret.startswith("api/")}


def compose(files: Files) -> Rules:
    file = yaml.safe_load(files[COMPOSE])
    services = file["services"]
    caddy, redis, postgres, grafana = (services[name] for name in ("caddy", "redis", "postgres", "grafana"))
    options = dict(pairwise(redis["command"]))
    user, database = (postgres["environment"][f"POSTGRES_{name}"] for name in ("USER", "DB"))
    read, written = secrets(files, services)
    replicas = dict(place.split(":") for place in caddy["environment"]["SUPPORT_REPLICAS"].split())
    dashboards = at(yaml.safe_load(files[DASHBOARDS]), "providers 0 options path")
    [source] = yaml.safe_load(files[SOURCE])["datasources"]
    [interval] = re.findall(r"health_interval (\d+)ms", files[CADDYFILE])
    notice = float(at(services, "api-1 environment SUPPORT_SHUTDOWN_NOTICE") or 0)
    environments = [variables(service.get("environment", {}).items()) for service in services.values()]
    lasting = [service for name, service in services.items() if name != "secrets"]
    return {
        NO_KEY: all(each[NO_KEY] for each in environments),
        RESTARTS: all(service.get("restart") == "unless-stopped" for service in lasting),
        SIGTERM: not [name for name, service in services.items() if "stop_signal" in service],
        LISTENS: set(replicas.values()) == {str(port(files))},
        "services reach what they need": reached(file, {*replicas}),
        "images have what is asked of them": {name: services[name]["image"] for name in IMAGES} == IMAGES,
        "what has no name is built here": all(services[name].get("build") == "." for name in replicas),
        "what watches starts when it is asked for": {
            name: service["profiles"] for name, service in services.items() if "profiles" in service
        }
        == {"prometheus": ["observe"], "grafana": ["observe"]},
        "files are where they are looked for": {what: where for _, what, where in mounts(services, r"\./")}
        == {
            "./deploy/caddy": "/etc/caddy",
            f"./{SECRETS}": services["secrets"]["entrypoint"][1],
            f"./{SCRAPING}": at(services, "prometheus command 0").removeprefix("--config.file="),
            "./deploy/prometheus/alerts.yml": at(yaml.safe_load(files[SCRAPING]), "rule_files 0"),
            "./deploy/grafana/provisioning": "/etc/grafana/provisioning",
            "./deploy/grafana/dashboard.json": f"{dashboards}/support-agent.json",
        },
        "secrets are read where they are written": read == written,
        "nothing that is kept lies in memory": not any(
            Path(memory.split(":")[0]).is_relative_to(where)
            for name, _, where in mounts(services, "")
            for memory in services[name].get("tmpfs", [])
        ),
        "containers have their image's user, and no rights": not any(
            RIGHTS & service.keys()
            or service.get("network_mode", "none") != "none"
            or "docker.sock" in str(service.get("volumes"))
            for service in services.values()
        ),
        "servers say how they are": all(at(service, "healthcheck") for service in lasting if service is not grafana),
        "Redis keeps what it holds": options.get("--appendonly") == "yes" and "redis:/data" in redis["volumes"],
        "Redis forgets nothing": options.get("--maxmemory-policy", "noeviction") == "noeviction",
        "Redis has room to write its file anew": megabytes(at(redis, "deploy resources limits memory"))
        >= 2 * megabytes(options["--maxmemory"]),
        "Redis is healthy while it answers": redis["healthcheck"]["test"] == ["CMD-SHELL", PING],
        "Redis wants a password": options["redis-server"] == "/run/secrets/redis.conf",
        "Postgres keeps what it holds": "postgres:/var/lib/postgresql/data" in postgres["volumes"],
        "Postgres wants a password": postgres["environment"].keys()
        == {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"},
        "Postgres is asked as who it knows": {f"--username={user}", f"--dbname={database}"}
        <= {*postgres["healthcheck"]["test"]},
        "Caddy keeps its certificates": "caddy:/data" in caddy["volumes"],
        "Caddy has a folder for its socket": "/config" in caddy.get("tmpfs", []),
        "Caddy needs no name": caddy["environment"]["SUPPORT_DOMAIN"] == "${SUPPORT_DOMAIN:-:80}",
        "Caddy knows of an end before it comes": notice >= 2 * float(interval) / 1000,
        "Grafana wants a password": not [name for name in grafana["environment"] if name.startswith("GF_AUTH")]
        and "GF_SECURITY_ADMIN_PASSWORD__FILE" in grafana["environment"],
        "Grafana finds Prometheus": f"{source['url'].removeprefix('http://prometheus')}/-/ready"
        in services["prometheus"]["healthcheck"]["test"][-1],
    }


@cache
def caddy_runs(text: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "Caddyfile")
        file.write_text(text)
        return adapted(file)


def caddy(files: Files) -> Rules:
    runs = caddy_runs(files[CADDYFILE])
    asked = re.findall(r'"active": \{[^}]*"uri": "([^"]*)"', json.dumps(runs))
    return {
        "nobody changes it while it runs": runs["admin"] == {"disabled": True},
        "requests have time to end": GRACE < (at(runs, "apps http grace_period") or 0) / 1e9 < 15,
        "requests go to who is ready": asked == ["/ready"],
        "it closes what is idle after its own two minutes": "keep_alive" not in json.dumps(runs),
    }


# Kubernetes

RESOLVERS = ("169.254.20.10", "169.254.169.254")
METADATA = RESOLVERS[1]
DNS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
LET_IN = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["traefik", "monitoring"]}


@cache
def rendered(overlay: str, *texts: tuple[str, str]) -> dict[str, Any]:
    """Return the objects of an overlay by their kinds."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_text(text)
        return {thing["kind"]: thing for thing in kustomize(Path(folder, KUBERNETES, overlay))}


def reaches(policy: Any, address: str, port: int, protocol: str = "TCP") -> bool:
    """Return whether a NetworkPolicy lets pods send to an address that is no pod's."""
    where = ip_address(address)
    return any(
        where in ip_network(block["cidr"]) and not any(where in ip_network(one) for one in block.get("except", []))
        for rule in policy["egress"]
        if any((to["port"], to.get("protocol", "TCP")) == (port, protocol) for to in rule["ports"])
        for to in rule["to"]
        if (block := to.get("ipBlock"))
    )


def overlay(things: dict[str, Any], files: Files) -> Rules:
    said = section(files, "Kubernetes")
    [turns] = re.findall(r"`support_agent_active_runs`, (\d+) a pod", said)
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
    text = files[DOCS]
    charts = re.findall(r"^helm install \S+ ([\w-]+)/", text, re.MULTILINE)
    ports = re.findall(r"\bPORT=(\d+)|--port=(\d+)|-p (\d+):(\d+)", text)
    return {
        LISTENS: {each for found in ports for each in found if each} == {str(port(files))},
        "Helm knows its charts": all(f"helm repo add {name} https://" in text for name in charts),
    }


# The clouds

FARGATE = {
    "256": (512, 1024, 2048),
    "512": range(1024, 4097, 1024),
    "1024": range(2048, 8193, 1024),
    "2048": range(4096, 16385, 1024),
    "4096": range(8192, 30721, 1024),
}
"""Megabytes that there are with each CPU; AWS: "Amazon ECS task definition parameters for Fargate"."""


def fargate(parts: dict[str, Any]) -> bool:
    """Return whether a task has a size and a processor that Fargate and the image have."""
    task = parts["task-definition.json"]
    return int(task["memory"]) in FARGATE.get(task["cpu"], ()) and task["runtimePlatform"] == {
        "cpuArchitecture": "X86_64",  # GitHub's machines build it
        "operatingSystemFamily": "LINUX",
    }


def ecs(files: Files) -> Rules:
    parts = {name.removeprefix(ECS): json.loads(text) for name, text in files.items() if name.startswith(ECS)}
    task, service, listener = parts["task-definition.json"], parts["service.json"], parts["listener.json"]
    balancer, group = parts["load-balancer.json"], parts["target-group.json"]
    [container] = task["containerDefinitions"]
    [tasks] = service["networkConfiguration"].values()
    moves = service["deploymentConfiguration"]
    attributes = {one["Key"]: one["Value"] for one in parts["target-group-attributes.json"]["Attributes"]}
    check = at(container, "healthCheck command")
    said = section(files, "ECS on Fargate") + files[ECS_SCRIPT]
    names = {
        "cluster(?:-name)?": {service["cluster"]},
        "services?": {service["serviceName"]},
        "task-definition": {task["family"], service["taskDefinition"]},
        "log-group-name": {at(container, "logConfiguration options awslogs-group")},
    }
    return {
        **variables(named(container["environment"])),
        LISTENS: f"http://127.0.0.1:{port(files)}/" in check[-1]
        and {at(container, "portMappings 0 containerPort"), group["Port"], at(service, "loadBalancers 0 containerPort")}
        == {port(files)},
        PATIENT: container["healthCheck"]["timeout"] < container["healthCheck"]["interval"]
        and group["HealthCheckTimeoutSeconds"] < group["HealthCheckIntervalSeconds"]
        and min(container["healthCheck"]["retries"], group["UnhealthyThresholdCount"]) >= 2,
        "Fargate has what it asks for": fargate(parts),
        "there are two": service["desiredCount"] >= 2,
        "docs and scripts call it by its names": all(
            set(re.findall(rf"--{option} ([\w/-]+)", said)) == named_here for option, named_here in names.items()
        ),
        "secrets are called as the settings are": all(
            one["valueFrom"] == f"${{SECRET_ARN}}:{one['name']}::" for one in container["secrets"]
        ),
        "the balancer alone is reached from outside": balancer["Scheme"] == "internet-facing"
        and all("{PUBLIC_" in subnet for subnet in balancer["Subnets"])
        and all("{PRIVATE_" in subnet for subnet in tasks["subnets"])
        and (balancer["SecurityGroups"], tasks["securityGroups"])
        == (["${BALANCER_SECURITY_GROUP}"], ["${TASK_SECURITY_GROUP}"]),
        ANY: attributes.get("stickiness.enabled") == "false",
        "it has no capability": at(container, "linuxParameters") == {"capabilities": {"drop": ["ALL"]}}
        and not container.get("privileged"),
        "it is checked by what the image has": check[:2] == ["CMD", "python"] and "/health'" in check[-1],
        "the balancer speaks TLS": listener["Protocol"] == "HTTPS" and "-TLS13-" in listener.get("SslPolicy", ""),
        "a deployment takes no task away first": moves["minimumHealthyPercent"] == 100
        and service["desiredCount"] * (moves["maximumPercent"] - 100) >= 100,
        "tasks have no public address": tasks["assignPublicIp"] == "DISABLED",
    }


SCALE = "autoscaling.knative.dev/"


def cloud_run(files: Files) -> Rules:
    service = yaml.safe_load(files[CLOUD_RUN])
    pod = at(service, "spec template spec")
    [container] = pod["containers"]
    said = section(files, "Cloud Run")
    options = dict(re.findall(r" --([\w-]+)=(\S+)", said))
    [created] = re.findall("for secret in (.*);", said)
    read = {one["name"]: at(one, "valueFrom secretKeyRef name") for one in container["env"] if "valueFrom" in one}
    told, scale = at(service, "metadata annotations"), at(service, "spec template metadata annotations")
    probes = probed(container, port(files))
    return {
        **variables(named(container["env"])),
        **probes,
        LISTENS: probes[LISTENS] and container["ports"] == [{"name": "http1", "containerPort": port(files)}],
        ANY: scale.get("run.googleapis.com/sessionAffinity", "false") == "false",
        GROWS: int(scale[f"{SCALE}maxScale"]) >= 2 * int(scale[f"{SCALE}minScale"]),
        "anybody reaches it": told["run.googleapis.com/ingress"] == "all"
        and told["run.googleapis.com/invoker-iam-disabled"] == "true",
        "secrets are those that the docs make": read == dict(re.findall(r"(\w+)=([\w-]+):latest", said))
        and {*read.values()} == {*created.split()},
        "the docs' options say the same": all(
            options[name] == str(value)
            for name, value in {
                "port": at(container, "ports 0 containerPort"),
                "memory": at(container, "resources limits memory"),
                "timeout": pod["timeoutSeconds"],
                "concurrency": pod["containerConcurrency"],
                "min-instances": scale[f"{SCALE}minScale"],
                "max-instances": scale[f"{SCALE}maxScale"],
            }.items()
        ),
        "it has an account of its own": str(pod.get("serviceAccountName")).startswith("support-agent@"),
        "requests go to the newest": at(service, "spec traffic") == [{"latestRevision": True, "percent": 100}],
    }


def render(files: Files) -> Rules:
    blueprint = yaml.safe_load(files[RENDER])
    services = {service["name"]: service for service in blueprint["services"]}
    given = [variables(named(service["envVars"], "key")) for service in services.values()]
    read = [at(one, "fromDatabase name") for one in services["support-agent"]["envVars"] if "fromDatabase" in one]
    return {
        **{rule: all(each[rule] for each in given) for rule in (NO_KEY, NO_STRANGERS)},
        LISTENS: ("PORT", str(port(files))) in named(services["support-agent"]["envVars"], "key"),
        GROWS: at(services, "support-agent numInstances") >= 2,
        BUILT: Path(services["support-agent"]["dockerfilePath"]) == Path("Dockerfile"),
        "they reach each other": len({one["region"] for one in [*services.values(), *blueprint["databases"]]}) == 1
        and {*read} == {one["name"] for one in blueprint["databases"]},
        "Postgres is not reached from outside": all(one.get("ipAllowList") == [] for one in blueprint["databases"]),
        "Redis is not reached from outside": at(services, "support-agent-redis type") == "pserv",
        "only what passed is deployed": at(services, "support-agent autoDeployTrigger") == "checksPass",
    }


def railway(files: Files) -> Rules:
    told = json.loads(files[RAILWAY])
    return {
        RESTARTS: at(told, "deploy restartPolicyType") == "ALWAYS",
        STARTS: at(told, "deploy healthcheckTimeout") >= 60,
        BUILT: at(told, "build dockerfilePath") == "Dockerfile",
        "the image says what starts": "startCommand" not in told["deploy"],
    }


def modal(files: Files) -> Rules:
    tree = ast.parse(files[MODAL])
    longest = re.findall(r"^_LONGEST = (\d+)", files[MODAL], re.MULTILINE)[0]
    words = [word for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords]
    values = {word.arg: ast.unparse(word.value).replace("_LONGEST", longest) for word in words}
    numbers = {name: float(value) for name, value in values.items() if re.fullmatch(r"[\d.]+", value)}
    written = [
        (key.value, ast.unparse(value).strip("'"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]
    return {
        **variables(written),
        ENOUGH: numbers["memory"] >= MEMORY,
        STARTS: numbers["startup_timeout"] >= 60,
        GROWS: numbers["max_containers"] >= 2 * numbers["min_containers"],
        "it has half a core": numbers["cpu"] >= 0.5,
        "a request may take what Modal gives it": numbers["timeout"] >= 150,
    }


# The rules

PLATFORMS: dict[str, Callable[[Files], Rules]] = {
    "Dockerfile": image,
    COMPOSE: compose,
    "deploy/compose/": compose,
    GRAFANA: compose,
    CADDYFILE: caddy,
    KUBERNETES: kubernetes,
    DOCS: docs,
    ECS: ecs,
    CLOUD_RUN: cloud_run,
    RENDER: render,
    RAILWAY: railway,
    MODAL: modal,
}
"""Who judges what lies there."""


def judge(place: str) -> Callable[[Files], Rules]:
    [found] = {rules for start, rules in PLATFORMS.items() if place.startswith(start)}
    return found


def broken(place: str, files: Files) -> set[str]:
    """Return the rules that the descriptions in a place break."""
    return {rule for rule, kept in judge(place)(files).items() if not kept}


@pytest.mark.parametrize("place", PLATFORMS)
def test_every_rule_is_kept(place: str) -> None:
    """By what is committed."""
    assert broken(place, committed()) == set()


DEPLOYMENT, POLICY = f"{KUBERNETES}base/deployment.yaml", f"{KUBERNETES}base/networkpolicy.yaml"
MAP, SERVICE = f"{KUBERNETES}base/kustomization.yaml", f"{KUBERNETES}base/service.yaml"
HPA, INGRESS = f"{KUBERNETES}base/hpa.yaml", f"{KUBERNETES}base/ingress.yaml"
TASK = f"{ECS}task-definition.json"
OWN_USER = "containers have their image's user, and no rights"
ENV = "it has no setting but its kind"
LABELS = "its labels are what they are called"
BASES = "both bases are of one Python"
REACH = "services reach what they need"
IMAGE = "images have what is asked of them"
PLACES = "files are where they are looked for"
PASSWORDS = "secrets are read where they are written"
HEALTHY = "Redis is healthy while it answers"
ALONE = "the autoscaler alone says how many"
CERTIFICATE = "the ingress gets its certificate"
SAME = "the docs' options say the same"
FITS = "Fargate has what it asks for"
CALLED = "docs and scripts call it by its names"
OUTSIDE = "the balancer alone is reached from outside"
HANDS_ON = "the adapter hands on what each pod says"
TIGHT = "timeoutSeconds: 1\n            failureThreshold: 3"

MISTAKES = [
    ("Dockerfile", "EXPOSE 8000", "EXPOSE 8000\nSTOPSIGNAL SIGKILL", SIGTERM),
    ("Dockerfile", '"0.0.0.0"', '"127.0.0.1"', LISTENS),
    ("Dockerfile", '"--port", "8000"', '"--port", "8080"', LISTENS),
    ("Dockerfile", "EXPOSE 8000", "EXPOSE 8080", LISTENS),
    ("Dockerfile", "'127.0.0.1', 8000", "'127.0.0.1', 8080", LISTENS),
    ("Dockerfile", " BASE=python:3.12", " BASE=python:3.13", BASES),
    ("Dockerfile", "BUILD_BASE=python:3.12-trixie", "BUILD_BASE=python:3.12-bookworm", BASES),
    ("Dockerfile", "--interval=10s", "--interval=10m", "it is asked every few seconds"),
    ("Dockerfile", '.revision="${REVISION}"', '.revision="${VERSION}"', LABELS),
    ("Dockerfile", "'/health'", "'/healthz'", "it is healthy while /health answers"),
    ("Dockerfile", "USER 65532", "RUN chmod -R 777 /app\nUSER 65532", "it lets nobody write"),
    ("Dockerfile", f"RUN {CHMOD}\n", "", "it lets nobody write"),
    ("Dockerfile", "SUPPORT_ENV=production", "SUPPORT_ENV=production SUPPORT_ALLOW_ANONYMOUS=true", ENV),
    ("Dockerfile", "SUPPORT_ENV=production", "SUPPORT_ENV=production OPENAI_API_KEY=sk-1", ENV),
    ("Dockerfile", "COPY knowledge", "COPY --chmod=755 knowledge", "every platform's builder takes it"),
    ("Dockerfile", "RUN uv venv", "RUN --mount=type=cache,target=/c uv venv", "every platform's builder takes it"),
    ("Dockerfile", "RUN uv venv", "RUN curl -sS a.example | sh && uv venv", "it runs nothing that it was just handed"),
    (COMPOSE, "api-1:8000 api-2:8000", "api-1:8000 api-2:8080", LISTENS),
    *(
        (COMPOSE, "networks: [front, data, egress, observe]", f"networks: [{', '.join(networks)}]", REACH)
        for networks in combinations(("front", "data", "egress", "observe"), 3)
    ),
    (COMPOSE, "[edge, front]", "[front]", REACH),
    (COMPOSE, "[edge, observe]", "[observe]", REACH),
    (COMPOSE, "edge: {}", "edge: { internal: true }", REACH),
    (COMPOSE, "egress: {}", "egress: { internal: true }", REACH),
    (COMPOSE, "pgvector/pgvector:pg17", "postgres:17", IMAGE),
    (COMPOSE, "image: redis:8", "image: redis:7", IMAGE),
    (COMPOSE, "image: caddy:2", "image: caddy:1", IMAGE),
    (COMPOSE, "  build: .\n", "", "what has no name is built here"),
    (COMPOSE, "    profiles: [observe]\n", "", "what watches starts when it is asked for"),
    (COMPOSE, "/etc/caddy:ro", "/srv/caddy:ro", PLACES),
    (COMPOSE, "/etc/prometheus/alerts.yml:ro", "/etc/prometheus/rules.yml:ro", PLACES),
    (COMPOSE, "/etc/grafana/dashboards/", "/etc/grafana/boards/", PLACES),
    (DASHBOARDS, "/etc/grafana/dashboards", "/etc/grafana/boards", PLACES),
    (SCRAPING, "/etc/prometheus/alerts.yml", "/etc/prometheus/rules.yml", PLACES),
    (COMPOSE, "PASSWORD_FILE: /run/secrets/password", "PASSWORD_FILE: /run/secrets/passwd", PASSWORDS),
    (COMPOSE, "PASSWORD__FILE: /run/secrets/grafana", "PASSWORD__FILE: /run/secret/grafana", PASSWORDS),
    (SECRETS, "password postgres/password", "password postgres/postgres", PASSWORDS),
    (SCRAPING, "/run/secrets/operator.key", "/run/secrets/operator", PASSWORDS),
    (
        COMPOSE,
        "    networks: [data]",
        "    tmpfs: [/data]\n    networks: [data]",
        "nothing that is kept lies in memory",
    ),
    (COMPOSE, "memory: 768M", "memory: 512M", "Redis has room to write its file anew"),
    (COMPOSE, 'REDISCLI_AUTH="$$(cat /run/secrets/password)" ', "", HEALTHY),
    (COMPOSE, "grep -q PONG", "grep -q PING", HEALTHY),
    (COMPOSE, "--username=agent", "--username=postgres", "Postgres is asked as who it knows"),
    (COMPOSE, "    tmpfs: [/config]\n", "", "Caddy has a folder for its socket"),
    (COMPOSE, ":-:80}", ":-localhost}", "Caddy needs no name"),
    (COMPOSE, "ADMIN_PASSWORD__FILE", "ADMIN_PASSWORD_FILE", "Grafana wants a password"),
    (COMPOSE, "  read_only: true", '  read_only: true\n  user: "0"', OWN_USER),
    (COMPOSE, "  read_only: true", "  read_only: true\n  privileged: true", OWN_USER),
    (COMPOSE, "    networks: [data]", "    network_mode: host", OWN_USER),
    (COMPOSE, "./deploy/caddy:/etc/caddy", "/var/run/docker.sock:/var/run/docker.sock", OWN_USER),
    (COMPOSE, "  restart: unless", "  stop_signal: SIGKILL\n  restart: unless", SIGTERM),
    (COMPOSE, "    SUPPORT_API_KEYS:\n", "    OPENAI_API_KEY: sk-1\n", NO_KEY),
    (COMPOSE, "  restart: unless-stopped\n", "", RESTARTS),
    (COMPOSE, '--appendonly, "yes"', '--appendonly, "no"', "Redis keeps what it holds"),
    (COMPOSE, "- redis:/data", "- redis:/var/lib/redis", "Redis keeps what it holds"),
    (COMPOSE, "384mb]", "384mb, --maxmemory-policy, allkeys-lru]", "Redis forgets nothing"),
    (COMPOSE, "redis-server, /run/secrets/redis.conf, ", "redis-server, ", "Redis wants a password"),
    (COMPOSE, "postgres:/var/lib/postgresql/data", "postgres:/var/lib/pgsql", "Postgres keeps what it holds"),
    (COMPOSE, "POSTGRES_DB:", "POSTGRES_HOST_AUTH_METHOD: trust\n      POSTGRES_DB:", "Postgres wants a password"),
    (COMPOSE, "caddy:/data #", "caddy:/srv #", "Caddy keeps its certificates"),
    (COMPOSE, 'SHUTDOWN_NOTICE: "1.5"', 'SHUTDOWN_NOTICE: "0"', "Caddy knows of an end before it comes"),
    (COMPOSE, "    healthcheck: # any", "    x-healthcheck: # any", "servers say how they are"),
    (COMPOSE, "GF_ANALYTICS_", 'GF_AUTH_ANONYMOUS_ENABLED: "true"\n      GF_ANALYTICS_', "Grafana wants a password"),
    (SOURCE, ":9090", ":9091", "Grafana finds Prometheus"),
    (CADDYFILE, "admin off", "admin 0.0.0.0:2019", "nobody changes it while it runs"),
    (CADDYFILE, "grace_period 10s\n", "", "requests have time to end"),
    (CADDYFILE, "/ready\n", "/health\n", "requests go to who is ready"),
    (CADDYFILE, "dial_timeout 500ms", "keepalive 15m", "it closes what is idle after its own two minutes"),
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
    (f"{KUBERNETES}staging/kustomization.yaml", "v0.1.0", "main", "the image is a release"),
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
    (DOCS, "PORT=8000", "PORT=8080", LISTENS),
    (DOCS, "helm repo add prometheus-community", "helm repo add stable", "Helm knows its charts"),
    (TASK, '"environment": [', '"environment": [{ "name": "OPENAI_API_KEY", "value": "sk-1" }, ', NO_KEY),
    (TASK, '"environment": [', '"environment": [{ "name": "SUPPORT_ALLOW_ANONYMOUS", "value": "1" }, ', NO_STRANGERS),
    (TASK, '{ "drop": ["ALL"] }', "{}", "it has no capability"),
    (TASK, '"CMD",\n          "python"', '"CMD",\n          "curl"', "it is checked by what the image has"),
    (TASK, '"containerPort": 8000', '"containerPort": 8080', LISTENS),
    (TASK, "127.0.0.1:8000", "127.0.0.1:8080", LISTENS),
    (TASK, '"timeout": 5', '"timeout": 10', PATIENT),
    (f"{ECS}target-group.json", '"HealthCheckTimeoutSeconds": 5', '"HealthCheckTimeoutSeconds": 10', PATIENT),
    (TASK, '"retries": 3', '"retries": 1', PATIENT),
    (TASK, '"memory": "1024"', '"memory": "512"', FITS),
    (TASK, '"cpu": "512"', '"cpu": "600"', FITS),
    (TASK, "X86_64", "ARM64", FITS),
    (TASK, ":REDIS_URL::", ":REDIS_ADDRESS::", "secrets are called as the settings are"),
    (TASK, '"family": "support-agent"', '"family": "agent"', CALLED),
    (TASK, "/ecs/support-agent", "/ecs/agent", CALLED),
    (f"{ECS}service.json", '"cluster": "support-agent"', '"cluster": "default"', CALLED),
    (f"{ECS}service.json", '"serviceName": "support-agent"', '"serviceName": "agent"', CALLED),
    (f"{ECS}service.json", '"desiredCount": 2', '"desiredCount": 1', "there are two"),
    (f"{ECS}service.json", '"maximumPercent": 200', '"maximumPercent": 100', "a deployment takes no task away first"),
    (f"{ECS}service.json", "PRIVATE_SUBNET_A", "PUBLIC_SUBNET_A", OUTSIDE),
    (f"{ECS}load-balancer.json", "PUBLIC_SUBNET_A", "PRIVATE_SUBNET_A", OUTSIDE),
    (f"{ECS}load-balancer.json", "internet-facing", "internal", OUTSIDE),
    (f"{ECS}listener.json", '"HTTPS"', '"HTTP"', "the balancer speaks TLS"),
    (f"{ECS}service.json", 'Percent": 100', 'Percent": 0', "a deployment takes no task away first"),
    (f"{ECS}service.json", '"DISABLED"', '"ENABLED"', "tasks have no public address"),
    (f"{ECS}target-group-attributes.json", '"false"', '"true"', ANY),
    (CLOUD_RUN, "value: production", "value: production\n            - {name: OPENAI_API_KEY, value: sk-1}", NO_KEY),
    (
        CLOUD_RUN,
        "SUPPORT_ENV\n              value: production",
        "SUPPORT_ALLOW_ANONYMOUS\n              value: yes",
        NO_STRANGERS,
    ),
    (CLOUD_RUN, "      serviceAccountName:", "      x-account:", "it has an account of its own"),
    (CLOUD_RUN, "containerPort: 8000", "containerPort: 8080", LISTENS),
    (CLOUD_RUN, "name: http1", "name: h2c", LISTENS),
    (CLOUD_RUN, "port: 8000", "port: 8080", LISTENS),
    (CLOUD_RUN, "failureThreshold: 60", "failureThreshold: 121", STARTS),
    (CLOUD_RUN, "failureThreshold: 60", "failureThreshold: 5", STARTS),
    (CLOUD_RUN, "failureThreshold: 3", "failureThreshold: 1", PATIENT),
    (CLOUD_RUN, "memory: 1Gi", "memory: 256Mi", ENOUGH),
    (CLOUD_RUN, f"{SCALE}maxScale:", f"run.googleapis.com/sessionAffinity: 'true'\n        {SCALE}maxScale:", ANY),
    (CLOUD_RUN, 'maxScale: "10"', 'maxScale: "1"', GROWS),
    (CLOUD_RUN, 'maxScale: "10"', 'maxScale: "100"', SAME),
    (CLOUD_RUN, "containerConcurrency: 100", "containerConcurrency: 1", SAME),
    (CLOUD_RUN, "ingress: all", "ingress: internal", "anybody reaches it"),
    (CLOUD_RUN, 'disabled: "true"', 'disabled: "false"', "anybody reaches it"),
    (CLOUD_RUN, "name: redis-url", "name: redis", "secrets are those that the docs make"),
    (CLOUD_RUN, "percent: 100", "percent: 1", "requests go to the newest"),
    (RENDER, "KEY\n        sync: false", "KEY\n        value: sk-1", NO_KEY),
    (RENDER, "SUPPORT_ENV\n        value: production", "SUPPORT_ALLOW_ANONYMOUS\n        value: true", NO_STRANGERS),
    (RENDER, "ipAllowList: []", "ipAllowList: [{ source: 0.0.0.0/0 }]", "Postgres is not reached from outside"),
    (RENDER, "    ipAllowList: []\n", "", "Postgres is not reached from outside"),
    (RENDER, "type: pserv", "type: web", "Redis is not reached from outside"),
    (RENDER, 'value: "8000"', 'value: "10000"', LISTENS),
    (RENDER, "numInstances: 2", "numInstances: 1", GROWS),
    (RENDER, "./Dockerfile", "./deploy/Dockerfile", BUILT),
    (RENDER, "region: frankfurt", "region: oregon", "they reach each other"),
    (RENDER, "name: support-agent-articles", "name: support-agent-db", "they reach each other"),
    (RENDER, "checksPass", "commit", "only what passed is deployed"),
    (RAILWAY, "ALWAYS", "NEVER", RESTARTS),
    (RAILWAY, '"Dockerfile"', '"deploy/Dockerfile"', BUILT),
    (RAILWAY, '"healthcheckTimeout": 120', '"healthcheckTimeout": 30', STARTS),
    (RAILWAY, '"overlap', '"startCommand": "support-agent serve", "overlap', "the image says what starts"),
    (MODAL, '"production",', '"production", "OPENAI_API_KEY": "sk-1",', NO_KEY),
    (MODAL, '"production",', '"production", "SUPPORT_ALLOW_ANONYMOUS": "true",', NO_STRANGERS),
    (MODAL, "memory=1024", "memory=256", ENOUGH),
    (MODAL, "startup_timeout=120", "startup_timeout=30", STARTS),
    (MODAL, "max_containers=10", "max_containers=1", GROWS),
    (MODAL, "cpu=1.0", "cpu=0.125", "it has half a core"),
    (MODAL, "timeout=_LONGEST", "timeout=140", "a request may take what Modal gives it"),
]


@pytest.mark.parametrize(("file", "right", "wrong", "rule"), MISTAKES)
def test_a_broken_rule_is_named(file: str, right: str, wrong: str, rule: str) -> None:
    """What lets strangers in, loses data, gives too many rights or fails when it is needed."""
    assert rule in broken(file, committed() | {file: plant(committed()[file], right, wrong)})


def test_every_rule_can_be_broken() -> None:
    """By one of these mistakes."""
    rules = {(judge(place), rule) for place in PLATFORMS for rule in judge(place)(committed())}
    assert rules == {(judge(file), rule) for file, *_, rule in MISTAKES}
