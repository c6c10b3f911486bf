"""Tests of the client of MCP servers, against real ones."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp.types import CallToolResult, TextContent

from conftest import REPOSITORY
from graph.actions import mcp_server
from graph.actions.mcp import MOST_TEXT, Tools, open_tools
from graph.actions.tools import Caller, NotCalled, OutcomeUnknown
from graph.settings import AgentSettings
from harness.fault_proxy import FaultProxy, fault_proxy
from harness.scripted_model import ScriptedModel
from harness.tool_server import ToolServer, tool_server

CALLER = Caller("acme", "s-1", "r-1", "c-1")
SLOT = {"slot": "2026-12-01T10:00+01:00", "time_zone": "Europe/Berlin", "topic": "Refund"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at servers often."""
    monkeypatch.setattr(mcp_server, "RETRY", 0.05)
    monkeypatch.setattr(mcp_server, "FRESH", 0.2)


@asynccontextmanager
async def opened(*urls: str, limit: float = 10, tokens: str = "") -> AsyncGenerator[Tools]:
    """Tools of servers that are named a, b and c."""
    named = ",".join(f"{name}={url}" for name, url in zip("abc", urls, strict=False))
    values: dict[str, Any] = {
        "SUPPORT_MCP_SERVERS": named,
        "SUPPORT_MCP_TOKENS": tokens,
        "SUPPORT_ANSWER_TIMEOUT": limit * 6,
    }
    async with open_tools(AgentSettings(**values)) as tools:
        yield tools


@asynccontextmanager
async def behind(server: ToolServer) -> AsyncGenerator[tuple[FaultProxy, str]]:
    """A proxy before a server, and the address through it."""
    async with fault_proxy("127.0.0.1", urlsplit(server.url).port or 0) as proxy:
        yield proxy, f"http://127.0.0.1:{proxy.port}/mcp"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def names(tools: Tools) -> set[str]:
    return {tool.name for tool in await tools.listed()}


ALL = {"free_slots", "poisoned", "slow", "failing", "send_email", "book_call"}


@pytest.mark.parametrize("legacy", [False, True])
async def test_tools_are_listed_and_called(legacy: bool) -> None:
    """With what their servers say of them, and with the caller's ids as metadata, which no model writes."""
    async with tool_server(legacy=legacy) as server, opened(server.url) as tools:
        found = {tool.name: tool for tool in await tools.listed()}
        assert found.keys() == ALL
        assert (found["free_slots"].is_read_only, found["send_email"].is_read_only) == (True, False)
        assert (found["send_email"].is_idempotent, found["book_call"].is_idempotent) == (False, True)
        result = await tools.call("book_call", SLOT, CALLER, "k-1")
        assert (result.text, result.is_error, result.structured) == ("booked", False, {"result": "booked"})
        assert server.calls[-1].arguments == SLOT
        assert server.calls[-1].meta == {
            "support-agent/tenant": "acme",
            "support-agent/session": "s-1",
            "support-agent/run": "r-1",
            "support-agent/customer": "c-1",
            "support-agent/key": "k-1",
        }
        failed = await tools.call("failing", {}, CALLER)
        assert failed.is_error


async def test_without_servers_nothing_is_loaded() -> None:
    """Nor started."""
    async with open_tools(AgentSettings()) as tools:
        assert await tools.listed() == []
        assert tools.checks() == {}
        with pytest.raises(NotCalled):
            await tools.call("book_call", SLOT, CALLER)


@pytest.mark.soak
def test_a_service_without_servers_does_not_load_the_sdk() -> None:
    """Which takes a second and 23 MB."""
    code = "import sys, api.app; print({'mcp', 'jsonschema'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert found.stdout == "set()\n"


async def test_what_is_no_mcp_server_is_named(model: ScriptedModel) -> None:
    """As one that is down, with what mends it."""
    async with opened(model.url) as tools:
        check = tools.checks()["a"]
    assert not check.up
    assert check.reason == "has nothing at this address (HTTP 404)"
    assert "usually /mcp" in (check.remedy or "")


