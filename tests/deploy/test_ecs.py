"""The files and commands for ECS: AWS's own client accepts every parameter."""

import json
import os
import subprocess
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session
from botocore.validate import ParamValidator

from conftest import REPOSITORY
from harness.planting import plant
from harness.runner import Runner
from harness.targets import DEPLOY, PORT, Json, blocks, filled_in, page, task

ECS_FILES = {
    "task-definition.json": ("ecs", "RegisterTaskDefinition"),
    "service.json": ("ecs", "CreateService"),
    "load-balancer.json": ("elbv2", "CreateLoadBalancer"),
    "load-balancer-attributes.json": ("elbv2", "ModifyLoadBalancerAttributes"),
    "target-group.json": ("elbv2", "CreateTargetGroup"),
    "target-group-attributes.json": ("elbv2", "ModifyTargetGroupAttributes"),
    "listener.json": ("elbv2", "CreateListener"),
}


@cache
def shape(service: str, operation: str) -> Any:
    return get_session().get_service_model(service).operation_model(operation).input_shape


def off_list(value: Any, of: Any) -> Generator[str]:
    """Yield values outside the enumerations that AWS documents, which botocore does not check."""
    if of.type_name == "structure":
        for name, inner in value.items():
            yield from off_list(inner, of.members[name])
    elif of.type_name == "list":
        for inner in value:
            yield from off_list(inner, of.member)
    elif getattr(of, "enum", None) and value not in of.enum:
        yield f"{value} is none of {of.enum}"


def aws_says(file: str, text: str) -> list[str]:
    """Return the errors in the parameters of a call."""
    parameters, expected = json.loads(text), shape(*ECS_FILES[file])
    report = ParamValidator().validate(parameters, expected)
    if report.has_errors():
        return list(report.generate_report().splitlines())
    wrong = list(off_list(parameters, expected))
    if "Attributes" in parameters:
        documented = expected.members["Attributes"].member.members["Key"].documentation
        wrong += [each["Key"] for each in parameters["Attributes"] if f"<code>{each['Key']}</code>" not in documented]
    return wrong


def test_every_file_of_ecs_is_checked() -> None:
    """Every file in deploy/ecs belongs to an API call."""
    assert {file.name for file in (DEPLOY / "ecs").iterdir()} == ECS_FILES.keys()


@pytest.mark.parametrize("file", ECS_FILES)
def test_aws_accepts_the_parameters(file: str) -> None:
    """The validator of AWS's own client accepts the parameters."""
    assert aws_says(file, filled_in(f"ecs/{file}")) == []


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("task-definition.json", '"stopTimeout": 30', '"stopTimeout": "30"'),
        ("task-definition.json", '"readonlyRootFilesystem"', '"readOnlyRootFilesystem"'),
        ("task-definition.json", '"FARGATE"', '"FARGAT"'),
        ("service.json", '"serviceName"', '"name"'),
        ("service.json", '"DISABLED"', '"OFF"'),
        ("load-balancer.json", '"internet-facing"', '"public"'),
        ("load-balancer-attributes.json", "idle_timeout.timeout_seconds", "idle_timeout.seconds"),
        ("target-group.json", '"Port": 8000', '"Port": 0'),
        ("target-group-attributes.json", '"Value": "130"', '"Value": 130'),
        ("listener.json", '"DefaultActions"', '"DefaultAction"'),
    ],
)
def test_aws_refuses_what_is_wrong(file: str, right: str, wrong: str) -> None:
    """An unknown name and a value of the wrong type, out of range or not enumerated are errors."""
    assert aws_says(file, plant(filled_in(f"ecs/{file}"), right, wrong))


GIVEN_ARN = "arn:aws:service:eu-central-1:000000000000:made/by"
"""How each ARN begins that the fake `aws` prints for the commands of docs/deploy.md."""

THE_CLIS_OWN = {"protocol", "port", "cidr", "source-group"}
"""Options of `aws ec2 authorize-security-group-ingress` that the CLI turns into IpPermissions."""


