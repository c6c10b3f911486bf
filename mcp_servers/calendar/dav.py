"""The team's calendar over CalDAV, for the length of one call; synchronous, as the library is."""

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import cast

import requests
from caldav.calendarobjectresource import CalendarObjectResource
from caldav.davclient import DAVClient
from caldav.lib.error import AuthorizationError, DAVError, RateLimitError
from icalendar import Event
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from mcp_servers.calendar.events import Booked, Busy, booked, busy, read
from mcp_servers.calendar.settings import CalendarSettings
from mcp_servers.tools import NotDone, OutcomeUnknown, Reason, ToolFailure

_log = logging.getLogger(__name__)
_WIDER = timedelta(days=1)
"""More than is asked for, on both sides: a server may put a recurrence an hour off when the clocks have changed."""


class Calendar:
    """The team's calendar; requests that have not ended when the time is up raise NotDone or OutcomeUnknown."""

    def __init__(self, settings: CalendarSettings) -> None:
        self._zone = settings.time_zone
        self._ends = time.monotonic() + settings.timeout
        self._client = DAVClient(
            str(settings.url),
            username=settings.user,
            password=settings.password.get_secret_value(),
            auth_type="basic",
            enable_rfc6764=False,
        )
        self._client.session.max_redirects = 0  # a redirected PUT becomes a GET
        self._url = f"{str(settings.url).rstrip('/')}/"
        self.has_written = False
        """Whether a request was sent that may have changed something."""
        self._has_changed = False

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def busy(self, first: datetime, last: datetime) -> list[Busy]:
        """Return when the team is busy, recurring events included."""
        found = self._search(first, last, expand=True)
        return [one for event, _ in found if (one := busy(event, self._zone))]

    def bookings(self, first: datetime, last: datetime, owner: str) -> list[Booked]:
        """Return the bookings that somebody owns."""
        found = (booked(event, name) for event, name in self._search(first, last, expand=False))
        return [one for one in found if one and one.owner == owner]

    def _search(self, first: datetime, last: datetime, *, expand: bool) -> Iterator[tuple[Event, str]]:
        with self._asking():
            calendar = self._client.calendar(url=self._url)
            # The library's own expansion is right when the clocks change, unlike that of some servers.
            found = cast(
                "list[CalendarObjectResource]",
                calendar.search(event=True, start=first - _WIDER, end=last + _WIDER, expand=expand),
            )
        for one in found:
            component = one.icalendar_component
            if isinstance(component, Event) and component.get("DTSTART") is not None:
                yield component, str(one.url).rpartition("/")[2]

    def take(self, name: str, text: str) -> bool:
        """Write a resource that must not exist yet; return False where it does."""
        headers = {"Content-Type": "text/calendar; charset=utf-8", "If-None-Match": "*"}
        return self._write("PUT", name, text, headers)

    def get(self, name: str) -> tuple[Booked | None, str] | None:
        """Return the booking in a resource and its ETag; None where there is no resource.

        In place of a booking there is None for any other event.
        """
        with self._asking():
            response = self._client.request(self._url + name)
        if response.status in _GONE:
            return None
        if response.status != requests.codes.ok:
            raise self._failure("refused", str(response.status))
        return read(str(response.raw), name), str(response.headers.get("ETag", "*"))

    def free(self, own: Booked) -> None:
        """Delete a booking's resource, unless it is gone or has become somebody else's."""
        for _ in range(_EDITED):
            found, etag = self.get(own.name) or (None, "")
            if found is None or (found.booking, found.owner) != (own.booking, own.owner):
                return
            if self._write("DELETE", own.name, "", {"If-Match": etag}):
                return
        raise self._failure("refused", "it is edited all the time")

    def _write(self, method: str, name: str, text: str, headers: dict[str, str]) -> bool:
        """Change a resource; return False where the precondition in the headers did not hold."""
        with self._asking(is_write=True):
            status = self._client.request(self._url + name, method, text, headers).status
        if status == requests.codes.precondition_failed:
            return False
        if status >= requests.codes.internal_server_error:
            raise _unknown(str(status))
        if status >= requests.codes.multiple_choices and status not in _GONE:
            raise self._failure("refused", str(status))
        self._has_changed = True
        return True

    @contextmanager
    def _asking(self, *, is_write: bool = False) -> Generator[None]:
        """Give a request the time that is left, and say what its failure means."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise self._failure("unavailable", "the time is up")
        self._client.timeout = left  # pyright: ignore[reportAttributeAccessIssue] - requests takes fractions
        self.has_written |= is_write
        try:
            yield
        except AuthorizationError as error:
            raise self._failure("refused", type(error).__name__) from None
        except (requests.RequestException, DAVError, OSError) as error:
            if is_write and not _is_harmless(error):
                raise _unknown(type(error).__name__) from None
            raise self._failure("unavailable", type(error).__name__) from None

    def _failure(self, reason: Reason, why: str) -> ToolFailure:
        """Return what a request's failure makes of the call: half of it may be done."""
        if self._has_changed:
            return _unknown(why)
        _log.warning("the calendar server failed: %s", why)
        return NotDone(reason, _SAID[reason])


_GONE = (requests.codes.not_found, requests.codes.gone)
_EDITED = 3
"""Times that a resource may change between reading and deleting it."""
_SAID: dict[Reason, str] = {
    "refused": "The team's calendar refused this.",
    "unavailable": "The team's calendar can't be reached at the moment.",
}


def _is_harmless(error: Exception) -> bool:
    """Whether a write that failed so has certainly not reached the calendar."""
    if isinstance(error, RateLimitError):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError | ConnectTimeoutError)


def _unknown(why: str) -> OutcomeUnknown:
    _log.warning("the calendar server did not confirm a change: %s", why)
    return OutcomeUnknown("The team's calendar did not confirm this, so it may or may not have happened.")
