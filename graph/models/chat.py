"""The chat model: LangChain's ChatOpenAI, whose calls go over our own wire."""

import logging
import operator
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

import openai
import orjson
from langchain_core.callbacks import AsyncCallbackManager, AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables.config import ensure_config
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import (
    _handle_openai_api_error,  # pyright: ignore[reportPrivateUsage] - as its own _astream does
    _handle_openai_bad_request,  # pyright: ignore[reportPrivateUsage] - there is no public one
)
from pydantic import PrivateAttr

from graph.errors import ModelUnavailable
from graph.models.dialect import Dialect, Request
from graph.models.replies import DONE, StreamedReply, means_filtered, means_limited, means_whole, remove_thoughts
from graph.models.thoughts import ThoughtFilter
from graph.models.wire import Json, Wire, as_event

THOUGHTS = 4000
"""Tokens for the thoughts of a model that has them; its server counts them like those of its reply."""

_PATH = "/chat/completions"
_ANSWERS_FOR_A_HABIT = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply, or a piece of one."""

    text: str
    usage: UsageMetadata | None = None
    """Tokens used so far, if the server sent them with this piece."""
    finish_reason: str | None = None
    """Why the reply ends with this piece; None if it goes on."""
    calls: Sequence[Json] = ()
    """Pieces of the tool calls that the model asks for, in OpenAI's format."""

    @property
    def is_whole(self) -> bool:
        """Whether the reply ends with this piece, because there is nothing more to say."""
        return means_whole(self.finish_reason)

    @property
    def is_limited(self) -> bool:
        """Whether the reply ends with this piece, because it has reached its limit."""
        return means_limited(self.finish_reason)

    @property
    def is_filtered(self) -> bool:
        """Whether the reply ends with this piece, because a content filter has ended it."""
        return means_filtered(self.finish_reason)

    @classmethod
    def of(cls, message: AIMessage) -> Self:
        """Return what we use of LangChain's message."""
        chunks = message.tool_call_chunks if isinstance(message, AIMessageChunk) else ()
        calls = tuple(
            {"index": one.get("index"), "id": one["id"], "function": {"name": one["name"], "arguments": one["args"]}}
            for one in chunks
        )
        return cls(message.text, message.usage_metadata, message.response_metadata.get("finish_reason"), calls)


@dataclass(slots=True)
class Habits:
    """What is learned about a model from its replies."""

    begun_inside: int = 0
    """How many answers in a row, up to the last, began with a thought without the tag that begins one."""

    @property
    def begins_inside(self) -> bool:
        """Whether the next reply will begin so, which one answer alone does not show: it may have mentioned the tag."""
        return self.begun_inside >= _ANSWERS_FOR_A_HABIT

    def learn(self, thoughts: ThoughtFilter) -> None:
        """Learn from an answer that has ended."""
        self.begun_inside = self.begun_inside + 1 if thoughts.began_inside else 0


