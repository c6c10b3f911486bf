import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from websockets.asyncio.client import connect

from api.studio import StudioApp
from harness.scripted_model import ScriptedModel
from harness.serving import serving

STUDIO = "https://smith.langchain.com"
KEY = "sa_test"


async def theirs(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"theirs, {len(await request.body())} bytes")


def as_langgraphs_server_has_it() -> Starlette:
    """The application inside LangGraph's server: with its routes, a middleware, and a lifespan without state."""
    app = StudioApp()
    ours = app.router.lifespan_context

    @asynccontextmanager
    async def combined(app: Starlette) -> AsyncGenerator[None]:
        async with ours(app):
            yield

    first = [Route(path, theirs) for path in ("/ok", "/metrics", "/docs", "/openapi.json")]
    last = [Route(path, theirs, methods=["POST"]) for path in ("/runs/stream", "/threads")]
    app.router.routes = [*first, *app.routes, Mount("", routes=last)]
    app.router.lifespan_context = combined
    cors = Middleware(CORSMiddleware, allow_origins=[STUDIO], allow_methods=["*"], allow_headers=["*"])
    app.user_middleware = [*app.user_middleware, cors]
    return app


@pytest.fixture
async def url(
    model: ScriptedModel, articles: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[str]:
    monkeypatch.setenv("OPENAI_BASE_URL", model.url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("SUPPORT_KNOWLEDGE", str(articles))
    monkeypatch.setenv("SUPPORT_API_KEYS", f"web:{hashlib.sha256(KEY.encode()).hexdigest()}")
    async with serving(as_langgraphs_server_has_it()) as address:
        yield address


@pytest.fixture
async def client(url: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, headers={"Origin": STUDIO}, timeout=20) as http:
        yield http


async def test_our_routes_answer_as_they_do_alone(client: httpx.AsyncClient, url: str) -> None:
    """Inside LangGraph's server our routes keep their keys, headers and CORS rules."""
    asked = {"question": "Refund?"}
    assert (await client.post("/ask", json=asked)).status_code == 401
    response = await client.post("/ask", json=asked, headers={"X-API-Key": KEY})
    assert response.json()["answer"] == "Hello, world."
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert (await client.get("/ready")).json()["status"] == "ready"
    missing = await client.delete("/runs/no-such-run", headers={"X-API-Key": KEY})
    assert missing.headers["Content-Type"] == "application/problem+json"
    async with connect(f"ws{url.removeprefix('http')}/chat", additional_headers={"X-API-Key": KEY}) as socket:
        await socket.send("Refund?")
        assert await socket.recv() == "Hello"


@pytest.mark.parametrize("path", ["/ok", "/metrics", "/docs", "/openapi.json"])
async def test_what_studio_expects_of_langgraphs_server_is_that_servers(client: httpx.AsyncClient, path: str) -> None:
    """LangGraph's routes win over ours of the same name."""
    response = await client.get(path)
    assert response.text.startswith("theirs")


@pytest.mark.parametrize("path", ["/runs/stream", "/threads"])
async def test_studios_routes_are_not_under_our_rules(client: httpx.AsyncClient, path: str) -> None:
    """LangGraph's routes need no key, take large bodies, and allow Studio's origin."""
    response = await client.post(path, content=b"x" * 100_000)
    assert response.text == "theirs, 100000 bytes"
    assert response.headers["Access-Control-Allow-Origin"] == STUDIO
    assert "Content-Security-Policy" not in response.headers


async def test_a_browser_that_asks_for_the_private_network_is_not_refused(client: httpx.AsyncClient) -> None:
    """A private-network preflight, which older versions of Chrome send, is allowed."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    assert (await client.options("/threads", headers=asked)).status_code == 200


async def test_why_it_does_not_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Settings are read at the start, not on import, and missing ones are named without a traceback."""
    monkeypatch.setenv("SUPPORT_KNOWLEDGE", "nowhere")
    with pytest.raises(RuntimeError, match="did not start"):
        async with serving(as_langgraphs_server_has_it()):
            pass
    assert "missing in the environment: OPENAI_API_KEY or OPENAI_BASE_URL, REDIS_URL" in caplog.text
    assert "Traceback" not in caplog.text
