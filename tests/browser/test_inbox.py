"""The inbox in a real browser."""

from typing import Any

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Route, expect
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
        await page.locator("#conversations button").first.click()
        await page.get_by_label("Answer the customer").fill("Hello")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_text("Please try again: a message is written once.").wait_for()
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#conversation .message").last).to_contain_text("Hello")
        messages = (await http.get(f"/sessions/{done['session_id']}")).json()["messages"]
    assert (lost, [each["content"] for each in messages if each["role"] == "agent"]) == (["Created"], ["Hello"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_person_answers_a_customer(
    scheme: Any, page: Page, serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """A handed-over conversation shows what was said, takes an answer, and is given back; axe finds no barrier."""
    await page.emulate_media(color_scheme=scheme)
    async with (
        serve(SUPPORT_API_KEYS=f"operator:{digest(KEY).hex()}") as url,
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}) as client,
    ):
        for message in ("Is it open?", f"I want to talk to a person! {HOSTILE}"):
            answer = await client.post("/chat", json={"message": message, "session_id": "s-1"})
            assert answer.status_code == 200, answer.text
        await page.goto(f"{url}/inbox")
        await page.get_by_label("API key").fill(KEY)
        await page.keyboard.press("Enter")
        await page.locator("#conversations button").click()
        said = page.locator("#conversation .message")
        await expect(said).to_have_count(4)
        assert HOSTILE in await said.nth(2).inner_text()
        await page.get_by_label("Answer the customer").fill("I am here.")
        assert (report := await Axe().run(page)).violations_count == 0, report.generate_report()
        await page.get_by_role("button", name="Send").click()
        await expect(said.nth(4)).to_contain_text("I am here.")
        await expect(page.get_by_label("Answer the customer")).to_have_value("")
        await page.get_by_text("What the agent answered").click()
        await expect(page.get_by_role("article")).to_have_count(2)
        assert (report := await Axe().run(page)).violations_count == 0, report.generate_report()
        history = (await client.get("/sessions/s-1")).json()["messages"]
        assert (history[-1]["role"], history[-1]["content"]) == ("agent", "I am here.")
        await page.get_by_role("button", name="Give back").click()
        await expect(page.get_by_label("Answer the customer")).to_have_count(0)
        await client.delete("/sessions/s-1")
        await expect(page.locator("#conversation")).to_contain_text("This conversation is gone", timeout=20_000)
