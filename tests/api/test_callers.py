"""Authentication and tenants: who may call, and what each caller sees."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.auth import digest, new_key
from conftest import Serve
from harness.scripted_model import ScriptedModel

KEYS = {name: new_key() for name in ("web", "web, rotated", "partner")}
CONFIGURED = ",".join(f"{name.partition(',')[0]}:{digest(key).hex()}" for name, key in KEYS.items())
QUESTION = {"question": "Why was I charged twice?"}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture
async def guarded(serve: Serve, redis: Redis) -> AsyncGenerator[httpx.AsyncClient]:
    """A client without a key, for a service that requires keys."""
    async with serve(SUPPORT_API_KEYS=CONFIGURED) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer sa_wrong"},
        {"Authorization": f"Basic {KEYS['web']}"},
        {"Authorization": f"Bearer {KEYS['web'][:-1]}"},
        {"Authorization": f"Bearer {KEYS['web']}x"},
        {"Authorization": f"Bearer {digest(KEYS['web']).hex()}"},
        {"X-API-Key": "sa_wrong"},
        {"X-API-Key": "é"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/ask", QUESTION),
        ("GET", "/stream?question=Hello", None),
        ("POST", "/chat", {"message": "Hello?"}),
        ("POST", "/chat/stream", {"message": "Hello?"}),
        ("GET", "/sessions/s-1", None),
        ("DELETE", "/sessions/s-1", None),
        ("GET", "/runs/7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11/stream", None),
        ("DELETE", "/runs/7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11", None),
    ],
)
async def test_a_request_without_a_valid_key_is_refused(
    guarded: httpx.AsyncClient, model: ScriptedModel, headers: dict[str, str], method: str, path: str, body: Any
) -> None:
    """401 explains how to send a key, whatever else the request has; the model is not called."""
    model.forget()
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    response = await guarded.request(method, path, json=body, headers=raw)
    assert (response.status_code, response.json()["type"]) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert model.calls == []


@pytest.mark.parametrize("body", [b"{", b"[" * 30_000, b"a" * 70_000])
async def test_no_body_is_read_without_a_key(guarded: httpx.AsyncClient, body: bytes) -> None:
    """Without a key every body and every path gets 401, so strangers learn nothing."""
    for path in ("/ask", "/chat", "/nowhere"):
        response = await guarded.post(path, content=body, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["type"]) == (401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_the_hash_of_nothing_lets_nobody_in(serve: Serve, redis: Redis) -> None:
    """The hash of an empty key, from an unset variable, is refused."""
    async with serve(SUPPORT_API_KEYS=f"web:{digest('').hex()}") as url, httpx.AsyncClient(base_url=url) as client:
        for headers in ({}, {"X-API-Key": ""}, {"Authorization": "Bearer"}):
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            assert (await client.get("/sessions/s-1", headers=raw)).status_code == 401


async def test_a_key_is_sent_in_either_header(guarded: httpx.AsyncClient) -> None:
    """A key may be a bearer token or X-API-Key; probes and the documentation need none."""
    for headers in (bearer("web"), {"X-API-Key": KEYS["partner"]}, {"authorization": f"bearer  {KEYS['web']}"}):
        assert (await guarded.post("/ask", json=QUESTION, headers=headers)).status_code == 200
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert (await guarded.get(path)).status_code == 200


async def test_keys_of_one_name_share_sessions_and_others_do_not(guarded: httpx.AsyncClient) -> None:
    """A rotated key keeps its sessions, which do not exist for another tenant."""
    opened = await guarded.post("/chat", json={"message": "Hello?", "session_id": "s-1"}, headers=bearer("web"))
    run = opened.json()["run_id"]
    for name, status in (("web, rotated", 200), ("partner", 404)):
        assert (await guarded.get("/sessions/s-1", headers=bearer(name))).status_code == status
        assert (await guarded.get(f"/runs/{run}/stream", headers=bearer(name))).status_code == status


async def test_a_websocket_needs_a_key_too(guarded: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Without a key the handshake gets a problem, and one log line."""
    address = str(guarded.base_url).replace("http", "ws") + "/chat"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address):
            pass
    assert refused.value.response.status_code == 401
    problem = json.loads(refused.value.response.body)
    assert problem["type"] == "unauthorized"
    assert refused.value.response.headers["X-Request-ID"] == problem["request_id"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    async with connect(address, additional_headers=bearer("web")) as socket:
        await socket.send("Hello?")
        assert await asyncio.wait_for(socket.recv(), 5) == "Hello"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://www.shop.example.evil.example",
        "https://evil-www.shop.example",
        "https://www.shop.example:8443",
        "http://www.shop.example",
        "https://WWW.shop.example",
        "https://www.shop.example/",
        "https://www.shop.example, https://evil.example",
        "https://{host}.evil.example",
        "ftp://{host}",
    ],
)
async def test_a_foreign_origin_is_refused(serve: Serve, origin: str) -> None:
    """A foreign origin's WebSocket is refused, and its other requests get no CORS headers."""
    async with serve(SUPPORT_ALLOWED_ORIGINS="https://www.shop.example") as url, httpx.AsyncClient() as client:
        headers = {"Origin": origin.format(host=url.removeprefix("http://"))}
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url.replace("http", "ws") + "/chat", additional_headers=headers):
                pass
        assert refused.value.response.status_code == 403
        response = await client.post(f"{url}/ask", json=QUESTION, headers=headers)
        assert "access-control-allow-origin" not in response.headers
        preflight = {**headers, "Access-Control-Request-Method": "POST"}
        asked = await client.options(f"{url}/ask", headers=preflight)
        assert (asked.status_code, asked.json()["type"], asked.json()["instance"]) == (403, "origin-refused", "/ask")
        assert asked.headers["content-type"] == "application/problem+json"
        assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize(
    ("method", "header", "named"),
    [
        ("PUT", "X-API-Key", ["method PUT", "GET, HEAD, POST, DELETE"]),
        ("POST", "X-Other", ["x-other", "idempotency-key"]),
        ("POST", "traceparent,x-other, x-more", ["x-other, x-more", "traceparent"]),
    ],
)
async def test_a_named_origin_may_not_ask_all_things(serve: Serve, method: str, header: str, named: list[str]) -> None:
    """A preflight for a disallowed method or header names it, and the allowed ones; the origin is not blamed."""
    origin = "https://www.shop.example"
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin) as url, httpx.AsyncClient() as client:
        wish = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": header}
        asked = await client.options(f"{url}/ask", headers={"Origin": origin, **wish})
    assert (asked.status_code, asked.json()["type"]) == (403, "preflight-refused")
    assert all(name in asked.json()["detail"] for name in named), asked.json()["detail"]
    assert "origin" not in asked.json()["detail"].lower()
    assert asked.headers["access-control-allow-origin"] == origin
    assert asked.headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE"


