"""Handing over as the nodes do it: what is answered without a model, and what an answer hands over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from langchain_core.messages import AIMessage, AnyMessage

from graph.actions.handoffs import Passing, opening, passing_on, read_record
from graph.actions.reasons import (
    HANDOFF,
    Reason,
    asked_in,
    is_second_unanswered,
    language_in,
    passed_on,
    topic_of,
    what_happens,
)
from graph.actions.replies import Outcome, sentence
from graph.actions.standing import Standing, standing
from graph.retrieval.company import Company, Desk
from graph.state import Action, AgentContext, Handoff


@dataclass(frozen=True, slots=True)
class Short:
    """What a message is answered without a model or a search, because a person takes over, or has done so."""

    text: str
    """Nothing where the customer has been told already."""
    category: str
    handoff: Handoff


def is_short(messages: Sequence[AnyMessage]) -> bool:
    """Return whether `short_of` answers the last message; never outside a session."""
    now = standing.get()
    return now is not None and bool(now.handoff or asked_in(messages[-1].text))


def category_of(company: Company) -> str:
    """Return the desk of such a message: that of the hand-over, else the first."""
    now = standing.get()
    return read_record(now.handoff).category if now and now.handoff else company.desks[0].name


def short_of(messages: Sequence[AnyMessage], company: Company, context: AgentContext) -> Short | None:
    """Pass the last message on to the person who has taken over, or hand over if it asks for a person."""
    now = standing.get()
    if now is None:
        return None
    if now.handoff:
        record = read_record(now.handoff)
        now.passing = passing_on(now, record, messages[-1])
        is_told = any(message.additional_kwargs.get(PASSED) == record.id for message in messages)
        return Short("" if is_told else passed_on(record.language), record.category, record.shown)
    language = asked_in(messages[-1].text)
    if language is None:
        return None
    desk = company.desks[0]
    text, now.passing = handed_over(now, messages, "", desk, context, "asked", language)
    return Short(text, desk.name, now.passing.record.shown)


PASSED = "passed"
"""The field of a stored answer that says of which hand-over the customer was told that messages are passed on."""


def marks_of(short: Short) -> dict[str, str]:
    """Return the fields of the stored answer."""
    now = standing.get()
    is_passed = now is not None and now.passing is not None and not now.passing.is_opened
    return {HANDOFF: short.handoff.id} | ({PASSED: short.handoff.id} if is_passed else {})


def after(
    messages: Sequence[AnyMessage],
    said: str,
    desk: Desk,
    context: AgentContext,
    *,
    is_answered: bool,
    action: Action | None,
) -> tuple[str, Handoff] | None:
    """Hand over after an answer, if there is a reason; return what the customer is told, and the hand-over."""
    now = standing.get()
    reason = _reason(messages, desk, is_answered=is_answered, action=action)
    if now is None or reason is None:
        return None
    before, failed = f"{said}\n\n" if said else "", action if reason == "action" else None
    text, now.passing = handed_over(now, messages, before, desk, context, reason, failed=failed)
    return text, now.passing.record.shown


def handed_over(
    now: Standing,
    messages: Sequence[AnyMessage],
    said: str,
    desk: Desk,
    context: AgentContext,
    reason: Reason,
    language: str | None = None,
    failed: Action | None = None,
) -> tuple[str, Passing]:
    """Return what the customer is told, and what is to be stored with the turn.

    `said` is what is told before. Where nothing is, the customer is told that an action has failed.
    """
    language = language or language_in(messages)
    passing = opening(now, context, desk, reason, messages, language, failed.summary if failed else None)
    expected = passing.record.expected_reply
    zone = desk.opening.zone if desk.opening else "UTC"
    text = what_happens(language, datetime.fromisoformat(expected) if expected else None, zone, desk.hours)
    if failed and not said:
        text = f"{sentence(cast('Outcome', failed.status), language, failed.summary)}\n\n{text}"
    return text, passing.with_answer(AIMessage(said + text))


def _reason(messages: Sequence[AnyMessage], desk: Desk, *, is_answered: bool, action: Action | None) -> Reason | None:
    if action and action.status in ("failed", "unknown"):
        return "action"
    if topic := topic_of(messages[-1].text, desk):
        return topic
    return "unanswered" if not is_answered and is_second_unanswered(messages) else None
