"""The files that `deploy/` has for each platform, as the platform reads them."""

import json
import re
from functools import cache
from string import Template
from typing import Any, cast

import yaml

from api.settings import ServiceSettings
from conftest import REPOSITORY
from harness.programs import kustomize

DEPLOY = REPOSITORY / "deploy"
KUBERNETES = ("1.36", "1.37")
OVERLAYS = ("staging", "production")
SERVERS = ("support-agent-email", "support-agent-calendar", "support-agent-servers")
"""The names of the e-mail and calendar servers' objects."""
PORT = 8000

LONGEST = 2 * cast("float", ServiceSettings.model_fields["answer_timeout"].default)
"""Seconds of the longest request: waiting for the session, and the turn itself."""

PLACEHOLDERS = {
    "IMAGE": "registry.example/support-agent@sha256:" + 64 * "0",
    "PROJECT": "a-project",
    "REGION": "europe-west1",
    "AWS_REGION": "eu-central-1",
    "EXECUTION_ROLE_ARN": "arn:aws:iam::000000000000:role/support-agent",
    "SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:000000000000:secret:support-agent-AbCdEf",
    "CERTIFICATE_ARN": "arn:aws:acm:eu-central-1:000000000000:certificate/0",
    "LOAD_BALANCER_ARN": "arn:aws:elasticloadbalancing:eu-central-1:000000000000:loadbalancer/app/support-agent/0",
    "TARGET_GROUP_ARN": "arn:aws:elasticloadbalancing:eu-central-1:000000000000:targetgroup/support-agent/0",
    "VPC_ID": "vpc-0",
    "PRIVATE_SUBNET_A": "subnet-0",
    "PRIVATE_SUBNET_B": "subnet-1",
    "PUBLIC_SUBNET_A": "subnet-2",
    "PUBLIC_SUBNET_B": "subnet-3",
    "TASK_SECURITY_GROUP": "sg-0",
    "BALANCER_SECURITY_GROUP": "sg-1",
}
"""Values for the placeholders, which docs/deploy.md explains."""

Json = dict[str, Any]


def filled_in(file: str) -> str:
    """Return a file with its placeholders replaced, as by `envsubst`."""
    return Template((DEPLOY / file).read_text()).substitute(PLACEHOLDERS)


@cache
def overlay(name: str) -> list[Json]:
    return kustomize(DEPLOY / "k8s" / name)


def one(name: str, kind: str) -> Json:
    """Return the service's only object of a kind in an overlay."""
    [found] = [thing for thing in overlay(name) if thing["kind"] == kind and thing["metadata"]["name"] not in SERVERS]
    return found


def container(name: str) -> Json:
    [found] = one(name, "Deployment")["spec"]["template"]["spec"]["containers"]
    return found


def attributes(file: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in json.loads(filled_in(f"ecs/{file}"))["Attributes"]}


def task() -> Json:
    [found] = json.loads(filled_in("ecs/task-definition.json"))["containerDefinitions"]
    return found


def cloud_run() -> Json:
    return yaml.safe_load(filled_in("cloudrun/service.yaml"))


def render(name: str) -> Json:
    blueprint = yaml.safe_load((DEPLOY / "render.yaml").read_text())
    return next(service for service in blueprint["services"] if service["name"] == name)


def page(platform: str) -> str:
    """Return what the docs say about a platform."""
    return (REPOSITORY / f"docs/deploy/{platform}.md").read_text()


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and text of each code block; shell commands have no language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
