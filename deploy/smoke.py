"""Smoke test of a deployed service, over HTTP.

    python deploy/smoke.py https://agent.example.com --key-file FILE

It waits until the service is ready. Then it uses each interface that customers use: a question, a stream that it reads
to the last event and then resumes, a turn over a WebSocket, and a conversation of two turns that it deletes afterwards.
It prints one line per check, and exits with 0 if all passed. Five of its requests count against SUPPORT_RATE_LIMIT. It
needs aiohttp, which the image contains.
"""

import argparse
import asyncio
import json
import math
import secrets
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

QUESTION = "How do I get a refund?"
AGAIN = "And how long does that take?"
PAUSE = 1.0
"""Seconds between two requests to /ready."""
PATIENCE = 10.0
"""Time-out of one request to /ready, in seconds."""


ORDERS = [["run", *found, "token", "done"] for found in (["category", "sources"], ["sources", "category"])]
"""The valid orders of a turn's events; consecutive events of one type count once."""


class CheckFailed(Exception):
    """A check failed; the message is a short reason."""


async def answer(call: AbstractAsyncContextManager[aiohttp.ClientResponse], status: int = 200) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON of a response; raises CheckFailed if it has another status."""
    async with call as response:
        await expect(response, status)
        return await response.json() if status == 200 else None


async def expect(response: aiohttp.ClientResponse, status: int) -> None:
    """Raise CheckFailed if the status is another, with the problem's type or the dependencies that are down."""
    if response.status != status:
        try:
            told = json.loads(await response.text())
            down = {name: check.get("reason") for name, check in told.get("checks", {}).items() if not check["up"]}
            problem = f" {told.get('type') or down or told['status']}"
        except (ValueError, LookupError, TypeError, AttributeError):
            problem = ""
        raise CheckFailed(f"{response.method} {response.url.path} returned {response.status}{problem}")


def require(condition: object, otherwise: str) -> None:
    """Raise CheckFailed unless the condition holds."""
    if not condition:
        raise CheckFailed(otherwise)


def describe(error: Exception) -> str:
    """Return an error's message, or its type; for a refused WebSocket, a message like that of expect()."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"{error.request_info.method} {error.request_info.url.path} returned {error.status}"
    return str(error) or type(error).__name__


async def ready(client: aiohttp.ClientSession) -> None:
    """Wait until the service is ready."""
    reason = "no answer"
    try:
        while True:
            try:
                return await answer(client.get("ready", timeout=aiohttp.ClientTimeout(PATIENCE)))
            except TimeoutError:
                reason = f"no answer within {PATIENCE:g} s"
            except (CheckFailed, aiohttp.ClientError, ValueError) as error:
                reason = describe(error)
            await asyncio.sleep(PAUSE)
    except asyncio.CancelledError:  # the time-out for all checks
        raise CheckFailed(reason) from None


async def ask(client: aiohttp.ClientSession) -> None:
    """Get an answer that does not come from the cache."""
    got = await answer(client.post("ask", json={"question": QUESTION}, headers={"Cache-Control": "no-cache"}))
    require(got["answer"].strip(), "the answer is empty")
    require(got["category"].strip(), "the category is empty")
    require(got["sources"], "no article was found")


async def stream(client: aiohttp.ClientSession) -> None:
    """Read a stream to its last event, and resume it after its first event."""
    clock = asyncio.get_running_loop().time
    began = clock()
    seen = [event async for event in read(client.post("chat/stream", json={"message": QUESTION}))]
    check_events([event.name for event in seen], seen[-1].data if seen else "")
    waited, took = seen[0].time - began, clock() - began
    require(
        took < 1 or waited < took / 2,
        f"the first event came after {waited:.1f} of {took:.1f} s: does a proxy buffer it?",
    )
    run = json.loads(seen[0].data)["run_id"]
    again = [event async for event in read(client.get(f"runs/{run}/stream", headers={"Last-Event-ID": seen[0].id}))]
    require([event.id for event in again] == [event.id for event in seen[1:]], "the resumed stream has other events")


class Event(NamedTuple):
    """An event of a stream, with the time of its arrival in seconds of the event loop's clock."""

    name: str
    id: str
    data: str
    time: float


