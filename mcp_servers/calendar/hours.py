"""The team's working hours, and the slots in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(rf"({'|'.join(_DAYS)})(?:-({'|'.join(_DAYS)}))? (\d\d):(\d\d)-(\d\d):(\d\d)")


@cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name; raises ValueError."""
    if name not in _known_zones():
        raise ValueError("not a time zone's IANA name, such as Europe/Berlin")
    return ZoneInfo(name)


@dataclass(frozen=True, slots=True)
class Window:
    """When the team works on some days of the week; minutes are those of the day."""

    weekdays: frozenset[int]
    begins: int
    ends: int

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read such as `Mon-Fri 09:00-17:00`; raises ValueError."""
        found = _HOURS.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError(f"{text.strip()!r} is not like Mon-Fri 09:00-17:00")
        first, last = _DAYS.index(found[1]), _DAYS.index(found[2] or found[1])
        begins, ends = int(found[3]) * 60 + int(found[4]), int(found[5]) * 60 + int(found[6])
        if not begins < ends <= 24 * 60 or int(found[4]) > 59 or int(found[6]) > 59:
            raise ValueError(f"{text.strip()!r} does not end after it begins, on the same day")
        return cls(frozenset((first + day) % 7 for day in range((last - first) % 7 + 1)), begins, ends)


@dataclass(frozen=True, slots=True)
class Week:
    """The slots of a week without appointments."""

    zone: ZoneInfo
    windows: tuple[Window, ...]
    length: timedelta
    days_off: frozenset[date]

    def slots(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Yield the starts of all slots from `first` until before `last`, in UTC, in order."""
        day = first.astimezone(self.zone).date()
        while day <= last.astimezone(self.zone).date():
            yield from (start for start in sorted(self._of(day)) if first <= start < last)
            day += timedelta(days=1)

    def has(self, start: datetime) -> bool:
        """Whether a slot begins then."""
        return start in self._of(start.astimezone(self.zone).date())

    def _of(self, day: date) -> set[datetime]:
        """Return the slots of a day.

        They follow each other as time does: a working day on which the clocks change has an hour more or less.
        """
        found: set[datetime] = set()
        if day in self.days_off:
            return found
        for window in self.windows:
            if day.weekday() in window.weekdays:
                start, end = self._at(day, window.begins), self._at(day, window.ends)
                while start + self.length <= end:
                    found.add(start)
                    start += self.length
        return found

    def _at(self, day: date, minute: int) -> datetime:
        """Return the instant at which the team's clocks show this minute of the day."""
        days, minute = divmod(minute, 24 * 60)
        clock = time(minute // 60, minute % 60)
        return datetime.combine(day + timedelta(days=days), clock, self.zone).astimezone(UTC)
