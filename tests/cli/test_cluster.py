"""`support-agent cluster`: several replicas with Caddy, Redis and Postgres, and failures of each."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Send

from cli.cluster import _held, _wait_until_ready
from conftest import REPOSITORY, Report
from harness.cluster import Cluster, cluster
from harness.commands import COMMAND
from harness.scripted_model import Call, ScriptedModel, tokens
from harness.serving import serving
from local.process import LocalServiceError, free_port

RATE = 30
"""Requests a second."""

STREAMS = 20

SLOWLY = "Tell me slowly."


@pytest.mark.soak
async def test_the_replicas_share_what_they_remember(tmp_path: Path) -> None:
    """The smoke test passes; sessions and streams continue on the other replica and survive a Redis restart."""
    async with cluster(tmp_path) as running, httpx.AsyncClient(timeout=20) as client:
        smoke = await asyncio.create_subprocess_exec(sys.executable, REPOSITORY / "deploy/smoke.py", running.url)
        assert await asyncio.wait_for(smoke.wait(), 30) == 0
        one, other = running.replica(1), running.replica(2)

        message = {"message": "How do I get a refund?", "session_id": "s-1"}
        async with aconnect_sse(client, "POST", f"{one}/chat/stream", json=message) as source:
            events = [event async for event in source.aiter_sse()]
        assert events[-1].event == "done"
        for reached in (3, len(events) // 2):
            resumed = await _resumed(client, other, events[reached - 1])
            assert [(event.id, event.data) for event in events[:reached] + resumed] == [
                (event.id, event.data) for event in events
            ]
        answer = await client.post(f"{other}/chat", json=message)
        assert answer.json()["messages_in_history"] == 4

        # Redis dies, and is restarted with its append-only file.
        sessions = [f"kept-{number}" for number in range(10)]
        for session in sessions:
            said = await client.post(
                f"{running.url}/chat", json={"message": "When are you open?", "session_id": session}
            )
            assert said.status_code == 200
        before = [await _history(client, running.url, session) for session in sessions]
        running.send("The bundled Redis", signal.SIGKILL)
        await _until(lambda: running.ends("The bundled Redis") == 1)
        await running.ready(one)
        await running.ready(other)
        assert [len(messages) for messages in before] == [2] * len(sessions)
        for url in (one, other):
            assert [await _history(client, url, session) for session in sessions] == before
        again = await client.post(f"{running.url}/chat", json={"message": "And on Sunday?", "session_id": sessions[0]})
        assert again.json()["messages_in_history"] == 4


@pytest.mark.soak
async def test_a_replica_that_goes_is_not_missed(
    model: ScriptedModel, articles: Path, tmp_path: Path, report: Report
) -> None:
    """A second after a kill nothing fails; a rolling restart loses no request and no stream's last event."""
    variables = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "sk-test", "SUPPORT_KNOWLEDGE": str(articles)}
    async with cluster(tmp_path, **variables) as running:
        model.script("answer", _at_its_pace)
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=running.url, timeout=20, limits=limits) as client:
            one, other = running.replica(1), running.replica(2)
            begun = await _begun(client, one)
            rest = await _resumed(client, other, begun[-1])  # while the first replica is still writing it
            run = begun[-1].id.rpartition(":")[0]
            assert [event.id for event in begun + rest] == [
                f"{run}:{number + 1}" for number in range(len(begun + rest))
            ]
            assert rest[-1].event == "done"
            assert len(rest) > 10

            async with _asking(client) as asked:
                await asyncio.sleep(0.5)
                killed = time.monotonic()
                await _restarted(running, "Replica 1", signal.SIGKILL)
            assert [(began - killed, outcome) for began, outcome in asked.failed if began - killed > 1] == []
            assert asked.outcomes["200"] > RATE
            report(f"replica killed: {asked.outcomes.total()} requests, {len(asked.failed)} failed, none after 1 s")

            async with _asking(client) as asked, _streaming(client) as streamed:
                for name in ("Replica 1", "Replica 2"):
                    await _restarted(running, name, signal.SIGTERM)
            assert asked.outcomes.keys() == {"200"}, asked.failed
            assert streamed.outcomes.keys() <= {"done", "shutting-down"}, streamed.failed
            report(f"rolling restart: {asked.outcomes.total()} requests, none lost; streams {dict(streamed.outcomes)}")


async def test_replicas_are_waited_for_while_any_of_them_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One waits for the other, which indexes; if neither gets on, the first reason is named."""
    monkeypatch.setattr("cli.cluster._STUCK", 0.6)
    done = iter([*(f"{number} of 9 articles" for number in range(10) for _ in range(2)), *[None] * 100])

    def app(next_reason: Callable[[], str | None]) -> ASGIApp:
        async def ready(_: Request) -> JSONResponse:
            reason = next_reason()
            checks = {"articles": {"up": reason is None, "reason": reason}}
            return JSONResponse({"checks": checks}, 503 if reason else 200)

        return Starlette(routes=[Route("/ready", ready)])

    reasons: list[str | None] = ["the articles are not indexed yet"]

    def indexing() -> str | None:
        reason = next(done)
        reasons[0] = reason and reasons[0]
        return reason

    async with serving(app(lambda: reasons[0])) as one, serving(app(indexing)) as other:
        services: list[Any] = [
            SimpleNamespace(name=name, url=url, log="log") for name, url in (("one", one), ("other", other))
        ]
        began = time.monotonic()
        await asyncio.to_thread(_wait_until_ready, services)
        assert time.monotonic() - began > 1.2
        reasons[0] = "Redis is down"
        with pytest.raises(LocalServiceError, match=r"one is not ready: articles: Redis is down \(log: log\)"):
            await asyncio.to_thread(_wait_until_ready, services[:1])


def test_without_caddy_one_is_told_how_to_get_it(tmp_path: Path) -> None:
    """Without Caddy nothing is started, and one line says what to install."""
    assert _refusal(REPOSITORY, str(tmp_path)) == (
        "support-agent: Caddy is not installed: apt-get install caddy (macOS: brew install caddy)\n"
    )


def test_elsewhere_than_in_the_project_one_is_told_where_to_go(tmp_path: Path) -> None:
    """Outside the project's folder the command fails, since the Caddyfile is there."""
    caddy = tmp_path / "caddy"
    caddy.touch(0o700)
    assert "there is no deploy/caddy/Caddyfile here; run this in the project's folder" in _refusal(
        tmp_path, str(tmp_path)
    )


