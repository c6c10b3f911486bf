"""Retries of a call to the model's server."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TypeVar

import openai
from langsmith import tracing_context  # pyright: ignore[reportUnknownVariableType] - its mappings have no types

from graph.breaker import Breaker, BreakerOpen
from graph.errors import LASTING, ModelError, ModelUnavailable
from graph.models.faults import count, is_about_the_text, kind_of, server_error, status_of, to_model_error

ATTEMPTS = 3
"""Attempts for each call to a model: the first, and two retries."""

_MAX_RETRY_AFTER = 5.0  # seconds; a server that asks for a longer pause counts as down
_REQUEST_FAULTS = frozenset({400, 403, 404, 413, 422})  # the customer's message may be the cause
_CHECK = 1.0  # seconds that a call waits for the check of an open breaker
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0  # seconds before a retry, at most; twice as long before each further one

_T = TypeVar("_T")


async def with_retries(
    model: str,
    breaker: Breaker,
    call: Callable[[], Awaitable[_T]],
    harmless: Callable[[], Awaitable[object]],
) -> _T:
    """Await `call()`, retrying transient errors up to ATTEMPTS attempts while the breaker allows; raises ModelError.

    One text alone may cause any error. So when the breaker opens, and `harmless()` then succeeds, it closes.
    """
    try:
        return await _attempts(model, breaker, call, harmless)
    except BreakerOpen as error:
        # A key that is refused, or no credit left, does not pass while the breaker is open.
        kind = next((kind for kind in LASTING if kind is breaker.cause), ModelUnavailable)
        raise kind(type(error).__name__) from error
    except Exception as error:
        raise to_model_error(error) from error


async def _attempts(
    model: str, breaker: Breaker, call: Callable[[], Awaitable[_T]], harmless: Callable[[], Awaitable[object]]
) -> _T:
    """Make the attempts in a loop, since a retry library's work for calls that succeed is 4 % of an answer's cost."""
    failed: Exception | None = None
    for retry in range(ATTEMPTS):
        if failed:
            most = min(_SHORTEST_PAUSE * 2 ** (retry - 1), _LONGEST_PAUSE)
            await asyncio.sleep(retry_after(failed) or random.uniform(0, most))  # noqa: S311 - no secret
        await breaker.settle(_CHECK)
        try:
            with breaker:
                return await call()
        except BreakerOpen as error:
            raise failed or error from None  # what opened the breaker says more
        except Exception as error:
            failed = error
            count(model, error)
            if is_down(error):
                breaker.cause = type(to_model_error(error))
                if breaker.is_open:
                    breaker.check(partial(_untraced, harmless))
            if retry == ATTEMPTS - 1 or not is_transient(error) or (retry_after(error) or 0) > _MAX_RETRY_AFTER:
                raise
    raise AssertionError("the last attempt returns or raises")


async def _untraced(call: Callable[[], Awaitable[object]]) -> None:
    with tracing_context(enabled=False):  # outside a run LangChain would trace it by itself
        await call()


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed in a while."""
    if sent := server_error(error):
        return kind_of(sent) is ModelUnavailable
    if isinstance(error, ModelError):
        return isinstance(error, ModelUnavailable)
    return isinstance(error, Exception) and not isinstance(error, BreakerOpen)


def is_down(error: Exception) -> bool:
    """Whether an error means that the model's server is down, and not that the request was at fault."""
    if sent := server_error(error):
        return status_of(sent) not in _REQUEST_FAULTS and not is_about_the_text(sent)
    return not isinstance(error, ModelError)


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asks to wait; None if it does not say, or nothing that makes sense.

    `Retry-After` has seconds or a date. `retry-after-ms`, which Azure and OpenAI send beside it, is more exact.
    """
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    exact, usual = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    if _NUMBER.fullmatch(exact):
        return float(exact) / 1000
    if _NUMBER.fullmatch(usual):
        return float(usual)
    try:
        return max(0.0, parsedate_to_datetime(usual).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