async def read(call: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> AsyncGenerator[Event]:
    """Yield a stream's events as they arrive; raises CheckFailed if the response is not a stream."""
    async with call as response:
        await expect(response, 200)
        require(response.content_type == "text/event-stream", f"the stream's content type is {response.content_type}")
        fields: dict[str, str] = {}
        async for line in response.content:
            field, _, value = line.decode().strip().partition(": ")
            if field:
                fields[field] = value
            elif "data" in fields:
                came = asyncio.get_running_loop().time()
                yield Event(fields.get("event", ""), fields.get("id", ""), fields["data"], came)
                fields = {}


async def websocket(client: aiohttp.ClientSession) -> None:
    """Run a turn over a WebSocket, to its last event."""
    events: list[str] = []
    data = ""
    async with client.ws_connect("chat", protocols=["support.v1"]) as socket:
        await socket.send_json({"message": QUESTION})
        while "done" not in events and "error" not in events:
            frame = await socket.receive()
            require(frame.type is aiohttp.WSMsgType.TEXT, f"the connection was closed with {socket.close_code}")
            event = frame.json()
            events.append(event["event"])
            data = json.dumps(event["data"])
    check_events(events, data)


def check_events(events: list[str], data: str) -> None:
    """Check the order of a turn's events, and the data of the last one."""
    require(events, "there were no events")
    require(events[-1] == "done", f"the last event is {events[-1]} {data}")
    order = [name for name, before in zip(events, ["", *events], strict=False) if name != before]
    require(order in ORDERS, f"the events are {', '.join(order)}")
    require(json.loads(data)["answer"].strip(), "the answer is empty")


async def session(client: aiohttp.ClientSession) -> None:
    """Hold a conversation of two turns, check its history, and delete it."""
    name = f"smoke-{secrets.token_hex(16)}"
    for message, remembered in ((QUESTION, 2), (AGAIN, 4)):
        got = await answer(client.post("chat", json={"message": message, "session_id": name}))
        require(got["messages_in_history"] == remembered, f"{got['messages_in_history']} messages in the history")
    history = (await answer(client.get(f"sessions/{name}")))["messages"]
    require(len(history) == remembered, f"{len(history)} messages in the session")
    await answer(client.delete(f"sessions/{name}"), 204)
    await answer(client.get(f"sessions/{name}"), 404)


Check = Callable[[aiohttp.ClientSession], Coroutine[None, None, None]]
CHECKS: tuple[Check, ...] = (ready, ask, stream, websocket, session)


async def run_check(check: Check, client: aiohttp.ClientSession, deadline: float) -> str:
    """Run a check; return why it failed, or an empty string."""
    try:
        async with asyncio.timeout_at(deadline):
            await check(client)
    except TimeoutError:
        return "not finished within the time-out for all checks"
    except (CheckFailed, aiohttp.ClientError) as error:
        return describe(error)
    except Exception as error:  # noqa: BLE001 - anything that a response from another server, or one that is not JSON, leads to
        return f"the response is not from this service ({type(error).__name__})"
    return ""


async def smoke(url: str, key: str, seconds: float) -> bool:
    """Run the checks, print their results, and return whether all passed within this time.

    If the service does not become ready, the other checks are skipped.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    headers = {"Authorization": f"Bearer {key}"} if key else None
    failed = False
    async with aiohttp.ClientSession(f"{url.rstrip('/')}/", headers=headers) as client:
        for check in CHECKS:
            began = clock()
            reason = await run_check(check, client, deadline)
            line = f"{'FAIL' if reason else 'ok  '} {check.__name__:9} {clock() - began:6.2f} s"
            print(f"{line}: {reason}" if reason else line, flush=True)
            failed = failed or bool(reason)
            if reason and check is ready:
                break
    return not failed


def is_address(url: str) -> bool:
    """Return whether this is an HTTP URL with a host, and without query and fragment."""
    try:
        parts = URL(url)
        return parts.scheme in ("http", "https") and bool(parts.host) and not parts.query_string and not parts.fragment
    except ValueError:
        return False


def main() -> None:
    """Test the service at the URL on the command line."""
    parser = argparse.ArgumentParser(description="Smoke test of a deployed support-agent.")
    parser.add_argument("url", help="URL of the service, such as https://agent.example.com")
    parser.add_argument("--key-file", type=Path, help="file with an API key, if the service requires one")
    parser.add_argument(
        "--timeout", type=float, default=120, help="seconds for all checks together (default: %(default)s)"
    )
    given = parser.parse_args()
    if not is_address(given.url):
        parser.error(f"{given.url!r} is not the URL of a service, such as https://agent.example.com")
    if URL(given.url).user or URL(given.url).password:
        parser.error("the URL contains a user or a password; put an API key into a --key-file")
    if not 0 < given.timeout < math.inf:
        parser.error(f"--timeout {given.timeout:g}: must be more than 0 and finite")
    try:
        key = given.key_file.read_text("ascii").strip() if given.key_file else ""
    except OSError as error:
        parser.error(f"--key-file {given.key_file}: {error.strerror}")
    except UnicodeError:
        parser.error(f"--key-file {given.key_file}: an API key is plain ASCII")
    if not key.isprintable():
        parser.error(f"--key-file {given.key_file}: has more than one line, or characters that an API key can't have")
    sys.exit(0 if asyncio.run(smoke(given.url, key, given.timeout)) else 1)


if __name__ == "__main__":
    main()
