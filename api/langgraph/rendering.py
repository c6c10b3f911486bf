"""A run's events as LangGraph's server streams them.

Each of our events becomes none, one or several of theirs, in this order:

`run`: `metadata`, then `values` with the customer's message · `category`, `sources`: `custom`, `updates` of the node
`classify` or `retrieve`; after both, `values` · `token`: `custom`, `messages` (mode `messages-tuple`), and
`messages/metadata` before the first and `messages/partial` (mode `messages`) · `action`, `handoff`: `custom` ·
`done`: `updates` of the node `answer`, `values` with the answer · `error`: `error`, or nothing for a cancelled run.

The k-th of the n-th event's has the id `<n>-<k>`, in whichever modes a client reads, on every replica.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk, RemoveMessage
from pydantic_core import to_jsonable_python

from api.errors import problem_of
from api.langgraph.assistant import ASSISTANT_ID, GRAPH_ID
from graph.actions.reasons import HANDOFF
from graph.errors import Cancelled
from graph.events import CategoryFound, Done, Ending, Event, Failed, NodeEvent, RunStarted, Source, SourcesFound, Token
from graph.message_ids import answer_id
from graph.runs.records import Message, RunRecord, as_json

Mode = Literal["values", "updates", "messages", "messages-tuple", "custom"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """An event as LangGraph's server streams it."""

    id: tuple[int, int]
    name: str
    mode: Mode | None
    """The mode that it belongs to; None for one that belongs to every stream."""
    data: Any


class Rendering:
    """Renders the events of one run, from its first on."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._answer_id = answer_id(record.run_id)
        self._chunk = as_json(AIMessageChunk(content="", id=self._answer_id))
        self._partial = as_json(AIMessage("", id=self._answer_id))
        self._metadata = {
            **run_metadata(record),
            "run_id": record.run_id,
            "thread_id": record.thread_id,
            "langgraph_node": "answer",
            "langgraph_step": 2,
            "langgraph_triggers": ["branch:to:answer"],
            "langgraph_path": ["__pregel_pull", "answer"],
            "langgraph_checkpoint_ns": f"answer:{self._answer_id}",
        }
        self._messages: list[Message] = [*(record.history or ()), record.question]
        self._found: dict[str, Any] = {}
        self._text = ""
        self.has_ended = False
        """Whether the run has ended, in whatever way."""

    @property
    def values(self) -> dict[str, Any]:
        """The state as far as it is known; after a run that has failed, as it was before."""
        return {"messages": self._messages, **self._found}

    def render(self, n: int, event: Event) -> list[Rendered]:
        """Return what the run's n-th event becomes."""
        self.has_ended = isinstance(event, Ending)
        parts = enumerate(self._parts(event))
        return [Rendered((n, k), name, mode, data) for k, (name, mode, data) in parts]

    def _parts(self, event: Event) -> Iterator[tuple[str, Mode | None, Any]]:
        match event:
            case RunStarted():
                yield "metadata", None, {"run_id": event.run_id, "attempt": 1}
                yield "values", "values", self.values
            case Done():
                yield from self._done(event)
            case Failed():
                self._messages = [*(self._record.history or ())]
                self._found = {}
                if event.error != Cancelled.code:
                    yield "error", None, error_of(event)
            case _:
                yield from self._node(event)

    def _node(self, event: NodeEvent) -> Iterator[tuple[str, Mode | None, Any]]:
        yield "custom", "custom", to_jsonable_python(event)
        if isinstance(event, Token):
            yield from self._token(event.text)
        elif isinstance(event, CategoryFound):
            yield from self._node_done("classify", {"category": event.category})
        elif isinstance(event, SourcesFound):
            yield from self._node_done("retrieve", {"passages": passages_of(event.sources)})

    def _node_done(self, node: str, update: dict[str, Any]) -> Iterator[tuple[str, Mode | None, Any]]:
        self._found |= update
        yield "updates", "updates", {node: update}
        if len(self._found) > 1:
            yield "values", "values", self.values

    def _token(self, text: str) -> Iterator[tuple[str, Mode | None, Any]]:
        yield "messages", "messages-tuple", [{**self._chunk, "content": text}, self._metadata]
        if not self._text:
            yield "messages/metadata", "messages", {self._answer_id: {"metadata": self._metadata}}
        self._text += text
        yield "messages/partial", "messages", [{**self._partial, "content": self._text}]

    def _done(self, done: Done) -> Iterator[tuple[str, Mode | None, Any]]:
        marks: dict[str, Any] = {} if done.answered else {"answered": False}
        if done.handoff:
            marks[HANDOFF] = done.handoff.id
        said = [as_json(AIMessage(done.answer, id=self._answer_id, additional_kwargs=marks))] if done.answer else []
        messages = [*self._messages, *said]
        kept = messages[-done.messages_in_history :]
        dropped = [as_json(RemoveMessage(id=message["id"])) for message in messages[: -len(kept)]]
        update = answered_with(done)
        self._messages = kept
        self._found |= update
        yield "updates", "updates", {"answer": {"messages": [*dropped, *said], **update}}
        yield "values", "values", self.values


def answered_with(done: Done) -> dict[str, Any]:
    """Return what the node `answer` has set beside the messages."""
    found = {"action": done.action, "handoff": done.handoff}
    return {
        "tokens_used": done.tokens_used,
        "complete": done.complete,
        "answered": done.answered,
        **{name: to_jsonable_python(value) for name, value in found.items() if value},
    }


def run_metadata(record: RunRecord) -> dict[str, Any]:
    """Return a run's metadata: what the client has given, and the assistant."""
    return {**record.request.get("metadata", {}), "graph_id": GRAPH_ID, "assistant_id": ASSISTANT_ID}


def passages_of(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Return the state's passages without their text, which events do not have."""
    return [to_jsonable_python(source) for source in sources]


def error_of(failed: Failed) -> dict[str, str]:
    """Return how a run has failed, in the form that LangGraph's clients read."""
    return {"error": failed.error, "message": problem_of(failed.error, "/").detail}
