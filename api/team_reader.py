"""Tells the client of a WebSocket what the team writes while its conversation is handed over."""

import asyncio
from collections.abc import Awaitable, Callable

from graph.actions.handoffs import SessionEvent
from graph.errors import RunError
from graph.runs.colleagues import Colleagues

_AGAIN = 1.0  # seconds until the next look while Redis is down


class TeamReader:
    """Reads what the team does in a session; a session that is not handed over costs nothing."""

    def __init__(
        self,
        colleagues: Colleagues,
        session_id: str,
        owner: str,
        tell: Callable[[str, SessionEvent], Awaitable[None]],
    ) -> None:
        self._colleagues = colleagues
        self._session_id = session_id
        self._owner = owner
        self._tell = tell
        self._may_last = asyncio.Event()
        self._after: str | None = None

    def look(self) -> None:
        """Look whether a hand-over lasts."""
        self._may_last.set()

    async def read(self) -> None:
        """Tell the client until it is cancelled."""
        while await self._may_last.wait():
            try:
                await self._read_one()
            except RunError:
                await asyncio.sleep(_AGAIN)

    async def _read_one(self) -> None:
        """Tell of one hand-over until its end, if one lasts."""
        if await self._colleagues.of_session(self._session_id, self._owner) is None:
            self._may_last.clear()
            return
        async for name, event in self._colleagues.events(self._session_id, self._owner, self._after):
            await self._tell(name, event)
            self._after = name
            if event.event == "handoff" and event.data["status"] != "open":
                return
