"""A booking as an event in the team's calendar."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from icalendar import Calendar, Component, Event

from mcp_servers.calendar.hours import zone_of

_BOOKING = "X-SUPPORT-AGENT-BOOKING"
_OWNER = "X-SUPPORT-AGENT-OWNER"
_KEY = "X-SUPPORT-AGENT-KEY"
_ZONE = "X-SUPPORT-AGENT-TIME-ZONE"


def resource(slot: datetime, displaced: int = 0) -> str:
    """Return the name of the resource that takes a slot: whoever writes it first has the slot.

    `displaced` is the number of calls that had the slot until the team itself moved them to another time.
    """
    return f"{slot.astimezone(UTC):%Y%m%dT%H%M%SZ}{f'-{displaced}' if displaced else ''}.ics"


def owner_of(tenant: str, kind: str, name: str) -> str:
    """Return who owns a booking, in a form that tells nobody who that is."""
    return hashlib.sha256("\n".join((tenant, kind, name)).encode()).hexdigest()


def booking_id(secret: str, owner: str, key: str) -> str:
    """Return a booking's id: the same for the same key, and recognised by `is_from_here` when the event is gone."""
    begins = hashlib.sha256(f"{owner}\n{key}".encode()).hexdigest()[:12]
    return begins + _seal(secret, owner, begins)


def is_from_here(booking: str, secret: str, owner: str) -> bool:
    """Whether this owner has been given this booking at some time."""
    return hmac.compare_digest(booking[12:].encode(), _seal(secret, owner, booking[:12]).encode())


def _seal(secret: str, owner: str, begins: str) -> str:
    return hmac.new(secret.encode(), f"{owner}\n{begins}".encode(), hashlib.sha256).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Booked:
    """A booking, read from the calendar."""

    event: Event
    begins: datetime
    """When the call begins, in UTC: times of one zone are compared by their clocks, in which an hour comes twice."""
    zone: str
    """The customer's time zone; the team may have moved the event into its own."""
    name: str
    """Of the resource."""

    @property
    def local(self) -> datetime:
        """When the call begins, in the customer's time zone."""
        return self.begins.astimezone(zone_of(self.zone))

    @property
    def booking(self) -> str:
        """The booking's id, which stays the same when the call is moved."""
        return str(self.event[_BOOKING])

    @property
    def owner(self) -> str:
        """Who owns it."""
        return str(self.event[_OWNER])

    @property
    def keys(self) -> set[str]:
        """The keys of the calls that have made it what it is."""
        found: object = self.event.get(_KEY, [])
        return {str(one) for one in (cast("list[object]", found) if isinstance(found, list) else [found])}

    @property
    def order(self) -> tuple[int, str]:
        """The later of two events of one booking is greater."""
        return int(self.event.get("SEQUENCE", 0)), self.name


def booked(event: Component, name: str) -> Booked | None:
    """Return the booking that an event is; None for another event."""
    if not isinstance(event, Event) or not event.keys() >= {_BOOKING, _OWNER, _ZONE}:
        return None
    start = event.start
    if not isinstance(start, datetime) or start.tzinfo is None:
        return None
    return Booked(event, start.astimezone(UTC), str(event[_ZONE]), name)


def read(text: str, name: str) -> Booked | None:
    """Return the booking in a resource; None where it is another event."""
    found = (booked(event, name) for event in Calendar.from_ical(text).walk("VEVENT"))
    return next((one for one in found if one), None)


@dataclass(frozen=True, slots=True)
class New:
    """A booking that is to be written."""

    booking: str
    owner: str
    key: str
    topic: str
    who: str
    """For the team: on whose behalf it was booked."""
    slot: datetime
    length: timedelta
    zone: ZoneInfo

    def event(self) -> Event:
        """Return the event."""
        event = Event()
        event.add("SUMMARY", f"Support call: {self.topic}")
        event.add("DESCRIPTION", self.who)
        event.add("STATUS", "CONFIRMED")
        event.add("TRANSP", "OPAQUE")
        event.add(_BOOKING, self.booking)
        event.add(_OWNER, self.owner)
        return _placed(event, self)


@dataclass(frozen=True, slots=True)
class Move:
    """A booking that is to be written at another slot, with whatever the team has added to it."""

    booked: Booked
    key: str
    slot: datetime
    length: timedelta
    zone: ZoneInfo

    @property
    def booking(self) -> str:
        """The booking's id."""
        return self.booked.booking

    def event(self) -> Event:
        """Return the event."""
        event = self.booked.event.copy(recursive=True)
        for name in ("DTSTART", "DTEND", "DURATION", "DTSTAMP", "UID", _ZONE):
            event.pop(name, None)
        event["SEQUENCE"] = self.booked.order[0] + 1
        return _placed(event, self)


def _placed(event: Event, at: New | Move) -> Event:
    event.add("UID", f"{at.booking}-{resource(at.slot).removesuffix('.ics')}@support-agent")
    event.add("DTSTAMP", datetime.now(UTC))
    event.add("DTSTART", _written(at.slot, at.zone))
    event.add("DTEND", _written(at.slot + at.length, at.zone))
    event.add(_ZONE, at.zone.key)
    event.add(_KEY, at.key)
    return event


def _written(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the time as an event has it: in the zone, unless an hour comes twice there and this is its second time."""
    local = instant.astimezone(zone)
    return instant.astimezone(UTC) if local.fold else local


def ical(event: Event) -> str:
    """Return the resource's text, with the rules of the event's time zone."""
    calendar = Calendar()
    calendar.add("PRODID", "-//support-agent//calendar//EN")
    calendar.add("VERSION", "2.0")
    calendar.add_component(event)
    calendar.add_missing_timezones()
    return calendar.to_ical().decode()


@dataclass(frozen=True, slots=True)
class Busy:
    """A time at which the team can't take a call."""

    begins: datetime
    ends: datetime

    def meets(self, start: datetime, length: timedelta) -> bool:
        """Whether they have a moment in common."""
        return start < self.ends and self.begins < start + length


def busy(event: Event, zone: ZoneInfo) -> Busy | None:
    """Return when an event keeps the team busy: None if it was cancelled, is transparent, or takes no time.

    Days, and times without a zone, are the team's.
    """
    if str(event.get("STATUS", "")).upper() == "CANCELLED" or str(event.get("TRANSP", "")).upper() == "TRANSPARENT":
        return None
    found = Busy(_instant(event.start, zone), _instant(event.end, zone))
    return found if found.begins < found.ends else None


def _instant(value: date | datetime, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
