"""The API from a web page in a real browser: Debian's Chromium, driven by Playwright."""

from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Page
from redis.asyncio import Redis

from api.app import create_app
from api.auth import digest, new_key
from conftest import MakeSettings, Serve
from harness.nginx import nginx
from harness.scripted_model import ScriptedModel, tokens
from harness.serving import serving

KEY = new_key()
PIECES = ["Within ", "30 days\n", "of the 🙂 payment", "."]

# As in docs/api.md.
READ_STREAM = """
([url, question]) => new Promise((resolve) => {
    const told = [];
    const source = new EventSource(url + "/stream?question=" + encodeURIComponent(question));
    source.onmessage = (event) => {
        if (event.data === "[DONE]") { source.close(); resolve(told); } else told.push(event.data);
    };
    source.onerror = () => { source.close(); resolve("refused"); };
})"""
CHAT_BY_WEBSOCKET = """
([url, messages]) => new Promise((resolve) => {
    const events = [];
    const socket = new WebSocket(url.replace("http", "ws") + "/chat", "support.v1");
    socket.onopen = () => socket.send(JSON.stringify({message: messages.shift()}));
    socket.onmessage = (frame) => {
        const event = JSON.parse(frame.data);
        events.push(event);
        if (event.event !== "done") return;
        if (messages.length) socket.send(JSON.stringify({message: messages.shift()})); else socket.close();
    };
    socket.onclose = () => resolve(events);
})"""
CHAT = """
async ([url, key, message]) => {
    const response = await fetch(url + "/chat", {
        method: "POST",
        headers: {"content-type": "application/json", "authorization": "Bearer " + key, "idempotency-key": "one"},
        body: JSON.stringify({message}),
    });
    return [response.status, response.headers.get("x-request-id"), await response.json()];
}"""
RESUME = """
([url, run]) => new Promise((resolve) => {
    const told = [];
    const source = new EventSource(url + "/runs/" + run + "/stream");
    source.addEventListener("token", (event) => told.push(JSON.parse(event.data).text));
    source.addEventListener("done", () => { source.close(); resolve(told.join("")); });
})"""


TRACED_CHAT = """
async ([url, message]) => {
    const traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1",
        "baggage": "a=1", "sentry-trace": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "x-requested-with": "XMLHttpRequest"};
    const headers = {"content-type": "application/json", ...traced};
    return (await fetch(url + "/chat", {method: "POST", headers, body: JSON.stringify({message})})).status;
}"""


def origin(page: Page) -> str:
    return page.url.rstrip("/")


async def test_an_event_source_gets_every_token(page: Page, serve: Serve, model: ScriptedModel) -> None:
    """A page with an allowed origin reads the stream with the code in the docs."""
    model.script("answer", tokens(PIECES))
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin(page)) as url:
        assert await page.evaluate(READ_STREAM, [url, "Can I have my money back?"]) == PIECES


async def test_an_event_source_reads_a_run_again(page: Page, serve: Serve, model: ScriptedModel) -> None:
    """A reopened page gets the whole answer from the run's log."""
    model.script("answer", tokens(PIECES))
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin(page)) as url:
        status, _, done = await page.evaluate(CHAT, [url, "", "Can I have my money back?"])
        assert status == 200
        assert await page.evaluate(RESUME, [url, done["run_id"]]) == "".join(PIECES)


async def test_a_websocket_has_a_conversation(page: Page, serve: Serve, model: ScriptedModel) -> None:
    """Two turns in one session arrive with their events in order."""
    model.script("answer", tokens(PIECES))
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin(page)) as url:
        events = await page.evaluate(CHAT_BY_WEBSOCKET, [url, ["Can I have my money back?", "By when?"]])
    first, second = (event["data"] for event in events if event["event"] == "done")
    assert first["answer"] == second["answer"] == "".join(PIECES)
    assert first["session_id"] == second["session_id"]
    assert "".join(event["data"]["text"] for event in events if event["event"] == "token") == "".join(PIECES) * 2


async def test_a_page_may_send_a_key_and_read_the_request_id(page: Page, serve: Serve, model: ScriptedModel) -> None:
    """The preflight succeeds, and the page can read the exposed headers."""
    model.script("answer", tokens(PIECES))
    key = new_key()
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin(page), SUPPORT_API_KEYS=f"shop:{digest(key).hex()}") as url:
        status, request_id, done = await page.evaluate(CHAT, [url, key, "Refund?"])
    assert (status, done["answer"]) == (200, "".join(PIECES))
    assert request_id


async def test_a_page_of_another_origin_gets_nothing(page: Page, serve: Serve, model: ScriptedModel) -> None:
    """A foreign origin can read no stream, WebSocket or answer."""
    async with serve(SUPPORT_ALLOWED_ORIGINS="https://shop.example") as url:
        model.forget()
        assert await page.evaluate(READ_STREAM, [url, "Can I have my money back?"]) == "refused"
        assert await page.evaluate(CHAT_BY_WEBSOCKET, [url, ["Can I have my money back?"]]) == []
        assert (
            await page.evaluate(f"(all) => ({CHAT})(all).catch((error) => error.name)", [url, "", "Hi"]) == "TypeError"
        )
        assert not [call for call in model.of("answer") if call.prompt[-1][1] == "Hi"]


async def test_a_traced_page_may_ask(page: Page, serve: Serve, model: ScriptedModel) -> None:
    """What OpenTelemetry, Sentry and old HTTP libraries add to each request passes the preflight."""
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin(page)) as url:
        assert await page.evaluate(TRACED_CHAT, [url, "Refund?"]) == 200


@pytest.fixture
async def documentation(page: Page, make_settings: MakeSettings, redis: Redis) -> AsyncGenerator[Page]:
    """The page /docs of a service with a key, under a path prefix; everything on it must come from the service."""
    app = create_app(make_settings(SUPPORT_API_KEYS=f"shop:{digest(KEY).hex()}"))
    asked: set[str] = set()
    failed: list[str] = []
    page.on("request", lambda request: asked.add(request.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.on("console", lambda line: failed.append(line.text) if line.type in ("error", "warning") else None)
    async with (
        serving(app, root_path="/support") as url,
        nginx(f"location /support/ {{ proxy_pass {url}/; }}") as proxy,
    ):
        await page.goto(f"{proxy}/support/docs")
        yield page
        assert failed == []
        assert all(one.startswith((f"{proxy}/support/", "data:")) for one in asked), asked


async def test_the_documentation_needs_no_internet(documentation: Page) -> None:
    """/docs lists the routes, and loads nothing from anywhere else."""
    await documentation.locator("#operations-questions-ask_ask_post").wait_for()
    assert await documentation.locator(".opblock").count() >= 10


@pytest.mark.soak
async def test_a_route_is_tried_with_a_key(documentation: Page) -> None:
    """/docs sends the key and the request through the proxy, and shows the answer."""
    await documentation.get_by_role("button", name="Authorize").click()
    await documentation.locator("#auth-bearer-value").fill(KEY)
    await documentation.get_by_role("button", name="Apply credentials").first.click()
    await documentation.get_by_role("button", name="Close").first.click()
    await documentation.locator("#operations-questions-ask_ask_post").get_by_role("button").first.click()
    await documentation.get_by_role("button", name="Try it out").click()
    await documentation.get_by_role("button", name="Execute").click()
    assert "Hello, world." in await documentation.locator(".live-responses-table").inner_text()
