"""Security scans of the image: no secret, and no package with a vulnerability that has a fix."""

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import REPOSITORY
from harness.built_image import distributions
from harness.image import Image
from harness.programs import give_up, tool


def secrets_in(folder: Path) -> subprocess.CompletedProcess[str]:
    """Scan for secrets without validating them online; the status is 0 for none and 200 for some."""
    return tool("kingfisher", "scan", folder, "--no-validate", "--no-update-check", "--redact", seconds=120)


def finds_only_what_is_planted(folder: Path, planted: Path) -> None:
    """Assert that a folder holds no secret, and that a planted one is found."""
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
@pytest.mark.parametrize("built", ["image", "servers_image"])
def test_the_image_holds_no_secret(request: pytest.FixtureRequest, built: str) -> None:
    """The images have no secret, and the scanner would find one."""
    image: Image = request.getfixturevalue(built)
    finds_only_what_is_planted(image.root, image.path("lib/planted.md"))


def test_no_description_holds_a_secret(tmp_path: Path) -> None:
    """Neither the deployment files nor the workflows hold a secret."""
    for name in ("deploy", ".github"):
        shutil.copytree(REPOSITORY / name, tmp_path / "all" / name)
    for name in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(REPOSITORY / name, tmp_path / "all")
    finds_only_what_is_planted(tmp_path / "all", tmp_path / "all/deploy/ecs/planted.txt")


def vulnerabilities(requirements: Path) -> dict[str, list[str]] | None:
    """Return the fixed versions of each vulnerable package, or None if no database can be reached."""
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
    """Return them; with no database to reach, skip the test, or fail it on GitHub's runners."""
    found = vulnerabilities(requirements)
    if found is None:
        give_up(
            "no list of vulnerabilities can be reached; PIP_AUDIT_OSV_URL names another than PyPI's",
            unless="GITHUB_ACTIONS",
        )
    return found


def test_a_vulnerability_counts_once_it_has_been_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a vulnerability with a fix counts; an unreachable database fails on GitHub and skips elsewhere."""
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
@pytest.mark.parametrize("built", ["image", "servers_image"])
def test_no_package_has_a_vulnerability_that_has_been_mended(
    request: pytest.FixtureRequest, built: str, tmp_path: Path
) -> None:
    """No installed package has a fixable vulnerability in PyPI's database, or that of the variable."""
    image: Image = request.getfixturevalue(built)
    for name, packages in {"planted": {"requests==2.19.0"}, "installed": distributions(image)}.items():
        (tmp_path / name).write_text("\n".join(one for one in packages if not one.startswith("support-agent==")))
    assert "requests" in known_vulnerabilities(tmp_path / "planted")
    assert vulnerabilities(tmp_path / "installed") == {}
