"""A local service: one child process with a directory, a port and a secret of its own.

    service = start_redis()  # returns at once
    url = service.wait()     # blocks until it answers
    service.stop()           # or: with start_redis() as service

Whatever ends this process also ends the service, because keeper.py stands between the two.
"""

import contextlib
import http.client
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE = 10.0
"""Seconds a service has to become ready."""

PORT_TRIES = 3

_KEEPER = Path(__file__).with_name("keeper.py")
_POLL = 0.02  # seconds between two looks at a service that is starting
_REDIS_PREFIX = re.compile(r"^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ [#*.-] ")
_UVICORNS_LAST = "Application startup failed. Exiting."  # follows the reason
_LONGEST_REASON = 300
_PATIENCE = 2.0  # seconds that one answer of a starting service may take


class LocalServiceError(Exception):
    """A local service cannot run; the message is one line for the user."""


class NotReadyError(Exception):
    """The service does not answer as it should yet; the message says what it does."""


def new_secret() -> str:
    """Return 192 random bits that need no escaping in a URL, a header or a config file."""
    return secrets.token_hex(24)


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int, path: str = "/health", headers: Mapping[str, str] | None = None) -> None:
    """Return if what listens on `port` of the loopback interface answers there with 200.

    Raises OSError or NotReadyError.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers=headers or {})
        reply = connection.getresponse()
        if reply.status != HTTPStatus.OK:
            said = " ".join(reply.read(_LONGEST_REASON).decode("utf-8", "replace").split())
            raise NotReadyError(f"it answers with status {reply.status}{said and f': {said}'}")
    except http.client.HTTPException as error:
        raise NotReadyError(f"it does not speak HTTP: {type(error).__name__}") from None
    finally:
        connection.close()


@dataclass(frozen=True)
class Program:
    """What one kind of service needs to be started."""

    name: str
    """As it stands in messages."""
    command: Callable[[Path, int], list[str]]
    """Its command line, for a directory (mode 0700, its config may go there) and a port; without secrets."""
    check: Callable[[int], None]
    """Returns when the server on that port accepts the secret and is complete.

    Raises OSError or NotReadyError while it is not, LocalServiceError if it never will be.
    """
    url: str
    """With `{port}` in it."""
    secret: str = ""
    """The password or API key, if it asks for one."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to this process's own; secrets may be in it."""
    port: int | None = None
    """Where it must listen; None for any port that is free."""


class Service:
    """A service that is starting or running; made by `start_redis`, `start_model` and the like.

    As a context manager it is stopped at the end.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._tries = 0
        self._ready = False
        self._stopped = False
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="support-agent-"))
            self._start(program.port or free_port())
        except OSError as error:
            raise LocalServiceError(f"{program.name} did not start: {error}") from error

    @property
    def url(self) -> str:
        """Where it answers, once `wait` has returned."""
        return self._program.url.format(port=self._port)

    @property
    def secret(self) -> str:
        """The password or API key that it asks for, if any."""
        return self._program.secret

    @property
    def name(self) -> str:
        """As it stands in messages."""
        return self._program.name

    @property
    def port(self) -> int:
        """The loopback port that it listens on."""
        return self._port

    @property
    def pid(self) -> int:
        """The process that serves, not its keeper; known once `wait` has returned."""
        return int((self._directory / "pid").read_text())

    @property
    def log(self) -> Path:
        """What the process says; removed by `stop`, kept after a failure."""
        return self._directory / "log"

    def wait(self, deadline: float = DEADLINE) -> str:
        """Block until it answers, and return its URL.

        `deadline` is in seconds from this call. Raises LocalServiceError, with the reason and the place of
        the log, after which the service is stopped.
        """
        give_up = time.monotonic() + deadline
        doing = ""
        while not self._ready:
            if self._stopped:
                raise LocalServiceError(f"{self._program.name} was stopped before it was ready")
            if self._keeper.poll() is not None:
                self._start_again()
            try:
                self._program.check(self._port)
                self._ready = True
            except (OSError, NotReadyError) as error:
                doing = f": {error}" if isinstance(error, NotReadyError) else ""
            except LocalServiceError as error:
                raise self._failure(str(error)) from None
            if not self._ready:
                if time.monotonic() > give_up:
                    raise self._failure(f"did not answer within {deadline:g} s{doing}")
                time.sleep(_POLL)
        return self.url

    def revive(self) -> int | None:
        """Start it again, where it was and with what it has written, if it has ended by itself.

        Return its exit code then, else None.
        """
        code = self._keeper.poll()
        if self._stopped or code is None:
            return None
        self._close_pipe()
        self._start(self._port, "ab")
        return code

    def stop(self) -> None:
        """End the process and remove its directory; a second time does nothing."""
        if not self._stopped:
            self._end(keep_directory=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, port: int, mode: str = "wb") -> None:
        self._tries += 1
        self._port = port
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)  # a keeper that was terminated has removed it
            command = self._program.command(self._directory, self._port)
            with self.log.open(
                mode
            ) as log:  # emptied, unless it is revived, so that each try is judged by its own words
                self._keeper = subprocess.Popen(  # noqa: S603 - our own keeper and the program's own command
                    [sys.executable, "-I", "-S", str(_KEEPER), str(self._directory), *command],
                    stdin=subprocess.PIPE,  # nobody else has its write end: it closes when this process ends
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self._program.environment},
                    start_new_session=True,
                )
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    def _start_again(self) -> None:
        """Try another port, if somebody took this one between the choice and the start."""
        said = self.log.read_text("utf-8", "replace")
        if "address already in use" not in said.lower() or self._tries == PORT_TRIES or self._program.port:
            raise self._failure(f"did not start: {_last_words(said)}")
        self._close_pipe()
        self._start(free_port())

    def _failure(self, reason: str) -> LocalServiceError:
        self._end(keep_directory=True)
        return LocalServiceError(f"{self._program.name} {reason} (log: {self.log})")

    def _end(self, *, keep_directory: bool) -> None:
        self._stopped = True
        self._close_pipe(b"k" if keep_directory else b"")
        self._keeper.wait()

    def _close_pipe(self, last: bytes = b"") -> None:
        pipe = self._keeper.stdin
        assert pipe is not None  # noqa: S101 - it was opened with PIPE
        if not pipe.closed:
            with contextlib.suppress(BrokenPipeError), pipe:
                pipe.write(last)


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and _UVICORNS_LAST not in line]
    return _REDIS_PREFIX.sub("", lines[-1])[:_LONGEST_REASON].strip() if lines else "it said nothing"
