"""What stands between the servers and the network."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from harness.mail_server import Inbox
from harness.mcp_servers import TOKEN, RunningServer, email_server

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json, text/event-stream"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


async def _post(server: RunningServer, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(verify=False) as http:
        given = {name: value for name, value in (HEADERS | headers).items() if value}
        return await http.post(server.url, headers=given, json=LIST)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN],
)
async def test_without_the_token_nobody_is_let_in(email: RunningServer, authorization: str) -> None:
    """Before anything of the request is read."""
    response = await _post(email, Authorization=authorization)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await _post(email, Authorization=f"bearer {TOKEN}")).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "mcp-email"])
async def test_a_foreign_host_is_refused(email: RunningServer, host: str) -> None:
    """Any name that the settings don't allow."""
    assert (await _post(email, Host=host)).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
async def test_any_origin_is_refused(email: RunningServer, origin: str) -> None:
    """No browser has any business here."""
    assert (await _post(email, Origin=origin)).status_code == 403


async def test_the_settings_allow_the_names_of_services(inbox: Inbox) -> None:
    """With any port, unless they name one."""
    async with email_server(inbox, allowed_hosts="mcp-email, mcp-email.support.svc:8001") as server:
        answers = [
            (await _post(server, Host=host)).status_code
            for host in (
                "mcp-email",
                "mcp-email:8001",
                "mcp-email.support.svc:8001",
                "mcp-email.support.svc",
                "localhost",
            )
        ]
        assert answers == [200, 200, 200, 421, 421]


async def test_health_needs_no_token_and_any_host(email: RunningServer) -> None:
    """A kubelet asks by the pod's address."""
    async with httpx2.AsyncClient(verify=False) as http:
        response = await http.get(f"{email.base}/health", headers={"Host": "10.1.2.3:8001"})
        assert (response.status_code, response.json()) == (200, {"status": "healthy"})
        for method in ("GET", "DELETE"):
            response = await http.request(method, email.url, headers=HEADERS)
            assert (response.status_code, response.headers["Allow"]) == (405, "POST")
        response = await http.post(email.url, headers=HEADERS, content=b"x" * (2 * 1024 * 1024 + 1))
        assert response.status_code == 413


async def test_tools_are_listed_with_what_they_do(email: RunningServer, calendar: RunningServer) -> None:
    """Arguments that are not named are refused by the schema, and a client learns which tools only read."""
    found: dict[str, Any] = {}
    for server in (email, calendar):
        async with server.client() as client:
            found |= {tool.name: tool for tool in (await client.list_tools()).tools}
    kinds = {
        name: (says.read_only_hint, bool(says.idempotent_hint), bool(says.destructive_hint))
        for name, says in ((name, tool.annotations) for name, tool in found.items())
    }
    assert kinds == {
        "send_email": (False, False, False),
        "free_slots": (True, False, False),
        "book_call": (False, True, False),
        "move_call": (False, True, True),
        "cancel_call": (False, True, True),
        "my_calls": (True, False, False),
    }
    assert {tool.input_schema["additionalProperties"] for tool in found.values()} == {False}
    assert set(found["free_slots"].input_schema["properties"]) == {"time_zone", "from", "days"}
    assert set(found["send_email"].input_schema["properties"]) == {"subject", "body", "thread", "is_reply"}
    booked = found["book_call"].input_schema["properties"]
    for name, fits, does_not in (
        ("slot", ["2026-10-26T09:00:00+01:00", "2026-10-26T08:00Z"], ["tomorrow at nine", "2026-10-26T09:00:00"]),
        ("time_zone", ["UTC", "Europe/Berlin", "America/Port-au-Prince", "Etc/GMT+5"], ["Berlin", "europe/berlin"]),
    ):
        assert [one for one in [*fits, *does_not] if re.search(booked[name]["pattern"], one)] == fits


async def test_an_unknown_tool_is_an_error_of_the_protocol(email: RunningServer) -> None:
    """It names those that there are."""
    async with httpx2.AsyncClient(verify=False) as http:
        call = LIST | {"method": "tools/call", "params": {"name": "send_sms", "arguments": {}}}
        error = (await http.post(email.url, headers=HEADERS, json=call)).json()["error"]
    assert (error["code"], "send_email" in error["message"]) == (-32602, True)


async def test_eight_at_once_on_one_server_do_not_wait_for_each_other(email: RunningServer, inbox: Inbox) -> None:
    """All eight are under way before the first is answered."""
    inbox.fault = "lose answer"
    async with email.client() as client:
        calls = [asyncio.create_task(client.call_tool("send_email", {"subject": "x", "body": "x"})) for _ in range(8)]
        while len(inbox.raw) < len(calls):
            await asyncio.sleep(0.01)
        inbox.fault = None
        assert not any(result.is_error for result in await asyncio.gather(*calls))
