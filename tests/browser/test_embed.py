"""The bubble on a website's pages, in Debian's Chromium: on other origins, and where these may store nothing."""

from pathlib import Path
from typing import Any

import jwt
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Error, expect
from redis.asyncio import Redis

from conftest import Serve
from harness.scripted_model import ScriptedModel, tokens
from harness.website import website

pytestmark = pytest.mark.soak

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


async def test_the_bubble_is_accessible(serve: Serve, redis: Redis, tmp_path: Path) -> None:
    """Axe finds nothing to object to, while it is closed and while it is open."""
    async with website(serve, tmp_path / "browser", bypass_csp=True) as site:
        for is_open in (False, True):
            if is_open:
                await site.open()
            found = await Axe().run(site.page, "support-agent")
            assert found.response["violations"] == []
            assert found.response["passes"]


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
