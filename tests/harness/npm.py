"""Packages of npm, as pages and programs of LangGraph's JavaScript SDK are made of them."""

import os
import subprocess
from pathlib import Path

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


def install(folder: Path) -> None:
    """Install the packages in a folder."""
    options = ["--prefix", folder, "--no-package-lock", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
    command = [program("npm"), "install", *options, "--loglevel=error", "--before", _BEFORE, *_PACKAGES]
    subprocess.run(command, cwd=folder, check=True, timeout=300)


def bundled(source: Path, folder: Path) -> Path:
    """Bundle a page's program with the packages in a folder; return the file."""
    (folder / source.name).write_text(source.read_text())
    bundle = folder / f"{source.stem}.bundle.js"
    options = ["--bundle", "--minify", "--define:process.env.NODE_ENV='production'", f"--outfile={bundle}"]
    command = [folder / "node_modules/.bin/esbuild", source.name, *options, "--log-level=error"]
    subprocess.run(command, cwd=folder, check=True, timeout=120, env={**os.environ, "NO_COLOR": "1"})
    return bundle
