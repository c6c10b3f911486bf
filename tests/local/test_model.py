import asyncio
import base64
import importlib.util
import json
import math
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, DefaultAioHttpClient, NotFoundError, OpenAI
from pydantic import SecretStr

from harness.processes import family
from local import model
from local.process import LocalServiceError, NotReadyError, Service, answers
from local.server import MAX_BODY, create_server
from local.vectors import Vectors

ARTICLE = (
    '<passage id="opening-hours" title="Support opening hours">\n'
    "Support is open Monday to Friday, 9:00 to 17:00. Support is closed on Saturdays.\n</passage>"
)
PROMPT: list[Any] = [{"role": "system", "content": ARTICLE}, {"role": "user", "content": "When are you open?"}]
ANSWER = "Support is open Monday to Friday, 9:00 to 17:00. Support is closed on Saturdays."
USAGE = {"prompt_tokens": 24, "completion_tokens": 14, "total_tokens": 38}


@pytest.fixture
def openai(offline_model: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=offline_model.url, api_key=offline_model.secret, max_retries=0) as client:
        yield client


@pytest.fixture
async def transport() -> AsyncIterator[DefaultAioHttpClient]:
    """What the service's own clients ride on; LangChain's would stay open."""
    async with DefaultAioHttpClient() as client:
        yield client


@pytest.fixture
def http(offline_model: Service) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {offline_model.secret}"}
    with httpx.Client(base_url=offline_model.url, headers=headers, timeout=10) as client:
        yield client


def test_a_whole_completion_has_the_answer_and_its_usage(openai: OpenAI) -> None:
    """Tokens are words."""
    reply = openai.chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert reply.model == "offline"
    assert reply.choices[0].message.content == ANSWER
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.model_dump(exclude_none=True) == USAGE


def test_a_streamed_completion_is_the_whole_one_word_by_word(openai: OpenAI) -> None:
    """Joined, the pieces are the answer; usage is not sent unless asked for."""
    chunks = list(openai.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == ANSWER
    assert len([piece for piece in pieces if piece]) == len(ANSWER.split())
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)


def test_a_stream_ends_with_its_usage_when_asked_for(http: httpx.Client) -> None:
    """The last chunk has no choices; in all others usage is null, as at OpenAI."""
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
    """A cut answer says so."""
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
    """An answer of exactly as many tokens as allowed is whole."""
    reply = http.post("chat/completions", json={"model": "m", "messages": PROMPT, "max_tokens": 14}).json()
    assert reply["choices"][0]["finish_reason"] == "stop"


def test_what_does_no_harm_is_accepted(http: httpx.Client) -> None:
    """Clients send more than is needed."""
    body = {"model": "m", "messages": PROMPT, "temperature": 0, "seed": 1, "user": "u", "stop": ["x"], "n": 1}
    body |= {"metadata": {"a": "b"}, "response_format": {"type": "text"}, "tools": [], "max_tokens": None, "new": 1}
    assert http.post("chat/completions", json=body).json()["choices"][0]["message"]["content"] == ANSWER


def test_content_may_be_a_list_of_text_parts(openai: OpenAI) -> None:
    """Parts are joined."""
    parts = [{"type": "text", "text": "When are"}, {"type": "text", "text": " you open?"}]
    messages: list[Any] = [PROMPT[0], {"role": "user", "content": parts}]
    assert openai.chat.completions.create(model="m", messages=messages).choices[0].message.content == ANSWER


