"""The bubble on a website's pages, in Debian's Chromium: on other origins, and where these may store nothing."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from playwright.async_api import BrowserContext, Error, Frame, Page, Request, async_playwright, expect
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from api.auth import digest, new_key
from conftest import Serve
from harness.programs import program
from harness.scripted_model import ScriptedModel, tokens
from harness.serving import serving

pytestmark = pytest.mark.soak

KEY = new_key()
SETTINGS = {"SUPPORT_API_KEYS": f"shop:{digest(KEY).hex()}", "SUPPORT_VISITOR_SECRET": "s" * 32}
PATIENCE = 30_000
"""Milliseconds that tell endless from slow."""

PAGE = """\
<!doctype html><html lang="{lang}"><link rel="icon" href="data:,"><title>A shop</title>
<p id="secret">The customer's order</p><button id="own">Buy</button>
<script src="{service}/embed.js" data-title="Example support" {attributes}></script>"""
WATCH = """
window.troubles = [];
addEventListener("securitypolicyviolation", (event) => troubles.push(`policy: ${event.violatedDirective}`));
addEventListener("error", (event) => troubles.push(`error: ${event.message}`));
"""
STRANGER = """
() => new Promise((resolve) => {
    const heard = [];
    const stranger = document.createElement("iframe");
    document.body.append(stranger);
    stranger.contentWindow.postMessage = (message) => heard.push(message);
    for (const data of [{support: "ask", id: 1, token: true}, {support: "tell", kind: "close"}]) {
        const origin = document.querySelector("script").src.split("/embed.js")[0];
        window.dispatchEvent(new MessageEvent("message", {data, origin, source: stranger.contentWindow}));
        window.postMessage(data, "*");
    }
    setTimeout(() => resolve(heard), 500);
})"""


@dataclass
class Website:
    """A website with the bubble, and the service, each on a host of its own."""

    page: Page
    shop: str
    service: str
    asked: list[Request] = field(default_factory=list)
    """What the browser has asked for."""
    tokens: list[str] = field(default_factory=list)
    """What the website has given out."""

    async def open(self) -> Frame:
        """Open the chat, and return its frame once it is there."""
        await self.page.get_by_role("button", name="Example support").click()
        chat = self.page.frame_locator("iframe")
        await chat.locator("#message").wait_for()
        return self.frame

    @property
    def frame(self) -> Frame:
        """The frame with the chat."""
        return next(frame for frame in self.page.frames if frame.parent_frame)

    async def ask(self, message: str) -> None:
        """Send a message, and wait for the whole answer."""
        chat = self.page.frame_locator("iframe")
        answers = chat.locator("article.answer .tools")
        count = await answers.count()
        await chat.locator("#message").fill(message)
        await chat.locator("#message").press("Enter")
        await expect(answers).to_have_count(count + 1)

    async def texts(self) -> list[str]:
        """Return the answers that stand in the chat."""
        return await self.page.frame_locator("iframe").locator("article.answer .text").all_inner_texts()


@asynccontextmanager
async def browsing(folder: Path, *, blocked: bool) -> AsyncGenerator[BrowserContext]:
    """A browser for which all hosts under localhost are this machine; it may block what third parties store."""
    (folder / "Default").mkdir(parents=True)
    preferences = {"profile": {"cookie_controls_mode": 1, "block_third_party_cookies": True}} if blocked else {}
    (folder / "Default" / "Preferences").write_text(json.dumps(preferences))
    rules = "--host-resolver-rules=MAP *.localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    async with async_playwright() as driver:
        context = await driver.chromium.launch_persistent_context(
            folder, executable_path=program("chromium"), args=["--no-sandbox", rules], locale="en-GB"
        )
        context.set_default_timeout(PATIENCE)
        yield context
        await context.close()


@asynccontextmanager
async def website(
    serve: Serve,
    folder: Path,
    *,
    blocked: bool = True,
    public: bool = False,
    allowed: str = "shop",
    lang: str = "en",
    attributes: str = "",
    style: str = "",
) -> AsyncGenerator[Website]:
    """The page of a shop with a strict policy, in a browser."""
    site = Website.__new__(Website)

    async def page(_: Asked) -> HTMLResponse:
        told = attributes if public else f'data-token-url="/support-token" {attributes}'
        origin = site.service
        policy = f"default-src 'none'; script-src {origin}; frame-src {origin}; connect-src 'self'; img-src data:"
        content = PAGE.format(lang=lang, service=site.service, attributes=told)
        content = content.replace("<html", f'<html style="{style}"') if style else content
        policy += "; style-src 'unsafe-inline'" if style else ""
        return HTMLResponse(content, headers={"Content-Security-Policy": policy})

    async def token(_: Asked) -> JSONResponse:
        async with httpx.AsyncClient(timeout=20) as client:
            headers, body = {"Authorization": f"Bearer {KEY}"}, {"visitor_id": "v-1"}
            given = (await client.post(f"{direct}/visitors", json=body, headers=headers)).json()["token"]
        site.tokens.append(given)
        return JSONResponse({"token": given})

    routes = [Route("/{path:path}", page, methods=["GET"]), Route("/support-token", token, methods=["POST"])]
    async with serving(Starlette(routes=routes), lifespan=False) as own, browsing(folder, blocked=blocked) as context:
        shop = own.replace("127.0.0.1", "shop.localhost")
        name = "SUPPORT_PUBLIC_ORIGINS" if public else "SUPPORT_ALLOWED_ORIGINS"
        origins = {name: own.replace("127.0.0.1", f"{allowed}.localhost")}
        async with serve(**SETTINGS, **origins) as direct:
            first = await context.new_page()
            site.__init__(first, shop, direct.replace("127.0.0.1", "support.localhost"))
            first.on("request", lambda request: site.asked.append(request))
            await first.add_init_script(WATCH)
            await first.goto(f"{shop}/order?number=4711")
            yield site


@pytest.mark.parametrize("public", [False, True], ids=["token", "public"])
async def test_a_conversation_goes_on_after_a_reload_without_any_storage_of_the_frames(
    serve: Serve, redis: Redis, model: ScriptedModel, tmp_path: Path, public: bool
) -> None:
    """With third-party storage blocked a visitor asks, reloads, and asks on; no URL and no Referer has a token."""
    model.script("answer", tokens(["Within ", "30 days."]))
    async with website(serve, tmp_path / "browser", public=public) as site:
        assert not [one for one in site.asked if "support.localhost" in one.url and "embed.js" not in one.url]
        frame = await site.open()
        stored = "() => { try { return String(sessionStorage.length); } catch (error) { return error.name; } }"
        assert await frame.evaluate(stored) == "SecurityError"
        assert await frame.evaluate("document.cookie") == ""
        await site.ask("Can I have my money back?")
        await site.page.reload()
        await site.open()
        await expect(site.page.frame_locator("iframe").locator("article.answer .text")).to_have_count(1)
        await site.ask("By when?")
        assert await site.texts() == ["Within 30 days."] * 2
        turns = [call.prompt for call in model.of("answer") if call.prompt[-1][1] == "By when?"]
        assert "Can I have my money back?" in str(turns)
        assert await site.page.evaluate("troubles") == await site.frame.evaluate("window.troubles ?? []") == []
        signed = [request.headers["authorization"] for request in site.asked if "authorization" in request.headers]
        assert len(signed) == 3
        secret = [part.rpartition(".")[2] for part in (*signed, *site.tokens)]
        assert len(site.tokens) == (0 if public else 1)
        for request in site.asked:
            told = request.url + (await request.all_headers()).get("referer", "")
            assert not any(part in told for part in secret)
            assert "4711" not in told.replace(f"{site.shop}/order?number=4711", "")
        assert "token" not in await site.page.evaluate("location.href + document.referrer + history.length")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(jwt.encode({"exp": 1, "sub": "v-1"}, "s" * 32), id="expired"),
        pytest.param(jwt.encode({"exp": 2**40, "sub": "v-1"}, "x" * 32), id="of an old secret"),
    ],
)
async def test_a_token_is_renewed_and_the_conversation_goes_on(
    serve: Serve, redis: Redis, model: ScriptedModel, tmp_path: Path, token: str
) -> None:
    """The website's server is asked again, once, whether the token has expired or the service refuses it."""
    model.script("answer", tokens(["Within ", "30 days."]))
    async with website(serve, tmp_path / "browser") as site:
        await site.open()
        await site.ask("Can I have my money back?")
        await site.page.evaluate(
            """(token) => { for (const [name, value] of Object.entries(sessionStorage))
                sessionStorage.setItem(name, JSON.stringify({...JSON.parse(value), token})); }""",
            token,
        )
        await site.page.reload()
        await site.open()
        await site.ask("By when?")
        assert await site.texts() == ["Within 30 days."] * 2
        assert len(site.tokens) == 2


