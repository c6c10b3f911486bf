"""The offline model as OpenAI's clients see it: completions, streams, embeddings and models."""

import asyncio
import base64
import json
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import AsyncOpenAI, DefaultAioHttpClient, NotFoundError, OpenAI
from pydantic import SecretStr

from harness.offline import ANSWER, PROMPT
from local.process import Service

USAGE = {"prompt_tokens": 24, "completion_tokens": 14, "total_tokens": 38}


@pytest.fixture
async def transport() -> AsyncIterator[DefaultAioHttpClient]:
    """The transport of the service's own clients; LangChain would leave its own open."""
    async with DefaultAioHttpClient() as client:
        yield client


def test_a_whole_completion_has_the_answer_and_its_usage(openai: OpenAI) -> None:
    """A completion has the answer and its usage; a token is a word."""
    reply = openai.chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert reply.model == "offline"
    assert reply.choices[0].message.content == ANSWER
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.model_dump(exclude_none=True) == USAGE


def test_a_streamed_completion_is_the_whole_one_word_by_word(openai: OpenAI) -> None:
    """The chunks join to the complete answer, without usage by default."""
    chunks = list(openai.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == ANSWER
    assert len([piece for piece in pieces if piece]) == len(ANSWER.split())
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)


def test_a_stream_ends_with_its_usage_when_asked_for(http: httpx.Client) -> None:
    """The last chunk has usage and no choices; in all others usage is null, as at OpenAI."""
    body = {"model": "m", "messages": PROMPT, "stream": True, "stream_options": {"include_usage": True}}
    reply = http.post("chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = reply.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert [chunk["usage"] for chunk in chunks] == [None] * (len(chunks) - 1) + [USAGE]
    assert [chunk["choices"] for chunk in chunks][-1] == []
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("usage" not in chunk for chunk in streamed(http, {**body, "stream_options": None}))


def streamed(http: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    events = http.post("chat/completions", json=body).text.split("\n\n")[:-2]
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_of_tokens_cuts_the_answer_between_words(http: httpx.Client, limit: str, stream: bool) -> None:
    """A truncated answer has the finish reason `length`."""
    body = {"model": "m", "messages": PROMPT, "stream": stream, limit: 3}
    if stream:
        choices = [chunk["choices"][0] for chunk in streamed(http, body)]
        said, finish = "".join(one["delta"].get("content", "") for one in choices), choices[-1]["finish_reason"]
    else:
        reply = http.post("chat/completions", json=body).json()
        said, finish = reply["choices"][0]["message"]["content"], reply["choices"][0]["finish_reason"]
        assert reply["usage"]["completion_tokens"] == 3
    assert (said, finish) == ("Support is open", "length")


def test_a_limit_that_the_answer_keeps_does_not_cut(http: httpx.Client) -> None:
    """An answer of exactly the allowed tokens is complete."""
    reply = http.post("chat/completions", json={"model": "m", "messages": PROMPT, "max_tokens": 14}).json()
    assert reply["choices"][0]["finish_reason"] == "stop"


def test_what_does_no_harm_is_accepted(http: httpx.Client) -> None:
    """Harmless and unknown parameters are accepted."""
    body = {"model": "m", "messages": PROMPT, "temperature": 0, "seed": 1, "user": "u", "stop": ["x"], "n": 1}
    body |= {"metadata": {"a": "b"}, "response_format": {"type": "text"}, "tools": [], "max_tokens": None, "new": 1}
    assert http.post("chat/completions", json=body).json()["choices"][0]["message"]["content"] == ANSWER


def test_content_may_be_a_list_of_text_parts(openai: OpenAI) -> None:
    """Text parts are joined."""
    parts = [{"type": "text", "text": "When are"}, {"type": "text", "text": " you open?"}]
    messages: list[Any] = [PROMPT[0], {"role": "user", "content": parts}]
    assert openai.chat.completions.create(model="m", messages=messages).choices[0].message.content == ANSWER


async def test_the_async_client_streams(offline_model: Service) -> None:
    """The async client, which the service uses, streams too."""
    async with AsyncOpenAI(base_url=offline_model.url, api_key=offline_model.secret) as client:
        stream = await client.chat.completions.create(model="m", messages=PROMPT, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == ANSWER


async def test_langchain_gets_answers_streams_and_usage(
    offline_model: Service, transport: DefaultAioHttpClient
) -> None:
    """ChatOpenAI reads the usage of complete and of streamed answers."""
    chat = ChatOpenAI(
        model="gpt-4o",
        base_url=offline_model.url,
        api_key=SecretStr(offline_model.secret),
        http_async_client=transport,
        stream_usage=True,
    )
    whole = await chat.ainvoke(PROMPT)
    assert whole.text == ANSWER
    pieces = [piece async for piece in chat.astream(PROMPT)]
    assert "".join(piece.text for piece in pieces) == ANSWER
    expected = {"input_tokens": 24, "output_tokens": 14, "total_tokens": 38}
    for usage in (whole.usage_metadata, next(piece.usage_metadata for piece in pieces if piece.usage_metadata)):
        assert usage is not None
        assert {name: usage[name] for name in expected} == expected


async def test_langchain_gets_embeddings(offline_model: Service, transport: DefaultAioHttpClient) -> None:
    """A question is nearest to the article that answers it."""
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=offline_model.url,
        api_key=SecretStr(offline_model.secret),
        http_async_client=transport,
        check_embedding_ctx_length=False,
    )
    articles = ["Refunds\n\nWe refund payments.", "Opening hours\n\nSupport is open from 9 to 5."]
    refunds, hours = await embeddings.aembed_documents(articles)
    question = await embeddings.aembed_query("When is support open?")
    assert dot(question, hours) > dot(question, refunds)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_embeddings_come_as_numbers_or_packed(http: httpx.Client, openai: OpenAI) -> None:
    """Base64, as the official client requests, and numbers give the same vector of 256 dimensions."""
    body = {"model": "m", "input": "When are you open?", "dimensions": 256}
    numbers = http.post("embeddings", json=body).json()["data"][0]["embedding"]
    packed = http.post("embeddings", json={**body, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert struct.unpack("<256f", base64.b64decode(packed)) == pytest.approx(numbers, rel=1e-6)
    assert openai.embeddings.create(model="m", input="When are you open?").data[0].embedding == pytest.approx(numbers)
    assert math.hypot(*numbers) == pytest.approx(1, abs=1e-3)


def test_embeddings_of_a_list_keep_its_order_and_count_its_words(openai: OpenAI) -> None:
    """Questions and passages can be mixed in one list."""
    texts = ["When?", "Opening hours\nfrom 9 to 5", "Who are you?", "Us\nand them"]
    reply = openai.embeddings.create(model="m", input=texts)
    assert [one.index for one in reply.data] == [0, 1, 2, 3]
    for text, one in zip(texts, reply.data, strict=True):
        assert openai.embeddings.create(model="m", input=text).data[0].embedding == one.embedding
    assert reply.usage.model_dump() == {"prompt_tokens": 13, "total_tokens": 13}
    assert reply.model == "offline-wordllama-256"


def test_the_models_are_listed(openai: OpenAI) -> None:
    """There are two, whose names say what they are, and another name is not found."""
    assert [one.id for one in openai.models.list()] == ["offline", "offline-wordllama-256"]
    assert openai.models.retrieve("offline").owned_by == "support-agent"
    assert openai.models.retrieve("offline-wordllama-256").owned_by == "support-agent"
    with pytest.raises(NotFoundError) as caught:
        openai.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("text", ["\0", "﷽ﷺ" * 900, "😀", "\u2028", "\U0010ffff", "x" * 200_000])
def test_odd_texts_are_embedded(http: httpx.Client, text: str) -> None:
    """Unusual texts do not crash the model."""
    reply = http.post("embeddings", json={"model": "m", "input": text}).json()
    assert math.isfinite(sum(reply["data"][0]["embedding"]))


async def test_questions_side_by_side_get_their_own_answers(offline_model: Service) -> None:
    """Concurrent requests do not mix."""
    texts = [f"Question number {number}?" for number in range(16)]
    async with AsyncOpenAI(base_url=offline_model.url, api_key=offline_model.secret) as client:
        together = await asyncio.gather(*(client.embeddings.create(model="m", input=text) for text in texts))
        for text, reply in zip(texts[::5], together[::5], strict=True):
            alone = await client.embeddings.create(model="m", input=text)
            assert alone.data[0].embedding == reply.data[0].embedding
