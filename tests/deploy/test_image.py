"""The image: what linters say of its Dockerfile, and what its steps build, executed without Docker."""

import asyncio
import contextlib
import errno
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import REPOSITORY, Report
from harness.image import Builder, Image, context, instructions
from harness.planting import plant
from harness.programs import as_root, give_up, tool
from harness.scripted_model import ScriptedModel
from local.process import free_port

DOCKERFILE = REPOSITORY / "Dockerfile"
BUDGET = 200_000_000
"""Bytes of site-packages and the application."""

BUILD_TOOLS = ("uv", "uvx", "pip", "pip3", "gcc", "cc", "ld", "strip", "make", "git", "apt-get")
NOT_INSTALLED = {"async-timeout", "colorama", "httpx2-jsfetch", "tzdata"}
"""In requirements.lock for other platforms or versions of Python alone; others may be left out by theirs."""


# What the Dockerfile says


def test_hadolint_finds_nothing() -> None:
    """It is not told to be silent either."""
    found = tool("hadolint", "--no-color", DOCKERFILE)
    assert (found.returncode, found.stdout) == (0, "")
    assert "hadolint" not in DOCKERFILE.read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("USER 65532:65532", "USER root", "DL3002"),
        ("FROM ${BASE}", "FROM python", "DL3006"),
        ("RUN uv venv .venv", "RUN apt-get update && apt-get install -y curl \\\n    && uv venv .venv", "DL3008"),
        ('CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]', "CMD serve", "DL3025"),
        ("COPY knowledge knowledge", "ADD knowledge knowledge", "DL3020"),
    ],
)
def test_hadolint_finds_what_is_wrong(tmp_path: Path, right: str, wrong: str, rule: str) -> None:
    """Root, an image without a version, a package without one, a shell before the service."""
    (tmp_path / "Dockerfile").write_text(plant(DOCKERFILE.read_text(), right, wrong))
    found = tool("hadolint", "--no-color", tmp_path / "Dockerfile")
    assert found.returncode == 1
    assert rule in found.stdout


def test_no_shell_stands_between_docker_and_the_service() -> None:
    """So SIGTERM reaches it, and its health check needs Python alone."""
    steps = {one.name: one for one in instructions(DOCKERFILE.read_text())}
    assert all(steps[name].is_list for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    assert steps["ENTRYPOINT"].value + steps["CMD"].value[:1] == ("support-agent", "serve")
    assert "--workers" not in steps["CMD"].value
    assert steps["HEALTHCHECK"].value[:2] == ("CMD", "python")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", steps["USER"].value[0])


def test_dependencies_are_installed_before_the_source_is_copied() -> None:
    """They are a layer of their own that a change of the source leaves alone, and every hash is checked."""
    steps = instructions(DOCKERFILE.read_text())
    runs = [index for index, one in enumerate(steps) if one.name == "RUN" and "--require-hashes" in one.value[0]]
    copied = [one.value[:-1] for one in steps[: runs[0]] if one.name == "COPY" and not one.flags]
    assert (len(runs), copied) == (1, [("requirements.lock",)])
    final = [one.value[-1] for one in steps if one.name == "COPY"][-4:]
    assert final == [".venv", "lib", "knowledge", "deploy"]


def test_one_uv_builds_everything() -> None:
    """The image's is the version that CI installs."""
    [version] = re.findall(r"astral-sh/uv:(\S+)", DOCKERFILE.read_text())
    assert f"uv=={version}\n" in (REPOSITORY / ".github/scripts/install.sh").read_text()


ROOMS = ("api", "cli", "evals", "graph", "local")
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
    """Wherever it lies, whatever its name ends with; what lets more in is noticed."""
    (tmp_path / ".dockerignore").write_text(plant((REPOSITORY / ".dockerignore").read_text(), right, wrong))
    public = {"pyproject.toml", "LICENSE", "api/b.py", "knowledge/a.md", "deploy/smoke.py"}
    for name in {*PRIVATE, *public}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert (context(tmp_path) == public) is (right == "")
    assert public <= context(tmp_path)


def test_all_that_is_needed_is_in_the_context() -> None:
    """Every module, of new packages too, and every article."""
    needed = {file for room in ROOMS for kind in ("py", "npz") for file in (REPOSITORY / room).rglob(f"*.{kind}")}
    needed |= {*REPOSITORY.glob("knowledge/*.*")}
    assert {str(file.relative_to(REPOSITORY)) for file in needed} <= context(REPOSITORY)


# What its steps build


def cloned(folder: Path) -> Path:
    """Return a copy of what the image is built of, as a clone under the umask 077 has it."""
    for name in {"Dockerfile", ".dockerignore", *context(REPOSITORY)}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, folder / name)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


