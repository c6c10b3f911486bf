"""Shared parts of the policies: the committed files, the common rules, and helpers."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from conftest import REPOSITORY

Files = dict[str, str]
"""The text of each deployment file, by path."""

Rules = dict[str, bool]
"""Whether each rule is kept."""

Judge = Callable[[Files], Rules]
"""Returns whether the files of one platform keep its rules."""

DOCS = "docs/deploy"
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
    files += [REPOSITORY / f"{DOCS}.md", *(REPOSITORY / DOCS).glob("*.md")]
    names = [COMPOSE, SECRETS, ECS_SCRIPT, "Dockerfile", *(str(file.relative_to(REPOSITORY)) for file in files)]
    return {name: (REPOSITORY / name).read_text() for name in names}


def at(thing: Any, way: str) -> Any:
    """Return the value at a path of names and numbers separated by spaces, or None."""
    for step in way.split():
        try:
            thing = thing[int(step) if isinstance(thing, list) else step]
        except (KeyError, IndexError, TypeError):
            return None
    return thing


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
"""Least memory of an instance, in MB."""

KEY = re.compile(r"KEY|PASSWORD(?!_+FILE)|SECRET|TOKEN|(REDIS|DATABASE)_URL")


def variables(given: Iterable[tuple[str, Any]]) -> Rules:
    """Rules for every environment; a value to be filled in later does not count."""
    written = [(name, str(value)) for name, value in given if value is not None and not str(value).startswith("${")]
    return {
        NO_KEY: not [name for name, _ in written if KEY.search(name)],
        NO_STRANGERS: all(value.lower() == "false" for name, value in written if name == "SUPPORT_ALLOW_ANONYMOUS"),
    }


def megabytes(size: Any) -> int:
    """Return a size such as 1Gi, 512M or 384mb in MB."""
    found = re.fullmatch(r"(\d+)([gm])i?b?", str(size).lower())
    return int(found[1]) * (1024 if found[2] == "g" else 1) if found else 0


def port(files: Files) -> int:
    """Return the image's port where PORT is not set, as its health check has it."""
    return int(re.findall(r"os\.environ\.get\('PORT', ''\)\)\) or (\d+)", files["Dockerfile"])[0])


def probed(container: Any, where: str | int) -> Rules:
    """Rules for a container with probes."""
    start, lives = container["startupProbe"], container["livenessProbe"]
    probes = [value for name, value in container.items() if name.endswith("Probe") and "httpGet" in value]
    return {
        LISTENS: {probe["httpGet"]["port"] for probe in probes} == {where},
        STARTS: 60 <= start["periodSeconds"] * start["failureThreshold"] <= 240,  # Cloud Run's limit
        PATIENT: lives["timeoutSeconds"] >= 2
        and lives["failureThreshold"] >= 2
        and lives["periodSeconds"] * lives["failureThreshold"] >= 20,
        ENOUGH: megabytes(at(container, "resources limits memory")) >= MEMORY,
    }


def page(files: Files, platform: str) -> str:
    """Return what the docs say about a platform."""
    return files[f"{DOCS}/{platform}.md"]


def named(pairs: list[dict[str, str]] | None, name: str = "name") -> list[tuple[str, str | None]]:
    """Return names and plain values of a list of variables."""
    return [(pair[name], pair.get("value")) for pair in pairs or []]