async def test_a_page_may_use_the_langgraph_api(serve: Serve) -> None:
    """From a named origin with PATCH and any header, and it can read where a run is; from another not at all."""
    origin = "https://smith.langchain.com"
    wish = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-api-key,x-auth-scheme"}
    private = {"Access-Control-Request-Private-Network": "true"}
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin) as url, httpx.AsyncClient(base_url=url) as client:
        asked = await client.options("/langgraph/threads/x", headers={"Origin": origin, **wish, **private})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-headers"] == "x-api-key,x-auth-scheme"
        assert asked.headers["access-control-allow-private-network"] == "true"
        answer = await client.post("/langgraph/threads/search", json={}, headers={"Origin": origin})
        assert answer.headers.get_list("access-control-allow-origin") == [origin]
        shown = set(answer.headers["access-control-expose-headers"].split(", "))
        assert {"Content-Location", "Location", "X-Pagination-Next", "X-Pagination-Total"} <= shown
        foreign = {"Origin": "https://evil.example"}
        assert (await client.options("/langgraph/threads/x", headers={**foreign, **wish})).status_code == 403
        refused = await client.post("/langgraph/threads/search", json={}, headers=foreign)
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("POST", "content-type,traceparent,tracestate"),
        ("POST", "baggage,content-type,sentry-trace"),
        ("POST", "content-type,x-requested-with"),
        ("POST", "authorization,content-type,idempotency-key,traceparent"),
        ("HEAD", "authorization"),
        ("POST", "content-type,,traceparent"),
        ("GET", ""),
    ],
    ids=["OpenTelemetry", "Sentry", "Axios", "all", "HEAD", "an empty element", "an empty list"],
)
async def test_what_tools_add_to_every_request_is_let_through(serve: Serve, method: str, asked: str) -> None:
    """A page that is traced, or uses an old HTTP library, may call the service; so may one in a private network."""
    origin = "https://www.shop.example"
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin) as url, httpx.AsyncClient() as client:
        wish = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": asked}
        private = {"Access-Control-Request-Private-Network": "true"}
        response = await client.options(f"{url}/ask", headers={"Origin": origin, **wish, **private})
    assert response.status_code == 200
    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "origin",
    [
        "capacitor://localhost",
        "tauri://localhost",
        "app://shop.example",
        "moz-extension://0f6f0e9f-6a11",
        "http://[::1]:1",
    ],
)
async def test_an_app_with_a_scheme_of_its_own_is_let_in(serve: Serve, origin: str) -> None:
    """A mobile or desktop app asks over HTTP and WebSocket, and no other app does."""
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin) as url, httpx.AsyncClient() as client:
        for sent, allowed in ((origin, True), (f"{origin}2", False), (origin.replace("://", "s://"), False)):
            response = await client.post(f"{url}/ask", json=QUESTION, headers={"Origin": sent})
            assert (response.headers.get("access-control-allow-origin") == sent) is allowed
        async with connect(url.replace("http", "ws") + "/chat", additional_headers={"Origin": origin}) as socket:
            await socket.send("Hello?")
            assert await asyncio.wait_for(socket.recv(), 5) == "Hello"


