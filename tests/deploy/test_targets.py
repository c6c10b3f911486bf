"""What `deploy/` tells each platform: by the platform's own rules, and by what is true of the service."""

import asyncio
import importlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, cast

import httpx
import kubernetes_validate
import pytest
import yaml
from botocore import xform_name
from botocore.session import get_session
from botocore.validate import ParamValidator
from jsonschema import Draft202012Validator
from modal_proto import api_pb2
from prometheus_client.parser import text_string_to_metric_families

from api import drain, protocols
from api.settings import ServiceSettings
from cli import serve as serving_command
from conftest import REPOSITORY, MakeSettings
from graph.errors import SettingsError
from harness.modal import fake_modal
from harness.planting import plant, plant_in
from harness.programs import kustomize
from harness.prometheus import promtool
from harness.runner import Runner
from harness.scripted_model import ScriptedModel
from harness.serving import serving

DEPLOY = REPOSITORY / "deploy"
SCHEMAS = Path(__file__).with_name("schemas")
KUBERNETES = ("1.36", "1.37")
OVERLAYS = ("staging", "production")
PORT = 8000

DRAIN = drain.GRACE + drain._FLUSH + serving_command._GRACE
"""Seconds from SIGTERM to the end of the process, at most."""

LONGEST = 2 * cast("float", ServiceSettings.model_fields["answer_timeout"].default)
"""Seconds of the longest request: a session that is waited for, and the turn."""

CLOUD_RUN_GRACE = 10
"""Seconds from SIGTERM to SIGKILL on Cloud Run, which nobody can set."""

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
"""What whoever deploys fills in; docs/deploy.md names each."""

Json = dict[str, Any]


def filled_in(file: str) -> str:
    """Return a file as `envsubst` would hand it on."""
    return Template((DEPLOY / file).read_text()).substitute(PLACEHOLDERS)


def schema_says(schema: str, text: str) -> list[str]:
    """Return what is wrong with a YAML or JSON document."""
    expected = json.loads((SCHEMAS / schema).read_text())
    return [error.message for error in Draft202012Validator(expected).iter_errors(yaml.safe_load(text))]


# Kubernetes


@cache
def overlay(name: str) -> list[Json]:
    return kustomize(DEPLOY / "k8s" / name)


def one(name: str, kind: str) -> Json:
    """Return the one object of a kind."""
    [found] = [thing for thing in overlay(name) if thing["kind"] == kind]
    return found


