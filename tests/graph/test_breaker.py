"""The circuit breaker: when it opens, and when it closes again."""

import asyncio
import logging

import pytest

from graph.breaker import Breaker, BreakerOpen


class Down(Exception):
    """The dependency is down."""


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("the thing", lambda error: isinstance(error, Down), threshold=3, pause=0.2)


def fail(breaker: Breaker, error: BaseException, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(type(error)), breaker:
            raise error


async def test_it_opens_after_failures_in_a_row_and_says_so_once(
    breaker: Breaker, caplog: pytest.LogCaptureFixture
) -> None:
    """Open, it refuses calls until a probe succeeds; each change is logged once."""
    caplog.set_level(logging.WARNING)
    fail(breaker, Down(), 2)
    with breaker:
        pass
    fail(breaker, Down(), 3)
    for _ in range(5):
        with pytest.raises(BreakerOpen), breaker:
            pass
    await asyncio.sleep(0.25)
    fail(breaker, Down())
    with pytest.raises(BreakerOpen), breaker:
        pass
    await asyncio.sleep(0.25)
    with breaker:
        pass
    with breaker:
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "circuit breaker open: the thing",
        "circuit breaker closed: the thing",
    ]


async def test_one_call_at_a_time_finds_out(breaker: Breaker) -> None:
    """Half-open, it lets only one call through at a time."""
    fail(breaker, Down(), 3)
    await asyncio.sleep(0.25)
    with breaker, pytest.raises(BreakerOpen), breaker:
        pass


async def test_what_says_nothing_of_the_thing_changes_nothing(breaker: Breaker) -> None:
    """A cancelled call or the caller's own error neither opens nor closes it."""
    fail(breaker, Down(), 2)
    fail(breaker, asyncio.CancelledError(), 3)
    fail(breaker, ValueError(), 3)
    with pytest.raises(Down), breaker:
        raise Down
    with pytest.raises(BreakerOpen), breaker:
        pass
    await asyncio.sleep(0.25)
    fail(breaker, asyncio.CancelledError())
    with pytest.raises(BreakerOpen), breaker:
        pass