async def test_storage_that_throws_is_survived(
    serve: Serve, redis: Redis, model: ScriptedModel, tmp_path: Path
) -> None:
    """Where the website itself may store nothing, the conversation lasts until the page is left."""
    model.script("answer", tokens(["Within ", "30 days."]))
    async with website(serve, tmp_path / "browser") as site:
        await site.page.add_init_script(
            'Object.defineProperty(window, "sessionStorage", {get() { throw new DOMException("", "SecurityError"); }});'
        )
        await site.page.reload()
        await site.open()
        await site.ask("Can I have my money back?")
        await site.ask("By when?")
        assert await site.texts() == ["Within 30 days."] * 2
        assert len(site.tokens) == 1


async def test_the_frame_and_the_page_around_it_can_not_read_each_other(
    serve: Serve, redis: Redis, tmp_path: Path
) -> None:
    """Neither document nor storage; the frame can't lead the page away, and a stranger is not listened to."""
    async with website(serve, tmp_path / "browser", blocked=False) as site:
        frame = await site.open()
        for reading in ("parent.document.body", "parent.sessionStorage", "top.SupportAgent", "frameElement.id"):
            with pytest.raises(Error):
                await frame.evaluate(reading)
        with pytest.raises(Error):
            await frame.evaluate("top.location.href = 'about:blank'")
        inside = "document.querySelector('support-agent').shadowRoot.querySelector('iframe')"
        assert await site.page.evaluate(f"{inside}.contentDocument") is None
        with pytest.raises(Error):
            await site.page.evaluate(f"{inside}.contentWindow.document")
        assert site.page.url.startswith(site.shop)
        heard = await site.page.evaluate(STRANGER)
        assert heard == []
        assert await site.page.get_by_role("dialog").is_visible()


