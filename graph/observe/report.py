"""What a run did, recorded while it runs, for traces, metrics and logs, which get it once the run has ended.

Times are seconds since 1970. An error is a kind, such as `HTTP 500` or `model-timeout`, never an exception's text.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import cast

from langchain_core.messages import AIMessage, BaseMessage
from opentelemetry import trace
from opentelemetry.trace import Span

from graph.errors import RunError
from graph.events import Done, Failed
from graph.state import AgentContext, Category, StateUpdate

_MOST_TOKENS = 10_000_000  # more than any request costs

recording = ContextVar["RunReport | None"]("recording", default=None)
"""The report of the run that is being executed."""


@dataclass(slots=True)
class ModelCall:
    """One attempt to have a model answer."""

    step: str
    """The node that asked."""
    model: str
    prompt: Sequence[BaseMessage]
    began: float = field(default_factory=time.time)
    first_token: float | None = None
    ended: float | None = None
    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None

    def add(self, message: AIMessage) -> None:
        """Take a reply, or a piece of one."""
        text = message.text
        if text and self.first_token is None:
            self.first_token = time.time()
        self.text += text
        if usage := message.usage_metadata:  # a server may count as it goes
            self.input_tokens = max(self.input_tokens, sensible(usage["input_tokens"]))
            self.output_tokens = max(self.output_tokens, sensible(usage["output_tokens"]))

    def end(self, error: str | None = None) -> None:
        """Take no more; what has ended stays as it is."""
        if self.ended is None:
            self.ended = time.time()
            self.error = error


@dataclass(slots=True)
class Step:
    """One execution of a node."""

    name: str
    began: float = field(default_factory=time.time)
    ended: float | None = None
    update: StateUpdate | None = None
    """What the node returned."""
    error: str | None = None


@dataclass(slots=True)
class RunReport:
    """What a run did."""

    run_id: str
    question: str
    context: AgentContext
    session_id: str | None = None
    is_hit: bool = False
    """The answer was kept from an earlier run, and the graph did not run."""
    began: float = field(default_factory=time.time)
    first_token: float | None = None
    ended: float | None = None
    ending: Done | Failed | None = None
    reason: str | None = None
    """What the log says of a failure."""
    parent: Span = field(default_factory=trace.get_current_span)
    """The span of the request that asked."""
    steps: list[Step] = field(default_factory=list[Step])
    calls: list[ModelCall] = field(default_factory=list[ModelCall])

    @property
    def category(self) -> Category | None:
        """What the classifier said, if it did."""
        updates = [step.update for step in self.steps if step.update]
        return next((cast("Category", update["category"]) for update in updates if "category" in update), None)

    def end(self, ending: Done | Failed) -> None:
        """Say how the run ended."""
        self.ended = time.time()
        self.ending = ending


Observe = Callable[[RunReport], None]
"""What gets a report once its run has ended; it neither raises nor waits."""


def begin_call(step: str, model: str, prompt: Sequence[BaseMessage]) -> ModelCall:
    """Record that a model is asked."""
    call = ModelCall(step, model, prompt)
    if report := recording.get():
        report.calls.append(call)
    return call


@contextmanager
def recorded_step(name: str) -> Generator[Step]:
    """Record that a node is executed."""
    step = Step(name)
    if report := recording.get():
        report.steps.append(step)
    try:
        yield step
    except BaseException as error:
        step.error = error.code if isinstance(error, RunError) else type(error).__name__
        raise
    finally:
        step.ended = time.time()


def sensible(tokens: int) -> int:
    """Return what a server counted, or 0 where that can't be."""
    return int(tokens) if 0 <= tokens <= _MOST_TOKENS else 0
