"""A page in a real browser: Debian's Chromium, driven by Playwright."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from harness.programs import program
from harness.serving import serving


@pytest.fixture
async def page() -> AsyncGenerator[Page]:
    """An empty page on its own origin, in a browser that reaches nothing but this machine."""

    async def blank(_: Any) -> HTMLResponse:
        return HTMLResponse(
            "<!doctype html><link rel=icon href=data:,><title>A shop</title>"
        )  # else /favicon.ico is 404

    chromium = program("chromium")
    offline = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    async with serving(Starlette(routes=[Route("/", blank)]), lifespan=False) as url, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", offline])
        page = await browser.new_page()
        page.set_default_timeout(20_000)
        await page.goto(url)
        yield page
        await browser.close()
