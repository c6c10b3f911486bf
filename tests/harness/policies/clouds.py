"""Rules for ECS, Cloud Run, Render, Railway and Modal, and for each rule a mistake that breaks it."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import yaml

from harness.policies.descriptions import (
    ANY,
    BUILT,
    CLOUD_RUN,
    ECS,
    ECS_SCRIPT,
    ENOUGH,
    GROWS,
    LISTENS,
    MEMORY,
    MODAL,
    NO_KEY,
    NO_STRANGERS,
    PATIENT,
    RAILWAY,
    RENDER,
    RESTARTS,
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

FARGATE = {
    "256": (512, 1024, 2048),
    "512": range(1024, 4097, 1024),
    "1024": range(2048, 8193, 1024),
    "2048": range(4096, 16385, 1024),
    "4096": range(8192, 30721, 1024),
}
"""Memory sizes in MB for each CPU size; AWS: "Amazon ECS task definition parameters for Fargate"."""


def fargate(parts: dict[str, Any]) -> bool:
    """Return whether Fargate has the task's size, and the image its processor."""
    task = parts["task-definition.json"]
    return int(task["memory"]) in FARGATE.get(task["cpu"], ()) and task["runtimePlatform"] == {
        "cpuArchitecture": "X86_64",  # the platform of GitHub's runners, which build the image
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
    said = page(files, "ecs") + files[ECS_SCRIPT]
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
    said = page(files, "cloud-run")
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
    given = [variables(named(service.get("envVars"), "key")) for service in services.values()]
    read = [at(one, "fromDatabase name") for one in services["support-agent"]["envVars"] if "fromDatabase" in one]
    return {
        **{rule: all(each[rule] for each in given) for rule in (NO_KEY, NO_STRANGERS)},
        LISTENS: ("PORT", str(port(files))) in named(services["support-agent"]["envVars"], "key"),
        GROWS: at(services, "support-agent numInstances") >= 2,
        BUILT: Path(services["support-agent"]["dockerfilePath"]) == Path("Dockerfile"),
        "they reach each other": len({one["region"] for one in [*services.values(), *blueprint["databases"]]}) == 1
        and {*read} == {one["name"] for one in blueprint["databases"]},
        "Postgres is not reached from outside": all(one.get("ipAllowList") == [] for one in blueprint["databases"]),
        "Redis is not reached from outside": at(services, "support-agent-redis ipAllowList") == [],
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


PLATFORMS: dict[str, Judge] = {
    ECS: ecs,
    CLOUD_RUN: cloud_run,
    RENDER: render,
    RAILWAY: railway,
    MODAL: modal,
}

TASK = f"{ECS}task-definition.json"
SAME = "the docs' options say the same"
FITS = "Fargate has what it asks for"
CALLED = "docs and scripts call it by its names"
OUTSIDE = "the balancer alone is reached from outside"

# A file, a correct text in it, a mistake to replace it, and the rule that breaks
MISTAKES = [
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
    (
        RENDER,
        '"17"\n    ipAllowList: []',
        '"17"\n    ipAllowList: [{ source: 0.0.0.0/0 }]',
        "Postgres is not reached from outside",
    ),
    (RENDER, '"17"\n    ipAllowList: []\n', '"17"\n', "Postgres is not reached from outside"),
    (RENDER, "ipAllowList: [] #", "ipAllowList: [{ source: 0.0.0.0/0 }] #", "Redis is not reached from outside"),
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
