"""Caddy's own commands, from Debian's package `caddy`."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from harness.programs import program


def caddy(command: str, file: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of Caddy's commands on a Caddyfile."""
    values = {"SUPPORT_DOMAIN": ":80", "SUPPORT_REPLICAS": "api-1:8000 api-2:8000", **variables}
    arguments = [program("caddy"), command, "--config", file, "--adapter", "caddyfile"]
    environment = {**os.environ, "XDG_DATA_HOME": str(Path.cwd()), "XDG_CONFIG_HOME": str(Path.cwd()), **values}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=30, check=False)


def adapted(file: Path, **variables: str) -> dict[str, Any]:
    """Return the JSON configuration that Caddy would run."""
    said = caddy("adapt", file, **variables)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)
