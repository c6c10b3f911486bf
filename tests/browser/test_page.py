"""The chat page in a real browser, against the service: what a customer does there."""

import asyncio
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect
from redis.asyncio import Redis

from api.app import create_app
from api.auth import digest, new_key
from conftest import MakeSettings, Serve
from harness.chat_page import chat_page
from harness.fault_proxy import fault_proxy
from harness.nginx import nginx
from harness.replica import replica
from harness.scripted_model import ScriptedModel, tokens, until
from harness.serving import serving
from local.process import Service

pytestmark = pytest.mark.soak

QUESTION = "How do I return a lamp that is broken?"
PARTS = (
    "Sizes",
    "Colours",
    "Returns",
    "Bulbs",
    "Shades",
    "Cables",
    "Prices",
    "Makers",
    "Feet",
    "Plugs",
    "Fuses",
    "Dust",
)
LAMPS = "---\nid: lamps\ntitle: Lamps\ncategory: billing\nurl: https://help.example.com/lamps\n---\n" + "".join(
    f"\n## {name}\n\n{'Return a broken lamp within 14 days. ' * (name == 'Returns')}{f'About {name.lower()}. ' * 60}\n"
    for name in PARTS
)


@pytest.fixture
def lamps(articles: Path) -> None:
    """An article of several sections with an address of its own."""
    (articles / "lamps.md").write_text(LAMPS)


async def test_a_customer_talks_to_it(
    serve: Serve, lamps: None, redis: Redis, offline_model: Service, model: ScriptedModel
) -> None:
    """A question, its source, a follow-up, a rating, a reload, a new conversation, and a deleted one."""
    offline = {"OPENAI_BASE_URL": offline_model.url, "OPENAI_API_KEY": offline_model.secret}
    async with serve(**offline) as url, chat_page(url, "?debug") as chat, httpx.AsyncClient(base_url=url) as client:
        page = chat.page
        assert "14 days" in await chat.ask(QUESTION)
        first = chat.answers.first
        assert await first.locator(".badge").inner_text() == "billing"
        assert "tokens" in await first.locator(".debug").inner_text()

        await first.get_by_role("button", name="Returns").click()
        passage = page.locator("#panel .passage")
        assert "14 days" in await passage.inner_text()
        assert "About bulbs" not in await passage.inner_text()
        assert await page.locator("#panel .link").get_attribute("href") == "https://help.example.com/lamps"
        await page.locator("#panel-close").click()

        await first.get_by_role("button", name="This did not help").click()
        await first.get_by_label("What could be better?").fill("It is 30 days.")
        await first.get_by_role("button", name="Send comment").click()
        await expect(first.locator(".opinion")).to_contain_text("Thank you")
        assert "It is 30 days." in str(await redis.xrevrange("feedback", count=1))

        await chat.ask("And the bulb?")
        session = await page.evaluate("JSON.parse(sessionStorage['support-agent:/:session'])")
        history = (await client.get(f"/sessions/{session}")).json()["messages"]
        assert [message["role"] for message in history] == ["user", "assistant"] * 2

        await page.reload()
        await chat.answers.nth(1).locator(".sources").wait_for()
        assert await page.locator(".said").count() == 2
        assert "14 days" in await first.locator(".text").inner_text()

        await page.locator("#fresh").click()
        assert await page.locator("#greeting").is_visible()
        await chat.ask(QUESTION)
        other = await page.evaluate("JSON.parse(sessionStorage['support-agent:/:session'])")
        assert other != session
        await page.get_by_role("button", name="Delete this conversation").click()
        await page.get_by_role("button", name="Delete", exact=True).click()
        await page.locator(".note", has_text="The conversation is deleted.").wait_for()
        assert (await client.get(f"/sessions/{other}")).status_code == 404
        assert (await client.get(f"/sessions/{session}")).status_code == 200


