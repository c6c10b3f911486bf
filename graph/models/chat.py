"""The chat model: LangChain's ChatOpenAI, whose calls go over our own wire."""

import operator
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import orjson
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from graph.models.wire import Wire

_PATH = "/chat/completions"


class Chat(ChatOpenAI):
    """A chat model of the server at the other end of a wire; it can be called asynchronously only.

    Configuration, messages, tool calls, callbacks and the conversion of replies are ChatOpenAI's. Messages that begin
    with those of `head`, the same objects, have that part encoded once.
    """

    _wire: Wire = PrivateAttr()
    _head: Sequence[BaseMessage] = PrivateAttr(default=())
    _encoded_head: bytes = PrivateAttr(default=b"")

    def __init__(self, wire: Wire, *, head: Sequence[BaseMessage] = (), **options: Any) -> None:  # noqa: ANN401
        # Objects in place of the OpenAI client, which would read the certificates twice for each model.
        super().__init__(client=_NO_CLIENT, async_client=_NO_CLIENT, use_responses_api=False, **options)
        self._wire = wire
        self._head = head
        self._encoded_head = orjson.dumps(self._get_request_payload(list(head))["messages"])[1:-1]

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **options: Any,  # noqa: ANN401 - the overridden signature
    ) -> AsyncIterator[ChatGenerationChunk]:
        options["stream"] = True
        if self._should_stream_usage(stream_usage, **options):
            options["stream_options"] = {"include_usage": True}
        stream = self._wire.stream(_PATH, self._body(messages, stop, options))
        try:
            async for event in stream:
                chunk = self._convert_chunk_to_generation_chunk(event, AIMessageChunk, None)
                if chunk is None:
                    continue
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            await stream.aclose()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **options: Any,  # noqa: ANN401 - the overridden signature
    ) -> ChatResult:
        return self._create_chat_result(await self._wire.post(_PATH, self._body(messages, stop, options)))

    def _body(self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]) -> bytes:
        most = len(self._head)
        begins = most and len(messages) > most and all(map(operator.is_, self._head, messages))
        rest = messages[most:] if begins else messages
        payload = cast("dict[str, Any]", self._get_request_payload(rest, stop=stop, **options))
        if begins:
            encoded = b"[%b,%b]" % (self._encoded_head, orjson.dumps(payload["messages"])[1:-1])
            payload["messages"] = orjson.Fragment(encoded)
        return orjson.dumps(payload)


class _NoClient:
    """Stands where ChatOpenAI keeps the OpenAI client."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"this model has no OpenAI client: {name!r} is not available; use ainvoke or astream")


_NO_CLIENT = _NoClient()
