"""PgBouncer in transaction mode before a Postgres."""

import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg

from harness.programs import program
from local.process import free_port

_CONFIGURATION = """\
[databases]
{database} = host={host} port={port} dbname={database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
logfile = {folder}/log
"""


@contextmanager
def pgbouncer(database_url: str) -> Generator[str]:
    """Put it before a database, with few connections, and yield the URL; skips where it is not installed."""
    binary = program("pgbouncer")
    with TemporaryDirectory() as folder:
        yield from _running(binary, database_url, Path(folder))


def _running(binary: str, database_url: str, folder: Path) -> Generator[str]:
    url, own = urlsplit(database_url), free_port()
    (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
    names = {"database": url.path.strip("/"), "host": url.hostname, "port": url.port, "own": own, "folder": folder}
    (folder / "pgbouncer.ini").write_text(_CONFIGURATION.format(**names))
    user: list[str] = []
    if os.geteuid() == 0:  # which it refuses to run as
        shutil.chown(folder, "nobody")
        user = ["-u", "nobody"]
    process = subprocess.Popen([binary, *user, folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL)
    through = database_url.replace(f":{url.port}/", f":{own}/")
    try:
        _wait(through, process, folder)
        yield through
    finally:
        process.terminate()
        process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
