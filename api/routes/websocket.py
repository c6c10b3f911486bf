"""WS /chat: a conversation over one connection, in two forms.

Text: a message in, the answer's tokens out, then `[DONE]`; an error closes the connection.
`support.v1`: `{"message": …}`, `{"type": "cancel"}`, or `{"type": "confirm", "action": …}` (or `decline`) in, the typed
events out as `{"id", "event", "data"}`.

Close codes: 1001 shutdown, 1003 a binary frame, 1008 an invalid message, too many messages, or a token that has
expired, 1009 a message that is too large, 1011 no answer (text form only), 1013 rate limit exceeded (text form only) or
too many idle connections.
Closing the connection cancels the turn.
"""

import asyncio
import contextlib
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from pydantic import TypeAdapter
from starlette.websockets import WebSocketState

from api.deps import (
    SAME_ORIGIN,
    AgentDep,
    DrainDep,
    ExpiryDep,
    Idle,
    IdleDep,
    Meter,
    MeterDep,
    PrincipalDep,
    SettingsDep,
)
from api.errors import http_problem, problem_of, rate_limit_problem
from api.frames import DecisionFrame
from api.rate_limit import RateLimited
from api.schemas import SessionId
from api.socket_forms import TRY_LATER, Form, TextForm, TypedForm
from api.sse import unfailing
from api.team_reader import TeamReader
from graph.agent import SupportAgent
from graph.errors import RunError, SessionBusy, ShuttingDown
from graph.events import Done, Failed
from graph.runs.feed import Followed
from graph.runs.turn import Turn
from graph.state import AgentContext, Question

PROTOCOL = "support.v1"

_WAITING = 8  # messages that may be queued, or be refused during one turn

GOING_AWAY, UNSUPPORTED, POLICY, TOO_LARGE = 1001, 1003, 1008, 1009

router = APIRouter()


@router.websocket("/chat", dependencies=[SAME_ORIGIN])
async def websocket_chat(
    websocket: WebSocket,
    agent: AgentDep,
    caller: PrincipalDep,
    meter: MeterDep,
    idle: IdleDep,
    drain: DrainDep,
    expired: ExpiryDep,
    settings: SettingsDep,
    session_id: Annotated[SessionId | None, Query()] = None,
) -> None:
    """Serve one connection until either side closes it."""
    is_typed = PROTOCOL in websocket.scope["subprotocols"]
    await websocket.accept(PROTOCOL if is_typed else None)
    form = TypedForm(websocket) if is_typed else TextForm(websocket)
    conversation = Conversation(
        websocket,
        form,
        agent,
        caller.context(),
        meter,
        idle,
        session_id=session_id,
        most_bytes=settings.max_body,
    )
    with drain.sockets.member():
        code = await conversation.converse(drain.begun, expired)
        if code is not None and websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client may have disconnected meanwhile
                await websocket.close(code, form.reason)


