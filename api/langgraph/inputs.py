"""The input of a run: the customer's message, and what of the messages before it is new."""

from typing import Annotated, Any, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, convert_to_messages
from pydantic import StringConstraints, TypeAdapter, ValidationError

from graph.state import Question

_QUESTION = TypeAdapter[str](Question)
_NAME = TypeAdapter[str](Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,128}$")])
_ANSWER = TypeAdapter[str](Annotated[str, StringConstraints(max_length=32_768)])  # longer than a question


def read_input(value: object) -> list[AnyMessage]:
    """Return the messages of a run's input, of which the last is the customer's; raises ValueError.

    A message may be a text, or an object with a role or a type; its content a text, or blocks of text. The graph reads
    nothing but messages, so other graphs can hand over their whole state.
    """
    if not isinstance(value, dict) or "messages" not in value:
        raise ValueError('must be {"messages": [...]}')
    given = cast("dict[str, Any]", value)["messages"]
    items = cast("list[Any]", given) if isinstance(given, list) else [given]
    messages = [_message(item, place) for place, item in enumerate(items)]
    if not messages or not isinstance(messages[-1], HumanMessage):
        raise ValueError("messages: the last must be the customer's, of the role user")
    names = [message.id for message in messages if message.id]
    if len(set(names)) < len(names):
        raise ValueError("messages: two have the same id")
    return messages


def _message(item: object, place: int) -> AnyMessage:
    where = f"messages.{place}"
    try:
        (message,) = convert_to_messages([cast("Any", item)])
    except (ValueError, KeyError, TypeError, NotImplementedError, AttributeError):  # LangChain's, for no message
        raise ValueError(f"{where}: must be a text, or an object with a role and a content") from None
    if not isinstance(message, HumanMessage | AIMessage) or _calls_tools(message):
        raise ValueError(f"{where}: only messages of the roles user and assistant can be taken, without tool calls")
    if not _is_text(message):
        raise ValueError(f"{where}.content: must be a text, or blocks of text; the agent reads nothing else")
    return _clean(message, where)


def _calls_tools(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage) and bool(message.tool_calls or message.invalid_tool_calls)


def _is_text(message: BaseMessage) -> bool:
    content = message.content
    return isinstance(content, str) or all(
        isinstance(block, str) or (block.get("type") == "text" and isinstance(block.get("text"), str))
        for block in content
    )


def _clean(message: BaseMessage, where: str) -> AnyMessage:
    """Return a message without whatever else a client may have put into it."""
    name = message.id or None
    try:
        if name:
            _NAME.validate_python(name)
    except ValidationError:
        raise ValueError(f"{where}.id: must have 1 to 128 characters") from None
    try:
        if isinstance(message, AIMessage):
            return AIMessage(_ANSWER.validate_python(message.text), id=name)
        return HumanMessage(_QUESTION.validate_python(message.text), id=name)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{where}.content: {first['msg'].removeprefix('Value error, ')}") from None
