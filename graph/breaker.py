"""Circuit breakers: what fails again and again is left alone, but for one call now and then.

Own code, since the libraries looked at (circuitbreaker, purgatory, pybreaker) take a call that its client cancelled
for a success or for a failure, and so let a disconnect close or open the circuit.
"""

import logging
import time
from collections.abc import Callable
from types import TracebackType

from graph.observe.metrics import breaker_open

_log = logging.getLogger(__name__)


class BreakerOpen(Exception):
    """The call was not made."""


class Breaker:
    """Guards the calls to one thing, each a `with` block.

    After `threshold` failures in a row entering raises BreakerOpen, until one of the calls that are let through
    every `pause` seconds succeeds. What `is_failure` denies says nothing about the thing, nor does a cancellation.
    """

    def __init__(self, name: str, is_failure: Callable[[Exception], bool], *, threshold: int, pause: float) -> None:
        self._name = name
        self._is_failure = is_failure
        self._threshold = threshold
        self._pause = pause
        self._failed = 0
        self._next_trial = 0.0
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
            if self._failed >= self._threshold:
                _log.warning("%s is back", self._name)
                breaker_open.set(0, {"name": self._name})
            self._failed = 0
        elif isinstance(error, Exception) and self._is_failure(error):
            self._failed += 1
            self._next_trial = time.monotonic() + self._pause
            if self._failed == self._threshold:
                _log.warning("%s is left alone for now, since it does not work", self._name)
                breaker_open.set(1, {"name": self._name})