async def test_the_async_client_streams(offline_model: Service) -> None:
    """So does the client that the service itself uses."""
    async with AsyncOpenAI(base_url=offline_model.url, api_key=offline_model.secret) as client:
        stream = await client.chat.completions.create(model="m", messages=PROMPT, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == ANSWER


async def test_langchain_gets_answers_streams_and_usage(
    offline_model: Service, transport: DefaultAioHttpClient
) -> None:
    """ChatOpenAI understands the usage of both."""
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
    """A question is nearer to the article that answers it."""
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
    """The official client asks for base64, and gets the same vector of 384 as who asks for numbers."""
    body = {"model": "m", "input": "When are you open?", "dimensions": 384}
    numbers = http.post("embeddings", json=body).json()["data"][0]["embedding"]
    packed = http.post("embeddings", json={**body, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert struct.unpack("<384f", base64.b64decode(packed)) == pytest.approx(numbers, rel=1e-6)
    assert openai.embeddings.create(model="m", input="When are you open?").data[0].embedding == pytest.approx(numbers)
    assert math.hypot(*numbers) == pytest.approx(1, abs=1e-3)


def test_embeddings_of_a_list_keep_its_order_and_count_its_words(openai: OpenAI) -> None:
    """Questions and passages may stand in one list."""
    texts = ["When?", "Opening hours\nfrom 9 to 5", "Who are you?", "Us\nand them"]
    reply = openai.embeddings.create(model="m", input=texts)
    assert [one.index for one in reply.data] == [0, 1, 2, 3]
    for text, one in zip(texts, reply.data, strict=True):
        assert openai.embeddings.create(model="m", input=text).data[0].embedding == one.embedding
    assert reply.usage.model_dump() == {"prompt_tokens": 13, "total_tokens": 13}
    assert reply.model == "offline"


def test_a_text_of_several_lines_is_embedded_as_a_passage(openai: OpenAI) -> None:
    """The API does not say what a text is; its lines do."""
    line, lines = (one.embedding for one in openai.embeddings.create(model="m", input=["a b", "a\nb"]).data)
    assert dot(line, lines) < 0.999


def test_the_model_is_listed(openai: OpenAI) -> None:
    """There is one, and any other name is unknown."""
    assert [one.id for one in openai.models.list()] == ["offline"]
    assert openai.models.retrieve("offline").owned_by == "support-agent"
    with pytest.raises(NotFoundError) as caught:
        openai.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("text", ["\0", "﷽ﷺ" * 900, "😀", "\u2028", "\U0010ffff", "x" * 200_000])
def test_odd_texts_are_embedded(http: httpx.Client, text: str) -> None:
    """Text of customers does not bring the model down."""
    reply = http.post("embeddings", json={"model": "m", "input": text}).json()
    assert math.isfinite(sum(reply["data"][0]["embedding"]))


CHAT = {"model": "m", "messages": PROMPT}
EMBED = {"model": "m", "input": "a"}
USER = {"role": "user", "content": "a"}
BAD_CHATS: list[tuple[Any, str | None]] = [
    ([], None),
    ("text", None),
    ({"messages": PROMPT}, "model"),
    ({**CHAT, "model": 1}, "model"),
    ({**CHAT, "model": ""}, "model"),
    ({"model": "m"}, "messages"),
    ({**CHAT, "messages": []}, "messages"),
    ({**CHAT, "messages": "a"}, "messages"),
    ({**CHAT, "messages": ["a"]}, "messages[0]"),
    ({**CHAT, "messages": [{"content": "a"}]}, "messages[0].role"),
    ({**CHAT, "messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ({**CHAT, "messages": [{"role": ["user"], "content": "a"}]}, "messages[0].role"),
    ({**CHAT, "messages": [USER, {"role": "user"}]}, "messages[1].content"),
    ({**CHAT, "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    ({**CHAT, "messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
    ({**CHAT, "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
    ({**CHAT, "messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
    ({**CHAT, "tools": [{"type": "function"}]}, "tools"),
    ({**CHAT, "functions": [{"name": "f"}]}, "functions"),
    ({**CHAT, "logprobs": True}, "logprobs"),
    ({**CHAT, "response_format": {"type": "json_object"}}, "response_format"),
    ({**CHAT, "n": 2}, "n"),
    ({**CHAT, "n": 0}, "n"),
    ({**CHAT, "stream": "yes"}, "stream"),
    ({**CHAT, "stream_options": {"include_usage": True}}, "stream_options"),
    ({**CHAT, "stream": True, "stream_options": True}, "stream_options"),
    ({**CHAT, "stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
    ({**CHAT, "max_tokens": 0}, "max_tokens"),
    ({**CHAT, "max_tokens": True}, "max_tokens"),
    ({**CHAT, "max_completion_tokens": 1.5}, "max_completion_tokens"),
]
BAD_EMBEDDINGS: list[tuple[Any, str | None]] = [
    ({"model": "m"}, "input"),
    ({**EMBED, "input": ""}, "input"),
    ({**EMBED, "input": []}, "input"),
    ({**EMBED, "input": ["a", ""]}, "input"),
    ({**EMBED, "input": [1, 2]}, "input"),
    ({**EMBED, "input": [[1, 2]]}, "input"),
    ({**EMBED, "input": {"a": "b"}}, "input"),
    ({**EMBED, "input": ["a"] * 2049}, "input"),
    ({**EMBED, "input": "\udfff"}, "input"),
    ({**EMBED, "encoding_format": "hex"}, "encoding_format"),
    ({**EMBED, "dimensions": 256}, "dimensions"),
    ({**EMBED, "dimensions": "384"}, "dimensions"),
]


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [("chat/completions", *case) for case in BAD_CHATS] + [("embeddings", *case) for case in BAD_EMBEDDINGS],
)
def test_a_bad_request_is_refused_by_name(http: httpx.Client, route: str, body: Any, param: str | None) -> None:
    """The error has OpenAI's shape and names the field."""
    reply = http.post(route, content=json.dumps(body).encode())
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff{}", b'{"model": "\xed\xa0\x80"}', b"[" * 200_000, b"9" * 5000])
@pytest.mark.parametrize("route", ["chat/completions", "embeddings"])
def test_a_body_that_is_no_json_is_refused(http: httpx.Client, route: str, body: bytes) -> None:
    """Invalid JSON, invalid UTF-8 and JSON that is too deep are the client's error."""
    reply = http.post(route, content=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


def test_the_official_client_understands_the_errors(openai: OpenAI) -> None:
    """A refusal arrives as the exception that OpenAI's own would be."""
    with pytest.raises(BadRequestError) as caught:
        openai.chat.completions.create(model="m", messages=PROMPT, n=2)
    assert (caught.value.param, caught.value.code) == ("n", "unsupported_value")


@pytest.mark.parametrize("route", ["chat/completions", "embeddings"])
def test_a_body_that_is_too_large_is_refused(http: httpx.Client, route: str) -> None:
    """One byte more than a mebibyte is too much."""
    assert http.post(route, content=b" " * MAX_BODY).status_code == 400
    reply = http.post(route, content=b" " * (MAX_BODY + 1))
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("method", "route", "status", "code"),
    [
        ("GET", "nothing", 404, "unknown_url"),
        ("POST", "/chat/completions", 404, "unknown_url"),
        ("GET", "chat/completions", 405, "method_not_supported"),
        ("POST", "models", 405, "method_not_supported"),
    ],
)
def test_an_unknown_route_is_refused_in_the_same_shape(
    http: httpx.Client, offline_model: Service, method: str, route: str, status: int, code: str
) -> None:
    """A client need not tell two kinds of error bodies apart."""
    url = offline_model.url.removesuffix("/v1") + route if route.startswith("/") else route
    reply = http.request(method, url)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer another", "Basic {key}", "{key}"])
def test_without_the_key_there_is_no_answer(offline_model: Service, header: str | None) -> None:
    """The port may be seen by others on the machine."""
    headers = {} if header is None else {"Authorization": header.format(key=offline_model.secret)}
    reply = httpx.get(f"{offline_model.url}/models", headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


def test_the_official_client_understands_a_wrong_key(offline_model: Service) -> None:
    """It arrives as an AuthenticationError."""
    with OpenAI(base_url=offline_model.url, api_key="another") as client, pytest.raises(AuthenticationError):
        client.models.list()


def test_the_key_is_on_no_command_line(offline_model: Service) -> None:
    """A process list shows no secret."""
    for process in family(offline_model._keeper.pid):
        assert offline_model.secret not in " ".join(process.cmdline())


def test_nothing_that_a_user_wrote_is_logged(http: httpx.Client, offline_model: Service) -> None:
    """The log says when the server started, and not what it was asked."""
    canary = "canary-4711"
    http.post("chat/completions", json={"model": "m", "messages": [{"role": "user", "content": canary}]})
    http.post("chat/completions", json={"model": "m", "messages": canary})
    http.post("embeddings", content=canary.encode())
    http.get(f"models/{canary}")
    log = offline_model.log.read_text()
    assert "Application startup complete" in log
    assert canary not in log


def test_a_client_that_leaves_a_stream_costs_nothing(http: httpx.Client, offline_model: Service) -> None:
    """The next request is answered, and no error is logged."""
    with http.stream("POST", "chat/completions", json={**CHAT, "stream": True}) as reply:
        next(reply.iter_lines())
    assert http.post("chat/completions", json=CHAT).status_code == 200
    assert "Traceback" not in offline_model.log.read_text()


async def test_questions_side_by_side_get_their_own_answers(offline_model: Service) -> None:
    """Requests do not mix."""
    texts = [f"Question number {number}?" for number in range(16)]
    async with AsyncOpenAI(base_url=offline_model.url, api_key=offline_model.secret) as client:
        together = await asyncio.gather(*(client.embeddings.create(model="m", input=text) for text in texts))
        for text, reply in zip(texts[::5], together[::5], strict=True):
            alone = await client.embeddings.create(model="m", input=text)
            assert alone.data[0].embedding == reply.data[0].embedding


@pytest.fixture
async def broken(vectors: Vectors, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A server whose engine fails."""

    async def fail(*_: object) -> None:
        raise RuntimeError("canary-4711")

    monkeypatch.setattr(vectors, "centred", fail)
    transport = httpx.ASGITransport(create_server(vectors, "key"))
    headers = {"Authorization": "Bearer key"}
    async with httpx.AsyncClient(transport=transport, base_url="http://model/v1", headers=headers) as client:
        yield client


async def test_a_failure_is_answered_and_logged_without_its_text(
    broken: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure's text may hold what a user wrote, so only its type is told."""
    reply = await broken.post("embeddings", json=EMBED)
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "server_error")
    assert "embeddings failed: RuntimeError" in caplog.text
    assert "canary" not in caplog.text + reply.text


def test_without_its_package_the_model_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(model.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(LocalServiceError) as caught:
        model.start_model()
    assert str(caught.value) == (
        "The offline model does not run on linux riscv64 without its package (dependency group `local`): "
        "set OPENAI_API_KEY or OPENAI_BASE_URL."
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "it answers with status 401"),
        (b"-ERR unknown command\r\n", "it does not speak HTTP"),
    ],
)
def test_a_stranger_on_the_port_is_not_believed(answer: bytes, reason: str) -> None:
    """Only a server that answers as it should is the one that was started."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def reply() -> None:
            connection = stranger.accept()[0]
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(NotReadyError, match=reason):
            answers(stranger.getsockname()[1])
        thread.join()
