"""The e-mail and calendar servers that `support-agent cluster` starts."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from cli.servers import start_servers
from harness.caldav_server import caldav_server
from harness.cluster import cluster
from harness.mail_server import mail_server
from harness.mcp_servers import calendar_settings, email_settings
from local.process import LocalServiceError


def _given(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name in ("SUPPORT_MCP_SERVERS", "SUPPORT_MCP_TOKENS"):
        monkeypatch.setenv(name, "")  # so that it is restored
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_without_their_settings_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor named to the replicas."""
    _given(monkeypatch, {"SUPPORT_MCP_SERVERS": "crm=https://crm.example.com/mcp"})
    assert start_servers() == []
    assert os.environ["SUPPORT_MCP_SERVERS"] == "crm=https://crm.example.com/mcp"


@pytest.mark.soak
def test_they_are_started_by_their_settings_and_named_to_the_replicas(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the environment and .env, in place of those of the same name; a token that is not set is made."""
    with mail_server() as inbox, caldav_server(tmp_path / "calendars") as team:
        email, calendar = email_settings(inbox), calendar_settings(team)
        del email["MCP_EMAIL_TOKEN"]
        Path(".env").write_text("".join(f"{name}='{value}'\n" for name, value in calendar.items()))
        others = {"SUPPORT_MCP_SERVERS": "crm=https://crm.example.com/mcp, email=http://mcp-email:8001/mcp"}
        _given(
            monkeypatch, email | others | {"SUPPORT_MCP_TOKENS": "crm=secret", "MCP_EMAIL_ALLOWED_HOSTS": "mcp-email"}
        )
        started = start_servers()
        try:
            for server in started:
                server.wait()
            named = dict(pair.split("=", 1) for pair in os.environ["SUPPORT_MCP_SERVERS"].split(","))
            tokens = dict(pair.split("=", 1) for pair in os.environ["SUPPORT_MCP_TOKENS"].split(","))
            assert named.pop("crm") == "https://crm.example.com/mcp"
            assert tokens.pop("crm") == "secret"
            assert list(named) == list(tokens) == ["email", "calendar"]
            assert tokens["calendar"] == calendar["MCP_CALENDAR_TOKEN"]
            for name, url in named.items():
                headers = {"Authorization": f"Bearer {tokens[name]}", "Accept": "application/json, text/event-stream"}
                asked = httpx.post(url, headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
                assert asked.json()["result"]["tools"]
        finally:
            for server in started:
                server.stop()


@pytest.mark.soak
def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the server says it."""
    _given(monkeypatch, {"MCP_EMAIL_SMTP_HOST": "mail.example.com"})
    [server] = start_servers()
    with pytest.raises(LocalServiceError, match="MCP_EMAIL_TO is not set"):
        server.wait()


@pytest.mark.nightly
async def test_the_replicas_of_a_cluster_reach_them(tmp_path: Path) -> None:
    """Both replicas are ready, with the servers; one that is killed is started again, and its tools come back."""
    with mail_server() as inbox, caldav_server(tmp_path / "calendars") as team:
        variables = email_settings(inbox) | calendar_settings(team)
        async with cluster(tmp_path, **variables) as running, httpx.AsyncClient(timeout=20) as client:
            for number in (1, 2):
                assert await _reached(client, running.replica(number)) == {"mcp:email": True, "mcp:calendar": True}
            running.send("Calendar server", signal.SIGKILL)
            async with asyncio.timeout(60):
                while not running.ends("Calendar server"):
                    await asyncio.sleep(0.1)
                while (await _reached(client, running.replica(1)))["mcp:calendar"] is False:
                    await asyncio.sleep(0.2)


async def _reached(client: httpx.AsyncClient, url: str) -> dict[str, bool]:
    checks = (await client.get(f"{url}/ready")).json()["checks"]
    return {name: check["up"] for name, check in checks.items() if name.startswith("mcp:")}