def commands_of_ecs(text: str, folder: Path) -> list[list[str]]:
    """Run the ECS commands of the docs with an `aws` that changes nothing; return its calls."""
    runner = Runner(folder)
    runner.recorder("aws", f"print({GIVEN_ARN!r}, *given[:2], sep='-')")
    runner.recorder("docker", "if given[0] == 'login': sys.stdin.read()")
    commands = next(block for language, block in blocks(text) if not language)
    runner.need(commands)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=REPOSITORY,
        env={"PATH": f"{runner.programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return runner.calls()


def aws_says_of(service: str, operation: str, *rest: str) -> list[str]:
    """Return the errors in a call of the AWS CLI."""
    if [service, operation] == ["ecr", "get-login-password"]:  # a command of the CLI, not of the API
        return list(rest)
    if operation == "wait":
        waiters = get_session().get_waiter_model(service)
        named = {xform_name(name, "-"): waiters.get_waiter(name).operation for name in waiters.waiter_names}
        operation, rest = xform_name(named.get(rest[0], rest[0]), "-"), rest[1:]
    model: Any = get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in names:
        return [f"{service} has no {operation}"]
    expected = model.operation_model(names[operation]).input_shape
    members = {xform_name(name, "-"): name for name in expected.members}
    parameters: Json = {}
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        match option.removeprefix("--"):
            case "query" | "output":
                pass
            case "cli-input-json":
                parameters |= json.loads(value)
            case own if own in THE_CLIS_OWN and operation == "authorize-security-group-ingress":
                parameters["IpPermissions"] = []
            case known if known in members:
                kind = expected.members[members[known]].type_name
                parameters[members[known]] = value.split() if kind == "list" else value
                if known.endswith("document"):
                    json.loads(value)
            case unknown:
                return [f"{service} {operation} has no --{unknown}"]
    report = ParamValidator().validate(parameters, expected)
    return [*report.generate_report().splitlines(), *off_list(parameters, expected)]


def test_aws_accepts_the_commands_of_the_docs(tmp_path: Path) -> None:
    """The commands run to their end, later ones use what earlier ones create, and AWS knows each call."""
    calls = commands_of_ecs(page("ecs"), tmp_path)
    asked = [call[1:] for call in calls if call[0] == "aws"]
    assert {" ".join(call): wrong for call in asked if (wrong := aws_says_of(*call))} == {}
    made = dict(zip([tuple(call[:2]) for call in asked], asked, strict=True))
    for file, (service, operation) in ECS_FILES.items():
        [given] = made[service, xform_name(operation, "-")][3:4]
        assert '""' not in given, f"{file} has a placeholder that nothing sets"
    assert f"{GIVEN_ARN}-secretsmanager-create-secret" in made["iam", "put-role-policy"][-1]
    order = [call[2] for call in calls]
    assert order.index("create-secret") < order.index("put-role-policy") < order.index("create-service")
    pushed = next(call[2] for call in calls if call[:2] == ["docker", "push"])
    task = json.loads(made["ecs", "register-task-definition"][3])
    assert task["containerDefinitions"][0]["image"] == pushed


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("--policy-name secret ", ""),
        ("aws ecs create-cluster", "aws ecs make-cluster"),
        ("--validation-method DNS", "--validation-method RECORD"),
        ("certificate-validated", "certificate-issued"),
        ("--group-name", "--name"),
    ],
)
def test_aws_refuses_a_wrong_command(tmp_path: Path, right: str, wrong: str) -> None:
    """A missing parameter, an unknown command or option, and a value that is not enumerated are errors."""
    text = plant(page("ecs"), right, wrong)
    assert [said for call in commands_of_ecs(text, tmp_path) if call[0] == "aws" for said in aws_says_of(*call[1:])]


def test_a_name_that_nothing_sets_ends_the_commands(tmp_path: Path) -> None:
    """The shell stops and names a variable that is not set."""
    text = plant(page("ecs"), "export CERTIFICATE_ARN=", "export CERTIFICATE=")
    with pytest.raises(AssertionError, match="CERTIFICATE_ARN: unbound variable"):
        commands_of_ecs(text, tmp_path)


def test_the_parts_of_ecs_fit_together() -> None:
    """The load balancer targets the container's port, checks /health, and a bad release is rolled back."""
    service = json.loads(filled_in("ecs/service.json"))
    group = json.loads(filled_in("ecs/target-group.json"))
    [balanced] = service["loadBalancers"]
    [port] = task()["portMappings"]
    assert balanced["containerName"] == task()["name"]
    assert balanced["containerPort"] == port["containerPort"] == group["Port"] == PORT
    assert group["TargetType"] == "ip"
    assert group["HealthCheckPath"] == "/health"
    assert service["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    assert task()["readonlyRootFilesystem"] is True