def container(name: str) -> Json:
    [found] = one(name, "Deployment")["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_accepts_every_object(name: str, version: str) -> None:
    """Each field of each is one that this version of Kubernetes has."""
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
    """A field that is none, a value of another kind, a version that is gone."""
    folder = shutil.copytree(DEPLOY / "k8s", tmp_path / "k8s")
    plant_in(folder / "base" / file, right, wrong)
    rendered = kustomize(folder / "production")
    for version in KUBERNETES:
        with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
            for thing in rendered:
                kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_may_do_no_more_than_they_must(name: str) -> None:
    """They are nobody, change no file, have no token and no capability, and are nobody's neighbour by default."""
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


def test_kubernetes_names_of_services_do_not_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links to a service of our name would be settings that there are not."""
    monkeypatch.setenv("SUPPORT_AGENT_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(SettingsError, match="SUPPORT_AGENT_SERVICE_HOST"):
        ServiceSettings.load()
    for name in OVERLAYS:
        assert one(name, "Deployment")["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_overlays_differ_in_what_they_should() -> None:
    """Name space, image, host and size; the same pods otherwise."""
    spaces = {thing["metadata"]["namespace"] for thing in overlay("staging") + overlay("production")}
    assert spaces == {"support-agent-staging", "support-agent"}
    hosts = [one(name, "Ingress")["spec"]["rules"][0]["host"] for name in OVERLAYS]
    assert len(set(hosts)) == 2
    assert hosts == [one(name, "Ingress")["spec"]["tls"][0]["hosts"][0] for name in OVERLAYS]
    assert container("production")["image"].startswith("ghcr.io/example/support-agent:v")
    assert one("production", "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2


async def test_pods_are_scaled_by_a_metric_that_they_export(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """The autoscaler, and the adapter that serves it, name the turns under way as /metrics does."""
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
    """What scrapes them is right, and looks for the label and the port that they have."""
    [job] = yaml.safe_load((DEPLOY / "k8s/prometheus-scrape.yaml").read_text())
    keep = next(each for each in job["relabel_configs"] if each.get("action") == "keep")
    [port] = container("production")["ports"]
    labels = one("production", "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert keep["regex"] == f"{labels['app.kubernetes.io/name']};{port['name']}"
    assert port["containerPort"] == PORT
    namespaces = job["kubernetes_sd_configs"][0]["namespaces"]["names"]
    assert set(namespaces) == {one(name, "Deployment")["metadata"]["namespace"] for name in OVERLAYS}
    job.pop("kubernetes_sd_configs")  # Debian builds its Prometheus without them
    for action, right in (("keep", True), ("kept", False)):
        keep["action"] = action
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
        checked = promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")
        assert (checked.returncode == 0) is right, checked.stderr


# ECS

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
    """Yield values that are not among those that AWS names, which botocore leaves to AWS to refuse."""
    if of.type_name == "structure":
        for name, inner in value.items():
            yield from off_list(inner, of.members[name])
    elif of.type_name == "list":
        for inner in value:
            yield from off_list(inner, of.member)
    elif getattr(of, "enum", None) and value not in of.enum:
        yield f"{value} is none of {of.enum}"


def aws_says(file: str, text: str) -> list[str]:
    """Return what is wrong with the parameters of a call."""
    parameters, expected = json.loads(text), shape(*ECS_FILES[file])
    report = ParamValidator().validate(parameters, expected)
    if report.has_errors():
        return list(report.generate_report().splitlines())
    wrong = list(off_list(parameters, expected))
    if "Attributes" in parameters:
        documented = expected.members["Attributes"].member.members["Key"].documentation
        wrong += [each["Key"] for each in parameters["Attributes"] if f"<code>{each['Key']}</code>" not in documented]
    return wrong


def attributes(file: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in json.loads(filled_in(f"ecs/{file}"))["Attributes"]}


def task() -> Json:
    [found] = json.loads(filled_in("ecs/task-definition.json"))["containerDefinitions"]
    return found


def test_every_file_of_ecs_is_checked() -> None:
    """None is there that no call takes."""
    assert {file.name for file in (DEPLOY / "ecs").iterdir()} == ECS_FILES.keys()


@pytest.mark.parametrize("file", ECS_FILES)
def test_aws_accepts_the_parameters(file: str) -> None:
    """By the shapes that its own client checks them with."""
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
    """A name that is none, a value of another kind, out of range or off the list."""
    assert aws_says(file, plant(filled_in(f"ecs/{file}"), right, wrong))


GIVEN_ARN = "arn:aws:service:eu-central-1:000000000000:made/by"
"""The start of what `aws` prints of whatever the commands of docs/deploy.md make."""

THE_CLIS_OWN = {"protocol", "port", "cidr", "source-group"}
"""Options by which `aws ec2 authorize-security-group-ingress` describes one of its IpPermissions."""


def commands_of_ecs(text: str, folder: Path) -> list[list[str]]:
    """Run the commands that bring the service to ECS, with an `aws` that makes nothing; return what they called."""
    section = text.split("\n## ECS on Fargate\n")[1].split("\n## ")[0]
    runner = Runner(folder)
    runner.recorder("aws", f"print({GIVEN_ARN!r}, *given[:2], sep='-')")
    runner.recorder("docker", "if given[0] == 'login': sys.stdin.read()")
    commands = next(block for language, block in blocks(section) if not language)
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
    """Return what is wrong with a call of AWS's command line."""
    if [service, operation] == ["ecr", "get-login-password"]:  # the command line's own
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
    """They run to their end, what one makes is what later ones take, and each call is one that AWS has."""
    calls = commands_of_ecs((REPOSITORY / "docs/deploy.md").read_text(), tmp_path)
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
    """One without what it needs, one that is none, a value off the list, an option that is none."""
    text = plant((REPOSITORY / "docs/deploy.md").read_text(), right, wrong)
    assert [said for call in commands_of_ecs(text, tmp_path) if call[0] == "aws" for said in aws_says_of(*call[1:])]


def test_a_name_that_nothing_sets_ends_the_commands(tmp_path: Path) -> None:
    """The shell says which."""
    text = plant((REPOSITORY / "docs/deploy.md").read_text(), "export CERTIFICATE_ARN=", "export CERTIFICATE=")
    with pytest.raises(AssertionError, match="CERTIFICATE_ARN: unbound variable"):
        commands_of_ecs(text, tmp_path)


def test_the_parts_of_ecs_fit_together() -> None:
    """The service sends to the container's port, the balancer asks its /health, and a bad release goes back itself."""
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


def test_containers_run_as_the_user_of_the_image() -> None:
    """And its group, where a platform wants them as numbers."""
    found = re.search(r"^USER (\d+):(\d+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    assert task()["user"] == f"{found[1]}:{found[2]}"
    for name in OVERLAYS:
        security = one(name, "Deployment")["spec"]["template"]["spec"]["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (int(found[1]), int(found[2]))


# Cloud Run


def cloud_run() -> Json:
    return yaml.safe_load(filled_in("cloudrun/service.yaml"))


@cache
def cloud_run_schema() -> Draft202012Validator:
    """What Google's own description of the API says of a service, nothing else allowed."""
    file = files("googleapiclient") / "discovery_cache/documents/run.v1.json"
    text = re.sub(r'"\$ref": "(\w+)"', r'"$ref": "#/$defs/\1"', file.read_text())
    schemas = json.loads(text)["schemas"]
    for one_of_them in schemas.values():
        if "properties" in one_of_them:
            one_of_them["additionalProperties"] = False
    return Draft202012Validator({"$ref": "#/$defs/Service", "$defs": schemas})


def google_says(service: Json) -> list[str]:
    schema = cloud_run_schema()
    documented = cast("Json", schema.schema)["$defs"]["ObjectMeta"]["properties"]["annotations"]["description"]
    metadata = {"Service": service["metadata"], "Revision": service["spec"]["template"].get("metadata", {})}
    return [error.message for error in schema.iter_errors(service)] + [
        name
        for kind, data in metadata.items()
        for name in data.get("annotations", {})
        if not re.search(rf"`{re.escape(name)}`: [^*]*\b{kind}\b", documented)
    ]


def test_google_accepts_the_service() -> None:
    """Each field is in its description of the API, and each annotation where it is documented."""
    assert google_says(cloud_run()) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("timeoutSeconds: 3600", "timeoutSecond: 3600"),
        ("containerConcurrency: 100", "containerConcurrency: many"),
        ("startupProbe:", "startProbe:"),
        ("run.googleapis.com/cpu-throttling", "run.googleapis.com/cpu-throttle"),
        ("run.googleapis.com/ingress", "run.googleapis.com/vpc-access-egress"),
    ],
)
def test_google_refuses_what_is_wrong(right: str, wrong: str) -> None:
    """A field that is none, a number that is none, an annotation that is none or belongs elsewhere."""
    assert google_says(yaml.safe_load(plant(filled_in("cloudrun/service.yaml"), right, wrong)))


def test_cloud_run_keeps_the_cpu_and_an_instance() -> None:
    """Turns go on after their readers have gone, and nobody waits for a cold start."""
    annotations = cloud_run()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert int(annotations["autoscaling.knative.dev/minScale"]) >= 1


# Render and Railway


@pytest.mark.parametrize(("schema", "file"), [("render.json", "render.yaml"), ("railway.json", "railway.json")])
def test_the_schema_accepts(schema: str, file: str) -> None:
    """Its fields are those that the platform documents."""
    assert schema_says(schema, (DEPLOY / file).read_text()) == []


@pytest.mark.parametrize(
    ("schema", "file", "right", "wrong"),
    [
        ("render.json", "render.yaml", "healthCheckPath", "healthcheckPath"),
        ("render.json", "render.yaml", "maxShutdownDelaySeconds: 30", "maxShutdownDelaySeconds: 301"),
        ("render.json", "render.yaml", "    disk:\n", "    numInstances: 2\n    disk:\n"),
        ("railway.json", "railway.json", '"healthcheckPath"', '"healthCheckPath"'),
        ("railway.json", "railway.json", '"drainingSeconds": 30', '"drainingSeconds": "30"'),
    ],
)
def test_the_schema_refuses(schema: str, file: str, right: str, wrong: str) -> None:
    """A field that is none, a value out of range or of another kind, two instances of one disk."""
    assert schema_says(schema, plant((DEPLOY / file).read_text(), right, wrong))


def render(name: str) -> Json:
    blueprint = yaml.safe_load((DEPLOY / "render.yaml").read_text())
    return next(service for service in blueprint["services"] if service["name"] == name)


def test_render_keeps_redis_with_its_modules() -> None:
    """Its own Key Value has neither JSON nor Search, and redis:8 loads them by its entrypoint alone."""
    redis = render("support-agent-redis")
    assert redis["image"]["url"].endswith("redis:8")
    assert "docker-entrypoint.sh redis-server --appendonly yes --requirepass" in redis["dockerCommand"]
    assert redis["disk"]["mountPath"] == "/data"


# Modal


async def test_modal_deploys_the_application() -> None:
    """`modal deploy` asks for a web function with our concurrency, a warm container, the secret and our lock file."""
    async with fake_modal() as modal:
        status, output = await modal.deploy(DEPLOY / "modal_app.py")
    assert status == 0, output
    function = modal.asked["FunctionCreate"][0].function
    assert function.function_name == "web"
    assert function.webhook_config.type == api_pb2.WEBHOOK_TYPE_ASGI_APP
    assert function.max_concurrent_inputs >= function.target_concurrent_inputs > 1
    assert function.autoscaler_settings.min_containers >= 1
    assert function.timeout_secs > LONGEST
    named, own = modal.asked["SecretGetOrCreate"]
    assert named.deployment_name == "support-agent"
    assert set(named.required_keys) == {"OPENAI_API_KEY", "REDIS_URL", "SUPPORT_API_KEYS"}
    assert own.env_dict["SUPPORT_ENV"] == "production"
    assert modal.asked["AppPublish"]
    commands = [command for image in modal.asked["ImageGetOrCreate"] for command in image.image.dockerfile_commands]
    assert any("--require-hashes" in command for command in commands)
    given = [file.data for image in modal.asked["ImageGetOrCreate"] for file in image.image.context_files]
    assert (REPOSITORY / "requirements.lock").read_bytes() in given
    mounted = {file.filename for mount in modal.asked["MountGetOrCreate"] for file in mount.files}
    home = own.env_dict["SUPPORT_KNOWLEDGE"].removesuffix("/knowledge")
    for path in ("pyproject.toml", "README.md", "LICENSE", "api/app.py", "knowledge/company.yaml"):
        assert f"{home}/{path}" in mounted


async def test_modal_refuses_what_it_no_longer_has(tmp_path: Path) -> None:
    """A parameter of years ago, as many examples still show it."""
    folder = tmp_path / "deploy"
    folder.mkdir()
    text = (DEPLOY / "modal_app.py").read_text()
    (folder / "modal_app.py").write_text(plant(text, "min_containers=1", "keep_warm=1"))
    async with fake_modal() as modal:
        status, output = await modal.deploy(folder / "modal_app.py")
    assert status != 0
    assert "keep_warm" in output
    assert "FunctionCreate" not in modal.asked


async def test_the_application_lives_on_modal(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a container nothing but the module is there: its function returns an application whose lifespan Modal runs."""
    from modal._runtime.asgi import LifespanManager

    settings = make_settings()
    for name, value in {
        "OPENAI_BASE_URL": settings.openai_base_url,
        "OPENAI_API_KEY": "sk-test-canary",
        "REDIS_URL": settings.redis_url.get_secret_value() if settings.redis_url else "",
        "SUPPORT_KNOWLEDGE": str(settings.knowledge),
        "SUPPORT_ENV": "production",
        "SUPPORT_ALLOW_ANONYMOUS": "true",
    }.items():
        monkeypatch.setenv(name, str(value))
    shutil.copy(DEPLOY / "modal_app.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    application = importlib.import_module("modal_app").web.local()
    state: Json = {}
    manager = LifespanManager(application, state)
    living = asyncio.create_task(manager.background_task())
    await manager.lifespan_startup()
    assert state["agent"]
    await manager.lifespan_shutdown()
    await living
    async with serving(application) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/health")).json()["status"] == "healthy"


# What is true of the service


def test_every_platform_waits_for_the_drain() -> None:
    """From SIGTERM to SIGKILL there is more time than the service takes, on each."""
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
    """A request that waits for its session and then for its answer has all the time that it needs."""
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
    """Or they would send a request into a connection that the service is about to close."""
    kept = {
        "ALB": int(attributes("load-balancer-attributes.json")["idle_timeout.timeout_seconds"]),
        "Caddy": 120,
        "Google's": 600,
    }
    assert {name: seconds for name, seconds in kept.items() if seconds >= protocols.KEEP_ALIVE} == {}


def test_what_restarts_or_removes_instances_asks_health() -> None:
    """/ready fails on all of them at once while Redis is away; it is asked before the first request alone."""
    probes = {name: container(name) for name in OVERLAYS}
    probes["Cloud Run"] = cloud_run()["spec"]["template"]["spec"]["containers"][0]
    for one_of_them in probes.values():
        assert one_of_them["startupProbe"]["httpGet"]["path"] == "/ready"
        assert one_of_them["livenessProbe"]["httpGet"]["path"] == "/health"
        assert one_of_them.get("readinessProbe", one_of_them["livenessProbe"])["httpGet"]["path"] == "/health"
    assert render("support-agent")["healthCheckPath"] == "/health"
    assert json.loads((DEPLOY / "railway.json").read_text())["deploy"]["healthcheckPath"] == "/ready"


def variables_of_cloud_run() -> set[str]:
    return {each["name"] for each in cloud_run()["spec"]["template"]["spec"]["containers"][0]["env"]}


def variables_of_ecs() -> set[str]:
    return {each["name"] for each in task()["environment"] + task()["secrets"]}


def variables_of_render() -> set[str]:
    return {each["key"] for each in render("support-agent")["envVars"]} - {"PORT"}  # which tells Render ours


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


def test_kubernetes_sets_what_is_no_secret() -> None:
    """The rest is in the Secret that pods take their environment from."""
    settings = {str(field.alias) for field in ServiceSettings.model_fields.values()}
    for name in OVERLAYS:
        given = one(name, "ConfigMap")["data"]
        assert given.keys() <= settings
        assert given["SUPPORT_ENV"] == "production"
        sources = container(name)["envFrom"]
        assert {"configMapRef": {"name": one(name, "ConfigMap")["metadata"]["name"]}} in sources
        assert {"secretRef": {"name": "support-agent"}} in sources


def test_the_docs_are_true() -> None:
    """They name files that there are, fill in every placeholder, and say the seconds that the service takes."""
    text = (REPOSITORY / "docs/deploy.md").read_text()
    named = set(re.findall(r"(?<!/)\bdeploy/[\w/.-]*\w", text))
    assert {name for name in named if not (REPOSITORY / name).exists()} == set()
    assert {name for name in PLACEHOLDERS if not re.search(rf"\b(export .*)?{name}=", text)} == set()
    for seconds in (LONGEST, protocols.KEEP_ALIVE):
        assert f"{seconds:.0f} s" in text
    for language, block in blocks(text):
        if not language:
            parsed = subprocess.run(
                ["bash", "-n"], input=block, capture_output=True, text=True, timeout=60, check=False
            )
            assert parsed.returncode == 0, parsed.stderr


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the code of a page with its languages; commands have none."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_policy_takes_the_addresses_of_the_docs() -> None:
    """What they say of balancers outside the cluster stands well at the end of the list that it belongs to."""
    [said] = [block for language, block in blocks((REPOSITORY / "docs/deploy.md").read_text()) if language == "yaml"]
    file = (DEPLOY / "k8s/base/networkpolicy.yaml").read_text()
    policy = yaml.safe_load(plant(file, "      ports:\n", f"{said}      ports:\n"))
    for version in KUBERNETES:
        kubernetes_validate.validate(policy, version, strict=True)
    others = [peer for peer in policy["spec"]["ingress"][0]["from"] if "ipBlock" in peer]
    assert {"ipBlock": {"cidr": "35.191.0.0/16"}} in others
    assert len(others) == len(yaml.safe_load(said))
