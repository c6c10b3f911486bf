"""The e-mail and calendar servers, which `support-agent cluster` starts where their settings are there."""

import os
import secrets
import sys
from collections.abc import Mapping
from importlib.util import find_spec

from dotenv import dotenv_values

from graph.environment import ENV_FILE, plain
from graph.errors import SettingsError
from local.process import Program, Service, answers, free_port

_HOST = "127.0.0.1"
_NEEDS = {"email": ("MCP_EMAIL_SMTP_HOST", "aiosmtplib"), "calendar": ("MCP_CALENDAR_URL", "caldav")}
"""By the server's name: the setting that it is started by, and a package that it needs."""
_NAMED, _TOKENS = "SUPPORT_MCP_SERVERS", "SUPPORT_MCP_TOKENS"


def start_servers() -> list[Service]:
    """Start the servers whose settings are there, and name them in this process's environment, for the replicas.

    In SUPPORT_MCP_SERVERS they take the place of those of the same name. Raises SettingsError and LocalServiceError.
    """
    given = {name: plain(value) for name, value in (*_env_file().items(), *os.environ.items())}
    started = {name: _start(name, given) for name, (setting, _) in _NEEDS.items() if given.get(setting)}
    if started:
        addresses = {name: f"http://{_HOST}:{service.port}/mcp" for name, service in started.items()}
        tokens = {name: service.secret for name, service in started.items()}
        os.environ[_NAMED] = _joined(given.get(_NAMED, ""), addresses)
        os.environ[_TOKENS] = _joined(given.get(_TOKENS, ""), tokens)
    return list(started.values())


def _start(name: str, given: Mapping[str, str]) -> Service:
    package = _NEEDS[name][1]
    if find_spec(package) is None:
        raise SettingsError(f"{package} is not installed; run `uv run --group cluster support-agent cluster`")
    prefix = f"MCP_{name.upper()}_"
    port = int(value) if (value := given.get(f"{prefix}PORT", "")).isdigit() else free_port()
    token = given.get(f"{prefix}TOKEN") or secrets.token_hex(24)
    own = {"HOST": _HOST, "PORT": str(port), "ALLOWED_HOSTS": _HOST, "TOKEN": token}
    return Service(
        Program(
            name=f"{name.capitalize()} server",
            command=lambda _directory, _port: [sys.executable, "-P", "-m", f"mcp_servers.{name}"],
            check=answers,
            url=f"http://{_HOST}:{{port}}",
            secret=token,
            port=port,
            environment={setting: value for setting, value in given.items() if setting.startswith(prefix)}
            | {prefix + setting: value for setting, value in own.items()},
        )
    )


def _env_file() -> dict[str, str]:
    values = dotenv_values(ENV_FILE, interpolate=False, encoding="utf-8-sig")
    return {name: value for name, value in values.items() if value is not None}


def _joined(pairs: str, ours: Mapping[str, str]) -> str:
    """Return `name=value` pairs with ours in place of those of the same name."""
    others = [pair.strip() for pair in pairs.split(",") if pair.strip()]
    kept = [pair for pair in others if pair.partition("=")[0].strip() not in ours]
    return ",".join((*kept, *(f"{name}={value}" for name, value in ours.items())))
