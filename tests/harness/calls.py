"""Calls with the support team: days, slots, and how they are booked."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from harness.mcp_servers import RunningServer

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = "America/New_York"
TAKEN = {"outcome": "not_done", "reason": "slot-taken"}
NO_SLOT = {"outcome": "not_done", "reason": "not-a-slot"}
NO_BOOKING = {"outcome": "not_done", "reason": "no-such-booking"}


def changes() -> list[date]:
    """Return the Sundays of the coming year on which Berlin's clocks change."""
    days = [datetime.now(BERLIN).date() + timedelta(days=number) for number in range(3, 360)]
    return [day for day in days if _offset(day) != _offset(day + timedelta(days=1))]


def _offset(day: date) -> timedelta | None:
    return datetime.combine(day, time(), BERLIN).utcoffset()


def monday_ahead() -> date:
    """Return a Monday whose week and the next have no change of the clocks."""
    today = datetime.now(BERLIN).date()
    mondays = (today + timedelta(days=7 * week - today.weekday()) for week in range(1, 9))
    return next(day for day in mondays if _offset(day) == _offset(day + timedelta(days=14)))


def at(day: date, hour: int, minute: int = 0) -> str:
    """Return the slot at an hour of Berlin's clocks."""
    return datetime.combine(day, time(hour, minute), BERLIN).isoformat()


def name_of(slot: str) -> str:
    """Return the name of a slot's resource."""
    return f"{datetime.fromisoformat(slot).astimezone(UTC):%Y%m%dT%H%M%SZ}.ics"


async def free(server: RunningServer, first: date, days: int = 1, zone: str = "Europe/Berlin") -> list[str]:
    """Return the free slots of some days."""
    result = await server.call("free_slots", {"time_zone": zone, "from": first.isoformat(), "days": days})
    assert not result.is_error, result
    return [slot["slot"] for slot in result.structured_content["slots"]]


async def book(server: RunningServer, slot: str, zone: str = "Europe/Berlin", **caller: Any) -> dict[str, Any]:
    """Book a slot; return the structured result."""
    arguments = {"slot": slot, "time_zone": zone, "topic": "An invoice"}
    result = await server.call("book_call", arguments, **({"key": f"book {slot}"} | caller))
    assert result.structured_content is not None
    return result.structured_content


async def mine(server: RunningServer, **caller: Any) -> list[dict[str, Any]]:
    """Return the caller's calls."""
    result = await server.call("my_calls", **caller)
    assert result.structured_content is not None
    return result.structured_content["calls"]
