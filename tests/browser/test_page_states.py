"""The chat page in each of its states: what it says, and that everybody can use it."""

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect
from redis.asyncio import Redis

from conftest import Serve
from harness.chat_page import ChatPage, answer_with, chat_page, chromium, opened, sse, turn
from harness.scripted_model import ScriptedModel, tokens

pytestmark = pytest.mark.soak

NAMED = """(({activeElement: at}) => at.tagName === "BUTTON" ? at.ariaLabel || at.textContent : "")(document)"""
"""The name of the button that has the focus."""

DONE = ["Payments are refunded **in full** within 30 days:\n\n", "1. Open *Settings*.\n", "2. Choose the payment.\n"]
ACTION: dict[str, Any] = {
    "id": "a-1",
    "kind": "book_call",
    "summary": "Book a call on 1 December at 10:00",
    "arguments": {},
    "expires_at": "2030-01-01T10:00:00Z",
    "status": "proposed",
}
HANDOFF = {
    "id": "h-1",
    "reason": "asked",
    "summary": "Wants a person",
    "opened_at": "2030-01-01T10:00:00Z",
    "expected_reply": "2030-01-02T10:00:00Z",
}


def problem(kind: str, code: int) -> str:
    return f'{{"type": "{kind}", "title": "t", "status": {code}, "detail": "d", "instance": "/", "request_id": "r"}}'


REFUSALS = [
    ("session-busy", 409, "Your previous message is still being answered."),
    ("shutting-down", 503, "The service is restarting. Please try again"),
    ("model-unavailable", 503, "We can't answer at the moment."),
    ("model-timeout", 504, "The answer took too long."),
    ("answer-withheld", 422, "This answer was held back"),
    ("content-filtered", 422, "We can't answer this message."),
    ("context-too-long", 502, "This message is too long for us."),
    ("internal", 500, "Something went wrong on our side."),
]


