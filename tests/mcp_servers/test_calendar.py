"""The calendar server against a real calendar server."""

import asyncio
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harness import calls
from harness.caldav_server import TeamCalendar
from harness.calls import BERLIN, NEW_YORK, NO_BOOKING, NO_SLOT, TAKEN, at, monday_ahead, name_of
from harness.mcp_servers import RunningServer, calendar_server


@pytest.mark.parametrize("change", range(2))
async def test_book_move_and_cancel_over_a_change_of_the_clocks(
    calendar: RunningServer, team: TeamCalendar, change: int
) -> None:
    """Nine o'clock is nine o'clock before and after it; the event has the zone's name and its rules."""
    sunday = calls.changes()[change]
    friday, monday = sunday - timedelta(days=2), sunday + timedelta(days=1)
    free = await calls.free(calendar, friday, 4)
    assert free[0] == at(friday, 9)
    assert at(monday, 9) in free
    booked = await calls.book(calendar, at(friday, 9))
    assert booked == {
        "booking": booked["booking"],
        "slot": at(friday, 9),
        "time_zone": "Europe/Berlin",
        "status": "booked",
    }
    moved = await calendar.call(
        "move_call",
        {"booking": booked["booking"], "slot": at(monday, 9), "time_zone": "Europe/Berlin"},
        key="move",
    )
    assert moved.structured_content == booked | {"slot": at(monday, 9), "status": "moved"}
    [(name, event)] = team.events().items()
    assert name == name_of(at(monday, 9))
    assert isinstance(event.start, datetime)
    assert (event.start.isoformat(), event.duration) == (at(monday, 9), timedelta(minutes=30))
    text = team.text(name)
    assert "DTSTART;TZID=Europe/Berlin:" in text
    assert "BEGIN:VTIMEZONE" in text
    assert (await calls.free(calendar, friday))[0] == at(friday, 9)
    assert (await calls.free(calendar, monday))[0] == at(monday, 9, 30)
    cancelled = await calendar.call("cancel_call", {"booking": booked["booking"]}, key="cancel")
    assert cancelled.structured_content == booked | {"slot": at(monday, 9), "status": "cancelled"}
    assert team.events() == {}


@pytest.mark.parametrize("change", range(2))
async def test_the_night_of_the_change_has_an_hour_more_or_less(team: TeamCalendar, change: int) -> None:
    """Each slot is an instant of its own, also in the hour that comes twice; none lies in the hour that is left out."""
    sunday = calls.changes()[change]
    async with calendar_server(team, hours="Sun 00:00-06:00", slot_minutes=60) as server:
        free = await calls.free(server, sunday)
        length = (
            datetime.combine(sunday, time(6), BERLIN).timestamp() - datetime.combine(sunday, time(), BERLIN).timestamp()
        )
        assert len(free) == length / 3600 in (5, 7)
        instants = [datetime.fromisoformat(slot) for slot in free]
        assert {later - earlier for earlier, later in pairwise(instants)} == {timedelta(hours=1)}
        around = free[1:4]
        booked = [await calls.book(server, slot) for slot in around]
        assert [one["slot"] for one in booked] == around
        assert [one["slot"] for one in await calls.mine(server)] == around
        assert await calls.free(server, sunday) == [free[0], *free[4:]]


@pytest.mark.parametrize("change", range(2))
async def test_a_recurring_event_is_in_the_way_before_and_after_a_change(
    calendar: RunningServer, team: TeamCalendar, change: int
) -> None:
    """The team's weekly meeting stays at ten by its clock; what it has cancelled or moved is where it is now."""
    monday = calls.changes()[change] + timedelta(days=1)
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
        free = await calls.free(calendar, week)
        assert {at(week, 10), at(week, 10, 30)}.isdisjoint(free)
        assert {at(week, 9, 30), at(week, 11)} <= set(free)
        assert await calls.book(calendar, at(week, 10)) == TAKEN
    free = await calls.free(calendar, weeks[2])
    assert {at(weeks[2], 14), at(weeks[2], 14, 30)}.isdisjoint(free)
    assert at(weeks[2], 10) in free


async def test_what_keeps_the_team_busy(calendar: RunningServer, team: TeamCalendar) -> None:
    """Cancelled and transparent events do not; events of a whole day, without a zone or in another one do."""
    monday = monday_ahead()
    days = [monday + timedelta(days=number) for number in range(5)]
    zoned = [f"DTSTART;TZID=Europe/Berlin:{days[0]:%Y%m%d}T090000", f"DTEND;TZID=Europe/Berlin:{days[0]:%Y%m%d}T100000"]
    team.add("cancelled", *zoned, "STATUS:CANCELLED")
    team.add("transparent", *zoned, "TRANSP:TRANSPARENT")
    team.add("a-moment", zoned[0])
    team.add("day", f"DTSTART;VALUE=DATE:{days[1]:%Y%m%d}")
    team.add("floating", f"DTSTART:{days[2]:%Y%m%d}T090000", f"DTEND:{days[2]:%Y%m%d}T093000")
    elsewhere = f"{days[3]:%Y%m%d}"
    team.add("far", f"DTSTART;TZID=Asia/Tokyo:{elsewhere}T180000", f"DTEND;TZID=Asia/Tokyo:{elsewhere}T184500")
    free = await calls.free(calendar, monday, 5)
    assert [slot for slot in free if slot < at(days[1], 0)][:2] == [
        at(days[0], 9),
        at(days[0], 9, 30),
    ]
    assert not [slot for slot in free if at(days[1], 0) <= slot < at(days[2], 0)]
    assert next(slot for slot in free if slot >= at(days[2], 0)) == at(days[2], 9, 30)
    tokyo = datetime.combine(days[3], time(18), ZoneInfo("Asia/Tokyo")).astimezone(BERLIN)
    blocked = [tokyo, tokyo + timedelta(minutes=30)]
    assert not {one.isoformat() for one in blocked} & set(free)
    assert await calls.book(calendar, at(days[1], 9)) == TAKEN