@pytest.mark.skipif(sys.platform != "linux", reason="nothing there ends with the process that has it")
def test_a_port_is_for_one_cluster(tmp_path: Path) -> None:
    """Of two clusters that start at once on one port, one is told to choose another."""
    caddy = tmp_path / "caddy"
    caddy.touch(0o700)
    port = free_port()
    with _held(port):
        said = _refusal(REPOSITORY, str(tmp_path), "--port", str(port))
    assert said == f"support-agent: can't listen on 127.0.0.1:{port}: another cluster does; choose another --port\n"


def test_a_redis_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    """An unreachable Redis is reported without its password, before anything is started."""
    (tmp_path / "caddy").touch(0o700)
    said = _refusal(REPOSITORY, str(tmp_path), REDIS_URL=f"redis://:s3cret@127.0.0.1:{free_port()}/0")
    assert said == "support-agent: Redis can't be reached; start Redis, or correct REDIS_URL\n"


def _refusal(folder: Path, path: str, *options: str, **settings: str) -> str:
    command = [sys.executable, COMMAND, "cluster", *options]
    environment = {**os.environ, "PATH": path, **settings}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    return ended.stderr


async def _restarted(running: Cluster, name: str, ending: signal.Signals) -> None:
    """End a replica, and wait until it is restarted and Caddy has noticed."""
    ends = running.ends(name)
    running.send(name, ending)
    await _until(lambda: running.ends(name) > ends)
    await running.ready(running.replica(int(name[-1])))
    await asyncio.sleep(1)


class Outcomes:
    """Results of requests or streams."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failed: list[tuple[float, str]] = []

    async def note(self, work: Awaitable[str]) -> None:
        """Wait for one to end."""
        began = time.monotonic()
        try:
            outcome = await work
        except httpx.HTTPError as error:
            outcome = type(error).__name__
        self.outcomes[outcome] += 1
        if outcome != "200":
            self.failed.append((began, outcome))


@asynccontextmanager
async def _asking(client: httpx.AsyncClient) -> AsyncGenerator[Outcomes]:
    """Ask RATE times a second, with a new question every third time, and await all answers at the end."""
    asked = Outcomes()
    tasks: list[asyncio.Task[None]] = []
    began = time.monotonic()

    async def ask() -> str:
        answer = await client.post("/ask", json={"question": f"What is {began} and {len(tasks) // 3}?"})
        return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"

    async def keep_asking() -> None:
        while True:
            tasks.append(asyncio.create_task(asked.note(ask())))
            await asyncio.sleep(max(0, began + len(tasks) / RATE - time.monotonic()))

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(keep_asking())
        yield asked
        asking.cancel()
    await asyncio.gather(*tasks)


@asynccontextmanager
async def _streaming(client: httpx.AsyncClient) -> AsyncGenerator[Outcomes]:
    """Keep STREAMS streams open and read each to its end."""
    streamed = Outcomes()
    enough = asyncio.Event()

    async def stream() -> str:
        last: ServerSentEvent | None = None
        async with aconnect_sse(client, "POST", "/chat/stream", json={"message": SLOWLY}) as source:
            if source.response.status_code != 200:
                return f"status {source.response.status_code}"
            async for event in source.aiter_sse():
                last = event
        if last is None or last.event not in ("done", "error"):
            return "cut off"
        return "done" if last.event == "done" else str(json.loads(last.data)["type"])

    async def keep_streaming() -> None:
        while not enough.is_set():
            await streamed.note(stream())

    async with asyncio.TaskGroup() as group:
        for _ in range(STREAMS):
            group.create_task(keep_streaming())
            await asyncio.sleep(0.05)
        yield streamed
        enough.set()


async def _at_its_pace(call: Call, send: Send) -> None:
    """Take four seconds for a message with SLOWLY, and answer others at once."""
    slowly = SLOWLY in json.dumps(call.body["messages"][-1])
    await (tokens(["word "] * 20, pause=0.2) if slowly else tokens(["Yes."]))(call, send)


async def _begun(client: httpx.AsyncClient, url: str) -> list[ServerSentEvent]:
    """Return a stream's events up to its third token, and then disconnect."""
    begun: list[ServerSentEvent] = []
    async with aconnect_sse(client, "POST", f"{url}/chat/stream", json={"message": SLOWLY}) as source:
        async for event in source.aiter_sse():
            begun.append(event)
            if [one.event for one in begun].count("token") == 3:
                break
    return begun


async def _resumed(client: httpx.AsyncClient, url: str, after: ServerSentEvent) -> list[ServerSentEvent]:
    headers = {"Last-Event-ID": after.id}
    run = after.id.rpartition(":")[0]
    async with aconnect_sse(client, "GET", f"{url}/runs/{run}/stream", headers=headers) as source:
        return [event async for event in source.aiter_sse()]


async def _history(client: httpx.AsyncClient, url: str, session: str) -> list[dict[str, str]]:
    return (await client.get(f"{url}/sessions/{session}")).json()["messages"]


async def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
