"""A website with the bubble, in Debian's Chromium; the service is on another host."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from playwright.async_api import BrowserContext, Frame, Page, Request, async_playwright, expect
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from api.auth import digest, new_key
from conftest import Serve
from harness.programs import program
from harness.serving import serving

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
async def browsing(folder: Path, *, blocked: bool, bypass_csp: bool) -> AsyncGenerator[BrowserContext]:
    """A browser for which all hosts under localhost are this machine; it may block what third parties store."""
    (folder / "Default").mkdir(parents=True)
    preferences = {"profile": {"cookie_controls_mode": 1, "block_third_party_cookies": True}} if blocked else {}
    (folder / "Default" / "Preferences").write_text(json.dumps(preferences))
    rules = "--host-resolver-rules=MAP *.localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    async with async_playwright() as driver:
        context = await driver.chromium.launch_persistent_context(
            folder,
            executable_path=program("chromium"),
            args=["--no-sandbox", rules],
            locale="en-GB",
            bypass_csp=bypass_csp,
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
    bypass_csp: bool = False,
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
    async with (
        serving(Starlette(routes=routes), lifespan=False) as own,
        browsing(folder, blocked=blocked, bypass_csp=bypass_csp) as context,
    ):
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
