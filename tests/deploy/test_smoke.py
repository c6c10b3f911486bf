"""The smoke test of a deployed service, run as an operator runs it."""

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets import Subprotocol
from websockets.asyncio.client import connect

from api.auth import digest, new_key
from conftest import REPOSITORY, Serve
from harness.scripted_model import Reply, ScriptedModel, cut, label, status, tokens
from harness.serving import serving
from local.process import free_port

ALL = ["ready", "ask", "stream", "websocket", "session"]


async def smoke(url: str, *arguments: str | Path) -> tuple[int, dict[str, str]]:
    """Run the smoke test; return its exit status and the line of each failed check, by name."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        REPOSITORY / "deploy/smoke.py",
        url,
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    lines = output.decode().splitlines()
    assert process.returncode is not None
    assert [line.split()[1] for line in lines] in (ALL, ["ready"], []), output.decode()
    assert "Traceback" not in errors.decode()
    failed = {line.split()[1]: line for line in lines if line.startswith("FAIL ")}
    return process.returncode, failed if lines else {"": errors.decode()}


async def test_a_service_that_works_passes(serve: Serve, redis: Redis, tmp_path: Path) -> None:
    """It passes with its key under the default rate limit, and fails without the key."""
    key = new_key()
    (tmp_path / "key").write_text(f"{key}\n")
    variables = {"SUPPORT_API_KEYS": f"smoke:{digest(key).hex()}", "SUPPORT_RATE_LIMIT": "10/minute"}
    async with serve(**variables) as url:
        assert await smoke(f"{url}/", "--key-file", tmp_path / "key") == (0, {})
        without, failed = await smoke(url)
    assert without == 1
    assert list(failed) == ["ask", "stream", "websocket", "session"]
    assert failed["ask"].endswith("POST /ask returned 401 unauthorized")
    assert failed["websocket"].endswith("GET /chat returned 401")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(tokens(["Hello"], end=False, then=cut), "model-unavailable"), (status(400), "model-refused")],
)
async def test_a_model_that_fails_is_noticed(
    serve: Serve, redis: Redis, model: ScriptedModel, answer: Reply, problem: str
) -> None:
    """A stream that ends with an error fails the check."""
    model.script("classify", label("billing"))
    model.script("answer", answer)
    async with serve() as url:
        code, failed = await smoke(url)
    assert code == 1
    assert list(failed) == ALL[1:]
    assert problem in failed["ask"]
    assert "the last event is error" in failed["stream"]


async def test_a_service_that_forgets_is_noticed(serve: Serve, redis: Redis) -> None:
    """The check fails if the second turn does not remember the first."""
    async with serve(SUPPORT_SESSION_MESSAGES=2) as url:
        code, failed = await smoke(url)
    assert (code, list(failed)) == (1, ["session"])


async def test_no_service_fails_when_the_time_is_up() -> None:
    """It waits for a service that is not ready, then reports why, and asks it nothing else."""
    code, failed = await smoke(f"http://127.0.0.1:{free_port()}", "--timeout", "1")
    assert (code, list(failed)) == (1, ["ready"])
    assert "Cannot connect" in failed["ready"]


async def test_what_a_service_lacks_is_named(serve: Serve) -> None:
    """A service that is not ready is reported with what is missing."""
    async with serve(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0") as url:
        code, failed = await smoke(url, "--timeout", "2")
    assert (code, list(failed)) == (1, ["ready"])
    assert "GET /ready returned 503 {'redis': " in failed["ready"]


async def test_another_service_is_not_taken_for_ours(model: ScriptedModel) -> None:
    """Another service fails the check within the start-up time."""
    code, failed = await smoke(model.url, "--timeout", "2")
    assert (code, list(failed)) == (1, ["ready"])
    assert "GET /v1/ready returned 404" in failed["ready"]


Change = Callable[[Request, Response], Awaitable[Response]]


@asynccontextmanager
async def proxied(url: str, change: Change) -> AsyncGenerator[str]:
    """Run a proxy in front of the service that changes what it forwards."""

    async def hand_on(request: Request) -> Response:
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
            got = await client.request(request.method, request.url.path, content=await request.body(), headers=headers)
        kept = {"content-type": got.headers["content-type"]} if "content-type" in got.headers else None
        return await change(request, Response(got.content, got.status_code, kept))

    async def hand_on_frames(socket: WebSocket) -> None:
        await socket.accept("support.v1")
        async with connect(f"ws{url.removeprefix('http')}/chat", subprotocols=[Subprotocol("support.v1")]) as there:
            await there.send(await socket.receive_text())
            async for frame in there:
                await socket.send_text(str(frame))
                if json.loads(frame)["event"] == "done":
                    break

    routes = [
        WebSocketRoute("/chat", hand_on_frames),
        Route("/{path:path}", hand_on, methods=["GET", "POST", "DELETE"]),
    ]
    async with serving(Starlette(routes=routes), lifespan=False) as proxy:
        yield proxy


def changed(path: str, change: Callable[[bytes], bytes], media: str | None = None) -> Change:
    """Change the body of responses on one path, and optionally its content type."""

    async def apply(request: Request, response: Response) -> Response:
        if not request.url.path.startswith(path):
            return response
        kept = media or response.headers["content-type"]
        return Response(change(bytes(response.body)), response.status_code, media_type=kept)

    return apply


async def held_back(request: Request, response: Response) -> Response:
    """Delay a stream as a buffering proxy does."""
    if request.url.path == "/chat/stream":
        await asyncio.sleep(1.2)
    return response


def same(body: bytes) -> bytes:
    return body


BROKEN: dict[str, tuple[Change, str, str]] = {
    "nothing": (changed("/nowhere", same), "", ""),
    "a list": (changed("/ask", lambda _: b"[]"), "ask", "not from this service (TypeError)"),
    "null": (changed("/ask", lambda _: b'{"answer": null}'), "ask", "not from this service (AttributeError)"),
    "no JSON": (changed("/ask", lambda _: b"<html>"), "ask", "not from this service (JSONDecodeError)"),
    "a page": (changed("/chat/stream", same, "text/html"), "stream", "the stream's content type is text/html"),
    "no end": (
        changed("/chat/stream", lambda body: body.partition(b"event: done")[0]),
        "stream",
        "last event is token",
    ),
    "two ends": (
        changed("/chat/stream", lambda body: body.replace(b"event: token", b"event: error", 1)),
        "stream",
        "error, token, done",
    ),
    "a long line": (changed("/chat/stream", lambda _: b"data: " + b"x" * 2_000_000), "stream", "not from this service"),
    "held back": (held_back, "stream", "does a proxy buffer it?"),
    "no resuming": (changed("/runs/", lambda _: b""), "stream", "the resumed stream has other events"),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_what_a_proxy_breaks_is_noticed(
    serve: Serve,
    redis: Redis,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    """The check that a proxy breaks fails with one line; a harmless proxy passes."""
    monkeypatch.syspath_prepend(REPOSITORY / "deploy")
    model.script("answer", tokens(["Well", ", ", "yes", "."]))
    change, check, reason = BROKEN[broken]
    async with serve() as url, proxied(url, change) as proxy:
        passed = await importlib.import_module("smoke").smoke(proxy, "", 30)
    assert passed == (not check)
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL ")]
    assert [line.split()[1] for line in failed] == ([check] if check else [])
    assert not check or reason in failed[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ([url], f"'{url}' is not the URL of a service, such as https://agent.example.com")
            for url in ("localhost:8000", "http://", "http://[", "http://h:99999", "http://h/x?y", "ftp://h")
        ),
        (["http://a:secret@localhost"], "the URL contains a user or a password"),
        *(
            (["http://h", "--timeout", time], f"--timeout {time}: must be more than 0")
            for time in ("0", "-1", "nan", "inf")
        ),
        (["http://localhost", "--key-file", "binary"], "--key-file binary: an API key is plain ASCII"),
        (["http://localhost", "--key-file", "two"], "--key-file two: has more than one line"),
        (["http://localhost", "--key-file", "nowhere"], "--key-file nowhere: No such file or directory"),
    ],
)
async def test_a_mistake_on_the_command_line_is_named(arguments: list[str], message: str) -> None:
    """A usage error is reported without sending any request."""
    Path("binary").write_bytes(b"\xff\xfe")
    Path("two").write_text("one\ntwo\n")
    code, said = await smoke(*arguments)
    assert code == 2
    assert message in said[""]
    assert "secret" not in said[""]
