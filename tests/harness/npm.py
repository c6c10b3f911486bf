"""Packages of npm, as pages and programs of LangGraph's JavaScript SDK are made of them."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from harness.programs import program

_PACKAGES = (
    "@langchain/langgraph-sdk@1.15.0",
    "@langchain/core@1.4.0",
    "react@19.3.1",
    "react-dom@19.3.1",
    "esbuild@0.28.2",
)
_BEFORE = "2026-11-20"
"""Fixes the versions of what these need, as `exclude-newer` in pyproject.toml does."""


def installed(factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the packages, which all processes of a test run share."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, ready = base / "npm", base / "npm.ready"
    with (base / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            folder.mkdir()
            _install(folder)
            ready.touch()
    return folder


def _install(folder: Path) -> None:
    options = ["--prefix", folder, "--no-package-lock", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
    command = [program("npm"), "install", *options, "--loglevel=error", "--before", _BEFORE, *_PACKAGES]
    subprocess.run(command, cwd=folder, check=True, timeout=300)


def bundled(source: Path, packages: Path) -> Path:
    """Bundle a page's program with the packages in a folder; return the file."""
    name = f"{source.stem}-{os.getpid()}"
    (packages / f"{name}.js").write_text(source.read_text())
    bundle = packages / f"{name}.bundle.js"
    options = ["--bundle", "--minify", "--define:process.env.NODE_ENV='production'", f"--outfile={bundle}"]
    command = [packages / "node_modules/.bin/esbuild", f"{name}.js", *options, "--log-level=error"]
    subprocess.run(command, cwd=packages, check=True, timeout=120, env={**os.environ, "NO_COLOR": "1"})
    return bundle
