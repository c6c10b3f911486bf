"""Retries, and the pause before them that a model's server asks for."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import openai
import pytest

from graph.breaker import Breaker
from graph.errors import ModelUnavailable
from graph.models.retries import is_down, with_retries

REQUEST = httpx2.Request("POST", "http://model.invalid/v1")


class Limited:
    """A call that a rate limit refuses once."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.calls: list[float] = []
        self._headers = headers

    async def __call__(self) -> str:
        """Raise the first time."""
        self.calls.append(time.monotonic())
        if len(self.calls) == 1:
            response = httpx2.Response(429, headers=self._headers, request=REQUEST)
            raise openai.RateLimitError("too many", response=response, body=None)
        return "fine"


async def ask(call: Limited) -> str:
    return await with_retries("m", Breaker("m", is_down, threshold=5, pause=5), call, call)


@pytest.mark.parametrize(
    "headers",
    [{"retry-after-ms": "400"}, {"retry-after-ms": "400.0", "retry-after": "1"}, {"retry-after": "0.4"}],
    ids=["milliseconds", "both", "a fraction"],
)
async def test_a_retry_waits_as_long_as_the_server_asks(headers: dict[str, str]) -> None:
    """More than the pause that it makes by itself, and no longer than that."""
    call = Limited(headers)
    assert await ask(call) == "fine"
    assert 0.39 < call.calls[1] - call.calls[0] < 0.9


async def test_a_date_is_a_pause_too() -> None:
    """It has whole seconds."""
    call = Limited({"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=1.5), usegmt=True)})
    assert await ask(call) == "fine"
    assert 0.3 < call.calls[1] - call.calls[0] < 2.5


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "60.5"},
        {"retry-after-ms": "60000"},
        {"retry-after": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)},
    ],
    ids=["a fraction", "milliseconds", "a date"],
)
async def test_a_long_pause_is_not_waited_for(headers: dict[str, str]) -> None:
    """The server counts as down, and is not asked again."""
    call = Limited(headers)
    with pytest.raises(ModelUnavailable):
        await ask(call)
    assert len(call.calls) == 1


@pytest.mark.parametrize("said", ["soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "inf", "9" * 400, "Mon, 99 Foo"])
async def test_a_pause_that_makes_no_sense_is_none(said: str) -> None:
    """A date that is over, for example by a clock that is wrong, is no pause either."""
    call = Limited({"retry-after": said})
    assert await ask(call) == "fine"
    assert call.calls[1] - call.calls[0] < 0.35
