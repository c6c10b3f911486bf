"""The page with all that stands behind it: actions of a real server of tools, and a person who answers."""

import httpx
import pytest
from playwright.async_api import expect
from redis.asyncio import Redis

from conftest import Serve
from harness.calling import calls, function_call
from harness.chat_page import PATIENCE, chat_page
from harness.scripted_model import ScriptedModel, tokens
from harness.tool_server import tool_server

pytestmark = pytest.mark.soak

SLOT = {"slot": "2026-12-01T10:00+01:00", "time_zone": "Europe/Berlin", "topic": "Refund"}
EMAIL = {"subject": "Refund", "body": "Please look at invoice 17."}


async def test_each_card_says_what_became_of_its_action(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A later proposal replaces an earlier one, a message confirms, and a reload shows each with its own answer."""
    async with (
        tool_server() as tools,
        serve(SUPPORT_MCP_SERVERS=f"calendar={tools.url}") as url,
        chat_page(url) as chat,
    ):
        for _ in range(3):
            model.script("answer", calls(function_call("book_call", SLOT)), tokens(["Shall I?"]))
            await chat.ask("Tuesday at 10, please.")
        cards = chat.page.locator(".card")
        await expect(cards.nth(1)).to_contain_text("Not done, as you wished.")
        await expect(cards.nth(0)).to_contain_text("Not done, as you wished.")
        await chat.ask("Yes, please")
        await expect(cards.nth(2)).to_contain_text("Done.")
        assert len(tools.effects) == 1
        model.script("answer", calls(function_call("book_call", SLOT)), tokens(["Shall I?"]))
        await chat.ask("Another one.")
        await chat.page.get_by_role("button", name="Yes, please").click()
        await expect(cards.last).to_contain_text("Done.")
        states = "(cards) => cards.map((card) => card.dataset.status)"
        before = await cards.evaluate_all(states)
        assert before == ["declined", "declined", "done", "done", "done"]
        await chat.page.reload()
        await expect(cards).to_have_count(5)
        await chat.page.wait_for_function(
            "() => [...document.querySelectorAll('.card')].every((card) => card.dataset.status !== 'proposed')"
        )
        assert await cards.evaluate_all(states) == before


async def test_a_person_answers_after_an_action_that_failed(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The page says that they take over, and shows each of their messages once, also those of meanwhile."""
    async with (
        tool_server() as tools,
        serve(SUPPORT_MCP_SERVERS=f"calendar={tools.url}") as url,
        chat_page(url) as chat,
    ):
        model.script("answer", calls(function_call("send_email", EMAIL)), tokens(["Shall I?"]))
        await chat.ask("Tuesday at 10, please.")
        tools.status = 503
        await chat.page.get_by_role("button", name="Yes, please").click()
        await expect(chat.page.locator("#messages")).to_contain_text("A colleague takes over.", timeout=PATIENCE)
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            (handoff,) = (await client.get("/handoffs")).json()["handoffs"]

            async def write(message: str) -> None:
                sent = await client.post(f"/handoffs/{handoff['id']}/messages", json={"message": message})
                assert sent.status_code == 201

            person = chat.page.locator("article.answer", has=chat.page.locator(".person"))
            await write("Ada here.")
            await expect(person).to_have_count(1)
            await chat.page.goto("about:blank")
            await write("I have booked it.")
            await chat.page.goto(url)
            await expect(person).to_have_count(2)
            await write("Anything else?")
            await expect(person).to_have_count(3)
            await expect(person.nth(1)).to_contain_text("I have booked it.")
            for message in ("No.", "Thanks!"):
                await chat.send(message)
                await expect(chat.page.locator("#send")).to_be_visible()
                await expect(chat.page.locator(".said").last).to_contain_text(message)
            assert "" not in await chat.page.locator("article.answer .text").all_inner_texts()
            await client.post(f"/handoffs/{handoff['id']}/release")
            await expect(chat.page.locator(".note")).to_have_text("The assistant answers again.")


async def test_a_service_that_gives_no_token_now_asks_for_no_key(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """The page of the public mode has no key to ask for; it says to wait."""
    public = {"SUPPORT_VISITOR_SECRET": "s" * 32, "SUPPORT_PUBLIC_ORIGINS": "https://shop.example"}
    limits = {"SUPPORT_API_KEYS": f"web:{'0' * 64}", "SUPPORT_VISITOR_RATE_LIMIT": "1/minute"}
    async with serve(**public, **limits) as url, chat_page(url) as chat:
        async with httpx.AsyncClient() as client:
            spent = await client.post(f"{url}/visitors/anonymous", headers={"Origin": url})
        assert spent.status_code == 200
        await chat.send("Refund?")
        await expect(chat.page.locator(".trouble")).to_contain_text("That was a lot of messages")
        assert not await chat.page.locator("#key").evaluate("(dialog) => dialog.open")
