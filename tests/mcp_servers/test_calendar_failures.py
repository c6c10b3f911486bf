"""The calendar server when the calendar fails, or is edited by hand."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness import calls
from harness.caldav_server import Fault, TeamCalendar, caldav_server
from harness.calls import TAKEN, at, monday_ahead, name_of
from harness.mcp_servers import RunningServer, calendar_server


@pytest.mark.parametrize("fault", ["fail", "lie"])
async def test_a_booking_that_was_not_confirmed_is_booked_once(
    calendar: RunningServer, team: TeamCalendar, fault: Fault
) -> None:
    """The outcome is unknown, and the repeated call books the same, or finds it."""
    slot = at(monday_ahead(), 9)
    team.fault(fault, "PUT")
    assert await calls.book(calendar, slot) == {"outcome": "unknown"}
    assert (await calls.book(calendar, slot))["slot"] == slot
    assert list(team.events()) == [name_of(slot)]


@pytest.mark.parametrize("then", ["repeat", "cancel", "move"])
@pytest.mark.parametrize(
    ("fault", "method"),
    [
        ("fail", "DELETE"),
        *(pytest.param(*case, marks=pytest.mark.soak) for case in (("fail", "PUT"), ("lie", "PUT"), ("lie", "DELETE"))),
    ],
)
async def test_a_move_that_was_cut_off_ends_right(team: TeamCalendar, fault: Fault, method: str, then: str) -> None:
    """Between taking the new slot and freeing the old one too: whatever comes next, there is one call at one time."""
    monday = monday_ahead()
    old, new, third = at(monday, 9), at(monday, 10), at(monday, 11)
    async with calendar_server(team) as server:
        booking = (await calls.book(server, old))["booking"]
        move = {"booking": booking, "slot": new, "time_zone": "Europe/Berlin"}
        team.fault(fault, method)
        assert (await server.call("move_call", move, key="move")).structured_content == {"outcome": "unknown"}
        assert len(await calls.mine(server)) == 1
    left: list[str]
    async with calendar_server(team) as server:
        if then == "repeat":
            result, left = await server.call("move_call", move, key="move"), [new]
        elif then == "cancel":
            result, left = await server.call("cancel_call", {"booking": booking}, key="other"), []
        else:
            result, left = await server.call("move_call", move | {"slot": third}, key="other"), [third]
        assert not result.is_error
        assert [call["slot"] for call in await calls.mine(server)] == left
    assert list(team.events()) == [name_of(slot) for slot in left]


async def test_what_the_team_changes_is_kept(calendar: RunningServer, team: TeamCalendar) -> None:
    """A call that the team has moved by hand is where it put it, its slot can be booked again, and notes move along."""
    monday = monday_ahead()
    slot, later = at(monday, 9), at(monday, 11)
    booked = await calls.book(calendar, slot)
    text = team.text(name_of(slot)).replace("T0900", "T1000").replace("T0930", "T1030")
    team.put(name_of(slot), text.replace("SUMMARY:Support call", "LOCATION:Room 1\r\nSUMMARY:Support call"))
    assert [call["slot"] for call in await calls.mine(calendar)] == [at(monday, 10)]
    assert slot in await calls.free(calendar, monday)
    assert (await calls.book(calendar, slot, session="s-2", key="k-2"))["status"] == "booked"
    assert await calls.book(calendar, slot, session="s-3", key="k-3") == TAKEN
    move = {"booking": booked["booking"], "slot": later, "time_zone": "Europe/Berlin"}
    assert not (await calendar.call("move_call", move, key="move")).is_error
    assert "LOCATION:Room 1" in team.text(name_of(later))
    assert len(team.events()) == 2


async def test_a_frozen_calendar_holds_up_no_other_call(calendar: RunningServer, team: TeamCalendar) -> None:
    """While one call waits for the calendar, seven others are answered; so is the same caller's reading."""
    monday = monday_ahead()
    team.fault("freeze", "PUT")
    frozen = asyncio.create_task(calls.book(calendar, at(monday, 9), session="frozen"))
    while not any(method == "PUT" and name_of(at(monday, 9)) in path for method, path in team.requests):
        await asyncio.sleep(0.01)
    slots = [at(monday, 10 + number // 2, 30 * (number % 2)) for number in range(6)]
    others = [calls.book(calendar, slot, session=slot[11:13] + slot[14:16]) for slot in slots]
    mine = asyncio.create_task(calls.mine(calendar, session="frozen"))
    assert [result["status"] for result in await asyncio.gather(*others)] == ["booked"] * 6
    assert await mine == []
    assert not frozen.done()
    team.thaw()
    assert (await frozen)["status"] == "booked"


@pytest.mark.soak
async def test_a_calendar_that_does_not_answer(team: TeamCalendar) -> None:
    """Reading ends at the time limit, and nothing has happened; a change may have, and the repeated call finds out."""
    slot = at(monday_ahead(), 9)
    async with calendar_server(team, timeout=3) as server:
        team.fault("freeze", "REPORT")
        result = await server.call("free_slots", {"time_zone": "UTC"})
        assert result.structured_content == {"outcome": "not_done", "reason": "unavailable"}
        team.fault("freeze", "PUT")
        assert await calls.book(server, slot) == {"outcome": "unknown"}
        team.thaw()
        assert (await calls.book(server, slot))["slot"] == slot
    assert list(team.events()) == [name_of(slot)]


@pytest.mark.parametrize(
    ("url", "auth", "reason"),
    [
        ("http://127.0.0.1:1/team/calls/", "none", "unavailable"),
        pytest.param("", "denyall", "refused", marks=pytest.mark.soak),  # which waits before it refuses
    ],
)
async def test_a_calendar_that_is_down_or_refuses(tmp_path: Path, url: str, auth: str, reason: str) -> None:
    """The words say so, without its address."""
    with caldav_server(tmp_path / "calendars", auth=auth) as team:
        team.url = url or team.url
        async with calendar_server(team) as server:
            result = await server.call("free_slots", {"time_zone": "UTC"})
            assert result.structured_content == {"outcome": "not_done", "reason": reason}
            assert "127.0.0.1" not in _text(result)
            assert await calls.book(server, at(monday_ahead(), 9)) == {
                "outcome": "not_done",
                "reason": reason,
            }


def _text(result: Any) -> str:
    return result.content[0].text