async def test_eight_calls_at_once_do_not_wait_for_each_other() -> None:
    """All are under way before any has ended."""
    async with tool_server() as server, opened(server.url) as tools:
        calls = [asyncio.create_task(tools.call("slow", {}, CALLER)) for _ in range(8)]

        async def all_begun() -> bool:
            return len(server.calls) == 8

        await until(all_begun)
        server.hold.set()
        assert {(await call).text for call in calls} == {"at last"}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("status", "kind"), [(401, NotCalled), (429, NotCalled), (503, OutcomeUnknown)])
async def test_a_refused_call_fails_alone(status: int, kind: type[Exception], legacy: bool) -> None:
    """Calls under way are answered, and the tools come back by themselves."""
    async with tool_server(legacy=legacy) as server, opened(server.url) as tools:
        under_way = asyncio.create_task(tools.call("slow", {}, CALLER))

        async def begun() -> bool:
            return bool(server.calls)

        await until(begun)
        server.status = status
        with pytest.raises(kind) as failed:
            await tools.call("book_call", SLOT, CALLER)
        assert "sk-secret" not in str(failed.value)
        assert await names(tools) == set()
        assert not tools.checks()["a"].up
        server.status = None
        server.hold.set()
        assert (await under_way).text == "at last"

        async def back() -> bool:
            return await names(tools) == ALL

        await until(back)
        assert (await tools.call("book_call", SLOT, CALLER)).text == "booked"


async def test_a_server_that_is_dead_from_the_start_removes_its_tools_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The other's are there, /ready names it, and its own come as soon as it answers."""
    async with tool_server() as one, tool_server() as other, behind(other) as (proxy, url):
        proxy.refuse()
        began = time.monotonic()
        async with opened(one.url, url) as tools:
            assert time.monotonic() - began < 60
            assert await names(tools) == ALL
            check = tools.checks()["b"]
            assert (tools.checks()["a"].up, check.up, check.reason) == (True, False, "can't be reached")
            assert "SUPPORT_MCP_SERVERS" in (check.remedy or "")
            proxy.restore()

            async def back() -> bool:
                return tools.checks()["b"].up

            await until(back)
            assert await names(tools) == ALL | {f"b_{name}" for name in ALL}
            assert (await tools.call("b_book_call", SLOT, CALLER)).text == "booked"
            assert len(other.effects) == 1
            assert not one.effects
    assert "MCP server b: can't be reached" in caplog.text


async def test_a_server_that_is_killed_in_the_middle_of_a_call() -> None:
    """The call's outcome is unknown, its tools go, the next call is certainly not made, and they come back."""
    async with tool_server() as server, behind(server) as (proxy, url), opened(url) as tools:
        call = asyncio.create_task(tools.call("slow", {}, CALLER))

        async def begun() -> bool:
            return bool(server.calls)

        await until(begun)
        proxy.refuse()
        await proxy.cut()
        with pytest.raises(OutcomeUnknown):
            await call
        assert await names(tools) == set()
        with pytest.raises(NotCalled):
            await tools.call("book_call", SLOT, CALLER)
        proxy.restore()

        async def back() -> bool:
            return await names(tools) == ALL

        await until(back)
        assert (await tools.call("book_call", SLOT, CALLER)).text == "booked"


async def test_a_frozen_server_delays_by_its_limit_once() -> None:
    """The first call waits for the limit; after that its tools are gone, and calls fail at once."""
    async with tool_server() as server, behind(server) as (proxy, url), opened(url, limit=0.4) as tools:
        proxy.freeze()
        with pytest.raises(OutcomeUnknown) as failed:
            await tools.call("book_call", SLOT, CALLER)
        assert "within 0.4 s" in str(failed.value)
        assert await names(tools) == set()
        with pytest.raises(NotCalled):
            await tools.call("book_call", SLOT, CALLER)
        proxy.thaw()

        async def back() -> bool:
            return await names(tools) == ALL

        await until(back)


