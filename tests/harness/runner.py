"""A machine of GitHub's, where workflows' scripts run with programs of a test's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import REPOSITORY

SCRIPTS = Path(".github/scripts")


class Runner:
    """A machine of GitHub's: runs the scripts with programs of the test's first on the path."""

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
        """Install a program that writes down its arguments, and then does what the Python in `code` says."""
        opened = f"with Path({str(self.calls_file)!r}).open('a') as log:\n"
        self.program(name, f"{opened}    print(json.dumps([{name!r}, *given]), file=log)\n{code}")

    def calls(self) -> list[list[Any]]:
        """Return the programs that were recorded, each with its arguments."""
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def outputs(self) -> dict[str, str]:
        """Return what the step put out."""
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())

    def program(self, name: str, code: str) -> None:
        """Install a program: the Python in `code`, which has its arguments in `given`."""
        file = self.programs / name
        file.write_text(
            f"#!{sys.executable}\nimport json, os, sys\nfrom pathlib import Path\ngiven = sys.argv[1:]\n{code}"
        )
        file.chmod(0o755)

    def run(self, script: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
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
            timeout=30,
            check=False,
        )
