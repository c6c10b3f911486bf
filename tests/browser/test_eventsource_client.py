"""The page docs/clients/eventsource.html in a real browser, on an origin of its own."""

import asyncio
from urllib.parse import urlsplit

from playwright.async_api import Page, expect
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles

from conftest import REPOSITORY, Serve
from harness.fault_proxy import fault_proxy
from harness.scripted_model import ScriptedModel, status, tokens
from harness.serving import serving
from local.process import Service

NUMBERS = [f"{number} " for number in range(40)]


def page_of_clients() -> Starlette:
    app = Starlette()
    app.mount("/", StaticFiles(directory=REPOSITORY / "docs/clients"))
    return app


async def send(page: Page, button: str, message: str) -> None:
    await page.get_by_label("Message").fill(message)
    await page.get_by_role("button", name=button).click()


async def test_an_event_source_asks_and_chats(page: Page, serve: Serve, redis: Redis, offline_model: Service) -> None:
    """One question is answered, and two messages are a conversation."""
    model = {"OPENAI_BASE_URL": offline_model.url, "OPENAI_API_KEY": offline_model.secret}
    async with (
        serving(page_of_clients(), lifespan=False) as own,
        serve(**model, SUPPORT_KNOWLEDGE=REPOSITORY / "knowledge", SUPPORT_ALLOWED_ORIGINS=own) as url,
    ):
        await page.goto(f"{own}/eventsource.html?service={url}")
        answer = page.get_by_role("log")
        await send(page, "Ask one question", "I was charged twice, can I have my money back?")
        await expect(answer).to_contain_text("both payments")
        await send(page, "Go on", "When are you open?")
        await expect(answer).to_contain_text("Monday")
        await send(page, "Go on", "Thank you!")
        await expect(answer).to_contain_text("welcome")
        assert len([key async for key in redis.scan_iter("turn:*")]) == 1


async def test_an_event_source_reads_on(page: Page, serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """After a cut connection the rest comes once; an answer that failed is said to have failed."""
    model.script("answer", tokens(NUMBERS, pause=0.05), status(401))
    async with (
        serving(page_of_clients(), lifespan=False) as own,
        serve(SUPPORT_ALLOWED_ORIGINS=own) as url,
        fault_proxy("127.0.0.1", urlsplit(url).port or 0) as proxy,
    ):
        await page.goto(f"{own}/eventsource.html?service=http://127.0.0.1:{proxy.port}")
        answer = page.get_by_role("log")
        await send(page, "Go on", "Can I have a refund?")
        await expect(answer).to_contain_text("5 ")
        await proxy.cut()
        await expect(answer).to_have_text("".join(NUMBERS), use_inner_text=False)
        assert len(model.of("answer")) == 1
        async with asyncio.timeout(20):
            await send(page, "Go on", "When?")
            await expect(answer).to_contain_text("model")
