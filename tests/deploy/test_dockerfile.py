"""The Dockerfile and .dockerignore: what linters say, and what a build may copy."""

import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import REPOSITORY
from harness.built_image import DOCKERFILE, SERVERS
from harness.image import context, instructions
from harness.planting import plant
from harness.programs import tool
from local import WORDS


@pytest.mark.parametrize("file", [DOCKERFILE, SERVERS], ids=["service", "servers"])
def test_hadolint_finds_nothing(file: Path) -> None:
    """The linter passes without any ignore comment."""
    found = tool("hadolint", "--no-color", file)
    assert (found.returncode, found.stdout) == (0, "")
    assert "hadolint" not in file.read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("USER 65532:65532", "USER root", "DL3002"),
        ("FROM ${BASE}", "FROM python", "DL3006"),
        ("RUN uv venv .venv", "RUN apt-get update && apt-get install -y curl \\\n    && uv venv .venv", "DL3008"),
        ('CMD ["serve", "--host", "0.0.0.0"]', "CMD serve", "DL3025"),
        ("COPY knowledge knowledge", "ADD knowledge knowledge", "DL3020"),
    ],
)
def test_hadolint_finds_what_is_wrong(tmp_path: Path, right: str, wrong: str, rule: str) -> None:
    """The linter finds root, unpinned images and packages, ADD, and a shell-form command."""
    (tmp_path / "Dockerfile").write_text(plant(DOCKERFILE.read_text(), right, wrong))
    found = tool("hadolint", "--no-color", tmp_path / "Dockerfile")
    assert found.returncode == 1
    assert rule in found.stdout


def test_no_shell_stands_between_docker_and_the_service() -> None:
    """Exec-form commands let SIGTERM reach the service; the health check needs only Python."""
    steps = {one.name: one for one in instructions(DOCKERFILE.read_text())}
    assert all(steps[name].is_list for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    assert steps["ENTRYPOINT"].value + steps["CMD"].value[:1] == ("support-agent", "serve")
    assert "--workers" not in steps["CMD"].value
    assert steps["HEALTHCHECK"].value[:2] == ("CMD", "python")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", steps["USER"].value[0])


@pytest.mark.parametrize("value", ["{port}", ' "{port}"\n'])
def test_the_health_check_asks_the_port_that_serve_reads(value: str) -> None:
    """Also where `docker run --env-file` has kept the quotation marks around it, which `serve` removes."""
    script = next(one.value[-1] for one in instructions(DOCKERFILE.read_text()) if one.name == "HEALTHCHECK")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                asked.append(client.recv(4096))
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        port = value.format(port=server.getsockname()[1])
        check = subprocess.run([sys.executable, "-I", "-S", "-c", script], env={"PORT": port}, check=False, timeout=20)
        assert check.returncode == 0
    assert asked[0].startswith(b"GET /health")


def test_dependencies_are_installed_before_the_source_is_copied() -> None:
    """Dependencies are a layer of their own, which source changes do not rebuild, and all hashes are checked."""
    steps = instructions(DOCKERFILE.read_text())
    runs = [index for index, one in enumerate(steps) if one.name == "RUN" and "--require-hashes" in one.value[0]]
    copied = [one.value[:-1] for one in steps[: runs[0]] if one.name == "COPY" and not one.flags]
    assert (len(runs), copied) == (1, [("requirements.lock", "requirements.sources.lock")])
    final = [one.value[-1] for one in steps if one.name == "COPY"][-4:]
    assert final == [".venv", "lib", "knowledge", "deploy"]


def test_the_servers_image_is_built_and_run_like_the_services() -> None:
    """On the same bases, as the same user, with hashes checked; its command is a module that exists."""
    ours, theirs = ({one.name: one for one in instructions(file.read_text())} for file in (SERVERS, DOCKERFILE))
    assert ours["USER"].value == theirs["USER"].value
    bases = [
        [one.value for one in instructions(file.read_text()) if "BASE" in str(one.value)]
        for file in (SERVERS, DOCKERFILE)
    ]
    assert bases[0] == bases[1]
    assert all(ours[name].is_list for name in ("ENTRYPOINT", "CMD"))
    assert "--require-hashes --requirements requirements.servers.lock" in SERVERS.read_text()
    for module in ("email", "calendar"):
        assert (REPOSITORY / f"mcp_servers/{module}/__main__.py").exists()
    assert (ours["ENTRYPOINT"].value, ours["CMD"].value) == (("python", "-m"), ("mcp_servers.email",))


@pytest.mark.parametrize("file", [DOCKERFILE, SERVERS], ids=["service", "servers"])
def test_one_uv_builds_everything(file: Path) -> None:
    """The images use the same version of uv as CI."""
    [version] = re.findall(r"astral-sh/uv:(\S+)", file.read_text())
    assert f"uv=={version}\n" in (REPOSITORY / ".github/scripts/install.sh").read_text()


ROOMS = ("api", "cli", "evals", "graph", "local", "mcp_servers")
PRIVATE = (
    ".env",
    ".git/config",
    "deploy/prometheus/operator.key",
    "eval-report/report.json",
    "evals/baseline.json",
    "knowledge/.draft.md",
    "knowledge/id_rsa",
    "knowledge/prod.env",
    "knowledge/tls.p12",
    "knowledge/tls.pem",
    "secrets.txt",
    "api/.envrc",
    "cli/__pycache__/main.pyc",
    "api/.settings.py",
    "graph/operator.key",
)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("*\n!LICENSE", "!LICENSE"),
        ("!knowledge/*.md", "!knowledge"),
        ("!knowledge/company.yaml", "!knowledge/*"),
        ("!graph/*.py", "!graph/*"),
        ("!graph/runs/*.py", "!graph"),
        ("**/.*\n", ""),
        ("", ""),
    ],
)
def test_nothing_private_is_in_the_context(tmp_path: Path, right: str, wrong: str) -> None:
    """No private file enters the build context, and a looser .dockerignore is noticed."""
    (tmp_path / ".dockerignore").write_text(plant((REPOSITORY / ".dockerignore").read_text(), right, wrong))
    public = {"pyproject.toml", "LICENSE", "api/b.py", "knowledge/a.md", "deploy/smoke.py"}
    for name in {*PRIVATE, *public}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert (context(tmp_path) == public) is (right == "")
    assert public <= context(tmp_path)


def test_all_that_is_needed_is_in_the_context() -> None:
    """Every module, also of new packages, and every article is in the build context; an image has no offline model."""
    needed = {file for room in ROOMS for kind in ("py", "npz") for file in (REPOSITORY / room).rglob(f"*.{kind}")}
    needed |= {*REPOSITORY.glob("knowledge/*.*")}
    needed.remove(WORDS)
    assert {str(file.relative_to(REPOSITORY)) for file in needed} <= context(REPOSITORY)
