"""Settings of the calendar server."""

from datetime import date, timedelta
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr

from mcp_servers.calendar.hours import Week, Window, zone_of
from mcp_servers.settings import ServerSettings, type_of_list


def _zone(value: object) -> object:
    return zone_of(value) if isinstance(value, str) else value


def _windows(value: object) -> object:
    return tuple(Window.parse(one) for one in value.split(",")) if isinstance(value, str) else value


def _plain(value: HttpUrl) -> HttpUrl:
    if value.username or value.password:
        raise ValueError("contains a user or a password, which have settings of their own")
    return value


class CalendarSettings(ServerSettings):
    """Settings of the calendar server."""

    prefix: ClassVar[str] = "MCP_CALENDAR_"

    port: int = Field(default=8002, alias="PORT", ge=1, le=65535, description="the port to listen on")
    url: Annotated[HttpUrl, AfterValidator(_plain)] = Field(
        alias="URL",
        description="the CalDAV address of the team's calendar, such as https://dav.example.com/team/calls/",
    )
    user: str = Field(alias="USER", description="the user name at the calendar server")
    password: SecretStr = Field(alias="PASSWORD", description="the user's password, an app password at best")
    time_zone: Annotated[ZoneInfo, BeforeValidator(_zone)] = Field(
        alias="TIME_ZONE", description="the team's time zone, such as Europe/Berlin"
    )
    hours: Annotated[tuple[Window, ...], BeforeValidator(_windows)] = Field(
        default=(Window.parse("Mon-Fri 09:00-17:00"),),
        alias="HOURS",
        description="when the team takes calls, comma separated, such as Mon-Thu 09:00-17:00, Fri 09:00-13:00",
    )
    slot_minutes: int = Field(
        default=30, alias="SLOT_MINUTES", ge=5, le=480, description="the length of a call, in minutes"
    )
    days_off: Annotated[frozenset[date], type_of_list] = Field(
        default=frozenset(), alias="DAYS_OFF", description="days without calls, comma separated, such as 2026-12-25"
    )

    @property
    def week(self) -> Week:
        """The slots of a week without appointments."""
        return Week(self.time_zone, self.hours, timedelta(minutes=self.slot_minutes), self.days_off)
