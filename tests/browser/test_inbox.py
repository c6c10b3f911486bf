"""The inbox in a real browser."""

from typing import Any

import httpx
import pytest
from playwright.async_api import Page, Route
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import Serve
from graph.unanswered import MARK
from harness.scripted_model import ScriptedModel, tokens

pytestmark = pytest.mark.soak

KEY = new_key()
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


async def ask(url: str, key: str, question: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}) as client:
        answer = await client.post("/chat", json={"message": question})
        assert answer.status_code == 200, answer.text
        return answer.json()


async def test_the_team_sees_what_went_wrong(page: Page, serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Log in with a key, look at what was not answered, make a case of it, log out."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(request.url))
    async with serve(SUPPORT_API_KEYS=f"operator:{digest(KEY).hex()}") as url:
        model.script("answer", tokens([f"{MARK} {HOSTILE}"]), tokens(["Yes."]))
        await ask(url, KEY, f"Where is it? {HOSTILE}")
        done = await ask(url, KEY, "Is it open?")
        await page.goto(f"{url}/inbox")
        await page.get_by_label("API key").fill("sa_wrong")
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_text("This is no valid key.").wait_for()
        await page.get_by_label("API key").fill(KEY)
        await page.keyboard.press("Enter")
        conversations = page.get_by_role("list").get_by_role("button")
        await conversations.first.wait_for()
        assert await conversations.count() == 1
        await page.get_by_role("button", name="All").click()
        assert await conversations.count() == 2
        assert "Not answered" in await conversations.first.inner_text()
        await conversations.first.click()
        shown = page.get_by_role("article")
        assert HOSTILE in await shown.locator(".question").inner_text()
        assert await page.title() == "Inbox"
        await conversations.nth(1).click()
        assert done["run_id"] in await shown.inner_text()
        await page.get_by_role("button", name="Make an evaluation case").click()
        await page.get_by_role("dialog").wait_for()
        assert f"id: inbox-{done['run_id']}" in await page.locator("#case-text").inner_text()
        await page.get_by_role("button", name="Close").click()
        await page.reload()
        await conversations.first.wait_for()
        kept = await page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]")
        assert kept == ["", 0, 0]
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_label("API key").wait_for()
    assert faults == []


async def test_a_reply_whose_answer_is_lost_is_written_once(
    page: Page, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """The page says that it can be sent again, and it is there once."""
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        done = (await http.post("/chat", json={"message": "I want to talk to a human"})).json()
        lost: list[str] = []

        async def lose_first(route: Route) -> None:
            if lost:
                return await route.continue_()
            lost.append((await route.fetch()).status_text)
            return await route.abort()

        await page.route("**/handoffs/*/messages", lose_first)
        await page.goto(f"{url}/inbox")
        await page.get_by_role("list").get_by_role("button").first.click()
        await page.get_by_label("Answer the customer").fill("Hello")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_text("Please try again: a message is written once.").wait_for()
        await page.get_by_role("button", name="Send").click()
        await page.get_by_text("agent: Hello").wait_for()
        messages = (await http.get(f"/sessions/{done['session_id']}")).json()["messages"]
    assert (lost, [each["content"] for each in messages if each["role"] == "agent"]) == (["Created"], ["Hello"])
