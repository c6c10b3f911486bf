"""The newest states of sessions, read and changed outside any turn."""

from collections.abc import Sequence
from typing import cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.message import add_messages

from graph.builder import AgentGraph
from graph.errors import MemoryUnavailable, StateRefused
from graph.nodes.answer import removals
from graph.redis import memory_errors
from graph.runs.colleagues import HeldSession
from graph.runs.memory import Memory, State, thread_id
from graph.runs.thread import Thread
from graph.runs.threads import Threads


class States:
    """The states; every method raises MemoryUnavailable if Redis can't be reached."""

    def __init__(
        self, graph: AgentGraph, memory: Memory, held: HeldSession, most_messages: int, threads: Threads | None
    ) -> None:
        self._graph = graph
        self._memory = memory
        self._held = held
        self._most = most_messages
        self._threads = threads

    async def newest(self, threads: Sequence[Thread]) -> list[State | None]:
        """Return the newest state of each thread's session; None where there is no such session."""
        return await self._memory.states([_name(thread) for thread in threads])

    async def update(self, thread: Thread, messages: Sequence[AnyMessage | RemoveMessage]) -> State:
        """Add to a session's messages, replace them by their ids or remove them, and return the new state.

        Every message has an id. Raises StateRefused, and SessionBusy if the session's turn takes too long.
        """
        config: RunnableConfig = {"configurable": {"thread_id": _name(thread)}}
        async with self._held(_name(thread)):
            (state,) = await self.newest([thread])
            dropped = removals(_changed(state.messages if state else (), messages), self._most)
            with memory_errors():
                await self._graph.aupdate_state(config, {"messages": [*messages, *dropped]}, as_node="answer")
            if self._threads:
                await self._threads.touch(thread)
            (state,) = await self.newest([thread])
        if state is None:  # it has expired meanwhile
            raise MemoryUnavailable
        return state


def _name(thread: Thread) -> str:
    return thread_id(thread.owner, thread.session_id)


def _changed(known: Sequence[AnyMessage], messages: Sequence[AnyMessage | RemoveMessage]) -> Sequence[AnyMessage]:
    try:
        whole = cast("list[AnyMessage]", add_messages([*known], [*messages]))
    except ValueError:
        raise StateRefused("values.messages: the message to remove is not there.") from None
    if not whole or not isinstance(whole[0], HumanMessage) or not isinstance(whole[-1], AIMessage):
        raise StateRefused(
            "values.messages: must leave a conversation that begins with a customer's message and ends with an answer."
        )
    return whole
