"""Programs that tests need; without one a test is skipped on a laptop and fails in CI."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml


def give_up(missing: str, *, unless: str = "CI") -> NoReturn:
    """Skip the test, or fail it if this variable is "true", as on CI machines that have every program."""
    if os.environ.get(unless) == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def program(name: str, *, package: str | None = None) -> str:
    """Return the path of a program from one of Debian's packages."""
    found = shutil.which(name)
    if found is None:
        give_up(f"{name} is not installed: apt-get install {package or name}")
    return found


def node(least: tuple[int, int]) -> str:
    """Return the path of a Node of this version or a later one."""
    found = program("node", package="nodejs")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < least:
        give_up(f"node {version.strip()} is installed, and this needs {least[0]}.{least[1]} or later")
    return found


def installed(name: str) -> Path:
    """Return the path of a tool that is installed with the tests."""
    return Path(sys.executable).with_name(name)


def tool(name: str, *arguments: str | Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a tool that is installed with the tests."""
    command = [installed(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """Render an overlay with kubectl's built-in kustomize."""
    rendered = tool("kubectl", "kustomize", folder)
    assert rendered.returncode == 0, rendered.stderr
    assert not rendered.stderr, "what is deprecated is said there"
    return list(yaml.safe_load_all(rendered.stdout))


def as_root() -> list[str]:
    """Return the prefix that runs a command as root, which mounting needs."""
    begin = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        subprocess.run([*begin, "unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        give_up("a file system that can't be written needs Linux and root")
    return begin
