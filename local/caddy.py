"""The reverse proxy in front of several replicas: Caddy, as the system's package manager installs it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from local.process import LocalServiceError, Program, Service, answers


def find_caddy() -> str:
    """Return Caddy's path; raises LocalServiceError, with the command that installs it, if it is missing."""
    found = shutil.which("caddy")
    if found is None:
        raise LocalServiceError("Caddy is not installed: apt-get install caddy (macOS: brew install caddy)")
    return found


def start_caddy(config: Path, port: int, environment: Mapping[str, str]) -> Service:
    """Start Caddy with a Caddyfile whose placeholders are environment variables, taken from `environment`.

    It is ready when the service behind it answers on `port` of the loopback interface. Raises LocalServiceError if
    Caddy is not installed.
    """
    caddy = find_caddy()

    def command(directory: Path, _: int) -> list[str]:
        # Caddy saves certificates and its configuration; this directory is removed at the end.
        places = [f"XDG_{kind}_HOME={directory}" for kind in ("CONFIG", "DATA")]
        return ["env", *places, caddy, "run", "--config", str(config.absolute()), "--adapter", "caddyfile"]

    return Service(
        Program(
            name="Caddy",
            command=command,
            check=answers,
            url="http://127.0.0.1:{port}",
            environment=environment,
            port=port,
        )
    )
