"""Graceful shutdown: the service refuses new work and lets its runs finish."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from graph.agent import SupportAgent
from graph.errors import ShuttingDown
from graph.events import Ending, Event, Failed
from graph.runs.feed import Followed
from graph.runs.turn import Turn

GRACE = 7.0
"""Seconds after the signal in which runs may finish, SUPPORT_SHUTDOWN_NOTICE included."""

_FLUSH = 0.5  # seconds for WebSockets to send their close frames
_LEAVING = 1.0  # seconds for what is cancelled to end

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_T = TypeVar("_T")
_Handler = Callable[[int, FrameType | None], Any] | int | None


class WaitGroup:
    """Counts the members that are active, and waits until there are none."""

    def __init__(self) -> None:
        self._empty = asyncio.Event()
        self._empty.set()
        self._count = 0

    @contextmanager
    def member(self) -> Generator[None]:
        """Count as a member for as long as the block lasts."""
        self._count += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._empty.set()

    async def wait(self, seconds: float) -> None:
        """Wait until no member is left, for at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()


class Drain:
    """The stages of a graceful shutdown."""

    def __init__(self) -> None:
        self.announced = asyncio.Event()
        """The signal has arrived: /ready returns 503. New work is accepted until `begun`."""
        self.begun = asyncio.Event()
        """The notice is over: new work is refused."""
        self.over = asyncio.Event()
        """This replica's runs have ended; streams that follow other replicas' runs end now."""
        self.sockets = WaitGroup()
        """The open WebSockets."""
        self.followers = WaitGroup()
        """The readers of other replicas' runs."""

    async def lacks(self, run: Followed, after: int) -> bool:
        """Return whether a run never had an `after`-th event; raises ShuttingDown if a shutdown interrupts this."""
        over = asyncio.create_task(self.over.wait())
        looking = asyncio.create_task(run.lacks(after))
        try:
            with self.followers.member():
                await asyncio.wait((looking, over), return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                raise ShuttingDown
            return looking.result()
        finally:
            over.cancel()
            looking.cancel()

    async def follow(self, run: Followed, after: int = 0) -> AsyncGenerator[tuple[int, Event]]:
        """Yield a run's numbered events, also another replica's; a shutdown ends them with a Failed numbered 0."""
        if isinstance(run, Turn):  # SupportAgent.drain ends our own turns
            async for numbered in run.follow(after):
                yield numbered
            return
        over = asyncio.create_task(self.over.wait())
        coming: asyncio.Future[tuple[int, Event]] | None = None
        events = run.follow(after)
        try:
            with self.followers.member():
                while True:
                    coming = asyncio.ensure_future(anext(events))
                    await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        yield 0, Failed(ShuttingDown.code)
                        return
                    n, event = coming.result()
                    yield n, event
                    if isinstance(event, Ending):
                        return
        finally:
            over.cancel()
            if coming:
                coming.cancel()

    async def until_begun(self, events: AsyncIterator[_T], expired: asyncio.Event) -> AsyncGenerator[_T]:
        """Yield events that have no end, until `expired`; raises ShuttingDown once new work is refused."""
        begun, over = asyncio.create_task(self.begun.wait()), asyncio.create_task(expired.wait())
        coming: asyncio.Future[_T] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(anext(events))
                await asyncio.wait((coming, begun, over), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    if begun.done():
                        raise ShuttingDown
                    return
                try:
                    yield coming.result()
                except StopAsyncIteration:
                    return
        finally:
            left = [begun, over, *([coming] if coming else [])]
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_LEAVING)  # else a command may hold its connection when Redis is closed


@asynccontextmanager
async def draining(agent: SupportAgent, notice: float) -> AsyncGenerator[Drain]:
    """Drain on SIGTERM or SIGINT, then pass the signal on to the server; a second signal is passed on at once.

    The server would close its listening sockets at once, and load balancers could no longer read /ready. For `notice`
    seconds after SIGTERM /ready returns 503 while new work is still accepted, so that requests which a load balancer
    sends before its next probe are not refused. SIGINT (Ctrl-C) has no notice, since no load balancer is involved.
    """
    drain = Drain()
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    if threading.current_thread() is not threading.main_thread():
        yield drain
        return
    servers: dict[int, _Handler] = {number: signal.getsignal(number) for number in _SIGNALS}

    async def end(number: int, frame: FrameType | None) -> None:
        give_up = time.monotonic() + GRACE
        await asyncio.sleep(notice if number == signal.SIGTERM else 0)
        drain.begun.set()
        await agent.drain(give_up - time.monotonic())
        await drain.followers.wait(give_up - time.monotonic())
        drain.over.set()
        await drain.sockets.wait(_FLUSH)
        _hand_on(servers[number], number, frame)

    def begin(number: int, frame: FrameType | None) -> None:
        if drain.announced.is_set():
            _hand_on(servers[number], number, frame)
        else:
            drain.announced.set()
            task = asyncio.create_task(end(number, frame))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin, number, frame)

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield drain
    finally:
        for number, handler in servers.items():
            signal.signal(number, handler)


def _hand_on(handler: _Handler, number: int, frame: FrameType | None) -> None:
    if callable(handler):
        handler(number, frame)
