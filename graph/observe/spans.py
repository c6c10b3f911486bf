"""OpenTelemetry spans of runs, in the trace of the request that started them; they contain no questions or answers."""

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from graph.events import Done, Failed
from graph.observe.metrics import NAMESPACE
from graph.observe.report import RunReport

_tracer = trace.get_tracer(NAMESPACE)


def trace_run(report: RunReport) -> None:
    """Create the spans of a run that has ended: the run, its nodes, its model calls and its tools."""
    if not report.parent.get_span_context().is_valid:
        return
    root = _start("run", report.began, report.parent)
    root.set_attribute(f"{NAMESPACE}.run_id", report.run_id)
    root.set_attribute(f"{NAMESPACE}.category", report.category or "none")
    if isinstance(report.ending, Done) and report.ending.handoff:
        root.set_attribute(f"{NAMESPACE}.handoff", report.ending.handoff.reason)
    steps: dict[str, Span] = {}
    for step in report.steps:
        steps[step.name] = _start(step.name, step.began, root)
    for call in report.calls:
        span = _start(f"chat {call.model}", call.began, steps[call.step])
        span.set_attribute("gen_ai.request.model", call.model)
        span.set_attribute("gen_ai.usage.input_tokens", call.input_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", call.output_tokens)
        _end(span, call.ended, call.error)
    for tool in report.tools:
        span = _start(f"execute_tool {tool.name}", tool.began, steps.get("answer", root))
        span.set_attribute("gen_ai.tool.name", tool.name)
        _end(span, tool.ended, tool.error)
    for step in report.steps:
        _end(steps[step.name], step.ended, step.error)
    _end(root, report.ended, report.ending.error if isinstance(report.ending, Failed) else None)


def _start(name: str, began: float, parent: Span) -> Span:
    return _tracer.start_span(name, trace.set_span_in_context(parent), start_time=_nanoseconds(began))


def _end(span: Span, ended: float | None, error: str | None) -> None:
    if error:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(_nanoseconds(ended) if ended else None)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
