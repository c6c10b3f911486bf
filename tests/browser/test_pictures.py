"""The pictures in docs/images, taken on request; docs/page.md says how."""

import os
from collections.abc import AsyncGenerator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.async_api import Browser, Page
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import REPOSITORY, Serve
from harness.chat_page import answer_with, chromium, opened
from harness.visitors import bearer
from local.process import Service

PICTURES = "PAGE_PICTURES"
"""The variable that names the folder to keep pictures in."""

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not os.environ.get(PICTURES), reason=f"{PICTURES} names no folder"),
]

SCHEMES = ("light", "dark")
UNAVAILABLE = (
    '{"type": "model-unavailable", "title": "t", "status": 503, "detail": "d", "instance": "/", "request_id": "r"}'
)
KEYS = {name: new_key() for name in ("operator", "webshop")}


@pytest.fixture
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def variables(offline_model: Service) -> dict[str, Any]:
    """The settings of a service as it comes, but with keys."""
    return {
        "OPENAI_BASE_URL": offline_model.url,
        "OPENAI_API_KEY": offline_model.secret,
        "SUPPORT_KNOWLEDGE": REPOSITORY / "knowledge",
    }


async def keep(page: Page, name: str) -> None:
    """Keep what is seen, with fewer colours: half the size."""
    whole = Image.open(BytesIO(await page.screenshot()))
    whole.convert("RGB").quantize(128).save(Path(os.environ[PICTURES]) / f"{name}.png", optimize=True)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("name", "width", "height"), [("phone", 390, 844), ("desktop", 1200, 840)])
async def test_pictures_of_the_page(
    name: str, width: int, height: int, scheme: Any, serve: Serve, redis: Redis, browser: Browser, variables: Any
) -> None:
    """An answer with its sources, and a failure."""
    async with serve(**variables) as url:
        chat = await opened(browser, url, color_scheme=scheme, viewport={"width": width, "height": height})
        await chat.ask("I was charged twice, can I have my money back?")
        if name == "desktop":
            await chat.page.locator(".source").nth(1).click()
            await chat.page.locator("#panel .article p:not(.muted)").first.wait_for()
        await keep(chat.page, f"page-{name}-{scheme}")
        await chat.page.keyboard.press("Escape")
        await answer_with(chat, "/chat/stream", UNAVAILABLE, status=503)
        await chat.send("And when does it arrive?")
        await chat.answers.last.locator(".trouble").wait_for()
        await keep(chat.page, f"page-{name}-{scheme}-failure")


async def talk(client: httpx.AsyncClient, session: str, *messages: str) -> str:
    """Have a conversation, and return its last run."""
    run = ""
    for message in messages:
        answer = await client.post("/chat", json={"message": message, "session_id": session})
        run = answer.raise_for_status().json()["run_id"]
    return run


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_pictures_of_the_inbox(scheme: Any, serve: Serve, redis: Redis, browser: Browser, variables: Any) -> None:
    """A conversation that was handed over is open; below it in the list are others, of which two went wrong."""
    variables["SUPPORT_API_KEYS"] = ",".join(f"{name}:{digest(key).hex()}" for name, key in KEYS.items())
    async with (
        serve(**variables) as url,
        httpx.AsyncClient(base_url=url, headers=bearer(KEYS["webshop"]), timeout=60) as client,
    ):
        await talk(client, "v-1", "How do I change the email address of my account?")
        await talk(client, "v-2", "Do you offer a student discount?", "Is there a warranty on the hardware key?")
        rated = await talk(client, "v-3", "How do I export all my data?")
        comment = "I asked about one project, not the whole workspace."
        await client.post("/feedback", json={"run_id": rated, "score": 0, "comment": comment})
        await talk(client, "v-4", "Which recipe goes with a rainy Sunday?")
        await talk(
            client, "v-5", "I was charged twice, can I have my money back?", "I want to talk to a person, please."
        )
        viewport: Any = {"width": 1200, "height": 1020}
        page = await browser.new_page(locale="en-GB", color_scheme=scheme, viewport=viewport)
        await page.goto(f"{url}/inbox")
        await page.get_by_label("API key").fill(KEYS["operator"])
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="All", exact=True).click()
        await page.locator("#conversations button").first.click()
        await page.get_by_label("Answer the customer").fill(
            "Hello! I have looked at both payments: the second one is on its way back."
        )
        await page.locator("#conversation").evaluate("(element) => element.scrollTo(0, 0)")
        await keep(page, f"inbox-{scheme}")
