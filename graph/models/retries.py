"""Retries of a call to the model's server, and what its errors mean."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from graph.breaker import Breaker, BreakerOpen
from graph.errors import ModelError, ModelTimeout, ModelUnavailable

ATTEMPTS = 3
"""Attempts for each call to a model: the first, and two retries."""

_MAX_RETRY_AFTER = 5.0  # seconds; a server that asks for a longer pause counts as down
_RETRYABLE_STATUSES = frozenset({408, 409, 429})  # and every status from 500 on
_REQUEST_FAULTS = frozenset({400, 403, 404, 413, 422})  # the customer's message may be the cause

_backoff = wait_random_exponential(multiplier=0.25, max=2)
_T = TypeVar("_T")


async def with_retries(breaker: Breaker, call: Callable[[], Awaitable[_T]]) -> _T:
    """Await `call()`, retrying transient errors up to ATTEMPTS attempts while the breaker allows; raises ModelError."""
    retrying = AsyncRetrying(
        stop=stop_after_attempt(ATTEMPTS), wait=_retry_delay, retry=retry_if_exception(_is_transient), reraise=True
    )

    failed: Exception | None = None

    async def attempt() -> _T:  # tenacity only awaits coroutine functions
        nonlocal failed
        try:
            with breaker:
                return await call()
        except BreakerOpen as error:
            raise failed or error from None  # what opened the breaker says more
        except Exception as error:
            failed = error
            raise

    try:
        return await retrying(attempt)
    except Exception as error:
        raise to_model_error(error) from error


def _retry_delay(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return _backoff(state) if error is None else (_retry_after(error) or _backoff(state))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        if error.code == "insufficient_quota" or (_retry_after(error) or 0) > _MAX_RETRY_AFTER:
            return False
        return error.status_code in _RETRYABLE_STATUSES or error.status_code >= 500
    return isinstance(error, Exception) and not isinstance(error, BreakerOpen)


def is_down(error: Exception) -> bool:
    """Whether an error means that the model's server is down, and not that the request was at fault."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code not in _REQUEST_FAULTS
    return not isinstance(error, ModelError)


def _retry_after(error: BaseException) -> float | None:
    """Return the Retry-After header if it is a number of seconds, else None."""
    value = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    return float(value) if value.isdecimal() else None


def to_model_error(error: Exception) -> ModelError:
    """Return the error that callers get: a kind, without the text of `error`."""
    if isinstance(error, ModelError):
        return error
    if isinstance(error, openai.APIStatusError):
        return ModelUnavailable(f"HTTP {error.status_code}")
    cause = _root_cause(error)
    if isinstance(cause, TimeoutError):
        return ModelTimeout(type(cause).__name__)
    return ModelUnavailable(type(cause if isinstance(cause, OSError) else error).__name__)


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error
