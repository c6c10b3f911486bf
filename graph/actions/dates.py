"""Days and times as a language writes them, from dates.toml."""

import tomllib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

_FILE = Path(__file__).with_name("dates.toml")


def day_in(language: str, at: datetime, zone: str) -> str:
    """Return the day in a time zone, without the year, such as `Tuesday, 1 December`."""
    local, written = at.astimezone(ZoneInfo(zone)), _file()[language]
    date = written.get("first", "1") if local.day == 1 else local.day
    weekday, month = written["weekdays"][local.weekday()], written["months"][local.month - 1]
    return str(written["day"]).format(weekday=weekday, date=date, month=month)


def moment_in(language: str, at: datetime, zone: str) -> str:
    """Return the moment in a time zone, such as `Tuesday, 1 December 2026 at 10:00 (Europe/Berlin)`.

    Raises OSError or ValueError for an unknown zone.
    """
    local, day = at.astimezone(ZoneInfo(zone)), day_in(language, at, zone)
    return str(_file()[language]["moment"]).format(day=day, year=local.year, time=f"{local:%H:%M}", zone=zone)


@cache
def _file() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
