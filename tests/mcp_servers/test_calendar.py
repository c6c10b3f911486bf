"""The calendar server against a real calendar server."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harness.caldav_server import Fault, TeamCalendar, caldav_server
from harness.mcp_servers import RunningServer, calendar_server

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = "America/New_York"
TAKEN = {"outcome": "not_done", "reason": "slot-taken"}
NO_SLOT = {"outcome": "not_done", "reason": "not-a-slot"}
NO_BOOKING = {"outcome": "not_done", "reason": "no-such-booking"}


def _changes() -> list[date]:
    """Return the Sundays of the coming year on which Berlin's clocks change."""
    days = [datetime.now(BERLIN).date() + timedelta(days=number) for number in range(3, 360)]
    return [day for day in days if _offset(day) != _offset(day + timedelta(days=1))]


def _offset(day: date) -> timedelta | None:
    return datetime.combine(day, time(), BERLIN).utcoffset()


def _monday() -> date:
    """Return a Monday whose week and the next have no change of the clocks."""
    today = datetime.now(BERLIN).date()
    mondays = (today + timedelta(days=7 * week - today.weekday()) for week in range(1, 9))
    return next(day for day in mondays if _offset(day) == _offset(day + timedelta(days=14)))


def _at(day: date, hour: int, minute: int = 0) -> str:
    return datetime.combine(day, time(hour, minute), BERLIN).isoformat()


def _name(slot: str) -> str:
    return f"{datetime.fromisoformat(slot).astimezone(UTC):%Y%m%dT%H%M%SZ}.ics"


async def _free(server: RunningServer, first: date, days: int = 1, zone: str = "Europe/Berlin") -> list[str]:
    result = await server.call("free_slots", {"time_zone": zone, "from": first.isoformat(), "days": days})
    assert not result.is_error, result
    return [slot["slot"] for slot in result.structured_content["slots"]]


async def _book(server: RunningServer, slot: str, zone: str = "Europe/Berlin", **caller: Any) -> dict[str, Any]:
    arguments = {"slot": slot, "time_zone": zone, "topic": "An invoice"}
    result = await server.call("book_call", arguments, **({"key": f"book {slot}"} | caller))
    assert result.structured_content is not None
    return result.structured_content


async def _mine(server: RunningServer, **caller: Any) -> list[dict[str, Any]]:
    result = await server.call("my_calls", **caller)
    assert result.structured_content is not None
    return result.structured_content["calls"]


@pytest.mark.parametrize("change", range(2))
async def test_book_move_and_cancel_over_a_change_of_the_clocks(
    calendar: RunningServer, team: TeamCalendar, change: int
) -> None:
    """Nine o'clock is nine o'clock before and after it; the event has the zone's name and its rules."""
    sunday = _changes()[change]
    friday, monday = sunday - timedelta(days=2), sunday + timedelta(days=1)
    free = await _free(calendar, friday, 4)
    assert free[0] == _at(friday, 9)
    assert _at(monday, 9) in free
    booked = await _book(calendar, _at(friday, 9))
    assert booked == {
        "booking": booked["booking"],
        "slot": _at(friday, 9),
        "time_zone": "Europe/Berlin",
        "status": "booked",
    }
    moved = await calendar.call(
        "move_call",
        {"booking": booked["booking"], "slot": _at(monday, 9), "time_zone": "Europe/Berlin"},
        key="move",
    )
    assert moved.structured_content == booked | {"slot": _at(monday, 9), "status": "moved"}
    [(name, event)] = team.events().items()
    assert name == _name(_at(monday, 9))
    assert isinstance(event.start, datetime)
    assert (event.start.isoformat(), event.duration) == (_at(monday, 9), timedelta(minutes=30))
    text = team.text(name)
    assert "DTSTART;TZID=Europe/Berlin:" in text
    assert "BEGIN:VTIMEZONE" in text
    assert (await _free(calendar, friday))[0] == _at(friday, 9)
    assert (await _free(calendar, monday))[0] == _at(monday, 9, 30)
    cancelled = await calendar.call("cancel_call", {"booking": booked["booking"]}, key="cancel")
    assert cancelled.structured_content == booked | {"slot": _at(monday, 9), "status": "cancelled"}
    assert team.events() == {}


