"""Starting a run, in a thread or without one."""

import uuid
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.exceptions import RequestValidationError
from langchain_core.messages import AnyMessage

from api.auth import Principal
from api.deps import AgentDep, Connection, ConnectionDep, PrincipalDep
from api.errors import OthersThread
from api.langgraph.bodies import StatelessRun, ThreadRun
from api.langgraph.state import ThreadsDep
from graph.agent import SupportAgent
from graph.message_ids import new_messages
from graph.runs.thread import Thread, as_uuid
from graph.runs.threads import Threads
from graph.runs.turn import Asking, Turn
from graph.state import AgentContext


class Starter:
    """Starts the caller's runs."""

    def __init__(self, agent: SupportAgent, threads: Threads, caller: Principal, connection: Connection) -> None:
        self._sessions = agent.sessions
        self._threads = threads
        self._caller = caller
        self._connection = connection

    async def in_thread(self, thread_id: str, body: ThreadRun) -> Turn:
        """Start a run in a thread, and return once it can be followed.

        Raises HTTPException where there is no such thread, SessionBusy where it has a run that is to be left alone.
        """
        thread = await self._thread(thread_id, creates=body.if_not_exists == "create")
        history = await self._sessions.history(thread.session_id, thread.owner)
        if body.checkpoint_name not in (None, history.checkpoint_id if history else None):
            raise invalid("checkpoint_id", "must be the thread's latest state; no other is kept")
        new = _new(body, history.messages if history else ())
        turn = await self._start(body, thread.session_id, thread.context(body.customer_id), new)
        if body.multitask_strategy == "interrupt":
            await self._interrupt_before(turn, thread)
        return turn

    async def alone(self, body: StatelessRun) -> Turn:
        """Start a run in a new thread, which is kept only if the client asks for that."""
        return await self._start(body, str(uuid.uuid4()), self._caller.context(body.customer_id), _new(body, ()))

    async def _thread(self, thread_id: str, *, creates: bool) -> Thread:
        name = as_uuid(thread_id)
        if name is None:
            raise HTTPException(404)
        tenant = self._caller.tenant
        thread = await self._threads.find(name, tenant)
        if thread is None and self._caller.is_operator and await self._threads.find(name, None):
            raise OthersThread  # one of its own with the same id would hide that one from the operator
        if thread is None and creates:
            thread = await self._threads.create(name, tenant, {}) or await self._threads.find(name, tenant)
        if thread is None:
            raise HTTPException(404)
        return thread

    async def _interrupt_before(self, turn: Turn, thread: Thread) -> None:
        """Cancel the thread's runs that came before one, whether they go on or wait.

        That one is known by now, so of several that are started at once the last cancels all others.
        """
        runs = await self._threads.runs(thread, most=None)
        earlier = runs[runs.index(turn.id) + 1 :] if turn.id in runs else []
        for run_id, (_, is_alive) in zip(earlier, await self._sessions.states(earlier), strict=True):
            if is_alive:
                await self._sessions.stop(self._sessions.known(run_id))

    async def _start(
        self, body: StatelessRun, session_id: str, context: AgentContext, messages: Sequence[AnyMessage]
    ) -> Turn:
        *earlier, question = messages
        asking = Asking(
            message_id=question.id,
            earlier=earlier,
            waits=body.multitask_strategy != "reject",
            is_kept=body.is_kept,
            outlives_readers=body.on_disconnect == "continue",
            request=body.described(question),
        )
        turn = self._sessions.turn(question.text, session_id, context, asking)
        try:
            await self._connection.while_open(self._sessions.begin_or_wait(turn))
        except BaseException:
            if body.on_disconnect == "cancel":
                turn.cancel()
            raise
        self._connection.ran(turn.id)
        return turn


def _new(body: StatelessRun, known: Sequence[AnyMessage]) -> list[AnyMessage]:
    new = new_messages(body.messages, known)
    if not new:
        raise invalid("input", "messages: the last is in the thread already; send a new one, with an id of its own")
    for message in new[:-1]:
        message.id = message.id or str(uuid.uuid4())
    return new


def invalid(field: str, message: str) -> RequestValidationError:
    """Return the error for a field of the body."""
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])


async def _starter(agent: AgentDep, threads: ThreadsDep, caller: PrincipalDep, connection: ConnectionDep) -> Starter:
    return Starter(agent, threads, caller, connection)


StarterDep = Annotated[Starter, Depends(_starter)]
