"""Reports of runs: recorded while a run executes, and passed to traces, metrics and logs when it has ended.

Times are Unix timestamps, in seconds. An error is a kind, such as `HTTP 500` or `model-timeout`, never an exception's
text.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import cast

from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata
from opentelemetry import trace
from opentelemetry.trace import Span

from graph.errors import RunError
from graph.events import Ending
from graph.state import AgentContext, StateUpdate

_MAX_TOKENS = 10_000_000  # more than any request uses

recording = ContextVar["RunReport | None"]("recording", default=None)
"""The report of the current run."""


@dataclass(slots=True)
class ModelCall:
    """One attempt to call a model."""

    step: str
    """The node that made the call."""
    model: str
    prompt: Sequence[BaseMessage]
    began: float = field(default_factory=time.time)
    first_token: float | None = None
    ended: float | None = None
    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None

    def add(self, text: str, usage: UsageMetadata | None) -> None:
        """Add a reply, or a piece of one."""
        if text:
            if self.first_token is None:
                self.first_token = time.time()
            self.text += text
        if usage:  # some servers report a running total
            self.input_tokens = max(self.input_tokens, plausible_tokens(usage["input_tokens"]))
            self.output_tokens = max(self.output_tokens, plausible_tokens(usage["output_tokens"]))

    def end(self, error: str | None = None) -> None:
        """Record the end of the call; later calls of this method change nothing."""
        if self.ended is None:
            self.ended = time.time()
            self.error = error


@dataclass(slots=True)
class ToolRun:
    """One call of a tool."""

    name: str
    server: str
    arguments: Mapping[str, object]
    began: float = field(default_factory=time.time)
    ended: float | None = None
    text: str = ""
    """What it has returned."""
    error: str | None = None
    """`error` if the tool says that it has not done it, `not-called`, or `unknown`."""

    def end(self, text: str, error: str | None) -> None:
        """Record the end of the call; later calls of this method change nothing."""
        if self.ended is None:
            self.ended = time.time()
            self.text = text
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
    """The answer is a cache hit, and the graph did not run."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those of the prompts and articles that were served when it began, by name."""
    began: float = field(default_factory=time.time)
    first_token: float | None = None
    ended: float | None = None
    ending: Ending | None = None
    reason: str | None = None
    """The reason for a failure, for the log."""
    parent: Span = field(default_factory=trace.get_current_span)
    """The span of the request that started the run."""
    steps: list[Step] = field(default_factory=list[Step])
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
    tools: list[ToolRun] = field(default_factory=list[ToolRun])

    @property
    def category(self) -> str | None:
        """The classifier's category; None before its reply."""
        updates = [step.update for step in self.steps if step.update]
        return next((cast("str", update["category"]) for update in updates if "category" in update), None)

    def end(self, ending: Ending) -> None:
        """Record how the run ended."""
        self.ended = time.time()
        self.ending = ending


Observe = Callable[[RunReport], None]
"""Receives the report of a run that has ended; must not raise or block."""


def begin_call(step: str, model: str, prompt: Sequence[BaseMessage]) -> ModelCall:
    """Record the start of a call to a model."""
    call = ModelCall(step, model, prompt)
    if report := recording.get():
        report.calls.append(call)
    return call


def begin_tool(name: str, server: str, arguments: Mapping[str, object]) -> ToolRun:
    """Record the start of a call of a tool."""
    run = ToolRun(name, server, arguments)
    if report := recording.get():
        report.tools.append(run)
    return run


@contextmanager
def recorded_step(name: str) -> Generator[Step]:
    """Record the execution of a node."""
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


def plausible_tokens(tokens: int) -> int:
    """Return a server's token count, or 0 if it is implausible."""
    return int(tokens) if 0 <= tokens <= _MAX_TOKENS else 0