async def test_a_page_that_is_not_allowed_shows_nothing(serve: Serve, redis: Redis, tmp_path: Path) -> None:
    """The browser refuses to show the chat there, although the page loads the script."""
    async with website(serve, tmp_path / "browser", public=True, allowed="other") as site:
        refused: list[str] = []
        site.page.on("console", lambda line: refused.append(line.text))
        await site.page.get_by_role("button", name="Example support").click()
        await expect(site.page.get_by_role("dialog")).to_be_visible()
        while not any("frame-ancestors" in line for line in refused):
            await site.page.wait_for_timeout(50)
        assert await site.page.frame_locator("iframe").locator("#message").count() == 0
        assert not [request for request in site.asked if "/visitors" in request.url]
        assert site.tokens == []


async def test_the_bubble_is_used_by_keyboard_alone(
    serve: Serve, redis: Redis, model: ScriptedModel, tmp_path: Path
) -> None:
    """It opens, keeps the focus, closes with Esc from inside the frame, returns the focus, and tells of an answer."""
    model.script("answer", tokens(["Within ", "30 days."], pause=1))
    async with website(serve, tmp_path / "browser", lang="de") as site:
        bubble = site.page.get_by_role("button", name="Chat öffnen, Example support")
        assert await bubble.get_attribute("aria-haspopup") == "dialog"
        await bubble.focus()
        await site.page.keyboard.press("Enter")
        dialog = site.page.get_by_role("dialog", name="Example support")
        await expect(dialog).to_be_visible()
        chat = site.page.frame_locator("iframe")
        await expect(chat.locator("html")).to_have_attribute("lang", "de")
        await chat.locator("#message").wait_for()
        for _ in range(20):
            await site.page.keyboard.press("Tab")
            assert await site.page.evaluate("document.activeElement.id") != "own"
        await chat.locator("#message").fill("Bekomme ich mein Geld zurück?")
        await chat.locator("#message").press("Enter")
        await chat.locator("article.answer").wait_for()
        await site.page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        assert await site.page.evaluate("document.activeElement.localName") == "support-agent"
        await expect(site.page.get_by_role("button", name="1 neu")).to_be_visible()
        await site.page.evaluate("SupportAgent.open()")
        await expect(dialog).to_be_visible()
        await dialog.get_by_role("button", name="Chat schließen").click()
        await expect(dialog).to_be_hidden()
        await site.page.evaluate("SupportAgent.open()")
        await chat.locator("article.answer").wait_for()
        await site.page.evaluate("SupportAgent.forget()")
        await expect(dialog).to_be_hidden()
        await site.page.evaluate("SupportAgent.open()")
        await chat.locator("#message").wait_for()
        assert await chat.locator("article.answer").count() == 0


async def test_a_theme_is_colours_a_radius_and_fonts(serve: Serve, redis: Redis, tmp_path: Path) -> None:
    """The website's variables are worn in the frame; what is none of these is not, whatever it says."""
    style = (
        "--support-accent: rgb(120 30 160); --support-radius: 3px; --support-font: Georgia, serif;"
        " --support-text: url(https://evil.example/x); --support-surface: red; --support-background: 1px"
    )
    async with website(serve, tmp_path / "browser", style=style) as site:
        frame = await site.open()
        worn: dict[str, Any] = await frame.evaluate(
            "Object.fromEntries([...document.documentElement.style].map((name) =>"
            " [name, document.documentElement.style.getPropertyValue(name)]))"
        )
    assert worn == {
        "--accent": "rgb(120 30 160)",
        "--surface": "red",
        "--radius": "3px",
        "--font": "Georgia, serif",
    }


async def test_a_phone_shows_the_chat_alone_above_its_keyboard(serve: Serve, redis: Redis, tmp_path: Path) -> None:
    """The dialog fills what is visible, also when that shrinks."""
    async with website(serve, tmp_path / "browser") as site:
        for height in (700, 380):
            await site.page.set_viewport_size({"width": 360, "height": height})
            if height == 700:
                await site.open()
            dialog = site.page.get_by_role("dialog")
            fills = f"(dialog) => Math.abs(dialog.getBoundingClientRect().height - {height}) < 1"
            await site.page.wait_for_function(fills, arg=await dialog.element_handle())
            box = await dialog.bounding_box()
            assert box
            assert (box["x"], box["y"], box["width"]) == (0, 0, 360)
            field = await site.page.frame_locator("iframe").locator("#message").bounding_box()
            assert field
            assert field["y"] + field["height"] <= height
