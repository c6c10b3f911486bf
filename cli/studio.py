"""`support-agent studio`: the graph in LangGraph Studio, and whatever it needs that is not configured."""

import json
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from dotenv import dotenv_values

from api.settings import ServiceSettings
from cli.embedded import embedded
from cli.serve import check_free, say
from graph.errors import SettingsError

_CONFIG = Path("langgraph.json")
_HOST = "127.0.0.1"  # it asks for no key
_GRACE = 1  # seconds that open streams have to end
_QUIET = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    # Else LANGSMITH_API_KEY alone would turn tracing on, and report how many runs there were.
    "LANGSMITH_CONTROL_PLANE_API_KEY": "",
}
"""What keeps LangGraph's server from calling home."""


def studio(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 2024,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, but don't open it.")] = False,
) -> None:
    """Open the graph in LangGraph Studio, starting what is not configured."""
    if find_spec("langgraph_api") is None:
        raise SettingsError("LangGraph Studio is not installed; run: uv run --group studio support-agent studio")
    settings = ServiceSettings.load()
    config = _config()
    check_free(_HOST, port)
    os.environ.update(_QUIET)
    os.environ.setdefault("LOG_LEVEL", "WARNING")  # LangGraph's server is talkative
    with embedded(settings, redis=True) as started:
        # What `langgraph dev` calls. Imported by name because only the group `studio` has it, and while the local
        # services start, since it takes seconds.
        server: Any = import_module("langgraph_api.cli")
        started.wait()
        ServiceSettings.load().require_service()
        say(settings, started, f"http://{_HOST}:{port}")
        server.run_server(
            _HOST,
            port,
            graphs=config["graphs"],
            http=config["http"],
            env=_unset(config["env"]),
            open_browser=not no_browser,
            timeout_graceful_shutdown=_GRACE,
        )


def _config() -> dict[str, Any]:
    try:
        return json.loads(_CONFIG.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no {_CONFIG} here; run this in the project's folder") from None


def _unset(env_file: str) -> dict[str, str]:
    """Return what a file says of variables that have no value yet, as AgentSettings reads it."""
    values = dotenv_values(env_file, interpolate=False)
    return {name: value for name, value in values.items() if value and name not in os.environ}
