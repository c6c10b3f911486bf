"""docker-compose.yml: its schema, its networks, and what its containers may do."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.drain import GRACE
from api.settings import ServiceSettings
from conftest import REPOSITORY
from harness.planting import plant
from harness.programs import tool
from harness.prometheus import promtool
from mcp_servers.calendar.settings import CalendarSettings
from mcp_servers.email.settings import EmailSettings
from mcp_servers.settings import ServerSettings

FILE = REPOSITORY / "docker-compose.yml"
INIT = REPOSITORY / "deploy/compose/secrets.sh"
SCRAPING = REPOSITORY / "deploy/compose/prometheus.yml"
REPLICAS = ("api-1", "api-2")
SYNC = "sync"
DATABASES = ("redis", "postgres")
OBSERVING = ("prometheus", "grafana")
SERVERS: dict[str, type[ServerSettings]] = {"mcp-email": EmailSettings, "mcp-calendar": CalendarSettings}

Compose = dict[str, Any]


def compose(text: str | None = None) -> Compose:
    return yaml.safe_load(FILE.read_text() if text is None else text)


def internal(file: Compose) -> set[str]:
    """Return the networks without a route to the outside."""
    return {name for name, network in file["networks"].items() if network.get("internal")}


# What the schema says


def schema(file: Path) -> subprocess.CompletedProcess[str]:
    return tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def test_the_schema_accepts_the_file() -> None:
    """The file follows the Compose specification."""
    checked = schema(FILE)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "readonly: true"),
        ("service_completed_successfully", "service_done"),
        ("internal: true", "internal: [1]"),
        ("start_period: 120s", "start_period: [120s]"),
        ("    networks: [data]", "    network: [data]"),
    ],
)
def test_the_schema_refuses_what_is_wrong(tmp_path: Path, right: str, wrong: str) -> None:
    """An unknown key, an unknown condition and a value of the wrong type are errors."""
    file = tmp_path / "docker-compose.yml"
    file.write_text(plant(FILE.read_text(), right, wrong))
    assert schema(file).returncode == 1


# Who can reach whom


def reachable(file: Compose) -> list[str]:
    """Return the violations of who may reach whom."""
    services = file["services"]
    inside = internal(file)
    found: list[str] = []
    for name in (*DATABASES, *REPLICAS, *SERVERS, SYNC, "prometheus", "secrets"):
        if services[name].get("ports"):
            found.append(f"{name} has a published port")
    for name in (*DATABASES, "prometheus"):
        if not set(services[name]["networks"]) <= inside:
            found.append(f"{name} is on a network that has a way out")
    for name in DATABASES:
        neighbours = {other for other in services if _share(services, name, other)} - {name}
        if others := neighbours - {*REPLICAS, SYNC, *DATABASES}:
            found.append(f"{name} is on a network with {sorted(others)}")
    for name in OBSERVING:
        if any(not port.startswith("127.0.0.1:") for port in services[name].get("ports", [])):
            found.append(f"{name} is published to everybody")
    return found


def _share(services: Compose, one: str, other: str) -> bool:
    return bool(set(services[one].get("networks", [])) & set(services[other].get("networks", [])))


def test_only_the_proxy_is_open_to_the_world() -> None:
    """Databases share an internal network with the replicas only; Grafana listens on localhost only."""
    file = compose()
    assert reachable(file) == []
    assert file["services"]["caddy"]["ports"] == ["80:80", "443:443", "443:443/udp"]


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("    networks: [data]\n", '    networks: [data]\n    ports: ["6379:6379"]\n', "redis has a published port"),
        ("  data: { internal: true }", "  data: {}", "redis is on a network that has a way out"),
        ("    networks: [edge, front]", "    networks: [edge, front, data]", "redis is on a network with ['caddy']"),
        ('ports: ["127.0.0.1:3000:3000"]', 'ports: ["3000:3000"]', "grafana is published to everybody"),
    ],
)
def test_what_opens_a_door_is_found(right: str, wrong: str, found: str) -> None:
    """A published database port, an external network and an extra service on the network are found."""
    assert found in reachable(compose(plant(FILE.read_text(), right, wrong)))


def test_the_proxy_alone_says_who_asks() -> None:
    """Replicas trust X-Forwarded-For only from the network that they share with Caddy alone."""
    file = compose()
    [pool] = file["networks"]["front"]["ipam"]["config"]
    members = {name for name, service in file["services"].items() if "front" in service.get("networks", [])}
    assert members == {"caddy", *REPLICAS}
    for name in REPLICAS:
        believed = file["services"][name]["environment"]["SUPPORT_TRUSTED_PROXIES"]
        assert believed == f"{pool['subnet']}${{SUPPORT_TRUSTED_PROXIES:+,${{SUPPORT_TRUSTED_PROXIES}}}}"
        ServiceSettings.model_validate({"SUPPORT_TRUSTED_PROXIES": believed.partition("$")[0]})


# What containers may do


def test_every_container_has_its_limits() -> None:
    """Every container limits memory, CPU and processes, rotates logs and gains no privileges."""
    for name, service in compose()["services"].items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"] == {"driver": "local"}, name
        assert service["image"].rpartition("/")[2] not in ("latest", ""), name


def test_what_serves_requests_can_write_nowhere_but_in_memory() -> None:
    """Only tmpfs is writable, and no container has capabilities except Caddy for its low ports."""
    services = compose()["services"]
    for name in ("caddy", *REPLICAS, *SERVERS, SYNC, *OBSERVING, "secrets"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name].get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    for name in (*REPLICAS, *SERVERS, SYNC):
        assert services[name]["tmpfs"] == ["/tmp"]  # noqa: S108 - in the container
        assert [volume for volume in services[name]["volumes"] if not volume.endswith(":ro")] == []


def test_what_needs_another_waits_until_it_works() -> None:
    """A service waits until its dependency is healthy, or has completed if it is a one-off."""
    services = compose()["services"]
    for name in ("caddy", *REPLICAS, *SERVERS, SYNC, *DATABASES, *OBSERVING):
        for other, wait in services[name]["depends_on"].items():
            ends = other == "secrets"
            assert wait == {"condition": "service_completed_successfully" if ends else "service_healthy"}
            assert ends or services[other]["healthcheck"]
    assert services["api-1"]["depends_on"].keys() == {"secrets", *DATABASES}
    assert services["caddy"]["depends_on"].keys() == {*REPLICAS}


def test_replicas_have_the_time_that_they_need_to_end() -> None:
    """Docker's stop grace period is longer than the service and its proxy take to drain."""
    services = compose()["services"]
    assert services["api-1"] == services["api-2"]
    for name in (*REPLICAS, "caddy"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > GRACE + 2


def test_every_setting_reaches_the_replicas() -> None:
    """Every setting is passed as a variable or a file, and no secret is in a server's environment."""
    environment = compose()["services"]["api-1"]["environment"]
    names = {str(field.alias) for field in ServiceSettings.model_fields.values()}
    secret = {str(f.alias) for f in ServiceSettings.model_fields.values() if "SecretStr" in str(f.annotation)}
    keys = {
        *("OPENAI_API_KEY", "SUPPORT_EMBEDDING_API_KEY", "SUPPORT_MCP_TOKENS", "SUPPORT_HANDOFF_SECRET"),
        *("SUPPORT_VISITOR_SECRET", "LANGSMITH_API_KEY"),
    }
    assert secret == {*keys, "REDIS_URL", "DATABASE_URL"}
    # Used by Caddy; mounted; in Postgres; Caddy asks at 8000.
    others = {"SUPPORT_DOMAIN", "SUPPORT_KNOWLEDGE", "SUPPORT_COMPANY", "SUPPORT_CACHE_DIR", "PORT"}
    assert environment.keys() - {"OTEL_EXPORTER_OTLP_ENDPOINT"} == names - secret - others
    assert environment["SUPPORT_ENV"] == "production"
    assert "environment" not in compose()["services"]["redis"]


def test_every_setting_reaches_the_servers(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a variable, or as a secret in a file, and with no other than its own; they answer by their names."""
    variables = {
        "mcp-email": {"TO": "team@example.com", "FROM": "agent@example.com", "SMTP_HOST": "mail", "SMTP_USER": "agent"},
        "mcp-calendar": {"URL": "https://dav.example.com/", "USER": "team", "TIME_ZONE": "Europe/Berlin"},
    }
    for name, kind in SERVERS.items():
        service = compose()["services"][name]
        assert service["profiles"] == ["actions"]
        assert service["command"] == [f"mcp_servers.{name.removeprefix('mcp-')}"]
        fields = {
            f"{kind.prefix}{field.alias}": "SecretStr" in str(field.annotation) for field in kind.model_fields.values()
        }
        given = set(service["environment"])
        assert given == {setting for setting, is_secret in fields.items() if not is_secret} - {
            f"{kind.prefix}HOST",  # the image's
            f"{kind.prefix}PORT",
        }
        secret = {setting for setting, is_secret in fields.items() if is_secret}
        files = written(volumes, OPENAI_API_KEY="sk", MCP_EMAIL_SMTP_PASSWORD="p", MCP_CALENDAR_PASSWORD="p")
        folder = name.removeprefix("mcp-")
        assert {file.partition("/")[2] for file in files if file.startswith(f"{folder}/")} == secret
        monkeypatch.setattr("mcp_servers.settings.SECRETS", volumes / folder)
        for setting, value in variables[name].items():
            monkeypatch.setenv(kind.prefix + setting, value)
        monkeypatch.setenv(f"{kind.prefix}ALLOWED_HOSTS", service["environment"][f"{kind.prefix}ALLOWED_HOSTS"])
        settings = kind.load()
        assert settings.allowed_hosts == (name,)
        assert f"'127.0.0.1', {settings.port}," in service["healthcheck"]["test"][-1]
        assert int(service["stop_grace_period"].removesuffix("s")) > settings.timeout + 5


def test_the_service_knows_the_tokens_of_the_servers_that_it_names(volumes: Path) -> None:
    """Of our own servers those that were generated; tokens of others are kept, and no other address is told ours."""
    named = {
        "": None,
        "email=http://mcp-email:8001/mcp": "email={email}",
        "email=http://mcp-email:8001/mcp, calendar=http://mcp-calendar:8002/mcp": "email={email},calendar={calendar}",
        "email=https://mail.example.com/mcp": None,
    }
    for servers, tokens in named.items():
        files = written(volumes, OPENAI_API_KEY="sk", SUPPORT_MCP_SERVERS=servers)
        own = {name: files[f"{name}/MCP_{name.upper()}_TOKEN"] for name in ("email", "calendar")}
        assert files.get("api/SUPPORT_MCP_TOKENS") == (tokens and f"{tokens.format(**own)}\n")
    more = written(
        volumes,
        OPENAI_API_KEY="sk",
        SUPPORT_MCP_SERVERS="crm=https://crm.example.com/mcp,email=http://mcp-email:8001/mcp",
        SUPPORT_MCP_TOKENS="crm=secret",
    )
    assert more["api/SUPPORT_MCP_TOKENS"] == f"crm=secret,email={more['email/MCP_EMAIL_TOKEN']}\n"


def test_the_schedule_syncs_what_the_replicas_serve(tmp_path: Path) -> None:
    """Only with its profile; with the replicas' settings and articles, in the same image or in one of its own."""
    services = compose()["services"]
    own, replica = services[SYNC], services["api-1"]
    assert own["profiles"] == [SYNC]
    for name in ("environment", "volumes", "depends_on"):
        assert own[name] == replica[name]
    assert own["image"] == f"${{SYNC_IMAGE:-{replica['image']}}}"
    [shell, option, script] = own["entrypoint"]
    (tmp_path / "support-agent").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "sleep").write_text('#!/bin/sh\necho "$@"\nexec kill $PPID\n')
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(
        [shell, option, script], env={"PATH": path}, capture_output=True, text=True, timeout=10, check=False
    )
    assert ran.stdout.splitlines() == ["knowledge sync", "600"]


def test_a_missing_key_is_named() -> None:
    """Compose stops and names the variable to set; nothing else is required."""
    asked = re.findall(r"\$\{(\w+):?\?([^}]*)\}", FILE.read_text())
    assert [name for name, _ in asked] == ["OPENAI_API_KEY"]
    assert ".env" in asked[0][1]


def test_what_is_mounted_exists() -> None:
    """Every mounted path exists, since Docker creates an empty folder for a missing one."""
    mounts = [volume for service in compose()["services"].values() for volume in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) >= 6
    assert [file for file in files if not (REPOSITORY / file).exists()] == []
    named = {mount.split(":")[0] for mount in mounts} - set(files)
    assert named == compose()["volumes"].keys()


# Secrets


def written(folder: Path, **variables: str) -> dict[str, str]:
    """Run the command of the service `secrets` and return the files that it wrote."""
    environment = {"PATH": os.environ["PATH"], **variables}
    subprocess.run(["sh", INIT, folder], env=environment, check=True, timeout=10)
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Empty volumes where the file mounts them."""
    for mount in compose()["services"]["secrets"]["volumes"]:
        if ":/secrets/" in mount:
            (tmp_path / "secrets" / mount.rpartition("/")[2]).mkdir(parents=True)
    return tmp_path / "secrets"


def test_secrets_are_made_once(volumes: Path) -> None:
    """Passwords are kept across runs; API keys follow the environment."""
    first = written(volumes, OPENAI_API_KEY="sk-one", LANGSMITH_API_KEY="ls-one")
    second = written(volumes, OPENAI_API_KEY="sk-two", OPERATOR_KEY="sa_operator")
    changed = {"api/OPENAI_API_KEY", "api/LANGSMITH_API_KEY", "observe/operator.key"}
    assert {name for name in first if second.get(name) != first[name]} == changed
    assert (second["api/OPENAI_API_KEY"], second["observe/operator.key"]) == ("sk-two\n", "sa_operator\n")
    assert "api/LANGSMITH_API_KEY" not in second
    passwords = [first[name] for name in ("redis/password", "postgres/password", "observe/grafana")]
    assert len(set(passwords)) == 3
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in passwords)
    assert {file.stat().st_mode & 0o777 for file in volumes.rglob("*") if file.is_file()} == {0o644}


def test_the_service_reads_what_was_written(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's URLs have the host names of the file and the generated passwords."""
    files = written(volumes, OPENAI_API_KEY="sk-one")
    monkeypatch.setattr("graph.environment.SECRETS", volumes / "api")
    settings = ServiceSettings.load().require_service()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-one"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == f"redis://:{files['redis/password']}@redis:6379/0"
    assert files["redis/redis.conf"] == f"requirepass {files['redis/password']}\n"
    postgres = compose()["services"]["postgres"]["environment"]
    user, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    assert settings.database_url is not None
    url = f"postgresql://{user}:{files['postgres/password']}@postgres:5432/{database}"
    assert settings.database_url.get_secret_value() == url


def test_each_container_sees_its_own_secrets() -> None:
    """Besides `secrets`, one kind of service mounts each secrets volume, read-only."""
    owners: dict[str, set[str]] = {}
    for name, service in compose()["services"].items():
        for mount in service.get("volumes", []):
            if "-secrets:" in mount and name != "secrets":
                assert mount.endswith(":/run/secrets:ro")
                owners.setdefault(mount.split(":")[0], set()).add(name)
    assert owners == {
        "api-secrets": {*REPLICAS, SYNC},
        "redis-secrets": {"redis"},
        "postgres-secrets": {"postgres"},
        "observe-secrets": {*OBSERVING},
        "email-secrets": {"mcp-email"},
        "calendar-secrets": {"mcp-calendar"},
    }


# What watches


@pytest.mark.parametrize(("right", "wrong"), [("", ""), ("credentials_file", "credential_file")])
def test_promtool_checks_what_prometheus_is_given(tmp_path: Path, right: str, wrong: str) -> None:
    """Prometheus' own checker accepts the files at their container paths, and finds mistakes in them."""
    text = SCRAPING.read_text().replace(right, wrong)
    for place, file in (("/etc/prometheus/alerts.yml", "alerts.yml"), ("/run/secrets/operator.key", "operator.key")):
        assert place in text
        text = text.replace(place, str(tmp_path / file))
    (tmp_path / "alerts.yml").write_text((REPOSITORY / "deploy/prometheus/alerts.yml").read_text())
    (tmp_path / "operator.key").write_text("none\n")
    (tmp_path / "prometheus.yml").write_text(text)
    checked = promtool("check", "config", tmp_path / "prometheus.yml")
    assert (checked.returncode == 0) == (right == ""), checked.stderr


def test_each_replica_is_asked_by_the_proxy_and_by_prometheus() -> None:
    """Caddy and Prometheus use the same host names for the replicas."""
    places = [f"{name}:8000" for name in REPLICAS]
    assert compose()["services"]["caddy"]["environment"]["SUPPORT_REPLICAS"].split() == places
    [job] = yaml.safe_load(SCRAPING.read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": places}]
    assert job["job_name"] == "support-agent"
