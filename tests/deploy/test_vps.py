"""The scripts and the Compose file of `deploy/vps`: linters, and one script at a time."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY
from harness.vps import TAG, VPS, Machine

SCRIPTS = ("upgrade.sh", "backup.sh", "restore.sh", "sync.sh")


def check(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the tools that are installed with the tests."""
    command = [Path(sys.executable).with_name(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_shellcheck_finds_nothing() -> None:
    """The linter passes for every script of the project, and those for the VPS are executable."""
    own = sorted((REPOSITORY / VPS).glob("*.sh"))
    assert {script.name for script in own} == set(SCRIPTS)
    scripts = [*own, *(REPOSITORY / "deploy/compose").glob("*.sh"), *(REPOSITORY / ".github/scripts").rglob("*.sh")]
    found = check("shellcheck", *scripts)
    assert found.returncode == 0, found.stdout
    assert all(os.access(script, os.X_OK) for script in own)


def test_shellcheck_finds_what_is_unsafe(tmp_path: Path) -> None:
    """The linter finds an unquoted variable."""
    text = (REPOSITORY / VPS / "backup.sh").read_text()
    assert 'mv "$folder/.$name"' in text
    (tmp_path / "backup.sh").write_text(text.replace('mv "$folder/.$name"', "mv $folder/.$name"))
    assert "SC2086" in check("shellcheck", tmp_path / "backup.sh").stdout


@pytest.mark.parametrize(("right", "wrong", "status"), [("image:", "image:", 0), ("image:", "imag:", 1)])
def test_the_schema_of_compose_knows_a_mistake(tmp_path: Path, right: str, wrong: str, status: int) -> None:
    """The schema accepts the override and rejects an unknown key."""
    text = (REPOSITORY / VPS / "compose.yaml").read_text()
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong, 1))
    checked = check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")
    assert checked.returncode == status, checked.stdout


def test_the_override_names_services_that_there_are() -> None:
    """It replaces both replicas' image, requires API keys, and requires a domain for TLS."""
    override = yaml.safe_load((REPOSITORY / VPS / "compose.yaml").read_text())["services"]
    assert override.keys() == {"api-1", "api-2", "caddy"}
    for name in ("api-1", "api-2"):
        assert override[name]["image"].startswith("${AGENT_IMAGE:?")
        assert override[name]["environment"]["SUPPORT_ALLOW_ANONYMOUS"] == "false"
        assert override[name]["environment"]["SUPPORT_API_KEYS"].startswith("${SUPPORT_API_KEYS:?")
    assert override["caddy"]["environment"]["SUPPORT_DOMAIN"].startswith("${SUPPORT_DOMAIN:?")


@pytest.mark.parametrize("arguments", [("upgrade.sh", TAG), ("backup.sh",), ("restore.sh", "/")])
def test_one_at_a_time(machine: Machine, arguments: tuple[str, ...]) -> None:
    """Every script refuses to run while another one holds the lock."""
    with (machine.root / ".vps.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = machine.run(*arguments)
    assert done.returncode == 1
    assert "another backup, upgrade or restore is running" in done.stderr
    assert not (machine.folder / "asked").exists()


def test_a_sync_that_goes_on_is_left_alone(machine: Machine) -> None:
    """The script runs the service `sync` once, whatever the other scripts do, and nothing while the last one runs."""
    with (machine.root / ".vps.lock").open("w") as other, (machine.root / ".vps.sync.lock").open("w") as own:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert machine.run("sync.sh").returncode == 0
        fcntl.flock(own, fcntl.LOCK_EX)
        assert machine.run("sync.sh").returncode == 0
    asked = (machine.folder / "asked").read_text().splitlines()
    assert asked == ["compose run --rm --no-deps -T --entrypoint support-agent sync knowledge sync"]
    assert "sync" in yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
