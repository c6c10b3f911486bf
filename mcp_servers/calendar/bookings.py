"""What is booked, moved and cancelled: each once a key, whatever happens in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from mcp_servers.calendar.dav import Calendar
from mcp_servers.calendar.events import Booked, Move, New, booking_id, ical, is_from_here, resource
from mcp_servers.calendar.hours import Week
from mcp_servers.tools import NotDone

_AHEAD = timedelta(days=366)
"""How far ahead calls are booked, and so looked for."""
_DISPLACED = 4
"""How many calls of one slot the team may have moved itself."""
_BACK = timedelta(days=7)
"""How far back a call that is over is told from one that was cancelled."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who calls, and what makes a booking's id theirs."""

    name: str
    secret: str
    key: str
    """The same for a repeated call."""
    who: str
    """For the team."""


class Bookings:
    """The bookings in the team's calendar, for the length of one call."""

    def __init__(self, calendar: Calendar, week: Week) -> None:
        self._calendar = calendar
        self._week = week
        self._now = datetime.now(UTC)

    def free(self, zone: ZoneInfo, first: date | None, days: int) -> list[datetime]:
        """Return the free slots of some days, as they are in a time zone."""
        day = first or self._now.astimezone(zone).date()
        begins = max(self._now, datetime.combine(day, time(), zone).astimezone(UTC))
        ends = min(self._now + _AHEAD, datetime.combine(day + timedelta(days=days), time(), zone).astimezone(UTC))
        slots = list(self._week.slots(begins, ends)) if begins < ends else []
        if not slots:
            return []
        busy = self._calendar.busy(slots[0], slots[-1] + self._week.length)
        return [slot for slot in slots if not any(one.meets(slot, self._week.length) for one in busy)]

    def mine(self, owner: Owner) -> list[Booked]:
        """Return the owner's calls that are not over."""
        found = (self._latest(one)[0] for one in self._grouped(owner).values())
        return sorted((one for one in found if one.begins + self._week.length > self._now), key=lambda one: one.begins)

    def book(self, owner: Owner, slot: datetime, zone: ZoneInfo, topic: str) -> Booked:
        """Book a slot."""
        if done := self._done(owner):
            return done
        booking = booking_id(owner.secret, owner.name, owner.key)
        self._check(slot, [])
        new = New(booking, owner.name, owner.key, topic, owner.who, slot, self._week.length, zone)
        return self._take(new, owner)

    def move(self, owner: Owner, booking: str, slot: datetime, zone: ZoneInfo) -> Booked:
        """Move a booking to another slot: takes the new one first, and then frees the old one."""
        if done := self._done(owner):
            return done
        old = self._settled(owner, booking)
        if old is None:
            raise NotDone("no-such-booking", "There is no such call; it was cancelled.")
        if old.begins == slot:
            return old
        self._check(slot, [old])
        moved = self._take(Move(old, owner.key, slot, self._week.length, zone), owner)
        self._calendar.free(old)
        return moved

    def cancel(self, owner: Owner, booking: str) -> Booked | None:
        """Cancel a booking; returns None where that has happened before."""
        booked = self._settled(owner, booking)
        if booked:
            self._calendar.free(booked)
        return booked

    def _grouped(self, owner: Owner) -> dict[str, list[Booked]]:
        found: dict[str, list[Booked]] = {}
        for one in self._calendar.bookings(self._now - _BACK, self._now + _AHEAD, owner.name):
            found.setdefault(one.booking, []).append(one)
        return found

    def _latest(self, events: Sequence[Booked]) -> tuple[Booked, list[Booked]]:
        """Return a booking's event, and those that a move has left behind when it was cut off."""
        *left, latest = sorted(events, key=lambda one: one.order)
        return latest, left

    def _settle(self, events: Sequence[Booked]) -> Booked:
        latest, left = self._latest(events)
        for one in left:
            self._calendar.free(one)
        return latest

    def _done(self, owner: Owner) -> Booked | None:
        """Return what a call with this key has made, and finish it where it was cut off."""
        for events in self._grouped(owner).values():
            if any(owner.key in one.keys for one in events):
                return self._settle(events)
        return None

    def _settled(self, owner: Owner, booking: str) -> Booked | None:
        """Return the owner's booking; None if it was cancelled. Raises NotDone if it never was, or has begun."""
        events = self._grouped(owner).get(booking)
        if events is None:
            if is_from_here(booking, owner.secret, owner.name):
                return None
            raise NotDone("no-such-booking", "There is no such call.")
        booked = self._settle(events)
        if booked.begins <= self._now:
            raise NotDone("no-such-booking", "That call has begun, or is over.")
        return booked

    def _check(self, slot: datetime, own: Sequence[Booked]) -> None:
        """Raise NotDone where the slot is none, or the team is busy with anything but the caller's own booking."""
        if not self._now < slot <= self._now + _AHEAD or not self._week.has(slot):
            raise NotDone("not-a-slot", "The team has no slot at that time. Ask for the free slots and choose one.")
        length = self._week.length
        # Its own old slot may overlap the new one only where the length of a slot has changed.
        taken = [one for one in self._calendar.busy(slot, slot + length) if one.meets(slot, length)]
        if any(one.begins not in [mine.begins for mine in own] for one in taken):
            raise _taken()

    def _take(self, new: New | Move, owner: Owner) -> Booked:
        """Write the event at its slot; the calendar's server decides who is first."""
        event = new.event()
        for name in (resource(new.slot, displaced) for displaced in range(_DISPLACED)):
            if self._calendar.take(name, ical(event)):
                return Booked(event, new.slot.astimezone(UTC), new.zone.key, name)
            found, _ = self._calendar.get(name) or (None, "")
            if found and found.owner == owner.name and owner.key in found.keys:
                return found  # a call with this key was faster
            if not found or found.begins == new.slot:
                break
        raise _taken()


def _taken() -> NotDone:
    return NotDone("slot-taken", "That slot is taken. Ask for the free slots and choose another one.")