@pytest.mark.parametrize("change", range(2))
async def test_the_night_of_the_change_has_an_hour_more_or_less(team: TeamCalendar, change: int) -> None:
    """Each slot is an instant of its own, also in the hour that comes twice; none lies in the hour that is left out."""
    sunday = _changes()[change]
    async with calendar_server(team, hours="Sun 00:00-06:00", slot_minutes=60) as server:
        free = await _free(server, sunday)
        length = (
            datetime.combine(sunday, time(6), BERLIN).timestamp() - datetime.combine(sunday, time(), BERLIN).timestamp()
        )
        assert len(free) == length / 3600 in (5, 7)
        instants = [datetime.fromisoformat(slot) for slot in free]
        assert {later - earlier for earlier, later in pairwise(instants)} == {timedelta(hours=1)}
        around = free[1:4]
        booked = [await _book(server, slot) for slot in around]
        assert [one["slot"] for one in booked] == around
        assert [one["slot"] for one in await _mine(server)] == around
        assert await _free(server, sunday) == [free[0], *free[4:]]


@pytest.mark.parametrize("change", range(2))
async def test_a_recurring_event_is_in_the_way_before_and_after_a_change(
    calendar: RunningServer, team: TeamCalendar, change: int
) -> None:
    """The team's weekly meeting stays at ten by its clock; what it has cancelled or moved is where it is now."""
    monday = _changes()[change] + timedelta(days=1)
    weeks = [monday - timedelta(days=7), monday, monday + timedelta(days=7)]
    begins = f"{weeks[0] - timedelta(days=70):%Y%m%d}T1000"
    team.put(
        "weekly.ics",
        "\r\n".join(
            [
                *("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:team"),
                *("BEGIN:VEVENT", "UID:weekly", "DTSTAMP:20260101T000000Z"),
                *(f"DTSTART;TZID=Europe/Berlin:{begins}00", "DURATION:PT1H", "RRULE:FREQ=WEEKLY", "END:VEVENT"),
                *("BEGIN:VEVENT", "UID:weekly", "DTSTAMP:20260101T000000Z"),
                f"RECURRENCE-ID;TZID=Europe/Berlin:{weeks[2]:%Y%m%d}T100000",
                *(f"DTSTART;TZID=Europe/Berlin:{weeks[2]:%Y%m%d}T140000", "DURATION:PT1H", "END:VEVENT"),
                *("END:VCALENDAR", ""),
            ]
        ),
    )
    for week in weeks[:2]:
        free = await _free(calendar, week)
        assert {_at(week, 10), _at(week, 10, 30)}.isdisjoint(free)
        assert {_at(week, 9, 30), _at(week, 11)} <= set(free)
        assert await _book(calendar, _at(week, 10)) == TAKEN
    free = await _free(calendar, weeks[2])
    assert {_at(weeks[2], 14), _at(weeks[2], 14, 30)}.isdisjoint(free)
    assert _at(weeks[2], 10) in free


async def test_what_keeps_the_team_busy(calendar: RunningServer, team: TeamCalendar) -> None:
    """Cancelled and transparent events do not; events of a whole day, without a zone or in another one do."""
    monday = _monday()
    days = [monday + timedelta(days=number) for number in range(5)]
    zoned = [f"DTSTART;TZID=Europe/Berlin:{days[0]:%Y%m%d}T090000", f"DTEND;TZID=Europe/Berlin:{days[0]:%Y%m%d}T100000"]
    team.add("cancelled", *zoned, "STATUS:CANCELLED")
    team.add("transparent", *zoned, "TRANSP:TRANSPARENT")
    team.add("a-moment", zoned[0])
    team.add("day", f"DTSTART;VALUE=DATE:{days[1]:%Y%m%d}")
    team.add("floating", f"DTSTART:{days[2]:%Y%m%d}T090000", f"DTEND:{days[2]:%Y%m%d}T093000")
    elsewhere = f"{days[3]:%Y%m%d}"
    team.add("far", f"DTSTART;TZID=Asia/Tokyo:{elsewhere}T180000", f"DTEND;TZID=Asia/Tokyo:{elsewhere}T184500")
    free = await _free(calendar, monday, 5)
    assert [slot for slot in free if slot < _at(days[1], 0)][:2] == [_at(days[0], 9), _at(days[0], 9, 30)]
    assert not [slot for slot in free if _at(days[1], 0) <= slot < _at(days[2], 0)]
    assert next(slot for slot in free if slot >= _at(days[2], 0)) == _at(days[2], 9, 30)
    tokyo = datetime.combine(days[3], time(18), ZoneInfo("Asia/Tokyo")).astimezone(BERLIN)
    blocked = [tokyo, tokyo + timedelta(minutes=30)]
    assert not {one.isoformat() for one in blocked} & set(free)
    assert await _book(calendar, _at(days[1], 9)) == TAKEN