class Chat(ChatOpenAI):
    """A chat model of the server at the other end of a wire; it can be called asynchronously only.

    Configuration, messages, tool calls, callbacks and the conversion of replies are ChatOpenAI's.
    """

    _wire: Wire = PrivateAttr()
    _head: Sequence[BaseMessage] = PrivateAttr(default=())
    _encoded_head: bytes = PrivateAttr(default=b"")
    _path: str = PrivateAttr()
    _dialect: Dialect = PrivateAttr()
    _habits: Habits = PrivateAttr()
    _has_room: bool = PrivateAttr(default=False)

    def __init__(
        self,
        wire: Wire,
        *,
        habits: Habits | None = None,
        **options: Any,  # noqa: ANN401 - those of ChatOpenAI
    ) -> None:
        # Objects in place of the OpenAI client, which would read the certificates twice for each model.
        super().__init__(client=_NO_CLIENT, async_client=_NO_CLIENT, use_responses_api=False, **options)
        self._wire = wire
        self._path = wire.path(self.model_name, _PATH)
        self._dialect = Dialect(self.model_name)
        self._habits = habits or Habits()

    def prepare(self, head: Sequence[BaseMessage], tokens: int) -> None:
        """Encode once what prompts begin with, the same objects each time, and let their replies have `tokens`."""
        if head is not self._head:
            self._head = head
            if self.max_tokens is not None:
                self.max_tokens = max(self.max_tokens, tokens)
            self._encoded_head = orjson.dumps(self._get_request_payload(list(head))["messages"])[1:-1]

    async def reply(self, prompt: Sequence[BaseMessage]) -> Reply:
        """Return the whole reply; with callbacks as `ainvoke`, and without them at a fraction of its cost."""
        if not (self._has_room or self._dialect.always_streams):
            try:
                return await self._in_one_piece(prompt)
            except openai.APIError as error:
                if not self._dialect.wants_streams(error):
                    raise
        return await self._streamed(prompt)

    async def _in_one_piece(self, prompt: Sequence[BaseMessage]) -> Reply:
        if self._has_callbacks():
            return Reply.of(await self.ainvoke(list(prompt)))
        generation = (await self._agenerate(list(prompt))).generations[0]
        message = cast("AIMessage", generation.message)
        return Reply(message.text, message.usage_metadata, (generation.generation_info or {}).get("finish_reason"))

    async def replies(
        self, prompt: Sequence[BaseMessage], offer: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Reply]:
        """Yield the reply piece by piece; with callbacks as `astream`, and without them at a fraction of its cost.

        `offer` has the parameters of the request that offer tools.
        """
        options = dict(offer or {})
        if self._has_callbacks():
            # LangChain annotates an iterator, but returns a generator, which must be closed.
            async with aclosing(
                cast("AsyncGenerator[AIMessageChunk]", self.astream(list(prompt), **options))
            ) as chunks:
                async for chunk in chunks:
                    yield Reply.of(chunk)
            return
        async with aclosing(self._events(list(prompt), None, None, options)) as events:
            async for event in events:
                if piece := self._piece(event):
                    yield piece

    def make_room(self, given: int | None) -> bool:
        """Give replies room for thoughts from now on; return whether a reply of `given` tokens had less room."""
        if not self._has_room and self.max_tokens is not None:
            self.max_tokens += THOUGHTS
            self._has_room = True
            _log.warning(
                "a reply of the model %s reached its limit too early; each has room for %d tokens of thoughts now",
                self.model_name,
                THOUGHTS,
            )
        return self._has_room and given != self.max_tokens

    async def _streamed(self, prompt: Sequence[BaseMessage]) -> Reply:
        """Return the whole reply, streamed: a model's thoughts show that it is at work, and some models only stream."""
        pieces = [piece async for piece in self.replies(prompt)]
        ends = [piece.finish_reason for piece in pieces if piece.finish_reason]
        if not ends:
            raise ModelUnavailable("the stream ended early")
        usages = [piece.usage for piece in pieces if piece.usage]
        thoughts = ThoughtFilter()  # since of a whole reply more can be told
        text = thoughts.feed("".join(piece.text for piece in pieces)) + thoughts.end()
        if thoughts.began_inside:
            self._habits.begun_inside = _ANSWERS_FOR_A_HABIT
        return Reply(text, usages[-1] if usages else None, ends[0])

    def _has_callbacks(self) -> bool:
        """Return whether anyone listens to calls of this model: a tracer, or LangGraph's stream mode `messages`."""
        manager = AsyncCallbackManager.configure(ensure_config().get("callbacks"), self.callbacks, self.verbose)
        return bool(manager.handlers)

    def _piece(self, event: Json) -> Reply | None:
        choices = event.get("choices")
        if choices and not event.get("usage"):  # by far the most events: a piece of text
            choice = choices[0]
            delta = choice["delta"]
            content = delta.get("content")
            if content is None or isinstance(content, str):
                return Reply(content or "", None, choice.get("finish_reason") or None, delta.get("tool_calls") or ())
        chunk = self._convert_chunk_to_generation_chunk(event, AIMessageChunk, None)
        if chunk is None:
            return None
        message = cast("AIMessageChunk", chunk.message)
        calls: Sequence[Json] = choices[0]["delta"].get("tool_calls") or () if choices else ()
        reason = (chunk.generation_info or {}).get("finish_reason")
        return Reply(message.text, message.usage_metadata, reason, calls)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **options: Any,  # noqa: ANN401 - the overridden signature
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._events(messages, stop, stream_usage, options)) as events:
            async for event in events:
                chunk = self._convert_chunk_to_generation_chunk(event, AIMessageChunk, None)
                if chunk is None:
                    continue
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the overridden signature
        **options: Any,  # noqa: ANN401 - the overridden signature
    ) -> ChatResult:
        with _langchain_errors():
            reply = await self._request(messages, stop, options).send(self._wire, self._path)
            if remove_thoughts(reply):  # a label has no reason to mention the tag
                self._habits.begun_inside = _ANSWERS_FOR_A_HABIT
            return self._create_chat_result(reply)

    async def _events(
        self, messages: list[BaseMessage], stop: list[str] | None, stream_usage: bool | None, options: dict[str, Any]
    ) -> AsyncGenerator[Json]:
        options = {**options, "stream": True}
        if self._should_stream_usage(stream_usage, **options):
            options["stream_options"] = {"include_usage": True}
        request = self._request(messages, stop, options)
        reply = StreamedReply(begins_inside=self._habits.begins_inside)
        try:
            with _langchain_errors():
                while request.payload.get("stream"):
                    try:
                        async with aclosing(self._wire.stream(self._path, request.body(), DONE)) as events:
                            async for event in events:
                                request.accepted()
                                if event is not DONE or not reply.has_ended:
                                    yield reply.plain(event)
                    except openai.APIError as error:
                        if not request.adapt(error):
                            raise
                    else:
                        return
                yield reply.plain(as_event(await request.send(self._wire, self._path)))
        finally:
            if reply.has_ended and not means_limited(reply.reason):
                self._habits.learn(reply.thoughts)

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]) -> Request:
        most = len(self._head)
        begins = most and len(messages) > most and all(map(operator.is_, self._head, messages))
        rest = messages[most:] if begins else messages
        payload = cast("dict[str, Any]", self._get_request_payload(rest, stop=stop, **options))
        if begins:
            encoded = b"[%b,%b]" % (self._encoded_head, orjson.dumps(payload["messages"])[1:-1])
            payload["messages"] = orjson.Fragment(encoded)
        return self._dialect.request(payload)


@contextmanager
def _langchain_errors() -> Generator[None]:
    """Raise the OpenAI client's errors as LangChain's, which are kinds of both."""
    try:
        yield
    except openai.BadRequestError as error:
        _handle_openai_bad_request(error)
    except openai.APIError as error:
        _handle_openai_api_error(error)


class _NoClient:
    """Stands where ChatOpenAI keeps the OpenAI client."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"this model has no OpenAI client: {name!r} is not available; use ainvoke or astream")


_NO_CLIENT = _NoClient()
