"""The e-mail and calendar servers on a real socket, and a client of the SDK."""

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from harness.caldav_server import TeamCalendar
from harness.mail_server import Inbox
from harness.serving import serving
from mcp_servers.calendar.__main__ import make as make_calendar
from mcp_servers.calendar.settings import CalendarSettings
from mcp_servers.email.__main__ import make as make_email
from mcp_servers.email.settings import EmailSettings
from mcp_servers.http import make_app

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Not used, and so without certificates, whose loading takes a quarter of a second."""
TOKEN = "a-token-for-tests-only"
TEAM = "team@company.example"


def meta(
    *, tenant: str = "acme", session: str = "s-1", run: str = "r-1", customer: str | None = None, key: str | None = None
) -> dict[str, str]:
    """Return the metadata of a call."""
    found = {"tenant": tenant, "session": session, "run": run, "customer": customer, "key": key}
    return {f"support-agent/{name}": value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class RunningServer:
    """A server that runs."""

    base: str
    token: str = TOKEN

    @property
    def url(self) -> str:
        """Its address for SUPPORT_MCP_SERVERS."""
        return f"{self.base}/mcp"

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client]:
        """Yield a client of the SDK's."""
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {self.token}"}, timeout=60, verify=_TLS) as http,
            Client(streamable_http_client(self.url, http_client=http)) as client,
        ):
            yield client

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None, **caller: Any) -> CallToolResult:
        """Call a tool for a caller as `meta` describes it, by one request; a client of the SDK's sends three."""
        params = {"name": tool, "arguments": dict(arguments or {}), "_meta": meta(**caller)}
        async with httpx2.AsyncClient(timeout=60, verify=_TLS) as http:
            response = await http.post(
                self.url,
                headers={"Authorization": f"Bearer {self.token}", "Accept": "application/json, text/event-stream"},
                json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
            )
        return CallToolResult.model_validate(response.raise_for_status().json()["result"])


def email_settings(inbox: Inbox, **settings: object) -> dict[str, str]:
    """Return the variables that the e-mail server needs for a mail server."""
    found = {
        "TOKEN": TOKEN,
        "TO": TEAM,
        "FROM": "agent@company.example",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": inbox.port,
        "SMTP_SECURITY": "none",
    }
    return {f"MCP_EMAIL_{name.upper()}": str(value) for name, value in (found | settings).items()}


def calendar_settings(calendar: TeamCalendar, **settings: object) -> dict[str, str]:
    """Return the variables that the calendar server needs for a calendar."""
    found = {"TOKEN": TOKEN, "URL": calendar.url, "USER": "team", "PASSWORD": "x", "TIME_ZONE": "Europe/Berlin"}
    return {f"MCP_CALENDAR_{name.upper()}": str(value) for name, value in (found | settings).items()}


@asynccontextmanager
async def email_server(inbox: Inbox, **settings: object) -> AsyncGenerator[RunningServer]:
    """Yield the e-mail server; `settings` as MCP_EMAIL_ names them, in any case."""
    loaded = EmailSettings.read(email_settings(inbox, **settings))
    async with serving(make_app(make_email(loaded), loaded)) as base:
        yield RunningServer(base)


@asynccontextmanager
async def calendar_server(calendar: TeamCalendar, **settings: object) -> AsyncGenerator[RunningServer]:
    """Yield the calendar server; `settings` as MCP_CALENDAR_ names them, in any case."""
    loaded = CalendarSettings.read(calendar_settings(calendar, **settings))
    async with serving(make_app(make_calendar(loaded), loaded)) as base:
        yield RunningServer(base)
