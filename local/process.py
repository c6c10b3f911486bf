"""A local service: one child process with its own directory, port and secret.

    service = start_redis()  # returns immediately
    url = service.wait()     # blocks until the service is ready
    service.stop()           # or: with start_redis() as service

However this process ends, the service ends too: keeper.py supervises it.
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
"""Seconds within which a service must become ready."""

PORT_TRIES = 3

_KEEPER = Path(__file__).with_name("keeper.py")
_POLL = 0.02  # seconds between two checks of a service that is starting
_REDIS_PREFIX = re.compile(r"^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ [#*.-] ")
_UVICORNS_LAST = "Application startup failed. Exiting."  # logged after the reason
_LONGEST_REASON = 300
_PATIENCE = 2.0  # seconds; time-out of one check of a starting service


class LocalServiceError(Exception):
    """A local service can't run; the message is one line for the user."""


class NotReadyError(Exception):
    """The service is not ready yet; the message says how it responds."""


def new_secret() -> str:
    """Return 192 random bits that need no escaping in a URL, a header or a config file."""
    return secrets.token_hex(24)


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int, path: str = "/health", headers: Mapping[str, str] | None = None) -> None:
    """Check that a GET of `path` on `port` of the loopback interface returns 200.

    Raises OSError or NotReadyError if not.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers=headers or {})
        reply = connection.getresponse()
        if reply.status != HTTPStatus.OK:
            said = " ".join(reply.read(_LONGEST_REASON).decode("utf-8", "replace").split())
            raise NotReadyError(f"it responds with status {reply.status}{said and f': {said}'}")
    except http.client.HTTPException as error:
        raise NotReadyError(f"it does not speak HTTP: {type(error).__name__}") from None
    finally:
        connection.close()


@dataclass(frozen=True)
class Program:
    """How to start and check one kind of service."""

    name: str
    """Its name in messages."""
    command: Callable[[Path, int], list[str]]
    """Returns its command line, without secrets, for a directory (mode 0700, for its configuration) and a port."""
    check: Callable[[int], None]
    """Returns if the server on that port is ready and accepts the secret.

    Raises OSError or NotReadyError while it is not ready, and LocalServiceError if it never will be.
    """
    url: str
    """Contains `{port}`."""
    secret: str = ""
    """The password or API key, if it needs one."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables added to this process's environment; may contain secrets."""
    port: int | None = None
    """The port to listen on; None for any free port."""


class Service:
    """A service that is starting or running, as `start_redis`, `start_model` and others return it.

    As a context manager it stops at the end of the block.
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
        """Its URL; valid once `wait` has returned."""
        return self._program.url.format(port=self._port)

    @property
    def secret(self) -> str:
        """Its password or API key, if any."""
        return self._program.secret

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self._program.name

    @property
    def port(self) -> int:
        """The loopback port that it listens on."""
        return self._port

    @property
    def pid(self) -> int:
        """The service's process, not its keeper; known once `wait` has returned."""
        return int((self._directory / "pid").read_text())

    @property
    def log(self) -> Path:
        """The file with its output; `stop` removes it, a failure leaves it."""
        return self._directory / "log"

    def wait(self, deadline: float = DEADLINE) -> str:
        """Block until the service is ready, and return its URL.

        `deadline` is in seconds from this call. On failure, stops the service and raises LocalServiceError with the
        reason and the log's path.
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
        """Restart the service on the same port and with the same directory, if it has exited by itself.

        Return its exit code if so, else None.
        """
        code = self._keeper.poll()
        if self._stopped or code is None:
            return None
        self._close_pipe()
        self._start(self._port, "ab")
        return code

    def stop(self) -> None:
        """Stop the process and remove its directory; further calls do nothing."""
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
            self._directory.mkdir(mode=0o700, exist_ok=True)  # a keeper that got SIGTERM has removed it
            command = self._program.command(self._directory, self._port)
            # Truncated unless the service is revived, because _start_again searches one attempt's output.
            with self.log.open(mode) as log:
                self._keeper = subprocess.Popen(  # noqa: S603 - our own keeper and the program's own command
                    [sys.executable, "-I", "-S", str(_KEEPER), str(self._directory), *command],
                    stdin=subprocess.PIPE,  # only this process has the write end, so the pipe closes when it ends
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self._program.environment},
                    start_new_session=True,
                )
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    def _start_again(self) -> None:
        """Try another port if another process took this one between `free_port` and the start."""
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
    return _REDIS_PREFIX.sub("", lines[-1])[:_LONGEST_REASON].strip() if lines else "no output"
