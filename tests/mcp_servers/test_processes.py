"""The servers as processes, and the SDK's clients of both generations."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
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


@pytest.mark.soak
@pytest.mark.parametrize("module", ["mcp_servers.email", "mcp_servers.calendar"])
def test_a_missing_setting_stops_the_start_with_one_line(module: str) -> None:
    """Which names it."""
    command = [sys.executable, "-m", module]
    ended = subprocess.run(command, cwd=REPOSITORY, env=PATH, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    prefix = module.replace("mcp_servers.", "MCP_").upper()
    assert ended.stderr == f"{module}: {prefix}_TOKEN is not set: the token that clients send, 16 characters or more\n"


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


@pytest.mark.soak
@pytest.mark.parametrize("generation", [1, 2])
def test_the_sdks_clients_list_and_call_the_tools_of_a_process(
    request: pytest.FixtureRequest, inbox: Inbox, team: TeamCalendar, tmp_path: Path, generation: int
) -> None:
    """Of 1.30 and of 2.3; SIGTERM ends the server with 0, and its log says nothing of anybody."""
    python = request.getfixturevalue("client_1") if generation == 1 else sys.executable
    caller = {"support-agent/tenant": "acme", "support-agent/session": "s-1", "support-agent/customer": "c-private"}
    cases = {
        "mcp_servers.email": (
            email_settings(inbox, port=free_port()),
            ["send_email"],
            [
                ("send_email", {"subject": "Private matter", "body": "x"}, caller | {"support-agent/key": "k"}),
                ("send_email", {"subject": "Private matter", "body": "x"}, caller | {"support-agent/key": "k"}),
                ("send_email", {"subject": "x"}, caller),
            ],
            [False, False, True],
        ),
        "mcp_servers.calendar": (
            calendar_settings(team, port=free_port()),
            ["free_slots", "book_call", "move_call", "cancel_call", "my_calls"],
            [
                ("free_slots", {"time_zone": "Asia/Tokyo", "days": 14}, caller),
                ("my_calls", {}, caller),
                ("book_call", {"slot": "2020-01-01T09:00:00Z", "time_zone": "UTC", "topic": "Private"}, caller),
            ],
            [False, False, True],
        ),
    }
    for module, (variables, tools, calls, errors) in cases.items():
        log = tmp_path / f"{module}.log"
        port = variables[f"{module.replace('mcp_servers.', 'MCP_').upper()}_PORT"]
        with _running(module, variables, log) as process:
            command = [python, "-c", CLIENT, _arguments(port, calls)]
            called = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert called.returncode == 0, called.stderr
            version, listed, results = json.loads(called.stdout.splitlines()[-1])
            assert version.startswith(f"{generation}.")
            assert listed == tools
            assert [is_error for is_error, _ in results] == errors
            assert all(structured for _, structured in results)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
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
    command = [sys.executable, "-c", CLIENT, _arguments(variables["MCP_EMAIL_PORT"], calls)]
    with _running("mcp_servers.email", variables, tmp_path / "log") as process:
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
