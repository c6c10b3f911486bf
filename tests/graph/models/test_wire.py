"""The connection to the model's server: limits, keep-alives, proxies, certificates, errors."""

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme
from starlette.types import Receive, Scope, Send

from graph.models import wire as wires
from graph.models.sse import EventTooLong
from graph.models.wire import WebPage, open_wire
from harness.raw_model import raw_model
from harness.scripted_model import Call, ScriptedModel, status, tokens
from harness.serving import serving

PATH = "/chat/completions"
ASKED = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": null}]}\n\n'


async def test_keep_alives_are_no_events(model: ScriptedModel) -> None:
    """Comments, types and pauses before a reconnection neither count as events nor make a stalled server patient."""

    async def nothing_else(_: Call, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ping in range(2000):
            await send({"type": "http.response.body", "body": b": ping\n\nretry: 5\n\n", "more_body": True})
            await asyncio.sleep(0.05)

    model.script("answer", nothing_else)
    async with open_wire(model.url, "sk-test", connect=5, patience=0.5) as wire:
        began = time.monotonic()
        with pytest.raises(openai.APITimeoutError):
            await anext(wire.stream(PATH, ASKED))
        assert time.monotonic() - began < 60  # of the hundred seconds that they last
    async with raw_model() as raw, open_wire(raw.url, "sk-test", connect=5, patience=5) as wire:
        raw.pieces = [b": a\n\nretry: 5\n\nid: 1\n", EVENT, b": b\n\nevent: ping\n\n", b"data: [DONE]\n\n"]
        assert len([event async for event in wire.stream(PATH, ASKED)]) == 1


async def test_what_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event without end, or a reply without end, does not fill the memory."""
    monkeypatch.setattr(wires, "LONGEST_BODY", 100_000)
    async with raw_model() as raw, open_wire(raw.url, "sk-test", connect=5, patience=5) as wire:
        raw.pieces = [b"data: ", *[b"a" * 10_000] * 200]
        with pytest.raises(EventTooLong):
            await anext(wire.stream(PATH, ASKED))
        with pytest.raises(ValueError, match="more than 100000 bytes"):
            await wire.post(PATH, ASKED)


async def test_a_server_may_leave_the_end_of_its_stream_open() -> None:
    """`[DONE]` is the end, whether or not the body ends, and the connection is then closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + EVENT + b"data: [DONE]\n\n")
        await reader.read()
        closed.set()
        writer.close()

    closed = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with open_wire(url, "sk-test", connect=5, patience=20) as wire:
            async with asyncio.timeout(5):
                assert len([event async for event in wire.stream(PATH, b"")]) == 1
                await closed.wait()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (413, openai.APIStatusError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
async def test_an_error_is_that_of_the_openai_client(
    model: ScriptedModel, code: int, kind: type[openai.APIStatusError]
) -> None:
    """Status, body and headers are there for whoever handles the error."""
    model.script("answer", status(code, {"retry-after": "3", "x-request-id": "req-1"}, "too much"))
    client = openai.AsyncOpenAI(api_key="sk-test", base_url=model.url, max_retries=0)
    async with client, open_wire(model.url, "sk-test", connect=5, patience=5) as wire:
        with pytest.raises(kind) as ours:
            await wire.post(PATH, ASKED)
        with pytest.raises(openai.APIStatusError) as theirs:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert type(ours.value) is type(theirs.value)
    for name in ("message", "body", "code", "param", "type", "status_code", "request_id"):
        assert getattr(ours.value, name) == getattr(theirs.value, name), name
    assert ours.value.response.headers["retry-after"] == "3"


async def test_a_compressed_error_is_that_of_the_openai_client() -> None:
    """So is a long one, since some servers repeat the request in it."""
    error = {"message": "too much", "code": "rate_limit_exceeded", "input": ["long"] * 50_000}
    async with raw_model() as raw, open_wire(raw.url, "sk-test", connect=5, patience=5) as wire:
        raw.status, raw.kind, raw.headers = 429, "application/json", ["content-encoding: gzip", "retry-after: 3"]
        raw.pieces = [gzip.compress(json.dumps({"error": error}).encode())]
        for ask in (wire.post, lambda *asked: anext(wire.stream(*asked))):
            with pytest.raises(openai.RateLimitError) as found:
                await ask(PATH, ASKED)
            assert found.value.body == error
            assert found.value.response.headers["retry-after"] == "3"


async def test_a_gateway_may_send_many_long_headers() -> None:
    """Those of the server behind it, cookies and policies, as far as the OpenAI client takes them."""
    async with raw_model() as raw, open_wire(raw.url, "sk-test", connect=5, patience=5) as wire:
        raw.headers = [*(f"llm-provider-{number}: a" for number in range(300)), f"set-cookie: a={'b' * 40_000}"]
        raw.pieces = [EVENT, b"data: [DONE]\n\n"]
        assert len([event async for event in wire.stream(PATH, ASKED)]) == 1


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \r\n"])
async def test_a_reply_is_known_by_its_beginning_and_not_by_its_type(start: bytes) -> None:
    """Scripts forget the type, and some write a byte order mark; a page for people is none of these."""
    async with raw_model() as raw, open_wire(raw.url, "sk-test", connect=5, patience=5) as wire:
        raw.kind, raw.pieces = "text/html", [start, b'{"choices": [', b'{"message": {"content": "Hi"}}]}']
        assert (await wire.post(PATH, ASKED))["choices"][0]["message"]["content"] == "Hi"
        assert (await anext(wire.stream(PATH, ASKED)))["choices"][0]["delta"]["content"] == "Hi"
        raw.pieces = [start, EVENT]
        assert (await anext(wire.stream(PATH, ASKED)))["choices"][0]["delta"]["content"] == "Hi"
        raw.kind, raw.pieces = "application/json", [start, b"<!doctype html>"]
        for ask in (wire.post, lambda *asked: anext(wire.stream(*asked))):
            with pytest.raises(WebPage):
                await ask(PATH, ASKED)


async def test_an_error_inside_a_stream_is_one(model: ScriptedModel) -> None:
    """A server that fails half-way may say so in an event."""
    async with raw_model() as raw, open_wire(raw.url, "sk-test", connect=5, patience=5) as wire:
        raw.pieces = [EVENT, b'data: {"error": {"message": "overloaded", "code": "busy"}}\n\n']
        stream = wire.stream(PATH, ASKED)
        await anext(stream)
        with pytest.raises(openai.APIError) as found:
            await anext(stream)
    assert found.value.code == "busy"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_environment_names_the_proxy(
    model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Requests go through the proxy, except to the hosts in NO_PROXY."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, model.url.removesuffix("/v1"))
    model.script("answer", tokens(["Hi"]))
    async with open_wire("http://model.invalid/v1", "sk-test", connect=5, patience=5) as wire:
        assert [event async for event in wire.stream(PATH, ASKED)]
    assert model.of("answer")[0].authorization == "Bearer sk-test"
    monkeypatch.setenv("NO_PROXY", "other.example,.invalid")
    async with open_wire("http://model.invalid/v1", "sk-test", connect=5, patience=5) as wire:
        with pytest.raises(openai.APIConnectionError):
            await wire.post(PATH, ASKED)


async def test_a_proxy_does_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is for the server behind the proxy, and encrypted on the way; the proxy has a password of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    heads: list[str] = []
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        for user in ("", "ada:secret@"):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{user}127.0.0.1:{server.sockets[0].getsockname()[1]}")
            async with open_wire("https://a.openai.azure.com/openai/v1", "sk-test", connect=5, patience=5) as wire:
                with pytest.raises(openai.APIConnectionError):
                    await wire.post(PATH, ASKED)
    assert [head.partition(" HTTP/")[0] for head in heads] == ["CONNECT a.openai.azure.com:443"] * 2
    for head in heads:
        assert not any(secret in head for secret in ("sk-test", "api-key", "org-1"))
    assert ["Proxy-Authorization: Basic YWRhOnNlY3JldA==" in head for head in heads] == [False, True]


async def test_the_environment_names_the_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server with the certificate of a company's own authority is trusted with SSL_CERT_FILE, and only then."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    files: dict[str, Any] = {"ssl_keyfile": str(tmp_path / "key.pem"), "ssl_certfile": str(tmp_path / "chain.pem")}
    async with serving(app, lifespan=False, **files) as url:
        secure = url.replace("http:", "https:")
        async with open_wire(secure, "sk-test", connect=5, patience=5) as wire:
            with pytest.raises(openai.APIConnectionError):
                await wire.post(PATH, ASKED)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with open_wire(secure, "sk-test", connect=5, patience=5) as wire:
            assert await wire.post(PATH, ASKED) == {}


async def test_the_environment_names_organization_and_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the OpenAI client; a .netrc does not replace the key."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    netrc = Path("netrc")
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc.absolute()))
    async with raw_model() as raw, open_wire(raw.url, "sk-test", connect=5, patience=5) as wire:
        raw.kind, raw.pieces = "application/json", [b"{}"]
        await wire.post(PATH, ASKED)
    head = raw.requests[0].decode().lower()
    assert "\r\nopenai-organization: org-1\r\n" in head
    assert "\r\nopenai-project: proj-1\r\n" in head
    assert "\r\nauthorization: bearer sk-test\r\n" in head
