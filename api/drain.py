"""How the service ends: it takes no new work, and lets what it has come to an end."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any

from graph.agent import SupportAgent
from graph.errors import ShuttingDown
from graph.events import Done, Event, Failed
from graph.runs.feed import Followed
from graph.runs.turn import Turn

GRACE = 7.0
"""Seconds that runs have to end by themselves, the notice included."""

_FLUSH = 0.5  # seconds that WebSockets have to say goodbye

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


_Handler = Callable[[int, FrameType | None], Any] | int | None


class Crowd:
    """Those who do something at the moment."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.gone.set()
        self._count = 0

    @contextmanager
    def one(self) -> Generator[None]:
        """Be one of them."""
        self._count += 1
        self.gone.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self.gone.set()

    async def leave(self, seconds: float) -> None:
        """Wait until none is left, for `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.gone.wait()


class Drain:
    """Where the service stands between serving and its end."""

    def __init__(self) -> None:
        self.announced = asyncio.Event()
        """Whoever asks is told to send no new work here."""
        self.begun = asyncio.Event()
        """No new work."""
        self.over = asyncio.Event()
        """Every run of ours has ended; streams that follow others' end now."""
        self.sockets = Crowd()
        """The open WebSockets."""
        self.followers = Crowd()
        """Those who follow others' runs."""

    async def lacks(self, run: Followed, after: int) -> bool:
        """Whether a run never had an `after`-th event; raises ShuttingDown where we end before that is known."""
        over = asyncio.create_task(self.over.wait())
        looking = asyncio.create_task(run.lacks(after))
        try:
            with self.followers.one():
                await asyncio.wait((looking, over), return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                raise ShuttingDown
            return looking.result()
        finally:
            over.cancel()
            looking.cancel()

    async def follow(self, run: Followed, after: int = 0) -> AsyncGenerator[tuple[int, Event]]:
        """Follow a run, also another replica's, until it ends or we do, which is an event without a number."""
        if isinstance(run, Turn):  # which we end ourselves
            async for numbered in run.follow(after):
                yield numbered
            return
        over = asyncio.create_task(self.over.wait())
        coming: asyncio.Future[tuple[int, Event]] | None = None
        events = run.follow(after)
        try:
            with self.followers.one():
                while True:
                    coming = asyncio.ensure_future(anext(events))
                    await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        yield 0, Failed(ShuttingDown.code)
                        return
                    n, event = coming.result()
                    yield n, event
                    if isinstance(event, Done | Failed):
                        return
        finally:
            over.cancel()
            if coming:
                coming.cancel()


@asynccontextmanager
async def draining(agent: SupportAgent, notice: float) -> AsyncGenerator[Drain]:
    """Drain on SIGTERM or SIGINT, and only then hand the signal on to the server; a second one is handed on at once.

    The server would close its listeners at once, and with them the door to /ready. For `notice` seconds after SIGTERM
    only /ready says that the service goes, so that nothing is refused which a balancer sends before it asks there
    again; nobody balances what ends by Ctrl-C.
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
        await drain.followers.leave(give_up - time.monotonic())
        drain.over.set()
        await drain.sockets.leave(_FLUSH)
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
