"""Our chat model beside LangChain's own on the OpenAI client, both asking llama.cpp's server."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from typing import Any, cast

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from redis.asyncio import Redis

from conftest import Serve
from graph.models.chat import Chat, Reply
from graph.models.wire import open_wire
from harness.llama_cpp import ANSWER, CALLS, CONCLUSION, CONTEXT, llama_cpp
from harness.routes import ROUTES, ask

pytestmark = pytest.mark.soak

HELLO: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("Hello, «wörld»!")]
LOOK_UP: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("Look it up.")]
LOOKED_UP: list[BaseMessage] = [
    *LOOK_UP,
    AIMessage("", tool_calls=[{"name": "look_up", "args": CALLS[0], "id": "call-1", "type": "tool_call"}]),
    ToolMessage("Every payment is refunded.", tool_call_id="call-1"),
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look up an article.",
            "parameters": {"type": "object", "properties": {"article": {"type": "string"}}, "required": ["article"]},
        },
    }
]
OPTIONS: dict[str, Any] = {
    "model": "gpt-4o",
    "api_key": "not-needed",
    "temperature": 0,
    "seed": 1,
    "max_completion_tokens": 100,
    "stream_usage": True,
}

Pair = Callable[..., tuple[ChatOpenAI, Chat]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with llama_cpp(tmp_path_factory.mktemp("llama")) as url:
        yield url


@pytest.fixture
async def pair(url: str) -> AsyncGenerator[Pair]:
    """LangChain's model and ours with the same options."""
    async with openai.DefaultAsyncHttpxClient() as http, open_wire(url, "not-needed", connect=5, patience=30) as wire:

        def both(**options: Any) -> tuple[ChatOpenAI, Chat]:
            options = OPTIONS | options
            stock = ChatOpenAI(base_url=url, http_async_client=http, max_retries=0, use_responses_api=False, **options)
            return stock, Chat(wire, **options)

        yield both


def comparable(value: Any) -> Any:
    """Replace the ids, which each reply has of its own, and drop None, which the client adds for what is missing."""
    if isinstance(value, Mapping):
        known = {key: item for key, item in value.items() if item is not None}
        return {key: "an id" if key == "id" else comparable(item) for key, item in known.items()}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def dumped(*messages: AIMessage) -> list[Any]:
    return [comparable(message.model_dump()) for message in messages]


def merged(chunks: Sequence[AIMessage]) -> AIMessageChunk:
    whole, *rest = cast("Sequence[AIMessageChunk]", chunks)
    for chunk in rest:
        whole += chunk
    return whole


Check = Callable[[AIMessage], object]
CASES: dict[str, tuple[list[BaseMessage], dict[str, Any], dict[str, Any], str, Check]] = {
    "text": (HELLO, {}, {}, "stop", lambda reply: reply.text == ANSWER),
    "a limit": (HELLO, {"max_completion_tokens": 2}, {}, "length", lambda reply: reply.text == ANSWER[:9]),
    "half a character": (
        HELLO,
        {"max_completion_tokens": 5},
        {},
        "length",
        lambda reply: reply.text[:11] == ANSWER[:11],
    ),
    "a stop word": (HELLO, {"stop": ["C:"]}, {}, "stop", lambda reply: reply.text == ANSWER.partition("C:")[0]),
    "log probabilities": (
        HELLO,
        {"logprobs": True, "top_logprobs": 2},
        {},
        "stop",
        lambda reply: reply.response_metadata["logprobs"]["content"],
    ),
    "reasoning": ([HumanMessage("Think.")], {}, {}, "stop", lambda reply: reply.text == CONCLUSION),
    "tool calls": (
        LOOK_UP,
        {},
        {"tools": TOOLS},
        "tool_calls",
        lambda reply: tuple(call["args"] for call in reply.tool_calls) == CALLS,
    ),
    "a required tool": (
        HELLO,
        {},
        {"tools": TOOLS, "tool_choice": "required"},
        "tool_calls",
        lambda reply: reply.text == ANSWER and tuple(call["args"] for call in reply.tool_calls) == CALLS,
    ),
    "a cut tool call": (
        LOOK_UP,
        {"max_completion_tokens": 9},
        {"tools": TOOLS},
        "length",
        lambda reply: not reply.text,
    ),
    "a tool's result": (LOOKED_UP, {}, {"tools": TOOLS}, "stop", lambda reply: reply.text == ANSWER),
}
cases = pytest.mark.parametrize(("prompt", "options", "tools", "reason", "check"), CASES.values(), ids=CASES)


