"""Rules for the image, Compose and Caddy, and for each rule a mistake that breaks it."""

import json
import re
import tempfile
from functools import cache
from ipaddress import ip_address
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import yaml

from api.drain import GRACE
from api.settings import ServiceSettings
from harness.caddy import adapted
from harness.image import instructions
from harness.policies.descriptions import (
    CADDYFILE,
    COMPOSE,
    DASHBOARDS,
    GRAFANA,
    LISTENS,
    NO_KEY,
    RESTARTS,
    SCRAPING,
    SECRETS,
    SIGTERM,
    SOURCE,
    Files,
    Judge,
    Rules,
    at,
    megabytes,
    port,
    variables,
)

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
        and "--port" not in only["CMD"].value  # which would overrule PORT
        and only["EXPOSE"].value == (str(port(files)),) == (str(ServiceSettings().port),)
        and f"os.environ.get('PORT', ''))) or {port(files)};" in check.value[-1]
        and "('127.0.0.1', port, " in check.value[-1],
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


# Compose and Caddy

RIGHTS = {"privileged", "user", "pid", "ipc", "uts", "userns_mode", "devices", "group_add", "volumes_from"}
IMAGES = {"caddy": "caddy:2", "redis": "redis:8", "postgres": "pgvector/pgvector:pg17", "secrets": "redis:8"}
PING = 'REDISCLI_AUTH="$$(cat /run/secrets/password)" redis-cli ping | grep -q PONG'


def mounts(services: dict[str, Any], kind: str) -> list[tuple[str, str, str]]:
    """Return service, source and target of every mount whose source matches `kind`."""
    every = [(name, *volume.split(":")[:2]) for name in services for volume in services[name].get("volumes", [])]
    return [(name, what, where) for name, what, where in every if re.match(kind, what)]


def reached(file: Any, replicas: set[str]) -> bool:
    """Return whether services share a network with their dependencies, and have egress where they need it."""
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
    """Return the secrets that services read, and those that are written for them."""
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
    by_name = ("api/", "email/", "calendar/")  # these read each file by the name of the setting
    return read, {f"/secrets/{secret}" for secret in written if not secret.startswith(by_name)}


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
        == {
            **{name: ["observe"] for name in ("prometheus", "grafana")},
            **{name: ["actions"] for name in ("mcp-email", "mcp-calendar")},
            "sync": ["sync"],
        },
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


PLATFORMS: dict[str, Judge] = {
    "Dockerfile": image,
    COMPOSE: compose,
    "deploy/compose/": compose,
    GRAFANA: compose,
    CADDYFILE: caddy,
}

OWN_USER = "containers have their image's user, and no rights"
ENV = "it has no setting but its kind"
LABELS = "its labels are what they are called"
BASES = "both bases are of one Python"
REACH = "services reach what they need"
IMAGE = "images have what is asked of them"
PLACES = "files are where they are looked for"
PASSWORDS = "secrets are read where they are written"
HEALTHY = "Redis is healthy while it answers"

# A file, a correct text in it, a mistake to replace it, and the rule that breaks
MISTAKES = [
    ("Dockerfile", "EXPOSE 8000", "EXPOSE 8000\nSTOPSIGNAL SIGKILL", SIGTERM),
    ("Dockerfile", '"0.0.0.0"', '"127.0.0.1"', LISTENS),
    ("Dockerfile", '"0.0.0.0"', '"0.0.0.0", "--port", "8000"', LISTENS),
    ("Dockerfile", "EXPOSE 8000", "EXPOSE 8080", LISTENS),
    ("Dockerfile", "or 8000", "or 8080", LISTENS),
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
]
