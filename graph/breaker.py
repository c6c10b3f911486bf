"""Circuit breakers: stop calling a dependency that keeps failing, except for an occasional trial call.

We wrote our own because the libraries we looked at (circuitbreaker, purgatory, pybreaker) count a call that its client
cancelled as a success or a failure, so a disconnect can close or open the circuit.
"""

import logging
import time
from collections.abc import Callable
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
        breaker_open.set(0, {"name": name})

    def __enter__(self) -> None:
        if self._failed >= self._threshold:
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

    def close(self) -> None:
        """Count a success, also of a call that was made past the breaker."""
        if self._failed >= self._threshold:
            _log.warning("circuit breaker closed: %s", self._name)
            breaker_open.set(0, {"name": self._name})
        self._failed = 0
