"""Caddy from the distribution, as the proxy before several replicas."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from local.process import LocalServiceError, Program, Service, answers


def find_caddy() -> str:
    """Return the path of Caddy; raises LocalServiceError, which says how to install it, if there is none."""
    found = shutil.which("caddy")
    if found is None:
        raise LocalServiceError("Caddy is not installed: apt-get install caddy (macOS: brew install caddy)")
    return found


def start_caddy(config: Path, port: int, environment: Mapping[str, str]) -> Service:
    """Start Caddy with a Caddyfile whose placeholders are filled from `environment`.

    It is ready when the service behind it answers on `port` of the loopback interface. Raises LocalServiceError if it
    is not installed.
    """
    caddy = find_caddy()

    def command(directory: Path, _: int) -> list[str]:
        # What Caddy remembers, certificates and its configuration, goes where it is removed.
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
