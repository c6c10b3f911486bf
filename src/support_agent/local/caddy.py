"""Caddy from the distribution, as the proxy before several replicas."""

import http.client
import shutil
from collections.abc import Mapping
from pathlib import Path

from support_agent.local.process import LocalServiceError, NotReadyError, Program, Service


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


def answers(port: int, path: str = "/health") -> None:
    """Return if what listens on `port` answers there with 200; raises OSError or NotReadyError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise NotReadyError(f"it does not speak HTTP: {type(error).__name__}") from None
    finally:
        connection.close()
    if status != 200:
        raise NotReadyError(f"it answers with status {status}")
