"""The service behind a real nginx and a real Caddy: a path prefix, HTTP/1.0, WebSockets and compression."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from httpx_sse import aconnect_sse
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.app import create_app
from api.auth import digest, new_key
from conftest import REPOSITORY, MakeSettings, Serve
from harness.nginx import WEBSOCKETS, nginx
from harness.programs import program
from harness.scripted_model import ScriptedModel, tokens
from harness.serving import serving
from local.caddy import start_caddy
from local.process import Service, free_port

KEY = new_key()
KEYS = f"web:{digest(KEY).hex()}"
QUESTION = {"question": "Why was I charged twice?"}
STRIPPED = "location /support/ {{ proxy_pass {url}/; {more} }}"
KEPT = "location /support/ {{ proxy_pass {url}; {more} }}"
SAYS_SO = "proxy_set_header X-Forwarded-Prefix /support;"

PREFIXED = pytest.mark.parametrize(
    ("location", "more", "root_path", "trusted"),
    [
        (STRIPPED, "", "/support", ""),
        (KEPT, "", "/support", ""),
        (STRIPPED, SAYS_SO, "", "127.0.0.1"),
    ],
    ids=["removed, --root-path", "kept, --root-path", "removed, X-Forwarded-Prefix"],
)


@PREFIXED
async def test_the_service_works_under_a_path_prefix(
    make_settings: MakeSettings, redis: Redis, location: str, more: str, root_path: str, trusted: str
) -> None:
    """Every kind of route is found, with its key, and what names the path has the prefix."""
    app = create_app(make_settings(SUPPORT_API_KEYS=KEYS, SUPPORT_TRUSTED_PROXIES=trusted))
    async with (
        serving(app, root_path=root_path) as url,
        nginx(location.format(url=url, more=WEBSOCKETS + more)) as proxy,
    ):
        async with httpx.AsyncClient(base_url=f"{proxy}/support", headers={"X-API-Key": KEY}) as client:
            assert (await client.post("/ask", json=QUESTION)).json()["answer"] == "Hello, world."
            assert (await client.get("/stream", params=QUESTION)).text.endswith("data: [DONE]\n\n")
            assert (await client.get("/nowhere")).json()["instance"] == "/support/nowhere"
            wrong = await client.get("/ask")
            assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        async with httpx.AsyncClient(base_url=f"{proxy}/support") as stranger:
            assert (await stranger.get("/sessions/s-1")).json()["type"] == "unauthorized"
            for path in ("/health", "/ready", "/docs", "/docs/swagger-ui.css"):
                assert (await stranger.get(path)).status_code == 200, path
            assert (await stranger.get("/openapi.json")).json()["servers"] == [{"url": "/support"}]
            assert "default-src 'self'" in (await stranger.get("/docs")).headers["content-security-policy"]
        address = proxy.replace("http", "ws") + "/support/chat"
        async with connect(address, additional_headers={"X-API-Key": KEY}) as socket:
            await socket.send("Hello?")
            assert await asyncio.wait_for(socket.recv(), 5) == "Hello"


@pytest.mark.soak
async def test_the_smoke_test_passes_under_a_path_prefix(
    make_settings: MakeSettings, redis: Redis, offline_model: Service, tmp_path: Path
) -> None:
    """deploy/smoke.py takes an address with a prefix, and all that it tries works."""
    (tmp_path / "key").write_text(KEY)
    model = {"OPENAI_BASE_URL": offline_model.url, "OPENAI_API_KEY": offline_model.secret}
    app = create_app(make_settings(SUPPORT_API_KEYS=KEYS, **model))
    async with serving(app, root_path="/support") as url:
        async with nginx(STRIPPED.format(url=url, more=WEBSOCKETS)) as proxy:
            command = [
                sys.executable,
                REPOSITORY / "deploy/smoke.py",
                f"{proxy}/support",
                "--key-file",
                tmp_path / "key",
            ]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()


async def test_streams_pass_through_an_nginx_that_speaks_http_1_0(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """Without any directive nginx asks with HTTP/1.0; tokens still arrive one by one."""
    model.script("answer", tokens(["One", " two"], pause=0.4))
    async with serve() as url, nginx(f"location / {{ proxy_pass {url}; }}") as proxy:
        async with httpx.AsyncClient(base_url=proxy, timeout=20) as client:
            arrived: list[float] = []
            async with aconnect_sse(client, "POST", "/chat/stream", json={"message": "Hello?"}) as source:
                async for event in source.aiter_sse():
                    if event.event == "token":
                        arrived.append(time.monotonic())
            assert arrived[-1] - arrived[0] > 0.25
            assert (await client.post("/ask", json=QUESTION)).status_code == 200


CADDYFILE = """
{
    admin off
    auto_https off
}
:{$PORT} {
    bind 127.0.0.1
    encode gzip
    respond /health 200
    handle_path /support/* {
        reverse_proxy {$SERVICE} {
            header_up X-Forwarded-Prefix /support
        }
    }
}
"""


async def test_a_proxy_that_compresses_lets_streams_pass(
    serve: Serve, redis: Redis, model: ScriptedModel, tmp_path: Path
) -> None:
    """Under a prefix behind Caddy documents are compressed, but no stream: it asks any proxy to leave it as it is."""
    program("caddy")
    model.script("answer", tokens(["One", " two"], pause=0.4))
    (tmp_path / "Caddyfile").write_text(CADDYFILE)
    port = free_port()
    async with serve(SUPPORT_TRUSTED_PROXIES="127.0.0.1") as url:
        place = {"PORT": str(port), "SERVICE": url.removeprefix("http://")}
        with start_caddy(tmp_path / "Caddyfile", port, place) as caddy:
            await asyncio.to_thread(caddy.wait)
            async with httpx.AsyncClient(base_url=f"{caddy.url}/support", timeout=20) as client:
                assert (await client.get("/docs/swagger-ui.css")).headers["content-encoding"] == "gzip"
                assert (await client.get("/nowhere")).json()["instance"] == "/support/nowhere"
                async with client.stream("GET", "/stream", params=QUESTION) as stream:
                    assert "content-encoding" not in stream.headers
                    assert "no-transform" in stream.headers["cache-control"]
                    arrived = [time.monotonic() async for line in stream.aiter_lines() if line.startswith("data: ")]
        assert arrived[1] - arrived[0] > 0.25


@pytest.fixture
async def shop(serve: Serve, redis: Redis) -> AsyncGenerator[str]:
    """An nginx that sends the service other names of its site than browsers do."""
    names = {
        "/port/": "proxy_set_header Host shop.example:443;",
        "/http/": "proxy_set_header Host SHOP.example:80;",
        "/forwarded/": "proxy_set_header X-Forwarded-Host shop.example;",
        "/chain/": 'proxy_set_header X-Forwarded-Host "shop.example, inner.example";',
    }
    async with serve(SUPPORT_TRUSTED_PROXIES="127.0.0.1") as url:
        locations = [STRIPPED.format(url=url, more=WEBSOCKETS + more) for more in names.values()]
        text = "\n".join(one.replace("/support/", place) for one, place in zip(locations, names, strict=True))
        async with nginx(text) as proxy:
            yield proxy.replace("http", "ws")


@pytest.mark.parametrize(
    ("place", "origin"),
    [
        ("port", "https://shop.example"),
        ("http", "http://shop.example"),
        ("forwarded", "https://shop.example"),
        ("chain", "https://shop.example"),
    ],
)
async def test_a_chat_on_our_own_site_is_let_in(shop: str, place: str, origin: str) -> None:
    """The proxy may add the default port to Host, or name the site in X-Forwarded-Host."""
    async with connect(f"{shop}/{place}/chat", additional_headers={"Origin": origin}) as socket:
        await socket.send("Hello?")
        assert await asyncio.wait_for(socket.recv(), 5) == "Hello"


@pytest.mark.parametrize(
    ("place", "origin"),
    [
        ("port", "https://shop.example:444"),
        ("port", "https://shop.example:443"),
        ("forwarded", "https://inner.example"),
        ("chain", "https://inner.example"),
        ("forwarded", "http://127.0.0.1"),
    ],
)
async def test_a_chat_on_another_site_is_refused(shop: str, place: str, origin: str) -> None:
    """Another port is another site, and so is a name that only a proxy within knows."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{shop}/{place}/chat", additional_headers={"Origin": origin}):
            pass
    assert json.loads(refused.value.response.body)["type"] == "origin-refused"
