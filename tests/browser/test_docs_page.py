"""/docs in a real browser: each operation is tried with the example that it shows."""

import httpx
import pytest
from playwright.async_api import Locator, Page, expect
from redis.asyncio import Redis

from conftest import REPOSITORY, Serve
from harness.chat_page import PATIENCE
from harness.visitors import SECRET
from local.process import Service

pytestmark = pytest.mark.soak

PRESSED = {
    "POST /ask": 200,
    "GET /stream": 200,
    "GET /articles/{article_id}": 200,
    "POST /chat": 200,
    "GET /sessions/{session_id}": 200,
    "GET /sessions/{session_id}/events": 200,
    "POST /chat/stream": 200,
    "DELETE /sessions/{session_id}": 204,
    "GET /runs/{run_id}/stream": 404,
    "DELETE /runs/{run_id}": 404,
    "GET /actions/{action_id}": 404,
    "POST /actions/{action_id}": 404,
    "GET /handoffs": 200,
    "GET /handoffs/{handoff_id}": 404,
    "POST /handoffs/{handoff_id}/messages": 404,
    "POST /handoffs/{handoff_id}/release": 404,
    "POST /feedback": 404,
    "POST /visitors": 200,
    "POST /inbox/session": 204,
    "DELETE /inbox/session": 204,
    "GET /inbox/conversations": 200,
    "GET /inbox/cases/{run_id}": 404,
    "GET /health": 200,
    "GET /ready": 200,
    "GET /metrics": 200,
}
"""The status of each operation's example, pressed in this order; where it is 404, /docs says so beside the id."""

ENDLESS = "GET /sessions/{session_id}/events"


async def named(operation: Locator) -> str:
    method = await operation.locator(".opblock-summary-method").inner_text()
    path = await operation.locator(".opblock-summary-path").get_attribute("data-path")
    return f"{method} {path}"


async def press(operation: Locator) -> None:
    """Send the operation's example."""
    for button in (".opblock-summary-control", ".try-out__btn", ".execute"):
        await operation.locator(button).dispatch_event("click")  # a real click waits for the page to be still


async def test_each_example_works_when_pressed(page: Page, serve: Serve, redis: Redis, offline_model: Service) -> None:
    """Whoever presses "Execute" gets an answer, or a 404 that /docs has announced beside the made-up id."""
    model = {"OPENAI_BASE_URL": offline_model.url, "OPENAI_API_KEY": offline_model.secret}
    folder = REPOSITORY / "knowledge"
    settings = {"SUPPORT_KNOWLEDGE": folder, "SUPPORT_VISITOR_SECRET": SECRET, "SUPPORT_LANGGRAPH_API": "off"}
    async with serve(**model, **settings) as url:
        await page.goto(f"{url}/docs")
        await page.locator(".opblock").first.wait_for()
        operations = {await named(each): each for each in await page.locator(".opblock").all()}
        assert operations.keys() == PRESSED.keys()
        for name, status in PRESSED.items():
            operation = operations[name]
            async with page.expect_response(f"{url}/**"):
                await press(operation)
            if name == ENDLESS:  # until the session is gone
                async with httpx.AsyncClient(base_url=url) as client:
                    assert (await client.delete("/sessions/visit-2041")).status_code == 204
            shown = operation.locator(".live-responses-table .response .response-col_status").first
            await expect(shown, name).to_contain_text(str(status), timeout=PATIENCE)
            if status == 404:
                await expect(operation.get_by_text("has the example's").first, name).to_be_visible()
            await operation.locator(".opblock-summary-control").dispatch_event("click")  # a long page is slow