async def test_each_trouble_has_its_sentence_and_a_way_on(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Whatever the service refuses, the customer reads calmly why, and asks again with a button."""
    async with serve() as url, chat_page(url) as chat:
        await chat.page.clock.install()
        for number, (kind, code, sentence) in enumerate(REFUSALS, 1):
            await answer_with(chat, "/chat/stream", problem(kind, code), status=code)
            await chat.send("Refund?")
            trouble = chat.answers.last.locator(".trouble")
            while not await trouble.count():
                await chat.page.clock.run_for(1_000)
            assert sentence in await trouble.inner_text()
            assert sentence in await chat.page.locator("#told").inner_text()
            await chat.page.unroute(f"{url}/chat/stream")
            await chat.page.get_by_role("button", name="Try again").click()
            await expect(chat.page.locator(".tools")).to_have_count(number)


async def test_a_rate_limit_is_counted_down(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The button waits as long as the service asks for."""
    async with serve(SUPPORT_RATE_LIMIT="1/minute") as url, chat_page(url) as chat:
        await chat.page.clock.install()
        await chat.ask("Refund?")
        await chat.send("By when?")
        await expect(chat.answers.last.locator(".trouble")).to_contain_text("You can go on in 60 s.")
        button = chat.page.get_by_role("button", name="Try again")
        assert await button.is_disabled()
        await chat.page.clock.run_for(20_000)
        await expect(chat.answers.last.locator(".trouble")).to_contain_text("You can go on in 40 s.")
        await chat.page.clock.run_for(41_000)
        assert await button.is_enabled()
        await expect(chat.page.locator("#told")).to_have_text("You can go on now.")


async def test_a_conversation_that_has_expired_is_not_mourned(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The page says so after a reload, and before the next message; then it goes on."""
    async with serve() as url, chat_page(url) as chat:
        await chat.ask("Refund?")
        await redis.flushdb()
        await chat.page.reload()
        await expect(chat.page.locator(".note")).to_contain_text("has expired")
        await chat.ask("Refund?")
        await redis.flushdb()
        await chat.page.clock.install()
        await chat.page.clock.fast_forward(70_000)
        await chat.ask("By when?")
        assert await chat.page.locator(".note").count() == 2


async def test_an_offline_browser_sends_when_it_is_back(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A message that could not be sent is sent, once."""
    async with serve() as url, chat_page(url) as chat:
        await chat.page.context.set_offline(True)
        await chat.send("Refund?")
        await chat.page.get_by_text("The connection was lost.").first.wait_for()
        await chat.page.context.set_offline(False)
        await expect(chat.answer).to_have_text("Hello, world.")
        assert len([call for call in model.of("answer") if call.prompt[-1][1] == "Refund?"]) == 1


async def test_an_action_is_confirmed_and_a_person_answers(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """What is proposed has two buttons and says what became of it; what a person writes appears."""
    confirmed: list[Any] = []
    async with serve() as url, chat_page(url) as chat:
        await answer_with(chat, "/chat/stream", turn("Shall I?", ("action", ACTION), action=ACTION))
        await chat.page.route(
            f"{url}/actions/a-1",
            lambda route: (
                confirmed.append(route.request.post_data_json),
                route.fulfill(json={**ACTION, "status": "done"}),
            )[1],
        )
        await chat.ask("Book a call.")
        await chat.page.get_by_role("button", name="Yes, please").click()
        await expect(chat.page.locator(".card")).to_contain_text("Done.")
        assert confirmed == [{"confirm": True}]

        message = {"id": "m-1", "role": "agent", "content": "Hello, this is **Ada**.", "at": "2030-01-01T10:05:00Z"}
        ended = {**HANDOFF, "status": "released"}
        told = [("handoff", {**HANDOFF, "status": "open"}), ("message", message), ("handoff", ended)]
        await answer_with(chat, "/sessions/s-1/events", sse(told, "events"))
        await answer_with(chat, "/chat/stream", turn("", ("handoff", HANDOFF), handoff=HANDOFF))
        await chat.send("I want a person.")
        await expect(chat.page.locator("#messages")).to_contain_text("A colleague takes over.")
        await expect(chat.answers.last).to_contain_text("Hello, this is Ada.")
        await expect(chat.page.locator(".note")).to_have_text("The assistant answers again.")


async def test_the_page_speaks_the_browsers_language(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """By the browser's language, or the one in the address; an answer goes in its own direction."""
    model.script("answer", tokens(["שלום ", "עולם"]))
    greetings = {
        "de": "Wie können wir helfen?",
        "fr": "Comment pouvons-nous",
        "es": "¿En qué",
        "en": "How can we help?",
    }
    async with serve() as url, chromium() as browser:
        chat = await opened(browser, url)
        for language, greeting in greetings.items():
            await chat.page.goto(f"{url}/?lang={language}")
            await expect(chat.page.locator("#greeting h2")).to_contain_text(greeting)
            assert await chat.page.locator("html").get_attribute("lang") == language
        await chat.ask("שלום?")
        assert await chat.answer.locator("p").evaluate("(words) => getComputedStyle(words).direction") == "rtl"


async def test_everything_is_done_by_keyboard(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """From the question to the deleted conversation, and the focus is never lost."""
    async with serve() as url, chat_page(url) as chat:
        keys, page = chat.page.keyboard, chat.page

        async def reach(name: str, key: str = "Tab") -> None:
            for _ in range(40):
                if name in await page.evaluate(NAMED):
                    return
                await keys.press(key)
            raise AssertionError(name)

        await keys.type("Refund?")
        await keys.press("Enter")
        await chat.answers.last.locator(".tools").wait_for()
        assert await page.evaluate("document.activeElement.id") == "message"
        await reach("This did not help", "Shift+Tab")
        await keys.press("Enter")
        await chat.answers.last.locator(".comment").wait_for()
        await keys.type("It is 30 days.")
        await keys.press("Tab")
        await keys.press("Enter")
        await expect(chat.answers.last.locator(".opinion")).to_contain_text("Thank you")
        await reach("Refunds")
        await keys.press("Enter")
        await page.locator("#panel .article p").wait_for()
        assert await page.evaluate("document.activeElement.id") == "panel-title"
        await keys.press("Escape")
        await expect(page.locator("#panel")).to_be_hidden()
        await reach("Refunds")
        await reach("Delete this conversation")
        await keys.press("Enter")
        await page.locator("#sure").wait_for()
        await reach("Delete")
        await keys.press("Enter")
        await expect(page.locator(".note")).to_contain_text("deleted")
        assert await page.evaluate("document.activeElement.id") == "message"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_has_no_barrier(serve: Serve, redis: Redis, model: ScriptedModel, scheme: str) -> None:
    """Axe finds nothing, contrast included, on a phone and a desktop; the states of the page are all looked at."""
    model.script("answer", tokens(DONE))
    async with serve() as url, chromium() as browser:
        for width, height in ((360, 740), (1280, 800)):
            chat = await opened(
                browser,
                url,
                "?debug",
                color_scheme=scheme,
                viewport={"width": width, "height": height},
                bypass_csp=True,  # axe is put into the page
                reduced_motion="reduce",
            )
            await assert_no_barrier(chat)
            await fill(chat)
            if width < 1000:  # elsewhere the panel stands beside the conversation
                await assert_no_barrier(chat)
            await chat.page.locator(".source").first.click()
            await chat.page.locator("#panel .article p:not(.muted)").first.wait_for()
            await assert_no_barrier(chat)
            await chat.page.keyboard.press("Escape")
            await chat.page.get_by_role("button", name="Delete this conversation").click()
            await assert_no_barrier(chat)
            await chat.page.context.close()


async def fill(chat: ChatPage) -> None:
    """Bring the page into most of its states at once."""
    await chat.ask("Refund?")
    await chat.answers.last.get_by_role("button", name="This helped").click()
    await chat.answers.last.locator(".comment").wait_for()
    await answer_with(chat, "/chat/stream", turn("Shall I?", action=ACTION, handoff=HANDOFF))
    await chat.ask("Book a call.")
    await answer_with(chat, "/chat/stream", problem("internal", 500), status=500)
    await chat.send("And now?")
    await chat.answers.last.locator(".trouble").wait_for()


async def assert_no_barrier(chat: ChatPage) -> None:
    found = await Axe().run(chat.page)
    assert found.violations_count == 0, found.generate_report()
