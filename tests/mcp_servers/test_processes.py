"""The servers as processes, and the SDK's clients of both generations."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from conftest import REPOSITORY
from harness.caldav_server import TeamCalendar
from harness.mail_server import Inbox
from harness.mcp_servers import TOKEN, calendar_settings, email_settings
from local.process import NotReadyError, answers, free_port

PATH = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


@contextmanager
def _running(module: str, variables: Mapping[str, str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    """Yield a server once it answers."""
    port = next(int(value) for name, value in variables.items() if name.endswith("_PORT") and "SMTP" not in name)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=REPOSITORY, env=PATH | dict(variables), stdout=output, stderr=output
        )
    try:
        while not _is_there(port):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _is_there(port: int) -> bool:
    try:
        answers(port)
    except (OSError, NotReadyError):
        return False
    return True


def _piped(*command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=PATH, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.soak
def test_a_missing_setting_stops_the_start_with_one_line() -> None:
    """Which names it."""
    modules = ("mcp_servers.email", "mcp_servers.calendar")
    started = [_piped(sys.executable, "-m", one) for one in modules]
    for module, process in zip(modules, started, strict=True):
        said, failed = process.communicate(timeout=60)
        name = f"{module.replace('mcp_servers.', 'MCP_').upper()}_TOKEN"
        assert failed == f"{module}: {name} is not set: the token that clients send, 16 characters or more\n"
        assert (process.returncode, said) == (1, "")


CLIENT = """
import asyncio, json, sys
from importlib.metadata import version

ARGUMENTS = json.loads(sys.argv[1])

async def with_1(url, headers, calls):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client
    async with streamablehttp_client(url, headers=headers) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        listed = [tool.name for tool in (await session.list_tools()).tools]
        results = await asyncio.gather(*(session.call_tool(name, given, meta=meta) for name, given, meta in calls))
        return listed, [(result.isError, result.structuredContent) for result in results]

async def with_2(url, headers, calls):
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    async with httpx2.AsyncClient(headers=headers) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
            results = await asyncio.gather(*(client.call_tool(name, given, meta=meta) for name, given, meta in calls))
            return listed, [(result.is_error, result.structured_content) for result in results]

run = with_1 if version("mcp").startswith("1.") else with_2
print(json.dumps([version("mcp"), *asyncio.run(run(**ARGUMENTS))]))
"""


def _arguments(port: str, calls: object) -> str:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return json.dumps({"url": f"http://127.0.0.1:{port}/mcp", "headers": headers, "calls": calls})


@pytest.fixture(scope="module")
def client_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has the SDK 1.30."""
    venv = tmp_path_factory.mktemp("mcp-1") / "venv"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_PROJECT")}
    for command in (["venv", "--python", sys.executable, venv], ["pip", "install", "--python", venv, "mcp==1.30.0"]):
        subprocess.run(["uv", *command, "--quiet"], check=True, env=environment)
    return venv / "bin" / "python"


CALLER = {"support-agent/tenant": "acme", "support-agent/session": "s-1", "support-agent/customer": "c-private"}
EMAIL_CALLS = [
    ("send_email", {"subject": "Private matter", "body": "x"}, CALLER | {"support-agent/key": "k"}),
    ("send_email", {"subject": "Private matter", "body": "x"}, CALLER | {"support-agent/key": "k"}),
    ("send_email", {"subject": "x"}, CALLER),
]
CALENDAR_CALLS = [
    ("free_slots", {"time_zone": "Asia/Tokyo", "days": 14}, CALLER),
    ("my_calls", {}, CALLER),
    ("book_call", {"slot": "2020-01-01T09:00:00Z", "time_zone": "UTC", "topic": "Private"}, CALLER),
]
CALENDAR_TOOLS = ["free_slots", "book_call", "move_call", "cancel_call", "my_calls"]


@pytest.mark.soak
def test_the_sdks_clients_list_and_call_the_tools_of_a_process(
    client_1: Path, inbox: Inbox, team: TeamCalendar, tmp_path: Path
) -> None:
    """Of 1.30 and of 2.3; SIGTERM ends the servers with 0, and their logs say nothing of anybody."""
    email, calendar = email_settings(inbox, port=free_port()), calendar_settings(team, port=free_port())
    logs = tmp_path / "email.log", tmp_path / "calendar.log"
    with (
        _running("mcp_servers.email", email, logs[0]) as one,
        _running("mcp_servers.calendar", calendar, logs[1]) as two,
    ):
        pythons = {"1.30.0": client_1, "2.": Path(sys.executable)}
        servers = {email["MCP_EMAIL_PORT"]: EMAIL_CALLS, calendar["MCP_CALENDAR_PORT"]: CALENDAR_CALLS}
        cases = list(product(pythons, servers))
        clients = [
            _piped(pythons[generation], "-c", CLIENT, _arguments(port, servers[port])) for generation, port in cases
        ]
        for (generation, port), client in zip(cases, clients, strict=True):
            said, failed = client.communicate(timeout=60)
            assert client.returncode == 0, failed
            version, listed, results = json.loads(said.splitlines()[-1])
            assert version.startswith(generation)
            assert listed == (["send_email"] if port in email.values() else CALENDAR_TOOLS)
            assert [is_error for is_error, _ in results] == [False, False, True]
            assert all(structured for _, structured in results)
        for process in (one, two):
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in (one, two)] == [0, 0]
    for log in logs:
        said = log.read_text()
        assert "listens on" in said
        assert not [word for word in ("rivate", TOKEN, "company.example", "Traceback") if word in said], said
    assert len(inbox.raw) == 1


@pytest.mark.soak
def test_sigterm_lets_a_call_end(inbox: Inbox, tmp_path: Path) -> None:
    """The e-mail that is under way is sent and answered; the server then ends with 0."""
    inbox.fault = "lose answer"
    variables = email_settings(inbox, port=free_port())
    calls = [("send_email", {"subject": "x", "body": "x"}, {"support-agent/key": "k"})]
    arguments = _arguments(variables["MCP_EMAIL_PORT"], calls)
    with _running("mcp_servers.email", variables, tmp_path / "log") as process:
        client = _piped(sys.executable, "-c", CLIENT, arguments)
        while not inbox.raw:
            assert client.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        inbox.fault = None
        said, failed = client.communicate(timeout=60)
        assert client.returncode == 0, failed
        assert not json.loads(said)[2][0][0]
        assert process.wait(30) == 0
