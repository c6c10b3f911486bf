"""The chat page in Debian's Chromium, watched: whatever it should not do is written down."""

import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page, Request, Route, async_playwright

from harness.programs import program

PATIENCE = 30_000
"""Milliseconds that tell endless from slow."""

_WATCH = """
window.troubles = [];
addEventListener("securitypolicyviolation", (event) => troubles.push(`policy: ${event.violatedDirective}`));
addEventListener("error", (event) => troubles.push(`error: ${event.message}`));
addEventListener("unhandledrejection", (event) => troubles.push(`rejection: ${event.reason}`));
"""


@dataclass
class ChatPage:
    """The page, with what a test asks of it most."""

    page: Page
    origin: str
    elsewhere: list[str] = field(default_factory=list)
    """Requests that left the origin."""

    @property
    def answers(self) -> Locator:
        """The answers, oldest first."""
        return self.page.locator("article.answer")

    @property
    def answer(self) -> Locator:
        """The last answer's text."""
        return self.answers.last.locator(".text")

    @property
    def field(self) -> Locator:
        """Where a message is written."""
        return self.page.locator("#message")

    async def send(self, message: str) -> None:
        """Send a message."""
        await self.field.fill(message)
        await self.field.press("Enter")

    async def ask(self, message: str) -> str:
        """Send a message, and return the whole answer as it is seen."""
        count = await self.answers.count()
        await self.send(message)
        await self.answers.nth(count).locator(".tools").wait_for()
        return await self.answer.inner_text()

    async def troubles(self) -> list[str]:
        """Return what the page did wrong: errors, reports of its policy, requests to elsewhere."""
        return [*await self.page.evaluate("troubles"), *self.elsewhere]


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """A browser that reaches nothing but this machine."""
    offline = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox", offline])
        yield browser
        await browser.close()


async def opened(browser: Browser, url: str, query: str = "", **options: Any) -> ChatPage:
    """Open the page in a context of its own with these options of Playwright's."""
    context = await browser.new_context(locale="en-GB", **options)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    chat = ChatPage(page, "{0.scheme}://{0.netloc}".format(urlsplit(url)))

    def watch(request: Request) -> None:
        if not request.url.startswith((f"{chat.origin}/", "data:")):
            chat.elsewhere.append(f"request: {request.url}")

    page.on("request", watch)
    await page.add_init_script(_WATCH)
    await page.goto(f"{url}/{query}")
    await page.locator("#send").wait_for()
    return chat


@asynccontextmanager
async def chat_page(url: str, query: str = "", **options: Any) -> AsyncGenerator[ChatPage]:
    """Open the page in a browser of its own; it must have done nothing wrong in the end."""
    async with chromium() as browser:
        chat = await opened(browser, url, query, **options)
        yield chat
        assert await chat.troubles() == []


def sse(events: Iterable[tuple[str, Any]], run: str = "7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11") -> str:
    """Typed events as the service sends them."""
    return "".join(
        f"id: {run}:{number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
        for number, (name, data) in enumerate(events, 1)
    )


def done(answer: str, run: str = "7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11", **more: Any) -> dict[str, Any]:
    """The data of the event `done`."""
    fixed = {"answered": True, "category": "billing", "tokens_used": 7, "cached": False, "messages_in_history": 2}
    return {"answer": answer, "run_id": run, "session_id": "s-1", "sources": [], **fixed, **more}


def turn(answer: str, *between: tuple[str, Any], **more: Any) -> str:
    """All events of a turn, with those of `between` after the tokens."""
    whole = done(answer, **more)
    run = {"run_id": whole["run_id"], "session_id": whole["session_id"]}
    head = [("run", run), ("category", {"category": "billing"}), ("sources", whole["sources"])]
    return sse([*head, ("token", {"text": answer}), *between, ("done", whole)])


async def answer_with(chat: ChatPage, path: str, body: str, *, status: int = 200, kind: str = "") -> None:
    """Answer requests to this path, from now on, in the service's place."""
    await chat.page.unroute(f"{chat.origin}{path}")

    async def fulfil(route: Route) -> None:
        what = kind or ("text/event-stream" if status == 200 else "application/problem+json")
        await route.fulfill(status=status, body=body, content_type=what)

    await chat.page.route(f"{chat.origin}{path}", fulfil)