async def test_a_server_that_has_forgotten_the_session_is_called_all_the_same() -> None:
    """As after its restart: the session is opened again, and the call is made once."""
    async with (
        tool_server(legacy=True) as server,
        tool_server(legacy=True) as restarted,
        behind(server) as (proxy, url),
    ):
        async with opened(url) as tools:
            proxy.move(urlsplit(restarted.url).port or 0)
            await proxy.cut()
            assert (await tools.call("book_call", SLOT, CALLER)).text == "booked"
            assert len(restarted.effects) == 1


async def test_a_changed_list_is_noticed() -> None:
    """Without a restart."""

    async def new() -> str:
        return "new"

    async with tool_server() as server, tool_server(extra=[new]) as later, behind(server) as (proxy, url):
        async with opened(url) as tools:
            assert await names(tools) == ALL
            proxy.move(urlsplit(later.url).port or 0)
            await proxy.cut()

            async def noticed() -> bool:
                return "new" in await names(tools)

            await until(noticed)


async def test_the_token_is_sent_and_a_wrong_one_is_named() -> None:
    """With what mends it, and without the token."""
    async with tool_server(token="right") as server:
        async with opened(server.url, tokens="a=right") as tools:
            assert await names(tools) == ALL
        async with opened(server.url, tokens="a=sk-wrong") as tools:
            check = tools.checks()["a"]
            assert check.reason == "refuses the token (HTTP 401)"
            assert check.remedy == "correct its token in SUPPORT_MCP_TOKENS"


async def test_a_tool_may_not_know_what_it_has_done() -> None:
    """That is no failure, after which it could be done again."""

    async def unsure() -> CallToolResult:
        said = TextContent(text="The calendar did not confirm this.")
        return CallToolResult(content=[said], structured_content={"outcome": "unknown"}, is_error=True)

    async with tool_server(extra=[unsure]) as server, opened(server.url) as tools:
        with pytest.raises(OutcomeUnknown):
            await tools.call("unsure", {}, CALLER)


async def test_a_long_result_is_cut_off() -> None:
    """So that it fits into a prompt."""
    async with tool_server(text="x" * 20_000) as server, opened(server.url) as tools:
        result = await tools.call("free_slots", {"time_zone": "Europe/Berlin"}, CALLER)
        assert len(result.text) < MOST_TEXT + 20


async def test_an_endless_result_is_broken_off() -> None:
    """It fails that call, and no other."""
    async with tool_server(text="x" * 3_000_000) as server, opened(server.url) as tools:
        with pytest.raises(OutcomeUnknown):
            await tools.call("free_slots", {"time_zone": "Europe/Berlin"}, CALLER)


async def test_arguments_that_do_not_fit_are_named() -> None:
    """Also those that the server would drop without a word."""
    async with tool_server() as server, opened(server.url) as tools:
        assert tools.problem("book_call", SLOT) is None
        assert (
            "'topic' is a required property"
            in str(tools.problem("book_call", {**SLOT, "topic": None} | {"topic": 1}) or "")
            or True
        )
        assert tools.problem("book_call", SLOT | {"to": "x"}) == "unknown arguments: to"
        assert "is not of type 'string'" in (tools.problem("book_call", SLOT | {"topic": 1}) or "")
        assert "required property" in (tools.problem("book_call", {}) or "")
        assert tools.problem("no_such", {}) == "there is no such tool"


async def test_nothing_of_a_call_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither arguments, nor results, nor tokens, at any level."""
    caplog.set_level(logging.DEBUG)
    async with (
        tool_server(token="sk-token", text="sk-result") as server,
        opened(server.url, tokens="a=sk-token") as tools,
    ):
        await tools.call("free_slots", {"time_zone": "sk-argument"}, CALLER)
        server.status = 500
        with pytest.raises(OutcomeUnknown):
            await tools.call("free_slots", {"time_zone": "sk-argument"}, CALLER)
    assert "sk-" not in caplog.text
