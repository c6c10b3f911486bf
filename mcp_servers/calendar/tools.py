"""The calendar's tools."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal, TypeVar
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo

import anyio.to_thread
import mcp_types as types
from anyio import CapacityLimiter
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from mcp_servers.calendar.bookings import Bookings, Owner
from mcp_servers.calendar.dav import Calendar
from mcp_servers.calendar.events import Booked, owner_of
from mcp_servers.calendar.hours import zone_of
from mcp_servers.calendar.settings import CalendarSettings
from mcp_servers.tools import Answer, Arguments, Caller, NotDone, OutcomeUnknown, Tool

_THREADS = 32
_LATE = 1.0  # seconds after its time limit until a call in a thread is given up
_T = TypeVar("_T")

_READS = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = types.ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_CHANGES = types.ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)


def _known(name: str) -> str:
    zone_of(name)
    return name


# The patterns are for clients, which check a call before they propose it to a customer; the server takes more.
Zone = Annotated[
    str,
    AfterValidator(_known),
    Field(
        description="The customer's time zone, an IANA name such as Europe/Berlin.",
        json_schema_extra={"pattern": "^(UTC|[A-Z][A-Za-z]+(/[A-Z][A-Za-z0-9_+-]*)+)$"},
    ),
]
SlotName = Annotated[
    AwareDatetime,
    Field(
        description="A slot as free_slots names it, such as 2026-10-26T09:00:00+01:00.",
        json_schema_extra={
            "pattern": r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.]\d+)?)?(Z|[+-]\d\d:?\d\d)$",
        },
    ),
]
BookingName = Annotated[
    str, Field(pattern="^[0-9a-f]{24}$", description="The booking, as book_call or my_calls names it.")
]


class FreeSlots(Arguments):
    """Which slots are free."""

    time_zone: Zone
    first: date | None = Field(
        default=None, alias="from", description="First day, such as 2026-10-26; today if absent."
    )
    days: int = Field(default=7, ge=1, le=31, description="Number of days.")


class BookCall(Arguments):
    """Book a call."""

    slot: SlotName
    time_zone: Zone
    topic: str = Field(min_length=1, max_length=200, description="What the call is about.")


class MoveCall(Arguments):
    """Move a call."""

    booking: BookingName
    slot: SlotName
    time_zone: Zone


class CancelCall(Arguments):
    """Cancel a call."""

    booking: BookingName


class MyCalls(Arguments):
    """The caller's calls."""


class Slot(BaseModel):
    """A free slot, in the customer's time zone."""

    slot: str
    ends: str


class Slots(BaseModel):
    """The free slots."""

    time_zone: str
    slots: list[Slot]


class Booking(BaseModel):
    """A booking; without slot and time zone where it had been cancelled before."""

    booking: str
    slot: str | None
    time_zone: str | None
    status: Literal["booked", "moved", "cancelled"]


class Calls(BaseModel):
    """The caller's bookings."""

    calls: list[Booking]