@pytest.fixture(scope="module")
def image() -> Generator[Image]:
    """The image, built where its user can read it, of files that only their owner can."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        folder.chmod(0o755)
        base = python(folder / "base")
        uv = shutil.which("uv")
        assert uv
        (folder / "uv").mkdir()
        (folder / "uv/uv").symlink_to(uv)
        steps = instructions(DOCKERFILE.read_text())
        [named] = re.findall(r"--from=(\S+/uv:\S+)", DOCKERFILE.read_text())
        bases = [one.value[0].partition("=")[2] for one in steps if one.name == "ARG" and "BASE=" in one.value[0]]
        yield Builder(folder, cloned(folder / "clone"), {named: folder / "uv", **dict.fromkeys(bases, base)}).build()
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def python(base: Path) -> Path:
    """Make what stands for the bases: this Python, with an installer, where images have it."""
    local = base / "usr/local"
    library = Path(sysconfig.get_path("stdlib"))
    left_out = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__")
    shutil.copytree(library, local / "lib" / library.name, ignore=left_out, symlinks=True)
    for shared in (library.parent).glob("libpython3.*.so*"):
        shutil.copy2(shared, local / "lib", follow_symlinks=False)
    (local / "bin").mkdir()
    shutil.copy2(Path(sys.executable).resolve(), local / "bin" / library.name)
    (local / "bin/python3").symlink_to(library.name)
    (local / "lib" / library.name / "site-packages/pip").mkdir(parents=True)
    for installer in ("pip", "pip3"):
        (local / "bin" / installer).touch(0o755)
    (base / "tmp").mkdir()
    return base


def files(image: Image) -> list[Path]:
    return [file for file in image.path(".").rglob("*") if file.is_file() and not file.is_symlink()]


def distributions(image: Image) -> set[str]:
    """Return the names and versions of what is installed."""
    code = "from importlib.metadata import distributions as d; print(*{f'{x.name.lower()}=={x.version}' for x in d()})"
    python = image.path(".venv/bin/python")
    said = subprocess.run([python, "-c", code], env=image.environment, capture_output=True, text=True, check=True)
    return {name.replace("_", "-") for name in said.stdout.split()}


@pytest.mark.soak
def test_the_image_is_small(image: Image, report: Report) -> None:
    """Site-packages and the application, byte-compiled, are within the budget."""
    size = sum(file.stat().st_size for file in files(image))
    report(f"image: {size / 1e6:.1f} MB of site-packages and application, budget {BUDGET / 1e6:.0f} MB")
    assert size < BUDGET
    sources = {file for file in files(image) if file.suffix == ".py" and "site-packages" in file.parts}
    compiled = {file for file in sources if list((file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"))}
    assert len(compiled) > 0.99 * len(sources)
    assert image.path("lib/cli/__pycache__").is_dir()


@pytest.mark.soak
def test_the_image_holds_what_is_locked_and_nothing_that_builds(image: Image) -> None:
    """No compiler, no installer, no Redis or model of a laptop; the articles are there."""
    installed = distributions(image)
    locked = set(re.findall(r"^[\w.-]+==[^ ;]+", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    ours = {name for name in installed if name.startswith("support-agent==")}
    assert len(ours) == 1
    assert installed - ours <= locked
    assert {name.partition("==")[0] for name in locked - installed} - NOT_INSTALLED <= {
        name.partition("==")[0] for name in installed
    }
    names = {file.name for file in image.root.rglob("*") if file.stat().st_mode & 0o111}
    assert not names & {*BUILD_TOOLS}
    assert len(list(image.path("knowledge").glob("*.md"))) == len(list((REPOSITORY / "knowledge").glob("*.md")))
    unreadable = {file.name for file in image.path(".").rglob("*") if not file.stat().st_mode & 0o004}
    assert unreadable == set()
    writable = {file.name for file in files(image) if file.stat().st_mode & 0o022}
    assert writable <= {".lock"}  # uv's, and empty
    labels = {name.removeprefix("org.opencontainers.image.") for name in image.labels}
    assert labels == {"title", "description", "licenses", "version", "revision", "source"}


@pytest.mark.soak
def test_every_library_still_loads(image: Image) -> None:
    """Stripping has spoiled none."""
    libraries = [file for file in files(image) if ".so" in file.name]
    assert len(libraries) > 50
    code = "import ctypes, sys\nfor name in sys.argv[1:]: ctypes.CDLL(name)"
    done = subprocess.run(
        [image.path(".venv/bin/python"), "-c", code, *libraries], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Container:
    """The image, running."""

    def __init__(self, image: Image, folder: Path) -> None:
        self._image = image
        self._root = as_root()
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _start(self, command: Sequence[str], output: str, **variables: str) -> subprocess.Popen[bytes]:
        moved = [part.replace("8000", str(self.port)) for part in command]
        return self._image.start(moved, variables, self._folder / output, root=self._root)

    @asynccontextmanager
    async def serve(self, **variables: str) -> AsyncGenerator[subprocess.Popen[bytes]]:
        """Start what the image starts, and wait until it lives."""
        command = [*self._image.entrypoint, *self._image.command]
        process = self._start(command, "output", **variables)
        try:
            async with asyncio.timeout(60), httpx.AsyncClient() as client:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        await client.get(f"{self.url}/health")
                        break
                    assert process.poll() is None, self.output()
                    await asyncio.sleep(0.1)
            yield process
        finally:
            self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            subprocess.run([*self._root, "kill", "-KILL", str(process.pid)], check=True)
            process.wait()

    def execute(self, *command: str) -> tuple[int, str]:
        """Run a command in a container like it; return its status and what it printed."""
        status = self._start(command, "executed").wait(30)
        return status, (self._folder / "executed").read_text()

    def main(self, process: subprocess.Popen[bytes]) -> psutil.Process:
        """Return the container's process 1."""
        return psutil.Process(process.pid).children(recursive=True)[-1]

    def signal(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Send a signal to process 1, as `docker stop` does."""
        subprocess.run([*self._root, "kill", f"-{name}", str(self.main(process).pid)], check=True)

    def output(self) -> str:
        """Return what it printed."""
        return (self._folder / "output").read_text()


WRITES = """
import os, sys
for folder in sys.argv[1:]:
    try:
        os.close(os.open(os.path.join(folder, "planted"), os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        print(error.errno)
print(os.getuid(), os.getgid(), os.getgroups(), os.getpid())
"""


@pytest.mark.soak
async def test_the_image_serves_and_ends_as_a_container_does(
    image: Image, redis: Redis, redis_url: str, model: ScriptedModel, tmp_path: Path
) -> None:
    """Not as root and with nothing to write on, it answers, passes its own checks, and ends with 0 at SIGTERM."""
    container = Container(image, tmp_path)
    folders = ["/", "/tmp", "/app", "/app/lib"]  # noqa: S108 - not to be written
    status, said = await asyncio.to_thread(container.execute, "python", "-c", WRITES, *folders)
    assert (status, said.split("\n")[:-1]) == (0, [str(errno.EROFS)] * len(folders) + ["65532 65532 [] 1"])
    key = new_key()
    (tmp_path / "key").write_text(key)
    variables = {
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "sk-test-canary",
        "REDIS_URL": redis_url,
        "SUPPORT_API_KEYS": f"smoke:{digest(key).hex()}",
    }
    check = image.healthcheck
    assert (await asyncio.to_thread(container.execute, *check))[0] == 1
    async with container.serve(**variables) as process, httpx.AsyncClient(base_url=container.url) as client:
        answer = await client.post("/ask", json={"question": "Refund?"}, headers={"X-API-Key": key})
        assert (answer.status_code, answer.json()["answer"]) == (200, "Hello, world.")
        assert (await asyncio.to_thread(container.execute, *check))[0] == 0
        smoke = [image.path(".venv/bin/python"), image.path("deploy/smoke.py"), container.url]
        tested = await asyncio.create_subprocess_exec(*smoke, "--key-file", tmp_path / "key")
        assert await asyncio.wait_for(tested.wait(), 60) == 0
        main = container.main(process)
        assert (main.uids().real, main.gids().real, main.children()) == (65532, 65532, [])
        container.signal("TERM", process)
        assert await asyncio.to_thread(process.wait, 9) == 0
    assert "Traceback" not in container.output()
    assert all(json.loads(line) for line in container.output().splitlines())


@pytest.mark.soak
def test_the_image_says_what_it_needs(image: Image, tmp_path: Path) -> None:
    """Without settings it starts nothing of its own, and ends with one line."""
    status, said = Container(image, tmp_path).execute(*image.entrypoint, *image.command)
    assert status == 1
    assert said == "support-agent: missing in the environment: OPENAI_API_KEY or OPENAI_BASE_URL, REDIS_URL\n"


# What scanners say


def secrets_in(folder: Path) -> subprocess.CompletedProcess[str]:
    """Look for keys, and ask nobody whether they are valid; the status is 0 where there are none, else 200."""
    return tool("kingfisher", "scan", folder, "--no-validate", "--no-update-check", "--redact", seconds=120)


def finds_only_what_is_planted(folder: Path, planted: Path) -> None:
    """Assert that there is no key in a folder, and that one would be found."""
    found = secrets_in(folder)
    assert found.returncode == 0, found.stdout
    secret = "".join(("x8Vq2JmN4tRz7KpLwYcB", "1sDf6GhJ3aQeU5iOoXnM"))
    planted.write_text(f"aws_access_key_id = AKIA{'Q3EGRIHVZ7TQ5KX2'}\naws_secret_access_key = {secret}\n")
    try:
        found = secrets_in(folder)
    finally:
        planted.unlink()
    assert found.returncode == 200
    assert str(planted) in found.stdout


@pytest.mark.soak
def test_the_image_holds_no_secret(image: Image) -> None:
    """And a key would be found wherever it lay."""
    finds_only_what_is_planted(image.root, image.path("knowledge/planted.md"))


def test_no_description_holds_a_secret(tmp_path: Path) -> None:
    """Neither those of the platforms nor the workflows."""
    for name in ("deploy", ".github"):
        shutil.copytree(REPOSITORY / name, tmp_path / "all" / name)
    for name in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(REPOSITORY / name, tmp_path / "all")
    finds_only_what_is_planted(tmp_path / "all", tmp_path / "all/deploy/ecs/planted.txt")


def vulnerabilities(requirements: Path) -> dict[str, list[str]] | None:
    """Return the versions that mend each vulnerable package, or None where nobody can be asked."""
    said = tool(
        *("pip-audit", "--format", "json", "--progress-spinner", "off", "--disable-pip", "--no-deps"),
        *("--requirement", requirements),
        seconds=120,
    )
    if not said.stdout:
        return None
    packages = json.loads(said.stdout)["dependencies"]
    if any("skip_reason" in package for package in packages):
        return None
    return {
        package["name"]: fixed
        for package in packages
        if (fixed := [version for found in package["vulns"] for version in found["fix_versions"]])
    }


def known_vulnerabilities(requirements: Path) -> dict[str, list[str]]:
    """Return them; where nobody can be asked the test is skipped, and on GitHub's machines, which reach PyPI, fails."""
    found = vulnerabilities(requirements)
    if found is None:
        give_up(
            "no list of vulnerabilities can be reached; PIP_AUDIT_OSV_URL names another than PyPI's",
            unless="GITHUB_ACTIONS",
        )
    return found


def test_a_vulnerability_counts_once_it_has_been_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where no list answers, nobody has looked: that passes on no machine of GitHub's."""
    known = {"planted": [{"introduced": "0"}, {"fixed": "2.0"}], "forsaken": [{"introduced": "0"}]}

    class Osv(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            package = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]
            ranges = [{"type": "ECOSYSTEM", "events": known.get(package["name"])}]
            found = {"id": "OSV-1", "affected": [{"package": package, "ranges": ranges}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"vulns": [found]} if package["name"] in known else {}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    requirements = tmp_path / "requirements.txt"
    requirements.write_text("planted==1.0\nforsaken==1.0\nharmless==1.0\n")
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{server.server_port}/v1/query")
        try:
            assert vulnerabilities(requirements) == {"planted": ["2.0"]}
        finally:
            server.shutdown()
    assert vulnerabilities(requirements) is None
    for github, ends in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("GITHUB_ACTIONS", github)
        with pytest.raises(ends, match="no list of vulnerabilities can be reached"):
            known_vulnerabilities(requirements)


@pytest.mark.soak
def test_no_package_has_a_vulnerability_that_has_been_mended(image: Image, tmp_path: Path) -> None:
    """Of those that PyPI, or PIP_AUDIT_VULNERABILITY_SERVICE, knows, as it knows those of an old requests."""
    for name, packages in {"planted": {"requests==2.19.0"}, "installed": distributions(image)}.items():
        (tmp_path / name).write_text("\n".join(one for one in packages if not one.startswith("support-agent==")))
    assert "requests" in known_vulnerabilities(tmp_path / "planted")
    assert vulnerabilities(tmp_path / "installed") == {}
