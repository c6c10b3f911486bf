"""A calendar server: Radicale in a thread, which a test can freeze."""

import logging
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, Literal
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import radicale.config
from caldav.davclient import DAVClient
from icalendar import Calendar, Event
from radicale import Application

Fault = Literal["freeze", "fail", "lie"]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class TeamCalendar:
    """The team's calendar."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, str]] = []
        """Methods and paths."""
        self._fault: tuple[Fault, str] | None = None
        self._thawed = threading.Event()

    def fault(self, fault: Fault, method: str) -> None:
        """Let the next request of a method go wrong.

        It gets no answer (`freeze`), or is answered with 500: before it is carried out (`fail`), or after (`lie`).
        """
        self._fault = (fault, method)
        self._thawed.clear()

    def thaw(self) -> None:
        """Go on with what was frozen."""
        self._fault = None
        self._thawed.set()

    def add(self, name: str, *lines: str) -> None:
        """Add an event of the team's."""
        text = [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            "PRODID:team",
            "BEGIN:VEVENT",
            f"UID:{name}",
            "DTSTAMP:20260101T000000Z",
        ]
        self.put(f"{name}.ics", "\r\n".join([*text, *lines, "END:VEVENT", "END:VCALENDAR", ""]))

    def put(self, name: str, text: str) -> None:
        """Write a resource."""
        with self._client() as client:
            assert client.put(self.url + name, text, {"Content-Type": "text/calendar"}).status in (201, 204)

    def events(self) -> dict[str, Event]:
        """Return all events by the name of their resource."""
        with self._client() as client:
            found: Any = client.calendar(url=self.url).search(event=True)
        return {str(one.url).rpartition("/")[2]: one.icalendar_component for one in found}

    def text(self, name: str) -> str:
        """Return a resource's text."""
        with self._client() as client:
            return str(client.request(self.url + name).raw)

    def _client(self) -> DAVClient:
        return DAVClient(self.url, username="team", password="x", auth_type="basic", enable_rfc6764=False, timeout=20)

    def around(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Return the application with the faults."""

        def faulty(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            method = environ["REQUEST_METHOD"]
            self.requests.append((method, environ["PATH_INFO"]))
            if self._fault is None or self._fault[1] != method:
                return application(environ, start_response)
            fault, self._fault = self._fault[0], None
            if fault == "freeze":
                self._thawed.wait(60)
                return application(environ, start_response)
            if fault == "lie":
                list(application(environ, lambda *_: None))
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return []

        return faulty


@contextmanager
def caldav_server(folder: Path, *, auth: str = "none") -> Generator[TeamCalendar]:
    """Yield the team's calendar on a server on loopback; with the auth `denyall` nobody gets in."""
    logging.getLogger("radicale").setLevel(logging.CRITICAL)
    settings = radicale.config.load()
    settings.update({"storage": {"filesystem_folder": str(folder)}, "auth": {"type": auth}}, "test", privileged=True)
    logging.getLogger("radicale").setLevel(logging.CRITICAL)
    server: WSGIServer
    calendar = TeamCalendar("")
    application: Any = Application(settings)
    with make_server("127.0.0.1", 0, calendar.around(application), _Server, _Quiet) as server:
        calendar.url = f"http://127.0.0.1:{server.server_port}/team/calls/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            if auth == "none":
                with DAVClient(
                    calendar.url, username="team", password="x", auth_type="basic", enable_rfc6764=False
                ) as made:
                    made.mkcalendar(calendar.url)
            yield calendar
        finally:
            calendar.thaw()
            server.shutdown()


def read(text: str) -> Calendar:
    """Return a calendar from its text."""
    found = Calendar.from_ical(text)
    assert isinstance(found, Calendar)
    return found
