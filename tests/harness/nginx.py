"""A real nginx, from Debian's package `nginx-light`, with one server."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from harness.programs import program
from local.process import Program, Service, answers

_CONFIGURATION = """\
{user}
pid {directory}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/proxied;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}
    server {{
        listen 127.0.0.1:{port};
        location = /health {{ return 200; }}
        {locations}
    }}
}}
"""
WEBSOCKETS = """
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
"""
"""The directives that WebSockets need, as docs/troubleshooting.md has them."""


@asynccontextmanager
async def nginx(locations: str) -> AsyncGenerator[str]:
    """Run nginx with these locations and yield its URL."""
    binary = program("nginx", package="nginx-light")

    def command(directory: Path, port: int) -> list[str]:
        user = "user root;" if os.geteuid() == 0 else ""  # the directory is readable by its owner alone
        text = _CONFIGURATION.format(user=user, directory=directory, port=port, locations=locations)
        (directory / "nginx.conf").write_text(text)
        return [binary, "-p", str(directory), "-e", "stderr", "-g", "daemon off;", "-c", str(directory / "nginx.conf")]

    with Service(Program(name="nginx", command=command, check=answers, url="http://127.0.0.1:{port}")) as service:
        yield await asyncio.to_thread(service.wait)
