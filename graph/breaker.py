"""Circuit breakers: stop calling a dependency that keeps failing, except for an occasional trial call.

We wrote our own because the libraries we looked at (circuitbreaker, purgatory, pybreaker) count a call that its client
cancelled as a success or a failure, so a disconnect can close or open the circuit.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from types import TracebackType

from graph.observe.metrics import breaker_open

_log = logging.getLogger(__name__)


class BreakerOpen(Exception):
    """The circuit breaker is open, so the call was not made."""


class Breaker:
    """A circuit breaker for one dependency; each call is a `with` block.

    After `threshold` failures in a row the breaker opens, and entering raises BreakerOpen. While it is open, it lets
    one trial call through every `pause` seconds (half-open); a success closes it. An exception that `is_failure`
    rejects counts neither as a failure nor as a success, and nor does a cancellation.
    """

    def __init__(self, name: str, is_failure: Callable[[Exception], bool], *, threshold: int, pause: float) -> None:
        self._name = name
        self._is_failure = is_failure
        self._threshold = threshold
        self._pause = pause
        self._failed = 0
        self._next_trial = 0.0
        self.cause: type[Exception] | None = None
        """The kind of the latest failure, if whoever makes the calls notes it."""
        self._check: asyncio.Task[None] | None = None
        breaker_open.set(0, {"name": name})

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, except for a trial."""
        return self._failed >= self._threshold

    def __enter__(self) -> None:
        if self.is_open:
            now = time.monotonic()
            if now < self._next_trial:
                raise BreakerOpen(self._name)
            self._next_trial = now + self._pause

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, Exception) and self._is_failure(error):
            self._failed += 1
            self._next_trial = time.monotonic() + self._pause
            if self._failed == self._threshold:
                _log.warning("circuit breaker open: %s", self._name)
                breaker_open.set(1, {"name": self._name})

    def check(self, harmless: Callable[[], Awaitable[object]]) -> None:
        """Make a harmless call in the background, unless one is under way; its success closes the breaker.

        So what one customer's request causes does not keep the breaker open for others.
        """
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._close_after(harmless), context=Context())

    async def settle(self, seconds: float) -> None:
        """Wait for that call, if the breaker is open and the call is under way."""
        if self.is_open and self._check:
            await asyncio.wait((self._check,), timeout=seconds)

    def stop(self) -> None:
        """End that call."""
        if self._check:
            self._check.cancel()

    async def _close_after(self, harmless: Callable[[], Awaitable[object]]) -> None:
        with suppress(Exception):
            await harmless()
            self.close()

    def close(self) -> None:
        """Count a success, also of a call that was made past the breaker."""
        if self.is_open:
            _log.warning("circuit breaker closed: %s", self._name)
            breaker_open.set(0, {"name": self._name})
        self._failed = 0