async def test_slots_follow_the_settings_and_the_customers_zone(team: TeamCalendar) -> None:
    """Hours, length and days off are the team's; the days asked for and the times named are the customer's."""
    monday = monday_ahead()
    tuesday = monday + timedelta(days=1)
    async with calendar_server(
        team, hours="Mon 09:00-10:30, Mon-Wed 14:00-15:00, Sun 23:00-24:00", slot_minutes=45, days_off=str(tuesday)
    ) as server:
        assert await calls.free(server, monday, 3) == [
            at(day, *clock)
            for day, *clock in (
                *((monday, 9), (monday, 9, 45), (monday, 14)),
                (monday + timedelta(days=2), 14),
            )
        ]
        sunday = monday + timedelta(days=6)
        late = datetime.combine(sunday, time(23), BERLIN)
        assert await calls.free(server, sunday, 1, "Asia/Tokyo") == []
        first = (await calls.free(server, sunday + timedelta(days=1), 1, "Asia/Tokyo"))[0]
        assert first == late.astimezone(ZoneInfo("Asia/Tokyo")).isoformat()
        booked = await calls.book(server, at(monday, 9), NEW_YORK)
        there = datetime.combine(monday, time(9), BERLIN).astimezone(ZoneInfo(NEW_YORK))
        assert (booked["slot"], booked["time_zone"]) == (there.isoformat(), NEW_YORK)
        assert f"DTSTART;TZID={NEW_YORK}:{there:%Y%m%dT%H%M%S}" in team.text(name_of(at(monday, 9)))


@pytest.mark.parametrize("many", [2, pytest.param(8, marks=pytest.mark.soak)])
async def test_of_many_who_want_a_slot_at_once_one_gets_it(team: TeamCalendar, many: int) -> None:
    """On two servers: the calendar decides."""
    slot = at(monday_ahead(), 9)
    async with calendar_server(team) as one, calendar_server(team) as two:
        wanted = (
            calls.book((one, two)[number % 2], slot, session=f"s-{number}", key=f"k-{number}") for number in range(many)
        )
        results = await asyncio.gather(*wanted)
        assert sorted(str(result.get("status", result)) for result in results) == sorted(
            ["booked", *[str(TAKEN)] * (many - 1)]
        )
        [booked] = [found for number in range(many) if (found := await calls.mine(one, session=f"s-{number}"))]
    assert [call["slot"] for call in booked] == [slot]
    assert list(team.events()) == [name_of(slot)]


async def test_a_repeated_call_has_no_further_effect(team: TeamCalendar) -> None:
    """The key is in the calendar: another server, or one that was restarted, answers with what was done."""
    monday = monday_ahead()
    first, second = at(monday, 9), at(monday, 9, 30)
    async with calendar_server(team) as server:
        booked = await asyncio.gather(*(calls.book(server, first, key="k-1") for _ in range(4)))
        assert booked == [booked[0]] * 4
    move = {"booking": booked[0]["booking"], "slot": second, "time_zone": "Europe/Berlin"}
    async with calendar_server(team) as server:
        assert await calls.book(server, first, key="k-1") == booked[0]
        moved = [(await server.call("move_call", move, key="k-2")).structured_content for _ in range(2)]
        assert moved == [booked[0] | {"slot": second, "status": "moved"}] * 2
        # A late repetition of the booking: the call has been moved since, and the freed slot stays free.
        assert await calls.book(server, first, key="k-1") == booked[0] | {"slot": second}
        back = move | {"slot": first}
        assert (await server.call("move_call", back, key="k-3")).structured_content == moved[0] | {"slot": first}
        assert (await server.call("move_call", move, key="k-2")).structured_content == moved[0] | {"slot": first}
        assert list(team.events()) == [name_of(first)]
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
    monday = monday_ahead()
    booked = await calls.book(calendar, at(monday, 9), customer="c-1")
    strangers = ({}, {"customer": "c-2"}, {"customer": "c-1", "tenant": "other"}, {"session": "c-1"})
    for stranger in strangers:
        assert await calls.mine(calendar, **stranger) == []
        move = {"booking": booked["booking"], "slot": at(monday, 10), "time_zone": "Europe/Berlin"}
        for tool, arguments in (("move_call", move), ("cancel_call", {"booking": booked["booking"]})):
            result = await calendar.call(tool, arguments, key="stolen", **stranger)
            assert result.structured_content == NO_BOOKING
        # Not even with the key of the call that made it.
        assert await calls.book(calendar, at(monday, 9), **stranger, key=f"book {at(monday, 9)}") == TAKEN
    assert await calls.mine(calendar, customer="c-1", session="s-2") == [booked]
    assert list(team.events()) == [name_of(at(monday, 9))]
    text = team.text(name_of(at(monday, 9)))
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
    days, *clock = slot
    assert await calls.book(calendar, at(monday_ahead() + timedelta(days=days), *clock)) == structured
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


def _text(result: Any) -> str:
    return result.content[0].text