async def test_slots_follow_the_settings_and_the_customers_zone(team: TeamCalendar) -> None:
    """Hours, length and days off are the team's; the days asked for and the times named are the customer's."""
    monday = _monday()
    tuesday = monday + timedelta(days=1)
    async with calendar_server(
        team, hours="Mon 09:00-10:30, Mon-Wed 14:00-15:00, Sun 23:00-24:00", slot_minutes=45, days_off=str(tuesday)
    ) as server:
        assert await _free(server, monday, 3) == [
            _at(day, *at)
            for day, *at in (
                *((monday, 9), (monday, 9, 45), (monday, 14)),
                (monday + timedelta(days=2), 14),
            )
        ]
        sunday = monday + timedelta(days=6)
        late = datetime.combine(sunday, time(23), BERLIN)
        assert await _free(server, sunday, 1, "Asia/Tokyo") == []
        first = (await _free(server, sunday + timedelta(days=1), 1, "Asia/Tokyo"))[0]
        assert first == late.astimezone(ZoneInfo("Asia/Tokyo")).isoformat()
        booked = await _book(server, _at(monday, 9), NEW_YORK)
        there = datetime.combine(monday, time(9), BERLIN).astimezone(ZoneInfo(NEW_YORK))
        assert (booked["slot"], booked["time_zone"]) == (there.isoformat(), NEW_YORK)
        assert f"DTSTART;TZID={NEW_YORK}:{there:%Y%m%dT%H%M%S}" in team.text(_name(_at(monday, 9)))


@pytest.mark.parametrize("many", [2, 8])
async def test_of_many_who_want_a_slot_at_once_one_gets_it(team: TeamCalendar, many: int) -> None:
    """On two servers: the calendar decides."""
    slot = _at(_monday(), 9)
    async with calendar_server(team) as one, calendar_server(team) as two:
        wanted = (
            _book((one, two)[number % 2], slot, session=f"s-{number}", key=f"k-{number}") for number in range(many)
        )
        results = await asyncio.gather(*wanted)
        assert sorted(str(result.get("status", result)) for result in results) == sorted(
            ["booked", *[str(TAKEN)] * (many - 1)]
        )
        [calls] = [calls for number in range(many) if (calls := await _mine(one, session=f"s-{number}"))]
    assert [call["slot"] for call in calls] == [slot]
    assert list(team.events()) == [_name(slot)]


async def test_a_repeated_call_has_no_further_effect(team: TeamCalendar) -> None:
    """The key is in the calendar: another server, or one that was restarted, answers with what was done."""
    monday = _monday()
    first, second = _at(monday, 9), _at(monday, 9, 30)
    async with calendar_server(team) as server:
        booked = await asyncio.gather(*(_book(server, first, key="k-1") for _ in range(4)))
        assert booked == [booked[0]] * 4
    move = {"booking": booked[0]["booking"], "slot": second, "time_zone": "Europe/Berlin"}
    async with calendar_server(team) as server:
        assert await _book(server, first, key="k-1") == booked[0]
        moved = [(await server.call("move_call", move, key="k-2")).structured_content for _ in range(2)]
        assert moved == [booked[0] | {"slot": second, "status": "moved"}] * 2
        # A late repetition of the booking: the call has been moved since, and the freed slot stays free.
        assert await _book(server, first, key="k-1") == booked[0] | {"slot": second}
        back = move | {"slot": first}
        assert (await server.call("move_call", back, key="k-3")).structured_content == moved[0] | {"slot": first}
        assert (await server.call("move_call", move, key="k-2")).structured_content == moved[0] | {"slot": first}
        assert list(team.events()) == [_name(first)]
        cancelled = await server.call("cancel_call", {"booking": move["booking"]}, key="k-4")
    async with calendar_server(team) as server:
        again = await server.call("cancel_call", {"booking": move["booking"]}, key="k-4")
        assert not again.is_error
        assert again.structured_content == cancelled.structured_content | {"slot": None, "time_zone": None}
        gone = await server.call("move_call", move, key="k-5")
        assert gone.structured_content == NO_BOOKING
    assert team.events() == {}