class Conversation:
    """One connection: reads messages all the time, and answers them one turn at a time."""

    def __init__(
        self,
        websocket: WebSocket,
        form: Form,
        agent: SupportAgent,
        context: AgentContext,
        meter: Meter,
        idle: Idle,
        *,
        session_id: str | None,
        most_bytes: int,
    ) -> None:
        self._websocket = websocket
        self._form = form
        self._sessions = agent.sessions
        self._actions = agent.actions
        self._context = context
        self._meter = meter
        self._idle = idle
        self._path = websocket.url.path
        self._session_id = session_id or uuid.uuid4().hex
        self._team = TeamReader(agent.colleagues, self._session_id, context.owner, form.tell)
        if session_id:  # in which a hand-over may last
            self._team.look()
        self._most_bytes = most_bytes
        self._waiting: asyncio.Queue[str] = asyncio.Queue(_WAITING)
        self._busy = False
        self._unwanted = False
        self._refused = 0
        self._turn: Turn | None = None
        self._deciding: set[asyncio.Task[None]] = set()

    async def converse(self, ending: asyncio.Event, expired: asyncio.Event) -> int | None:
        """Return the code to close with, or None if the client has disconnected."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._answer(ending, expired))]
        if isinstance(self._form, TypedForm):
            tasks.append(asyncio.create_task(self._team.read()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks_left = [*tasks, *self._deciding]
            for task in tasks_left:
                task.cancel()
            await asyncio.gather(*tasks_left, return_exceptions=True)
        try:
            return done.pop().result()
        except WebSocketDisconnect:
            return None
        except RuntimeError:
            if WebSocketState.CONNECTED is self._websocket.client_state is self._websocket.application_state:
                raise
            return None  # the client disconnected while we were sending

    async def _read(self) -> int | None:
        while (frame := await self._websocket.receive())["type"] != "websocket.disconnect":
            code = await self._take(frame.get("text"))
            if code is not None:
                return code
        return None

    async def _take(self, text: str | None) -> int | None:
        if text is None or len(text.encode()) > self._most_bytes:
            return UNSUPPORTED if text is None else TOO_LARGE
        try:
            message = await self._form.read(text)
        except ValueError:
            return POLICY if isinstance(self._form, TextForm) or self._too_many() else None
        if message is None:
            if self._turn:
                self._turn.cancel()
            self._unwanted = self._busy and not self._turn  # the message has arrived, its turn has not started
        elif isinstance(message, DecisionFrame):
            return self._begin_deciding(message)
        elif isinstance(self._form, TypedForm) and self._busy:
            if self._too_many():
                return POLICY
            await self._form.refuse(problem_of(SessionBusy.code, self._path))
        elif self._waiting.full():
            self._form.reason = "too many messages"
            return POLICY
        else:
            self._busy = True
            self._waiting.put_nowait(message)
        return None

    def _begin_deciding(self, frame: DecisionFrame) -> int | None:
        if len(self._deciding) == _WAITING:
            self._form.reason = "too many messages"
            return POLICY
        task = asyncio.create_task(self._decide(frame))
        self._deciding.add(task)
        task.add_done_callback(self._deciding.discard)
        return None

    async def _decide(self, frame: DecisionFrame) -> None:
        """Confirm or decline an action of this session, beside whatever turn is running; it is done without us, too."""
        decide = self._actions.confirm if frame.type == "confirm" else self._actions.decline
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client may have disconnected meanwhile
            try:
                action = await decide(frame.action, self._context.owner, self._session_id)
            except RunError as error:
                await self._form.refuse(problem_of(error.code, self._path))
                return
            if action is None:
                await self._form.refuse(http_problem(404, self._path))
            else:
                await self._form.send("", 0, action)

    def _too_many(self) -> bool:
        self._refused += 1
        self._form.reason = "too many messages"
        return self._refused > _WAITING

    async def _answer(self, ending: asyncio.Event, expired: asyncio.Event) -> int | None:
        while (message := await self._next(ending, expired)) is not None:
            code = await self._answer_one(message)
            self._busy = False
            self._refused = 0
            if code is not None:
                return code
        if ending.is_set():
            return GOING_AWAY
        if expired.is_set():
            self._form.reason = "token expired"
            return POLICY
        self._form.reason = "too many idle connections"
        return TRY_LATER

    async def _answer_one(self, message: str) -> int | None:
        turn = self._turn = self._sessions.turn(message, self._session_id, self._context)
        if self._unwanted:
            turn.cancel()
            self._unwanted = False
        try:
            await self._meter.take()
            return await self._follow(await self._sessions.begin(turn))
        except RateLimited as error:
            return await self._form.refuse(rate_limit_problem(error, self._path))
        except RunError as error:
            return await self._form.refuse(problem_of(error.code, self._path))
        finally:
            turn.cancel()
            self._turn = None

    async def _follow(self, run: Followed) -> int | None:
        async for n, event in unfailing(run.follow()):
            await self._form.send(run.id, n, event)
            if isinstance(event, Done) and event.handoff:
                self._team.look()
            if isinstance(event, Failed) and isinstance(self._form, TextForm):
                if event.error == ShuttingDown.code:
                    return GOING_AWAY
                return await self._form.refuse(problem_of(event.error, self._path))
        return None

    async def _next(self, *endings: asyncio.Event) -> str | None:
        """Return the next message; None once an ending has come, or if the client has too many idle connections."""
        waiting = asyncio.create_task(self._waiting.get())
        ended = [asyncio.create_task(ending.wait()) for ending in endings]
        try:
            with self._idle(waiting.cancel):
                await asyncio.wait((waiting, *ended), return_when=asyncio.FIRST_COMPLETED)
            return None if waiting.cancelled() or any(ending.is_set() for ending in endings) else waiting.result()
        finally:
            for task in (waiting, *ended):
                task.cancel()


_question = TypeAdapter[str](Question)