class Desk:
    """Runs the calendar's tools, each call in a thread."""

    def __init__(self, settings: CalendarSettings) -> None:
        self._settings = settings
        self._week = settings.week
        self._threads = CapacityLimiter(_THREADS)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def tools(self) -> list[Tool[Any]]:
        """The tools as they are offered."""
        return [
            Tool("free_slots", _FREE_SLOTS, FreeSlots, Slots, self.free_slots, _READS),
            Tool("book_call", _BOOK_CALL, BookCall, Booking, self.book_call, _ADDS),
            Tool("move_call", _MOVE_CALL, MoveCall, Booking, self.move_call, _CHANGES),
            Tool("cancel_call", _CANCEL_CALL, CancelCall, Booking, self.cancel_call, _CHANGES),
            Tool("my_calls", _MY_CALLS, MyCalls, Calls, self.my_calls, _READS),
        ]

    async def free_slots(self, asked: FreeSlots, _caller: Caller) -> Answer:
        """List the free slots."""
        zone = ZoneInfo(asked.time_zone)
        starts = await self._run(lambda bookings: bookings.free(zone, asked.first, asked.days))
        local = [(start.astimezone(zone), (start + self._week.length).astimezone(zone)) for start in starts]
        days: dict[str, list[str]] = {}
        for start, _ in local:
            days.setdefault(f"{start:%A %Y-%m-%d}", []).append(start.isoformat())
        said = "\n".join(f"{day}: {', '.join(names)}" for day, names in days.items())
        return Answer(
            said or "No slot is free in these days.",
            Slots(
                time_zone=asked.time_zone,
                slots=[Slot(slot=start.isoformat(), ends=end.isoformat()) for start, end in local],
            ),
        )

    async def book_call(self, asked: BookCall, caller: Caller) -> Answer:
        """Book a call."""
        owner, zone = self._owner(caller), ZoneInfo(asked.time_zone)
        topic = " ".join(asked.topic.split())
        booked = await self._change(owner, lambda bookings: bookings.book(owner, asked.slot, zone, topic))
        return Answer(f"Booked: {_said(booked)}.", _booking(booked, "booked"))

    async def move_call(self, asked: MoveCall, caller: Caller) -> Answer:
        """Move a call."""
        owner, zone = self._owner(caller), ZoneInfo(asked.time_zone)
        booked = await self._change(owner, lambda bookings: bookings.move(owner, asked.booking, asked.slot, zone))
        return Answer(f"Moved: {_said(booked)}.", _booking(booked, "moved"))

    async def cancel_call(self, asked: CancelCall, caller: Caller) -> Answer:
        """Cancel a call."""
        owner = self._owner(caller)
        booked = await self._change(owner, lambda bookings: bookings.cancel(owner, asked.booking))
        if booked is None:
            return Answer(
                "The call is cancelled.",
                Booking(booking=asked.booking, slot=None, time_zone=None, status="cancelled"),
            )
        return Answer(f"Cancelled: {_said(booked)}.", _booking(booked, "cancelled"))

    async def my_calls(self, _asked: MyCalls, caller: Caller) -> Answer:
        """List the caller's calls."""
        owner = self._owner(caller)
        found = await self._run(lambda bookings: bookings.mine(owner))
        said = "\n".join(_said(one) for one in found)
        return Answer(said or "There are no calls.", Calls(calls=[_booking(one, "booked") for one in found]))

    def _owner(self, caller: Caller) -> Owner:
        """Return whose bookings a call is about; raises NotDone."""
        kind, name = ("customer", caller.customer) if caller.customer else ("session", caller.session)
        if caller.tenant is None or name is None:
            raise NotDone("not-identified", "The calendar was not told who is calling.")
        who = {"Customer": caller.customer, "Session": caller.session, "Run": caller.run}
        return Owner(
            name=owner_of(caller.tenant, kind, name),
            secret=self._settings.token.get_secret_value(),
            key=caller.key or secrets.token_hex(16),
            who="\n".join(f"{label}: {value}" for label, value in who.items() if value),
        )

    async def _change(self, owner: Owner, work: Callable[[Bookings], _T]) -> _T:
        """Do the owner's changes one after another, so that two calls at once don't move one booking twice."""
        lock = self._locks.setdefault(owner.name, asyncio.Lock())
        try:
            async with asyncio.timeout(self._settings.timeout):
                await lock.acquire()
        except TimeoutError:
            raise NotDone("unavailable", "Another change of yours is still under way.") from None
        try:
            return await self._run(work)
        finally:
            lock.release()

    async def _run(self, work: Callable[[Bookings], _T]) -> _T:
        calendar = Calendar(self._settings)

        def in_thread() -> _T:
            try:
                return work(Bookings(calendar, self._week))
            finally:
                calendar.close()

        try:
            # The library's time limit is one for each read, so a server that drips needs another one.
            async with asyncio.timeout(self._settings.timeout + _LATE):
                return await anyio.to_thread.run_sync(in_thread, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError:
            if calendar.has_written:
                raise OutcomeUnknown("The team's calendar did not confirm this in time.") from None
            raise NotDone("unavailable", "The team's calendar did not answer in time.") from None


def _booking(booked: Booked, status: Literal["booked", "moved", "cancelled"]) -> Booking:
    return Booking(booking=booked.booking, slot=booked.local.isoformat(), time_zone=booked.zone, status=status)


def _said(booked: Booked) -> str:
    return f"{booked.local:%A %Y-%m-%d, %H:%M} ({booked.zone}), booking {booked.booking}"


_FREE_SLOTS = "List the times at which the support team can take a call, in the customer's time zone."
_BOOK_CALL = "Book a call with the support team for the customer, at a slot that free_slots has named."
_MOVE_CALL = "Move the customer's call to another slot that free_slots has named."
_CANCEL_CALL = "Cancel the customer's call."
_MY_CALLS = "List the calls that the customer has booked."
