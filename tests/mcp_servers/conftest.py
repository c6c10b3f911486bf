"""A mail server and a calendar for each test."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from harness.caldav_server import TeamCalendar, caldav_server
from harness.mail_server import Inbox, mail_server
from harness.mcp_servers import RunningServer, calendar_server, email_server


@pytest.fixture
def inbox() -> Generator[Inbox]:
    """Yield the team's inbox."""
    with mail_server() as inbox:
        yield inbox


@pytest.fixture
async def email(inbox: Inbox) -> AsyncGenerator[RunningServer]:
    """Yield the e-mail server."""
    async with email_server(inbox) as server:
        yield server


@pytest.fixture
def team(tmp_path: Path) -> Generator[TeamCalendar]:
    """Yield the team's calendar."""
    with caldav_server(tmp_path / "calendars") as calendar:
        yield calendar


@pytest.fixture
async def calendar(team: TeamCalendar) -> AsyncGenerator[RunningServer]:
    """Yield the calendar server."""
    async with calendar_server(team) as server:
        yield server
