"""A run's trace in LangSmith's format: the run, its nodes, its model calls and its tools."""

import hashlib
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, cast

from langchain_core.messages import BaseMessage

from graph import __version__
from graph.events import Done, Failed
from graph.observe.prices import OPENAI, cost
from graph.observe.report import ModelCall, RunReport, Step, ToolRun
from graph.settings import AgentSettings
from graph.state import Action, Handoff, Passage

NAME = "support-agent"
"""The name of each trace's root."""

_ARTICLE = re.compile(r"(?=^</?passages?\b)", re.MULTILINE)  # the start of an article in the answer's prompt


class Traces:
    """Converts reports to traces, in the format of LangSmith's API."""

    def __init__(self, settings: AgentSettings) -> None:
        self._project = settings.langsmith_project
        self._server = settings.openai_base_url or OPENAI
        self._metadata: dict[str, str | bool] = {"release": __version__, "environment": settings.env}

    def of(self, report: RunReport) -> list[dict[str, Any]]:
        """Return the runs of a report's trace, in the format of LangSmith's API."""
        root = self._root(report)
        steps = {step.name: _child(root, _step(report, step), step) for step in report.steps}
        calls = [_child(steps[call.step], self._call(call), call) for call in report.calls]
        asked = steps.get("answer", root)
        tools = [_child(asked, _tool(run), run, number) for number, run in enumerate(report.tools)]
        return [root, *steps.values(), *calls, *tools]

    def _root(self, report: RunReport) -> dict[str, Any]:
        began = _time(report.began)
        metadata: dict[str, str | bool] = {
            **self._metadata,
            **report.versions,
            "tenant": report.context.tenant,
            "cache": "hit" if report.is_hit else "miss",
        }
        if report.session_id:
            metadata["cache"] = "none"
            metadata["session"] = _hash(report.context.owner, report.session_id)
        if report.context.customer_id:
            metadata["customer"] = _hash(report.context.tenant, report.context.customer_id)
        category = report.ending.category if isinstance(report.ending, Done) else report.category
        if category:
            metadata["category"] = category
        root: dict[str, Any] = {
            "id": report.run_id,
            "trace_id": report.run_id,
            "dotted_order": _order(began, report.run_id),
            "name": NAME,
            "run_type": "chain",
            "session_name": self._project,
            "inputs": {"messages": [{"role": "user", "content": report.question}]},
            "start_time": began,
            "end_time": _time(report.ended),
            "extra": {"metadata": metadata},
            "tags": [],
        }
        if isinstance(report.ending, Done):
            metadata["answered"] = report.ending.answered
            if report.ending.handoff:
                metadata["handoff"] = report.ending.handoff.reason
            sources = [_known(asdict(source)) for source in report.ending.sources]
            outputs: dict[str, Any] = {
                "messages": [{"role": "assistant", "content": report.ending.answer}],
                "answered": report.ending.answered,
                "category": report.ending.category,
                "sources": sources,
                "tokens_used": report.ending.tokens_used,
            }
            for name in ("action", "handoff"):
                if (value := getattr(report.ending, name)) is not None:
                    outputs[name] = _plain(value)
            root["outputs"] = outputs
        elif isinstance(report.ending, Failed):
            root["error"] = report.ending.error
        if report.first_token:
            root["events"] = [{"name": "new_token", "time": _time(report.first_token)}]
        return root

    def _call(self, call: ModelCall) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "total_tokens": call.input_tokens + call.output_tokens,
        }
        if costs := cost(self._server, call.model, call.input_tokens, call.output_tokens):
            usage |= {"input_cost": costs[0], "output_cost": costs[1], "total_cost": sum(costs)}
        reply = {"role": "assistant", "content": call.text}
        return {
            "name": call.model,
            "run_type": "llm",
            "inputs": {"messages": [_message(message) for message in call.prompt]},
            "outputs": {"messages": [reply], "usage_metadata": usage},
            "error": call.error,
            "events": [{"name": "new_token", "time": _time(call.first_token)}] if call.first_token else [],
            "extra": {
                "metadata": {
                    "ls_provider": "openai",
                    "ls_model_name": call.model,
                    "ls_model_type": "chat",
                    "ls_temperature": 0,
                    "usage_metadata": usage,
                }
            },
        }


def _step(report: RunReport, step: Step) -> dict[str, Any]:
    update = step.update or {}
    run: dict[str, Any] = {"name": step.name, "error": step.error, "extra": {"metadata": {}}}
    if step.name == "retrieve":
        passages = cast("Sequence[Passage]", update.get("passages", ()))
        return run | {
            "run_type": "retriever",
            "inputs": {"query": report.question},
            "outputs": {"documents": [_document(passage) for passage in passages]},
        }
    shown = {name: _plain(value) for name, value in update.items() if name != "messages"}
    if isinstance(messages := update.get("messages"), list) and messages:
        shown["messages"] = [_message(cast("list[BaseMessage]", messages)[-1])]
    question = {"messages": [{"role": "user", "content": report.question}]}
    return run | {"run_type": "chain", "inputs": question, "outputs": shown}


def _tool(run: ToolRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "run_type": "tool",
        "inputs": dict(run.arguments),
        "outputs": {"output": run.text},
        "error": run.error,
        "extra": {"metadata": {"server": run.server}},
    }


def _child(
    parent: Mapping[str, Any], run: dict[str, Any], part: Step | ModelCall | ToolRun, number: int = 0
) -> dict[str, Any]:
    """Return a part of a trace; a `number` tells parts apart that begin at once."""
    start = _time(part.began)
    seed = f"{run['name']} {start}{number or ''}"  # the same for each attempt to send
    name = str(uuid.uuid5(uuid.UUID(parent["id"]), seed))
    return run | {
        "id": name,
        "trace_id": parent["trace_id"],
        "parent_run_id": parent["id"],
        "dotted_order": f"{parent['dotted_order']}.{_order(start, name)}",
        "session_name": parent["session_name"],
        "start_time": start,
        "end_time": _time(part.ended),
    }


def _message(message: BaseMessage) -> dict[str, Any]:
    """Return a message in OpenAI's format; each article of a prompt is a separate part, so that its mask is cached."""
    role = {"human": "user", "ai": "assistant"}.get(message.type, message.type)
    text = message.text
    if role == "system" and len(parts := _ARTICLE.split(text)) > 1:
        return {"role": role, "content": [{"type": "text", "text": part} for part in parts]}
    return {"role": role, "content": text}


def _document(passage: Passage) -> dict[str, Any]:
    metadata = _known({name: value for name, value in passage.items() if name != "text"})
    return {"page_content": passage["text"], "type": "Document", "metadata": metadata}


def _plain(value: object) -> object:
    """Return an action or a hand-over as a dictionary, in which text can be masked."""
    return asdict(value) if isinstance(value, Action | Handoff) else value


def _known(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields without those that are unknown."""
    return {name: value for name, value in fields.items() if value is not None}


def _order(began: datetime, name: str) -> str:
    """Return a run's part of LangSmith's `dotted_order`."""
    return f"{began:%Y%m%dT%H%M%S%f}Z{name}"


def _time(seconds: float | None) -> datetime:
    return datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)


def _hash(owner: str, name: str) -> str:
    """Return a pseudonym for an id that belongs to the owner."""
    return hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:16]