@pytest.mark.parametrize("configured", ["https://www.shop.example:443", "http://www.shop.example:80"])
async def test_a_default_port_in_the_settings_is_no_other_origin(serve: Serve, configured: str) -> None:
    """Browsers never send it."""
    origin = configured.rpartition(":")[0]
    async with serve(SUPPORT_ALLOWED_ORIGINS=configured) as url, httpx.AsyncClient() as client:
        response = await client.post(f"{url}/ask", json=QUESTION, headers={"Origin": origin})
    assert response.headers["access-control-allow-origin"] == origin


async def test_only_a_trusted_proxy_names_our_site(serve: Serve) -> None:
    """X-Forwarded-Host and X-Forwarded-Prefix of anybody else are ignored."""
    headers = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    async with serve(SUPPORT_TRUSTED_PROXIES="192.0.2.1") as url, httpx.AsyncClient() as client:
        with pytest.raises(InvalidStatus):
            async with connect(url.replace("http", "ws") + "/chat", additional_headers=headers):
                pass
        assert (await client.get(f"{url}/nowhere", headers=headers)).json()["instance"] == "/nowhere"
        assert "servers" not in (await client.get(f"{url}/openapi.json", headers=headers)).json()


async def test_a_named_origin_and_our_own_are_let_in(serve: Serve) -> None:
    """Configured origins and the service's own pages are allowed, and no others."""
    async with serve(SUPPORT_ALLOWED_ORIGINS="https://a.example,https://www.shop.example") as url:
        for origin in ("https://www.shop.example", url, url.replace("http", "https")):
            async with connect(url.replace("http", "ws") + "/chat", additional_headers={"Origin": origin}) as socket:
                await socket.send("Hello?")
                assert await asyncio.wait_for(socket.recv(), 5) == "Hello"
        async with httpx.AsyncClient() as client:
            headers = {"Origin": "https://www.shop.example"}
            for response in (
                await client.post(f"{url}/ask", json=QUESTION, headers=headers),
                await client.post(f"{url}/ask", content="{", headers=headers),
                await client.options(f"{url}/ask", headers={**headers, "Access-Control-Request-Method": "POST"}),
            ):
                assert response.headers["access-control-allow-origin"] == "https://www.shop.example"
                assert response.headers["x-request-id"]
