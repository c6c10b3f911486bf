"""Commands name the dependency group that they lack."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from cli.main import main; main()"


@pytest.mark.parametrize(
    ("module", "command", "status"),
    [("scipy", "eval", 2), ("openevals", "eval", 2), ("langgraph_api", "studio", 1)],
)
def test_a_command_names_the_group_that_it_lacks(module: str, command: str, status: int) -> None:
    """One line, with what to run."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, command], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 1
    group = {"eval": "evals"}.get(command, command)
    assert f"run: uv run --group {group} support-agent {command}" in done.stderr
