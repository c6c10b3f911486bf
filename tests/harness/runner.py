"""A GitHub runner for the workflows' scripts, with fake programs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import REPOSITORY
from harness.programs import program

SCRIPTS = Path(".github/scripts")
_PACKAGES = {"envsubst": "gettext-base", "jq": "jq"}
"""Programs that a script may use, which a bare machine lacks, and Debian's packages that have them."""


class Runner:
    """Runs the scripts with the test's own programs first on the path."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.summary = folder / "summary.md"
        self.output = folder / "output"
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.work = folder / "work"
        self.work.mkdir()

    def recorder(self, name: str, code: str = "") -> None:
        """Install a program that records its arguments and then runs the Python in `code`."""
        opened = f"with Path({str(self.calls_file)!r}).open('a') as log:\n"
        self.program(name, f"{opened}    print(json.dumps([{name!r}, *given]), file=log)\n{code}")

    def calls(self) -> list[list[Any]]:
        """Return the recorded calls, each with its arguments."""
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the step."""
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())

    def program(self, name: str, code: str) -> None:
        """Install a program that runs the Python in `code`, with its arguments in `given`."""
        file = self.programs / name
        file.write_text(
            f"#!{sys.executable}\nimport json, os, sys\nfrom pathlib import Path\ngiven = sys.argv[1:]\n{code}"
        )
        file.chmod(0o755)

    def need(self, commands: str) -> None:
        """Skip the test where a program that these commands use is missing."""
        for name, package in _PACKAGES.items():
            if re.search(rf"\b{name}\b", commands) and not (self.programs / name).exists():
                program(name, package=package)

    def run(self, script: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script and return its result; skips the test, by name, where a program of the script is missing."""
        self.need((REPOSITORY / SCRIPTS / script).read_text())
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "TMPDIR": str(self.work),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.output),
        }
        return subprocess.run(
            [REPOSITORY / SCRIPTS / script, *arguments],
            cwd=self.work,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
