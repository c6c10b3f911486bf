"""What holds for the service on every platform in `deploy/`: time-outs, probes and settings."""

import json
import re
import subprocess
from collections.abc import Callable

import pytest

from api import drain, protocols
from api.settings import ServiceSettings
from cli import serve as serving_command
from conftest import REPOSITORY
from harness.targets import (
    DEPLOY,
    LONGEST,
    OVERLAYS,
    PLACEHOLDERS,
    attributes,
    blocks,
    cloud_run,
    container,
    one,
    render,
    task,
)

DRAIN = drain.GRACE + drain._FLUSH + serving_command._GRACE
"""Most seconds from SIGTERM to the end of the process."""

CLOUD_RUN_GRACE = 10
"""Seconds from SIGTERM to SIGKILL on Cloud Run; not configurable."""


def test_containers_run_as_the_user_of_the_image() -> None:
    """Platforms that need a numeric user and group have those of the image."""
    found = re.search(r"^USER (\d+):(\d+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    assert task()["user"] == f"{found[1]}:{found[2]}"
    for name in OVERLAYS:
        security = one(name, "Deployment")["spec"]["template"]["spec"]["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (int(found[1]), int(found[2]))


def test_every_platform_waits_for_the_drain() -> None:
    """Every platform waits longer between SIGTERM and SIGKILL than the service drains."""
    waits = {
        "Cloud Run": CLOUD_RUN_GRACE,
        "ECS": task()["stopTimeout"],
        "Render": render("support-agent")["maxShutdownDelaySeconds"],
        "Railway": json.loads((DEPLOY / "railway.json").read_text())["deploy"]["drainingSeconds"],
    }
    for name in OVERLAYS:
        pod = one(name, "Deployment")["spec"]["template"]["spec"]
        waits[name] = pod["terminationGracePeriodSeconds"] - container(name)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert {name: seconds for name, seconds in waits.items() if seconds <= DRAIN} == {}


def test_no_platform_cuts_the_longest_request() -> None:
    """Every request time-out is longer than waiting for a session plus the answer."""
    documented = {"Modal": 150, "Railway": 900, "Render": 6000}
    given = {
        "Cloud Run": cloud_run()["spec"]["template"]["spec"]["timeoutSeconds"],
        "ALB": int(attributes("load-balancer-attributes.json")["idle_timeout.timeout_seconds"]),
        "ALB, of a target that goes": int(
            attributes("target-group-attributes.json")["deregistration_delay.timeout_seconds"]
        ),
    }
    assert {name: seconds for name, seconds in (documented | given).items() if seconds <= LONGEST} == {}


def test_balancers_close_idle_connections_first() -> None:
    """A load balancer's idle time-out is shorter than the service's, so it never reuses a closing connection."""
    kept = {
        "ALB": int(attributes("load-balancer-attributes.json")["idle_timeout.timeout_seconds"]),
        "Caddy": 120,
        "Google's": 600,
    }
    assert {name: seconds for name, seconds in kept.items() if seconds >= protocols.KEEP_ALIVE} == {}


def test_what_restarts_or_removes_instances_asks_health() -> None:
    """Startup and liveness probes ask /health, since /ready fails on every replica at once when Redis is down."""
    probes = {name: container(name) for name in OVERLAYS}
    probes["Cloud Run"] = cloud_run()["spec"]["template"]["spec"]["containers"][0]
    for one_of_them in probes.values():
        assert one_of_them["startupProbe"]["httpGet"]["path"] == "/health"
        assert one_of_them["livenessProbe"]["httpGet"]["path"] == "/health"
    assert render("support-agent")["healthCheckPath"] == "/health"
    assert json.loads((DEPLOY / "railway.json").read_text())["deploy"]["healthcheckPath"] == "/ready"


def variables_of_cloud_run() -> set[str]:
    return {each["name"] for each in cloud_run()["spec"]["template"]["spec"]["containers"][0]["env"]}


def variables_of_ecs() -> set[str]:
    return {each["name"] for each in task()["environment"] + task()["secrets"]}


def variables_of_render() -> set[str]:
    return {each["key"] for each in render("support-agent")["envVars"]} - {"PORT"}  # a variable of Render's own


def variables_of_modal() -> set[str]:
    text = (DEPLOY / "modal_app.py").read_text()
    return set(re.findall(r'"([A-Z]+_[A-Z_]+)"', text))


@pytest.mark.parametrize(
    "variables", [variables_of_cloud_run, variables_of_ecs, variables_of_render, variables_of_modal]
)
def test_platforms_set_what_the_service_needs(
    monkeypatch: pytest.MonkeyPatch, variables: Callable[[], set[str]]
) -> None:
    """Every variable is a setting, and with them the service starts in production."""
    settings = {str(field.alias) for field in ServiceSettings.model_fields.values()}
    assert variables() <= settings
    values = {
        "SUPPORT_ENV": "production",
        "OPENAI_API_KEY": "sk-none",
        "REDIS_URL": "redis://redis",
        "DATABASE_URL": "postgresql://postgres",
        "SUPPORT_API_KEYS": "web:" + 64 * "0",
    }
    for name in variables():
        monkeypatch.setenv(name, values.get(name, "."))
    assert ServiceSettings.load().require_service().env == "production"


def test_the_docs_are_true() -> None:
    """docs/deploy.md names existing files, sets every placeholder, and states the service's real time-outs."""
    index = (REPOSITORY / "docs/deploy.md").read_text()
    text = index + "".join(file.read_text() for file in (REPOSITORY / "docs/deploy").glob("*.md"))
    named = set(re.findall(r"(?<!/)\bdeploy/[\w/.-]*\w", text))
    assert {
        name for name in named if not any((REPOSITORY / folder / name).exists() for folder in (".", "docs"))
    } == set()
    assert {name for name in PLACEHOLDERS if not re.search(rf"\b(export .*)?{name}=", text)} == set()
    for seconds in (LONGEST, protocols.KEEP_ALIVE):
        assert f"{seconds:.0f} s" in index
    for language, block in blocks(text):
        if not language:
            parsed = subprocess.run(
                ["bash", "-n"], input=block, capture_output=True, text=True, timeout=60, check=False
            )
            assert parsed.returncode == 0, parsed.stderr