@cases
async def test_a_whole_reply_is_langchains(
    pair: Pair, prompt: list[BaseMessage], options: dict[str, Any], tools: dict[str, Any], reason: str, check: Check
) -> None:
    """A reply that is not streamed becomes the message that LangChain makes of it."""
    stock, ours = (model.bind_tools(**tools) if tools else model for model in pair(**options))
    await stock.ainvoke(prompt)  # from now on the server has the prompt in its cache, and counts it as cached
    expected = await stock.ainvoke(prompt)
    assert check(expected)
    assert expected.response_metadata["finish_reason"] == reason
    assert expected.response_metadata["model_name"] == "tiny"
    assert expected.usage_metadata
    assert expected.usage_metadata.get("input_token_details", {}).get("cache_read")
    assert dumped(await ours.ainvoke(prompt)) == dumped(expected)


@cases
async def test_a_streamed_reply_is_langchains(
    pair: Pair, prompt: list[BaseMessage], options: dict[str, Any], tools: dict[str, Any], reason: str, check: Check
) -> None:
    """Each event becomes the message that LangChain makes of it, and so do all together."""
    stock, ours = (model.bind_tools(**tools) if tools else model for model in pair(**options))
    await stock.ainvoke(prompt)
    expected = [chunk async for chunk in stock.astream(prompt)]
    whole = merged(expected)
    assert len(expected) > 3
    assert check(whole)
    assert whole.response_metadata["finish_reason"] == reason
    assert whole.response_metadata["model_name"] == "tiny"
    assert whole.usage_metadata
    found = [chunk async for chunk in ours.astream(prompt)]
    assert dumped(*found) == dumped(*expected)
    assert dumped(merged(found)) == dumped(whole)


@pytest.mark.parametrize("case", [name for name, (_, _, tools, *_) in CASES.items() if not tools])
async def test_what_the_service_reads_is_langchains(pair: Pair, case: str) -> None:
    """Without callbacks our model leaves LangChain's messages out, and reads the same from the server."""
    prompt, options, *_ = CASES[case]
    stock, ours = pair(**options)
    await stock.ainvoke(prompt)
    assert await ours.reply(prompt) == Reply.of(await stock.ainvoke(prompt))
    expected = merged([chunk async for chunk in stock.astream(prompt)])
    pieces = [piece async for piece in ours.replies(prompt)]
    assert "".join(piece.text for piece in pieces) == expected.text
    assert [piece.usage for piece in pieces if piece.usage] == [expected.usage_metadata]
    reasons = [piece.finish_reason for piece in pieces if piece.finish_reason]
    assert reasons == [expected.response_metadata["finish_reason"]]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_is_the_clients(pair: Pair, *, streamed: bool) -> None:
    """A prompt that is too long for the model raises what the OpenAI client raises."""
    errors: list[openai.BadRequestError] = []
    for model in pair():
        with pytest.raises(openai.BadRequestError) as caught:
            if streamed:
                await anext(model.astream("x" * CONTEXT))
            else:
                await model.ainvoke("x" * CONTEXT)
        errors.append(caught.value)
    stock, ours = errors
    assert (ours.status_code, ours.body) == (stock.status_code, stock.body)
    assert ours.type == "exceed_context_size_error"


async def test_the_service_answers_with_it(serve: Serve, url: str) -> None:
    """It classifies, embeds and answers."""
    question = {"question": "Why was I charged twice?"}
    async with serve(OPENAI_BASE_URL=url) as service, httpx.AsyncClient(base_url=service, timeout=60) as client:
        assert (await client.get("/ready")).json()["checks"]["model"]["up"]
        reply = (await client.post("/ask", json=question)).json()
        assert (reply["answer"], reply["category"]) == (ANSWER, "billing")
        assert reply["tokens_used"] > 1000
        assert {source["id"] for source in reply["sources"]} >= {"duplicate-charge"}


@pytest.mark.nightly
@pytest.mark.parametrize("route", ROUTES)
async def test_it_answers_over_every_route(serve: Serve, url: str, redis: Redis, route: str) -> None:
    """A model that thinks gets room for it, and customers see its conclusion alone."""
    async with serve(OPENAI_BASE_URL=url) as service, httpx.AsyncClient(base_url=service, timeout=60) as client:
        answered = await ask(client, route, "Why was I charged twice?")
        assert (answered.text, answered.category) in ((ANSWER, None), (ANSWER, "billing"))
        thought = await ask(client, route, "Think: why was I charged twice?")
        assert (thought.text, thought.category) in ((CONCLUSION, None), (CONCLUSION, "general"))
