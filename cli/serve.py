"""`support-agent serve`: the service, and whatever it needs that is not configured."""

import errno
import os
import socket
from importlib import import_module
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.prefix import prefix_of
from api.settings import ServiceSettings
from cli.embedded import Embedded, Offline, embedded, load_settings
from graph import __version__
from graph.errors import SettingsError

_APPLICATION = "api.app"
_GRACE = 1  # seconds that open requests have to end, once the application has drained

Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port to listen on.", show_default="PORT if that is set, else 8000")
]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that serve.")] = 1,
    root_path: Annotated[str, typer.Option(help="Path prefix under which a reverse proxy publishes the service.")] = "",
    reload: Annotated[bool, typer.Option("--reload", help="Start again when the source changes.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to start where anything of the articles can't be read or indexed.")
    ] = False,
    offline: Offline = False,
) -> None:
    """Serve the agent over HTTP, starting what is not configured."""
    if strict:
        os.environ["SUPPORT_STRICT"] = "true"  # for all processes that serve
    settings = load_settings(offline=offline)
    port = port or settings.port
    prefix = _prefix(root_path)
    check_free(host, port)
    with embedded(settings, redis=True) as started:
        # Imported while the local services start, since it takes seconds.
        import uvicorn

        from api.logs import log_config
        from api.protocols import OPTIONS

        import_module(_APPLICATION)
        started.wait()
        ServiceSettings.load().require_service()
        if settings.env == "development":
            say(settings, started, f"http://{f'[{host}]' if ':' in host else host}:{port}")
        uvicorn.run(
            f"{_APPLICATION}:create_app",
            factory=True,
            # asyncio restricts "::" to IPv6, but takes "" for both; uvicorn's sockets for several processes do not.
            host="" if host == "::" and workers == 1 and not reload else host,
            port=port,
            workers=workers,
            reload=reload,
            log_config=log_config(as_json=settings.env == "production"),
            timeout_graceful_shutdown=_GRACE,
            ws_max_size=settings.max_body,
            root_path=prefix,
            **OPTIONS,
        )


def _prefix(root_path: str) -> str:
    try:
        return prefix_of(root_path)
    except ValueError as error:
        raise SettingsError(f"--root-path: {error}") from None


def check_free(host: str, port: int) -> None:
    """Raise SettingsError where the port is taken, or the address is not this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        other = "--host" if is_host else "--port"
        raise SettingsError(f"can't listen on {host}:{port}: {error.strerror}; choose another {other}") from None


def say(settings: ServiceSettings, started: Embedded, address: str) -> None:
    """Print what is configured, and what was started in place of the rest."""

    def state(*, is_embedded: bool) -> str:
        return "[yellow]embedded[/]" if is_embedded else "[green]configured[/]"

    model = "offline model" if started.model else f"{settings.classify_model}, {settings.answer_model}"
    articles = "in Postgres" if settings.database_url else "in memory"
    table = Table.grid(padding=(0, 2))
    table.add_row("model", state(is_embedded=started.model is not None), model)
    table.add_row("Redis", state(is_embedded=started.redis is not None), "kept in memory" if started.redis else "")
    table.add_row(
        "articles", state(is_embedded=not settings.database_url), f"{articles}, from {settings.sources_named}"
    )
    console = Console(stderr=True, highlight=False)
    console.print(f"support-agent {__version__} on {address}")
    console.print(table)