async def test_an_answer_is_stopped_and_asked_again(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """What there is of it stays; the conversation does not keep it."""
    stalled = asyncio.Event()
    model.script("answer", tokens(["Within "], then=until(stalled)), tokens(["Within ", "30 days."]))
    async with serve() as url, chat_page(url) as chat:
        await chat.send("Can I have my money back?")
        await expect(chat.answer).to_have_text("Within")
        await chat.page.locator("#stop").click()
        await chat.page.get_by_text("Stopped.").first.wait_for()
        assert await chat.answer.inner_text() == "Within"
        await chat.page.get_by_role("button", name="Try again").click()
        await expect(chat.answer).to_have_text("Within 30 days.")
        await chat.answers.last.locator(".tools").wait_for()
        assert await chat.page.locator(".said").count() == 1
    stalled.set()


async def test_an_answer_outlives_a_lost_connection(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The page says so, goes on where it was, and shows each word once; a reload goes on, too."""
    more, last = asyncio.Event(), asyncio.Event()
    model.script(
        "answer", tokens(["One ", "two "], then=until(more, "three ")), tokens(["Four "], then=until(last, "five"))
    )
    async with serve() as url, fault_proxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
        async with chat_page(f"http://127.0.0.1:{proxy.port}") as chat:
            await chat.send("Count.")
            await expect(chat.answer).to_have_text("One two")
            proxy.refuse()
            await proxy.cut()
            await chat.page.get_by_text("The connection was lost.").first.wait_for()
            more.set()
            proxy.restore()
            await chat.answers.last.locator(".tools").wait_for()
            assert await chat.answer.inner_text() == "One two three"

            await chat.send("Go on.")
            await expect(chat.answer).to_have_text("Four")
            await chat.page.reload()
            await expect(chat.answer).to_have_text("Four")
            last.set()
            await chat.answers.last.locator(".tools").wait_for()
            assert await chat.answer.inner_text() == "Four five"
            assert await chat.page.locator(".said").all_inner_texts() == ["You\nCount.", "You\nGo on."]


async def test_an_answer_outlives_the_service(
    redis: Redis, redis_url: str, articles: Path, model: ScriptedModel
) -> None:
    """The service is restarted under the page: the message is asked again, and the answer is whole."""
    stalled = asyncio.Event()
    model.script("answer", tokens(["One ", "two "], then=until(stalled)), tokens(["One ", "two ", "three"]))
    async with replica(model, redis_url, articles) as (process, old), replica(model, redis_url, articles) as (_, new):
        async with fault_proxy("127.0.0.1", int(old.rpartition(":")[2])) as proxy:
            async with chat_page(f"http://127.0.0.1:{proxy.port}") as chat:
                await chat.send("Count.")
                await expect(chat.answer).to_have_text("One two")
                proxy.move(int(new.rpartition(":")[2]))
                process.terminate()
                await chat.answers.last.locator(".tools").wait_for()
                assert await chat.answer.inner_text() == "One two three"
                assert await chat.page.locator(".said").count() == 1
    stalled.set()


async def test_the_page_works_under_a_prefix_with_a_key(
    make_settings: MakeSettings, redis: Redis, model: ScriptedModel
) -> None:
    """It asks for the key, says that one is wrong, and remembers the right one until the tab is closed."""
    key = new_key()
    app = create_app(make_settings(SUPPORT_API_KEYS=f"shop:{digest(key).hex()}"))
    async with serving(app, root_path="/support") as url:
        async with nginx(f"location /support/ {{ proxy_pass {url}/; proxy_buffering off; }}") as proxy:
            async with chat_page(f"{proxy}/support") as chat:
                await chat.send("Refund?")
                await chat.page.get_by_label("Key", exact=True).fill("wrong")
                await chat.page.get_by_role("button", name="Continue").click()
                await chat.page.get_by_text("That key was not accepted.").wait_for()
                await chat.page.get_by_label("Key", exact=True).fill(key)
                await chat.page.get_by_role("button", name="Continue").click()
                await expect(chat.answer).to_have_text("Hello, world.")
                await chat.page.reload()
                await expect(chat.answer).to_have_text("Hello, world.")
