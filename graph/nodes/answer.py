"""Write the answer from the passages, and from what tools say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.runtime import Runtime

from graph.actions.answering import settled
from graph.actions.confirming import Actions
from graph.actions.handing_over import after, marks_of, short_of
from graph.actions.reasons import HANDOFF, language_in
from graph.actions.replies import spoken_reply
from graph.errors import ModelError, ModelUnavailable
from graph.events import emit, emit_token
from graph.message_ids import answer_id
from graph.models import Models
from graph.nodes.saying import Said, Saying
from graph.nodes.tools import Toolbox, ToolUse
from graph.prompts import answer_prompt
from graph.retrieval.company import Desk
from graph.retrieval.served import Knowledge
from graph.small_talk import friendly_line
from graph.state import Action, AgentContext, AgentState, Handoff, StateUpdate

NO_ANSWER = "The help articles do not answer this question."
"""The answer where the model's reply is nothing but the mark of an unanswered question."""


async def answer(
    state: AgentState,
    runtime: Runtime[AgentContext],
    *,
    models: Models,
    knowledge: Knowledge,
    most_messages: int,
    tools: Toolbox | None = None,
    actions: Actions | None = None,
) -> StateUpdate:
    """Stream the answer model's replies, use the tools that these ask for, and drop the oldest turns.

    What a reply says before it asks for a tool is shown, too, as it comes. No model is asked where a person takes over,
    where an action is confirmed, and for small talk.
    """
    messages, company, context = state["messages"], knowledge.company, runtime.context
    name = answer_id(runtime.execution_info.run_id if runtime.execution_info else None)
    saying = Saying(lambda text: emit_token(text, name, runtime))
    if short := short_of(messages, company, context):
        saying.show(short.text)
        emit(short.handoff, runtime)
        return _Answer(short.text, handoff=short.handoff, marks=marks_of(short)).update(state, most_messages, name)
    if actions and (reply := spoken_reply(messages)):
        line, action = await settled(reply, actions, context.owner, language_in(messages))
        saying.show(line)
        if action:
            emit(action, runtime)
        said_so, desk = _Answer(line, action=action), company.desk(state["category"])
        return _with_person(said_so, saying, desk, messages, runtime).update(state, most_messages, name)
    if line := friendly_line(messages):
        saying.show(line)
        return _Answer(line).update(state, most_messages, name)
    desk = company.desk(state["category"])
    use = await ToolUse.begin(tools, actions, runtime, messages)
    prompt = answer_prompt(
        company.name, desk.contact, state["passages"], messages, hours=desk.hours, has_functions=use is not None
    )
    said, used = await _say(saying, models, prompt, use)
    if not saying.text.strip():
        if said.is_answered:
            raise ModelUnavailable("the model calls functions without an end")
        saying.show(f"{NO_ANSWER} {desk.contact}" if desk.contact else NO_ANSWER)
    action = use.action if use else None
    if action:
        emit(action, runtime)
    answered = _Answer(saying.text, used, said.is_complete, said.is_answered, action)
    return _with_person(answered, saying, desk, messages, runtime).update(state, most_messages, name)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer, as it was shown."""

    text: str
    """Nothing where the customer has been told already; then it is not stored."""
    used: int = 0
    is_complete: bool = True
    is_answered: bool = True
    action: Action | None = None
    handoff: Handoff | None = None
    marks: Mapping[str, object] = field(default_factory=dict[str, object])
    """The fields of the stored message."""

    def update(self, state: AgentState, most_messages: int, name: str) -> StateUpdate:
        """Return what the node changes; the answer gets the id `name`."""
        marks = self.marks if self.is_answered else {"answered": False, **self.marks}
        reply = AIMessage(self.text, id=name, additional_kwargs=dict(marks))
        changes: StateUpdate = {
            "messages": [*removals(state["messages"], most_messages - 1), *([reply] if self.text else [])],
            "tokens_used": state["tokens_used"] + self.used,
            "complete": self.is_complete,
            "answered": self.is_answered,
        }
        if self.action:
            changes["action"] = self.action
        if self.handoff:
            changes["handoff"] = self.handoff
        return changes


def _with_person(
    answered: _Answer, saying: Saying, desk: Desk, messages: Sequence[AnyMessage], runtime: Runtime[AgentContext]
) -> _Answer:
    """Hand over to a person after an answer, if there is a reason, and say so."""
    handed = after(
        messages, answered.text, desk, runtime.context, is_answered=answered.is_answered, action=answered.action
    )
    if handed is None:
        return answered
    text, handoff = handed
    saying.show(f"\n\n{text}" if answered.text else text)
    emit(handoff, runtime)
    return replace(answered, text=saying.text, handoff=handoff, marks={HANDOFF: handoff.id})


async def _say(saying: Saying, models: Models, prompt: Sequence[BaseMessage], use: ToolUse | None) -> tuple[Said, int]:
    """Return the model's last reply, the one without a call, and the tokens of all."""
    used = 0
    while True:
        try:
            said = await saying.say(models.answer(prompt, use.offer if use else None))
        except ModelError:
            if use is None or use.action is None:
                raise
            saying.show(use.action.summary)  # what is proposed can be confirmed, so the answer must say so
            return Said(use.action.summary, 0, is_complete=False, is_answered=True, calls=[]), used
        used += said.used
        if use is None or not said.calls or use.is_over:
            return said, used
        prompt = [*prompt, *await use.take(said.text, said.calls)]


def removals(messages: Sequence[AnyMessage], most: int) -> list[RemoveMessage]:
    """Return the removal of all but the last `most` messages, and of the rest of a turn that this would cut in two."""
    drop = max(0, len(messages) - most)
    while drop < len(messages) and not isinstance(messages[drop], HumanMessage):
        drop += 1
    return [RemoveMessage(id=str(message.id)) for message in messages[:drop]]