async def test_nobody_sees_moves_or_cancels_anothers_booking(calendar: RunningServer, team: TeamCalendar) -> None:
    """Neither another customer, session or tenant; a customer's own is found in another session."""
    monday = _monday()
    booked = await _book(calendar, _at(monday, 9), customer="c-1")
    strangers = ({}, {"customer": "c-2"}, {"customer": "c-1", "tenant": "other"}, {"session": "c-1"})
    for stranger in strangers:
        assert await _mine(calendar, **stranger) == []
        move = {"booking": booked["booking"], "slot": _at(monday, 10), "time_zone": "Europe/Berlin"}
        for tool, arguments in (("move_call", move), ("cancel_call", {"booking": booked["booking"]})):
            result = await calendar.call(tool, arguments, key="stolen", **stranger)
            assert result.structured_content == NO_BOOKING
        # Not even with the key of the call that made it.
        assert await _book(calendar, _at(monday, 9), **stranger, key=f"book {_at(monday, 9)}") == TAKEN
    assert await _mine(calendar, customer="c-1", session="s-2") == [booked]
    assert list(team.events()) == [_name(_at(monday, 9))]
    text = team.text(_name(_at(monday, 9)))
    assert "SUMMARY:Support call: An invoice" in text
    assert "Customer: c-1" in text


@pytest.mark.parametrize(
    ("slot", "structured"),
    [
        ((0, 8), NO_SLOT),
        ((0, 9, 15), NO_SLOT),
        ((0, 17), NO_SLOT),
        ((5, 9), NO_SLOT),
        ((371, 9), NO_SLOT),
        ((-14, 9), NO_SLOT),
    ],
)
async def test_what_is_no_slot_is_not_booked(
    calendar: RunningServer, team: TeamCalendar, slot: tuple[int, ...], structured: dict[str, str]
) -> None:
    """Outside hours, between slots, on a weekend, too far ahead, in the past."""
    days, *at = slot
    assert await _book(calendar, _at(_monday() + timedelta(days=days), *at)) == structured
    assert team.events() == {}


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("free_slots", {}, "time_zone: "),
        ("free_slots", {"time_zone": "Berlin"}, "time_zone: not a time zone's IANA name"),
        ("free_slots", {"time_zone": "UTC+02:00"}, "time_zone: not a time zone's IANA name"),
        ("free_slots", {"time_zone": "../../etc/passwd"}, "time_zone: not a time zone's IANA name"),
        ("free_slots", {"time_zone": "UTC", "days": 32}, "days: "),
        ("free_slots", {"time_zone": "UTC", "from": "soon"}, "from: "),
        ("book_call", {"slot": "2026-10-26T09:00:00", "time_zone": "UTC", "topic": "x"}, "slot: "),
        ("book_call", {"slot": "2026-10-26T09:00:00Z", "time_zone": "UTC"}, "topic: "),
        ("cancel_call", {"booking": "all"}, "booking: "),
        ("my_calls", {"customer": "c-1"}, "customer: "),
    ],
)
async def test_bad_arguments_are_refused(
    calendar: RunningServer, tool: str, arguments: dict[str, Any], said: str
) -> None:
    """Each is named."""
    result = await calendar.call(tool, arguments, key="k")
    assert (result.is_error, result.structured_content) == (
        True,
        {"outcome": "not_done", "reason": "invalid-arguments"},
    )
    assert said in _text(result)


async def test_who_is_not_named_books_nothing(calendar: RunningServer) -> None:
    """A call without a tenant, or without customer and session, is nobody's."""
    async with calendar.client() as client:
        for tool, arguments in (("my_calls", {}), ("cancel_call", {"booking": "0" * 24})):
            result = await client.call_tool(tool, arguments, meta={"support-agent/tenant": "acme"})  # pyright: ignore[reportArgumentType] - an open map
            assert result.structured_content == {"outcome": "not_done", "reason": "not-identified"}


