"""Metrics of runs and of their dependencies; labels have few values, and none comes from a caller.

The process that serves sets the meter provider; without one nothing is recorded.
"""

from collections.abc import Iterable

from opentelemetry import metrics

from graph.actions.reasons import REASONS
from graph.events import Done, Failed
from graph.observe.prices import OPENAI, cost
from graph.observe.report import RunReport
from graph.settings import AgentSettings

SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 120]
"""Upper bounds of the histogram buckets, in seconds."""

NAMESPACE = "support_agent"
"""The prefix of our metric names and span attributes."""

_meter = metrics.get_meter(NAMESPACE)

actions_ended = _meter.create_counter(
    "support_agent.actions", description="Actions that customers have confirmed or declined, by outcome."
)
active_runs = _meter.create_up_down_counter("support_agent.active_runs", description="Runs in progress.")
articles_outdated = _meter.create_gauge(
    "support_agent.articles_outdated",
    description="Whether articles have changed and can't be served: 1 if so, 0 if what is served is the latest.",
)
breaker_open = _meter.create_gauge(
    "support_agent.breaker_open", description="Whether a circuit breaker is open: 1 for open, 0 for closed."
)
handoffs_opened = _meter.create_counter(
    "support_agent.handoffs", description="Conversations that were handed over to a person, by reason."
)
handoffs_open = _meter.create_gauge(
    "support_agent.handoffs_open", description="Conversations that a person has taken over at the moment."
)
outbox_sent = _meter.create_counter(
    "support_agent.outbox_sent", description="Messages to the team, by outcome: sent, failed (tried again) or dropped."
)
outbox_waiting = _meter.create_gauge(
    "support_agent.outbox_waiting", description="Hand-overs of which the team has yet to get something."
)
outbox_age = _meter.create_gauge(
    "support_agent.outbox_age", "s", description="How long the oldest message to the team has been waiting."
)
model_errors = _meter.create_counter(
    "support_agent.model_errors", description="Failed calls to a model, by the error's code, status or kind."
)
redis_memory = _meter.create_gauge(
    "support_agent.redis_memory_ratio",
    description="Share of its maxmemory that Redis uses, from 0 to 1; 0 without one.",
)
redis_errors = _meter.create_counter(
    "support_agent.redis_errors", description="Redis commands that failed after their retry, by the error's kind."
)
refused_calls = _meter.create_counter(
    "support_agent.refused_calls",
    description="Tool calls of a model that were not run, since they were cut off or wrong.",
)
tool_calls = _meter.create_counter(
    "support_agent.tool_calls", description="Calls of MCP servers' tools, by server and outcome."
)
traces_dropped = _meter.create_counter(
    "support_agent.traces_dropped", description="Traces that were not sent to LangSmith."
)
unknown_categories = _meter.create_counter(
    "support_agent.unknown_categories", description="Classifier replies that name no desk, taken as the first."
)
_unanswered = _meter.create_counter(
    "support_agent.unanswered", description="Answers that say that the articles do not hold one, by category."
)
_first_token = _meter.create_histogram(
    "support_agent.first_token",
    "s",
    "Time from a run's start to its first token.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
_duration = _meter.create_histogram(
    "support_agent.run_duration",
    "s",
    "Duration of a run.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
_tokens = _meter.create_counter("support_agent.tokens", description="Tokens, as reported by the model's server.")
_cost = _meter.create_counter("support_agent.cost_dollars", description="US dollars, for models whose price is known.")
_fallbacks = _meter.create_counter("support_agent.fallbacks", description="Answers requested from the fallback model.")


class RunMetrics:
    """Records the metrics of runs."""

    def __init__(self, settings: AgentSettings, desks: Iterable[str]) -> None:
        self._server = settings.openai_base_url or OPENAI
        self._fallback = settings.fallback_model
        for name in {settings.classify_model, settings.answer_model}:
            cost(self._server, name, 0, 0)  # fills the price cache, so that no run waits for it
        for counter in (refused_calls, traces_dropped, unknown_categories):
            counter.add(0)  # so that the series exists before the first event
        for outcome in ("done", "failed", "unknown", "declined"):
            actions_ended.add(0, {"outcome": outcome})
        for outcome in ("answered", "failed"):
            _fallbacks.add(0, {"outcome": outcome})
        for reason in REASONS:
            handoffs_opened.add(0, {"reason": reason})
        for outcome in ("sent", "failed", "dropped"):
            outbox_sent.add(0, {"outcome": outcome})
        for desk in desks:
            _unanswered.add(0, {"category": desk})

    def observe(self, report: RunReport) -> None:
        """Record the metrics of a run that has ended."""
        if report.is_hit or report.ended is None:
            return
        done = isinstance(report.ending, Done)
        outcome = report.ending.error if isinstance(report.ending, Failed) else "done"
        labels = {"category": report.category or "none", "outcome": outcome}
        _duration.record(report.ended - report.began, labels)
        if isinstance(report.ending, Done) and not report.ending.answered:
            _unanswered.add(1, {"category": report.ending.category})
        if report.first_token:
            _first_token.record(report.first_token - report.began)
        for call in report.calls:
            _tokens.add(call.input_tokens, {"model": call.model, "direction": "input"})
            _tokens.add(call.output_tokens, {"model": call.model, "direction": "output"})
            if costs := cost(self._server, call.model, call.input_tokens, call.output_tokens):
                _cost.add(sum(costs), {"model": call.model})
        asked = [call.model for call in report.calls if call.step == "answer"]
        if self._fallback in asked:
            _fallbacks.add(1, {"outcome": "answered" if done else "failed"})
