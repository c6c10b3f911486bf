"""The program `python -m bench.page`: how long the chat page keeps the browser from answering a customer.

It lets an answer of 5,000 tokens grow on the page in Debian's Chromium. Chromium's trace says how much CPU time
the longest task of the page's main thread took. Above 50 ms people notice that a page does not answer. What the machine
did in between for others does not count.
"""

import asyncio
import json
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from playwright.async_api import Browser, Page, Route, async_playwright
from rich.console import Console

from bench.servers import REPOSITORY

STATIC = REPOSITORY / "api/static"
ORIGIN = "http://page.example"
TOKENS = 5_000
ROUNDS = 5
MOST = 50.0
"""Milliseconds of a task that nobody notices."""

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_BLOCKS = (
    "## Refunds\n\nYou get **all of it** back if you write within *30 days*, see [the list](https://shop.example/list).\n\n",
    "1. Open **Settings**.\n2. Choose the payment.\n3. Press `Refund`.\n\n",
    "| Plan | Days |\n|---|---|\n| Team | 30 |\n| Shop | 14 |\n\n> Holidays do not count.\n\n",
    "```\nrefund --all --since 2026-01-01\n```\n\n",
)
# Five tokens each 10 ms: ten times as fast as a fast model.
_STREAM = """
const real = window.fetch;
const parts = %s;
window.fetch = (path, options) => path !== "chat/stream" ? real(path, options) : Promise.resolve(new Response(
    new ReadableStream({
        async pull(controller) {
            if (!parts.length) return controller.close();
            await new Promise((resolve) => setTimeout(resolve, 10));
            controller.enqueue(new TextEncoder().encode(parts.splice(0, 5).join("")));
        },
    }), {status: 200, headers: {"Content-Type": "text/event-stream"}}));
"""
_console = Console()
_app = typer.Typer(add_completion=False)


@_app.command()
def measure() -> None:
    """Print the longest task of each round, and their median."""
    longest = asyncio.run(_rounds())
    shown = ", ".join(f"{milliseconds:.0f}" for milliseconds in longest)
    median = statistics.median(longest)
    _console.print(f"longest task in {TOKENS:,} tokens: {median:.0f} ms CPU (median of {shown}); at most {MOST:.0f}")
    raise typer.Exit(int(median > MOST))


async def _rounds() -> list[float]:
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("there is no chromium; install Debian's package chromium")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        longest = [await _round(browser) for _ in range(ROUNDS)]
        await browser.close()
    return longest


async def _round(browser: Browser) -> float:
    page = await browser.new_page()
    await page.route(f"{ORIGIN}/**", _serve)
    await page.add_init_script(_STREAM % json.dumps(list(_events())))
    await page.goto(f"{ORIGIN}/")
    await page.locator("#send").wait_for()
    await browser.start_tracing(page=page, categories=["toplevel", "__metadata"])
    await _ask(page)
    trace = json.loads(await browser.stop_tracing())
    await page.close()
    return _longest_task(trace["traceEvents"])


async def _serve(route: Route) -> None:
    """Answer as the service would."""
    path = route.request.url.removeprefix(f"{ORIGIN}/")
    file = STATIC / (path.removeprefix("static/") or "index.html")
    if not file.is_file():
        await route.fulfill(status=404)
        return
    text = file.read_text("utf-8").replace("{{company}}", "Fernway")
    await route.fulfill(body=text, content_type=_TYPES[Path(file).suffix])


async def _ask(page: Page) -> None:
    await page.locator("#message").fill("Can I have my money back?")
    await page.locator("#message").press("Enter")
    await page.locator(".tools").wait_for(timeout=120_000)


def _events() -> Iterator[str]:
    run: dict[str, Any] = {"run_id": "7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11", "session_id": "s-1"}
    text = "".join(_BLOCKS) * TOKENS
    pieces = [text[at : at + 5] for at in range(0, 5 * TOKENS, 5)]
    done: dict[str, Any] = {
        "answer": "".join(pieces),
        "category": "billing",
        "tokens_used": TOKENS,
        "sources": [],
        **run,
    }
    tokens: Iterator[tuple[str, Any]] = (("token", {"text": piece}) for piece in pieces)
    for number, (name, data) in enumerate((("run", run), *tokens, ("done", done)), 1):
        yield f"id: {run['run_id']}:{number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def _longest_task(events: list[dict[str, Any]]) -> float:
    """Return the milliseconds of processor time of the longest task on a page's main thread."""
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [event for event in events if event["name"].endswith("RunTask") and (event["pid"], event["tid"]) in mains]
    if not tasks:
        raise SystemExit("Chromium's trace has no tasks")
    return max(task.get("tdur", 0) for task in tasks) / 1000


if __name__ == "__main__":
    _app()