@pytest.mark.parametrize("fault", ["fail", "lie"])
async def test_a_booking_that_was_not_confirmed_is_booked_once(
    calendar: RunningServer, team: TeamCalendar, fault: Fault
) -> None:
    """The outcome is unknown, and the repeated call books the same, or finds it."""
    slot = _at(_monday(), 9)
    team.fault(fault, "PUT")
    assert await _book(calendar, slot) == {"outcome": "unknown"}
    assert (await _book(calendar, slot))["slot"] == slot
    assert list(team.events()) == [_name(slot)]


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
    monday = _monday()
    old, new, third = _at(monday, 9), _at(monday, 10), _at(monday, 11)
    async with calendar_server(team) as server:
        booking = (await _book(server, old))["booking"]
        move = {"booking": booking, "slot": new, "time_zone": "Europe/Berlin"}
        team.fault(fault, method)
        assert (await server.call("move_call", move, key="move")).structured_content == {"outcome": "unknown"}
        assert len(await _mine(server)) == 1
    left: list[str]
    async with calendar_server(team) as server:
        if then == "repeat":
            result, left = await server.call("move_call", move, key="move"), [new]
        elif then == "cancel":
            result, left = await server.call("cancel_call", {"booking": booking}, key="other"), []
        else:
            result, left = await server.call("move_call", move | {"slot": third}, key="other"), [third]
        assert not result.is_error
        assert [call["slot"] for call in await _mine(server)] == left
    assert list(team.events()) == [_name(slot) for slot in left]


async def test_what_the_team_changes_is_kept(calendar: RunningServer, team: TeamCalendar) -> None:
    """A call that the team has moved by hand is where it put it, its slot can be booked again, and notes move along."""
    monday = _monday()
    slot, later = _at(monday, 9), _at(monday, 11)
    booked = await _book(calendar, slot)
    text = team.text(_name(slot)).replace("T0900", "T1000").replace("T0930", "T1030")
    team.put(_name(slot), text.replace("SUMMARY:Support call", "LOCATION:Room 1\r\nSUMMARY:Support call"))
    assert [call["slot"] for call in await _mine(calendar)] == [_at(monday, 10)]
    assert slot in await _free(calendar, monday)
    assert (await _book(calendar, slot, session="s-2", key="k-2"))["status"] == "booked"
    assert await _book(calendar, slot, session="s-3", key="k-3") == TAKEN
    move = {"booking": booked["booking"], "slot": later, "time_zone": "Europe/Berlin"}
    assert not (await calendar.call("move_call", move, key="move")).is_error
    assert "LOCATION:Room 1" in team.text(_name(later))
    assert len(team.events()) == 2


async def test_a_frozen_calendar_holds_up_no_other_call(calendar: RunningServer, team: TeamCalendar) -> None:
    """While one call waits for the calendar, seven others are answered; so is the same caller's reading."""
    monday = _monday()
    team.fault("freeze", "PUT")
    frozen = asyncio.create_task(_book(calendar, _at(monday, 9), session="frozen"))
    while not any(method == "PUT" and _name(_at(monday, 9)) in path for method, path in team.requests):
        await asyncio.sleep(0.01)
    slots = [_at(monday, 10 + number // 2, 30 * (number % 2)) for number in range(6)]
    others = [_book(calendar, slot, session=slot[11:13] + slot[14:16]) for slot in slots]
    mine = asyncio.create_task(_mine(calendar, session="frozen"))
    assert [result["status"] for result in await asyncio.gather(*others)] == ["booked"] * 6
    assert await mine == []
    assert not frozen.done()
    team.thaw()
    assert (await frozen)["status"] == "booked"


@pytest.mark.soak
async def test_a_calendar_that_does_not_answer(team: TeamCalendar) -> None:
    """Reading ends at the time limit, and nothing has happened; a change may have, and the repeated call finds out."""
    slot = _at(_monday(), 9)
    async with calendar_server(team, timeout=3) as server:
        team.fault("freeze", "REPORT")
        result = await server.call("free_slots", {"time_zone": "UTC"})
        assert result.structured_content == {"outcome": "not_done", "reason": "unavailable"}
        team.fault("freeze", "PUT")
        assert await _book(server, slot) == {"outcome": "unknown"}
        team.thaw()
        assert (await _book(server, slot))["slot"] == slot
    assert list(team.events()) == [_name(slot)]


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
            assert await _book(server, _at(_monday(), 9)) == {"outcome": "not_done", "reason": reason}


def _text(result: Any) -> str:
    return result.content[0].text
