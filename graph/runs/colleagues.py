"""What the team does with conversations that are handed over: it lists, answers and releases them."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import cast

from langchain_core.messages import AIMessage, AnyMessage

from graph.actions.handing_over import handed_over
from graph.actions.handoffs import FIRST, Handoffs, Record, SessionEvent, stamp
from graph.actions.reasons import AGENT, HANDOFF, language_in
from graph.actions.records import Record as ActionRecord
from graph.actions.replies import Outcome, sentence
from graph.actions.standing import Standing
from graph.errors import HandoffOver, IdempotencyMismatch
from graph.idempotency import claim_key, digest
from graph.redis import memory_errors
from graph.retrieval.company import Desk
from graph.runs.memory import Memory, thread_id, turn_key

_POLL = 0.5  # seconds between two looks at what a reader is to be told
_GONE = 15.0  # seconds between two looks whether the session is still there


HeldSession = Callable[[str], AbstractAsyncContextManager[None]]
"""Holds a thread's session for as long as a block lasts, so that no turn can begin in it; raises SessionBusy."""


class Colleagues:
    """The conversations that a person has taken over; every method raises MemoryUnavailable if Redis can't be reached.

    `tenant` is the caller's, or None for those who may see those of all tenants.
    """

    def __init__(self, handoffs: Handoffs, memory: Memory, held: HeldSession, most_messages: int) -> None:
        self.waiting = handoffs.waiting
        """Set when there is something for the team."""
        self._handoffs = handoffs
        self._memory = memory
        self._held = held
        self._most = most_messages

    async def lasting(self, tenant: str | None) -> list[Record]:
        """Return the hand-overs that last."""
        return [record for record in await self._handoffs.lasting() if tenant in (None, record.tenant)]

    async def find(self, handoff_id: str, tenant: str | None) -> Record | None:
        """Return a hand-over that lasts, or has ended lately."""
        found = await self._handoffs.find(handoff_id)
        return found[0] if found and tenant in (None, found[0].tenant) else None

    async def messages(self, record: Record) -> Sequence[AnyMessage]:
        """Return the conversation that was handed over; nothing if it has expired."""
        history = await self._memory.history(record.thread)
        return history.messages if history else ()

    async def answer(self, handoff_id: str, message: str, idempotency_key: str = "") -> SessionEvent | None:
        """Answer the customer, once for an idempotency key; None if there is no such hand-over.

        Raises HandoffOver if it has ended, SessionBusy if the customer's own turn takes too long, and
        IdempotencyMismatch if the key was used with another message.
        """
        found = await self._handoffs.find(handoff_id)
        if found is None:
            return None
        record, stored = found
        claim = [claim_key("handoff", handoff_id, idempotency_key)] if idempotency_key else []
        at = stamp(datetime.now(UTC))
        said = AIMessage(message, id=str(uuid.uuid4()), additional_kwargs={AGENT: at})
        event = _message(str(said.id), message, at)
        async with self._held(record.thread):
            if claim and (earlier := await self._handoffs.claimed(claim[0])):
                return _repeated(earlier, message)
            turn = await self._memory.with_message(record.thread, said, self._most)
            if turn is None or record.status != "open":  # the customer has deleted the conversation
                raise HandoffOver
            if claim:
                claim.append(json.dumps([said.id, at, digest(message)]))
            await self._handoffs.reply(record, stored, turn_key(record.thread), turn, event, *claim)
        return event

    async def tell(self, desk: Callable[[], Desk], ended: ActionRecord, *, is_told: bool) -> None:
        """Say in its session's history how an action has ended, and hand over if it has failed; once, however often.

        `is_told` if a turn says so: then this only hands over, unless that turn has. Raises SessionBusy.
        """
        has_failed = ended.status in ("failed", "unknown")
        if is_told and not has_failed:
            return
        now = Standing(ended.session_id, ended.run_id, thread_id(ended.context.owner, ended.session_id))
        name = f"action-{ended.id}"
        async with self._held(now.thread):
            history = await self._memory.history(now.thread)
            if history is None or name in (message.id for message in history.messages):
                return
            if has_failed and not await self._handoffs.of_session(now.thread):
                text, passing = handed_over(
                    now, history.messages, "", desk(), ended.context, "action", failed=ended.action()
                )
                said = AIMessage(text, id=name, additional_kwargs={HANDOFF: passing.record.id})
                if turn := await self._memory.with_message(now.thread, said, self._most):
                    with memory_errors():
                        await self._handoffs.store(turn_key(now.thread), turn, passing)
            elif not is_told:
                text = sentence(cast("Outcome", ended.status), language_in(history.messages), ended.summary)
                if history.messages[-1].text != text:  # a turn may have waited for the end on another replica
                    await self._memory.add(now.thread, AIMessage(text, id=name), self._most)

    async def release(self, handoff_id: str) -> Record | None:
        """Let the agent answer the customer again; return the hand-over, None if there is none or it has ended."""
        return await self._handoffs.end(handoff_id, turn_key, "released")

    async def time_out(self, handoff_id: str) -> None:
        """End a hand-over in which no person has written for too long."""
        await self._handoffs.end(handoff_id, turn_key, "timed-out")

    async def release_session(self, session_id: str, owner: str) -> None:
        """End the hand-over of a session that has been deleted."""
        if record := await self.of_session(session_id, owner):
            await self._handoffs.end(record.id, turn_key, "released", is_forgotten=True)

    async def is_there(self, session_id: str, owner: str) -> bool:
        """Return whether an owner has such a session."""
        return await self._memory.is_there(thread_id(owner, session_id))

    async def of_session(self, session_id: str, owner: str) -> Record | None:
        """Return the hand-over that lasts in an owner's session."""
        return await self._handoffs.of_session(thread_id(owner, session_id))

    async def _beginning(self, record: Record | None, thread: str) -> str:
        """Return after which event a new reader begins: with the beginning of a hand-over that lasts, or at the end."""
        after = FIRST
        for name, event in await self._handoffs.events(thread, FIRST):
            if record and event.event == "handoff" and event.data["id"] == record.id:
                return after
            after = name
        return after

    async def events(self, session_id: str, owner: str, after: str | None) -> AsyncIterator[tuple[str, SessionEvent]]:
        """Yield what a reader of an owner's session is told after an event, as it happens, until the session is gone.

        Without an event it begins with the hand-over that lasts, or with what comes next.
        """
        thread = thread_id(owner, session_id)
        if after is None:
            after = await self._beginning(await self._handoffs.of_session(thread), thread)
        looked = time.monotonic()
        while True:
            for name, event in await self._handoffs.events(thread, after):
                after = name
                yield name, event
            await asyncio.sleep(_POLL)
            if time.monotonic() - looked > _GONE:
                looked = time.monotonic()
                if not await self._memory.is_there(thread):
                    return


def _message(name: str, text: str, at: str) -> SessionEvent:
    return SessionEvent("message", {"id": name, "role": "agent", "content": text, "at": at})


def _repeated(claimed: bytes, message: str) -> SessionEvent:
    """Return the message that was written with an idempotency key; raises IdempotencyMismatch if it was another."""
    name, at, body = json.loads(claimed)
    if body != digest(message):
        raise IdempotencyMismatch
    return _message(name, message, at)
