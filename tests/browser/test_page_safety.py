"""What the chat page shows of texts that it can't trust, and how it grows."""

import json

import pytest
from redis.asyncio import Redis

from conftest import Serve
from harness.chat_page import ChatPage, answer_with, chat_page, done, sse, turn
from harness.hostile import hostile_texts

pytestmark = pytest.mark.soak

# Each text as an answer that grows, as one that is there at once, and as an article.
_SHOW = """async ([texts, chunk]) => {
    const { GrowingText, rendered } = await import("./static/markdown.js");
    window.ran = (name) => troubles.push(`ran: ${name}`);
    const place = document.getElementById("messages");
    for (const text of texts) {
        const grown = document.createElement("div");
        place.append(grown);
        const growing = new GrowingText(grown, () => {});
        for (let at = 0; at < text.length; at += chunk) {
            growing.add(text.slice(at, at + chunk));
            growing._render();
        }
        growing.finish();
        const article = document.createElement("div");
        article.append(rendered(text, "https://help.example.com/page"));
        place.append(article);
    }
    for (const link of place.querySelectorAll("a")) {
        if (!/^$|^(https?|mailto|tel):/.test(link.href)) troubles.push(`link: ${link.outerHTML}`);
        if (!link.relList.contains("noopener") || link.target !== "_blank") troubles.push(`opens: ${link.outerHTML}`);
    }
    const allowed = new Set("href title align colspan rowspan start reversed dir rel target".split(" "));
    const loads = /^(script|style|img|svg|iframe|form|input|video|audio|object|embed|link|meta|base)$/i;
    for (const element of place.querySelectorAll("*")) {
        const more = element.getAttributeNames().filter((name) => !allowed.has(name));
        if (more.length) troubles.push(`attribute: ${element.outerHTML}`);
        if (loads.test(element.nodeName)) troubles.push(`element: ${element.outerHTML}`);
        element.dispatchEvent(new MouseEvent("mouseover"));
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    return place.childElementCount;
}"""

_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
        shifts.push([entry.value, entry.sources.map(({ node }) => node?.outerHTML ?? node?.textContent)]);
    }
}).observe({type: "layout-shift", buffered: true});
"""

_MARKS = (
    "## Refunds\n\nYou get **all of it** back, if you write within *30 days*:\n\n"
    "1. Open **Settings**.\n2. Choose the payment; see [a list](https://shop.example/list).\n3. Press `Refund`.\n\n"
    "| Plan | Days |\n|---|---|\n| Team | 30 |\n| Shop | 14 |\n\n> Holidays do not count.\n\n```\nrefund --all\n```\n\n"
)


async def test_two_hundred_hostile_texts_do_nothing(serve: Serve, redis: Redis) -> None:
    """No script runs, no request leaves the origin, and the policy has nothing to report."""
    texts = hostile_texts(200)
    assert len(set(texts)) == 200
    async with serve() as url, chat_page(url) as chat:
        assert await chat.page.evaluate(_SHOW, [texts, 7]) == 400
        assert await chat.troubles() == []


async def test_a_hostile_turn_does_nothing(serve: Serve, redis: Redis) -> None:
    """Titles, sections, categories and summaries are shown as text; an address that is none leads nowhere."""
    attack = "<img src=x onerror=\"troubles.push('ran')\">"
    source = {"id": "../sessions/s-1?", "title": attack, "section": attack, "url": "javascript:troubles.push('ran')"}
    action = {
        "id": "a-1",
        "kind": attack,
        "summary": attack,
        "arguments": {attack: attack},
        "expires_at": "2030-01-01T00:00:00Z",
        "status": "proposed",
    }
    body = turn(attack, sources=[source], category=attack, action=action)
    asked: list[str] = []
    async with serve() as url, chat_page(url, "?debug") as chat:
        await answer_with(chat, "/chat/stream", body)
        chat.page.on("request", lambda request: asked.append(request.url))
        await chat.ask(attack)
        await chat.page.locator(".source").click()
        await chat.page.get_by_text("This article is no longer available.").wait_for()
        assert not [one for one in asked if "/sessions/" in one]
        assert not await chat.page.locator("#panel .link").is_visible()
        assert await chat.page.locator("main img, #panel img").count() == 0
        assert await chat.troubles() == []


async def test_words_in_angle_brackets_are_seen(serve: Serve, redis: Redis) -> None:
    """What only looks like HTML is not lost."""
    async with serve() as url, chat_page(url) as chat:
        await answer_with(chat, "/chat/stream", turn("Press <Enter> and write to <your-name>, not **<b>bold</b>**."))
        assert await chat.ask("How?") == "Press <Enter> and write to <your-name>, not bold."


async def test_nothing_moves_while_an_answer_grows(serve: Serve, redis: Redis) -> None:
    """The browser sees no layout shift from the first token to the last."""
    pieces = [_MARKS[at : at + 5] for at in range(0, len(_MARKS), 5)] * 3
    run = {"run_id": done("")["run_id"], "session_id": "s-1"}
    events = [
        ("run", run),
        ("category", {"category": "billing"}),
        ("sources", []),
        *(("token", {"text": piece}) for piece in pieces),
        ("done", done("".join(pieces), sources=[{"id": "refunds", "title": "Refunds"}])),
    ]
    async with serve() as url, chat_page(url) as chat:
        await grown(chat, sse(events))
        shifts = await chat.page.evaluate("shifts")
        assert shifts == []
        assert await chat.answer.locator("table").count() == 3
        assert await chat.answer.locator("pre").last.inner_text() == "refund --all\n"


async def grown(chat: ChatPage, body: str) -> None:
    """Let the page get this body a few events at a time, a frame each."""
    await chat.page.add_init_script(_SHIFTS)
    await chat.page.add_init_script(
        f"""{{
        const real = window.fetch;
        const parts = {json.dumps(body)}.split(/(?<=\\n\\n)/);
        const wait = () => new Promise((resolve) => requestAnimationFrame(resolve));
        window.fetch = (path, options) => path !== "chat/stream" ? real(path, options) : Promise.resolve(new Response(
            new ReadableStream({{
                async pull(controller) {{
                    if (!parts.length) return controller.close();
                    await wait();
                    controller.enqueue(new TextEncoder().encode(parts.splice(0, 4).join("")));
                }}
            }}), {{status: 200, headers: {{"Content-Type": "text/event-stream"}}}}));
        }}"""
    )
    await chat.page.reload()
    await chat.page.evaluate("shifts.length = 0")
    await chat.ask("Can I have my money back?")
