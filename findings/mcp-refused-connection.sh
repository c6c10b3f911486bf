#!/usr/bin/env bash
# One refused connection ends a kept MCP session for good, while a refusal by status ends one call.
#
# Expected: a server that restarts is unreachable for a second. The call of that second fails, as it does with a 503, and
#   the next one is answered: over HTTP each call is a request of its own, and the protocol of 2026-07 has no session.
# Written down: the docstring of `Client` shows one that is open for several calls, and says nothing of a connection that
#   is refused.
# Instead: the client stays entered, and every later call, also with the server back, fails with "Connection closed"; so
#   do calls of others that are under way. The task that has opened the client is cancelled.
# Seen on 2026-11-29:
#   503: failed, then answered; refused connection: failed, then failed with "Connection closed", with the server back
#   mcp 2.3.0, Python 3.11.7
# What we do: `graph/actions/mcp_wire.py` lies below the SDK and answers with a status where a connection is refused, so
#   the call fails alone; a session that is lost all the same is opened again.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check mcp==2.3.0 uvicorn==0.54.0

cat > "$folder/server.py" <<'PYTHON'
import logging
import sys
from pathlib import Path

import uvicorn
from mcp.server.mcpserver import MCPServer

logging.disable()
server = MCPServer("times")


@server.tool()
def now() -> str:
    """Return the time."""
    return "10:00"


served = server.streamable_http_app()
closed = Path(sys.argv[2])


async def app(scope, receive, send):
    if scope["type"] == "http" and closed.exists():
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        await served(scope, receive, send)


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", access_log=False)
PYTHON

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import logging
import platform
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from mcp.client.client import Client

logging.disable()
folder = Path(sys.argv[1])
closed = folder / "closed"
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]


async def start():
    process = subprocess.Popen([sys.executable, folder / "server.py", str(port), str(closed)])
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return process
    sys.exit("The server does not start.")


async def ask(client):
    try:
        async with asyncio.timeout(10):
            await client.call_tool("now", {})
    except Exception as error:
        return str(error) or type(error).__name__
    return "answered"


async def hold(ready):
    # A task of its own: what ends the client also cancels the task that has opened it.
    async with Client(f"http://127.0.0.1:{port}/mcp") as client:
        ready.set_result(client)
        await asyncio.Event().wait()


async def main():
    process = await start()
    ready = asyncio.get_running_loop().create_future()
    holding = asyncio.create_task(hold(ready))
    try:
        client = await asyncio.wait_for(ready, 30)
        first = await ask(client)
        closed.touch()
        refused = await ask(client)
        closed.unlink()
        after = await ask(client)
        process.kill()
        process.wait()
        gone = await ask(client)
        process = await start()
        return first, refused, after, gone, await ask(client)
    finally:
        process.kill()
        process.wait()
        holding.cancel()
        await asyncio.wait([holding])


first, refused, after, gone, back = asyncio.run(main())
print(f"503: {'failed' if refused != 'answered' else refused}, then {after}", end="; ")
print(f"refused connection: {'failed' if gone != 'answered' else gone}, then {back!r}, with the server back")
print(f"mcp {version('mcp')}, Python {platform.python_version()}")
is_as_seen = first == after == "answered" != refused and "answered" not in (gone, back)
sys.exit(0 if is_as_seen else "The behaviour has changed.")
PYTHON
