"""When a desk is staffed, in a form that a program can reckon with: `opening` of a desk in company.yaml."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
KEYS: Final = ("zone", "days", "holidays", "reply")
REPLY: Final = 240
"""Minutes that a reply takes where a desk does not say."""

_MOST_DAYS = 400  # that are looked through for an opening
_SPAN = re.compile(r"([01]?\d|2[0-4])[:.]([0-5]\d)\s*[-\u2013]\s*([01]?\d|2[0-4])[:.]([0-5]\d)")
_REPLY = re.compile(r"(\d{1,4})\s*(m|min|minutes?|h|hours?)")
_HOLIDAY = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d)")

Span = tuple[int, int]
"""From a minute of the day until another, at most 24 * 60."""


@dataclass(frozen=True, slots=True)
class Opening:
    """When a desk is staffed, and how long a reply takes."""

    zone: str
    """The time zone's IANA name."""
    days: tuple[tuple[Span, ...], ...]
    """The spans of each weekday, Monday's first, in order and apart."""
    holidays: tuple[str, ...] = ()
    """Days without any: `2026-12-25`, or `12-25` for each year."""
    reply: int = REPLY
    """Minutes of staffed time until a customer has a reply."""

    def reply_by(self, now: datetime) -> datetime | None:
        """Return when a customer who writes now (with a zone) has a reply; None if the desk is closed for a year."""
        left = timedelta(minutes=self.reply)
        for begins, ends in self._spans(now):
            begins = max(begins, now)
            if ends <= begins:
                continue
            if begins + left <= ends:
                return begins + left
            left -= ends - begins
        return None

    def _spans(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the spans from today on, in UTC: where the clocks change, a span may be an hour shorter or longer."""
        zone = ZoneInfo(self.zone)
        utc = ZoneInfo("UTC")
        day = now.astimezone(zone).date() - timedelta(days=1)
        for _ in range(_MOST_DAYS):
            day += timedelta(days=1)
            if f"{day:%Y-%m-%d}" in self.holidays or f"{day:%m-%d}" in self.holidays:
                continue
            for begins, ends in self.days[day.weekday()]:
                yield _at(day, begins, zone).astimezone(utc), _at(day, ends, zone).astimezone(utc)


def zone_in(text: str) -> str:
    """Return the IANA name of a time zone; raises ValueError, which says what would be right."""
    if text not in _zones():
        raise ValueError("must be a time zone's IANA name, such as Europe/Berlin")
    return text


def days_in(text: str) -> Sequence[int]:
    """Return the weekdays that a key names, Monday is 0: `Mon`, `Mon-Fri`, `Mon, Wed`; raises ValueError."""
    found: list[int] = []
    for part in text.split(","):
        names = [name.strip().capitalize()[:3] for name in re.split("[-\u2013]", part)]
        if not 1 <= len(names) <= 2 or any(name not in DAYS for name in names):
            raise ValueError("must be weekdays, such as Mon, Mon-Fri or Mon,Wed")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        found += [day % 7 for day in range(first, last + 1 if last >= first else last + 8)]
    return found


def spans_in(texts: Sequence[str]) -> tuple[Span, ...]:
    """Return the spans of times such as `09:00-17:00`; raises ValueError."""
    spans: list[Span] = []
    for text in texts:
        found = _SPAN.fullmatch(text.strip())
        begins, ends = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
        if not found or not begins < ends <= 24 * 60:
            raise ValueError("must be times of one day, the earlier first, such as 09:00-17:00 or 18:00-24:00")
        spans.append((begins, ends))
    spans.sort()
    if any(before[1] > after[0] for before, after in pairwise(spans)):
        raise ValueError("has times that overlap")
    return tuple(spans)


def holiday_in(text: str) -> str:
    """Return a day without service, `2026-12-25` or `12-25`; raises ValueError."""
    found = _HOLIDAY.fullmatch(text.strip())
    try:
        if found:
            date(int(found[1] or 2024), int(found[2]), int(found[3]))  # a leap year
            return text.strip()
    except ValueError:
        pass
    raise ValueError("must be dates, such as 2026-12-25, or 12-25 for each year")


def reply_in(text: str) -> int:
    """Return how many minutes a reply takes: `30 min` or `4 h`; raises ValueError."""
    found = _REPLY.fullmatch(text.strip().lower())
    if not found or not int(found[1]):
        raise ValueError("must be minutes or hours, such as 30 min or 4 h")
    return int(found[1]) * (1 if found[2].startswith("m") else 60)


def week_of(days: Mapping[int, tuple[Span, ...]]) -> tuple[tuple[Span, ...], ...]:
    """Return the spans of each weekday, Monday's first."""
    return tuple(days.get(day, ()) for day in range(7))


def _at(day: date, minute: int, zone: ZoneInfo) -> datetime:
    if minute == 24 * 60:
        day, minute = day + timedelta(days=1), 0
    return datetime.combine(day, time(minute // 60, minute % 60), zone)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
