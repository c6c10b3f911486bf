"""The offline model: requests that it refuses, data that it hides, and failures that it survives."""

import json
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AuthenticationError, BadRequestError, OpenAI

from harness.offline import CHAT, EMBED, PROMPT
from harness.processes import family
from local import model
from local.process import LocalServiceError, NotReadyError, Service, answers
from local.server import MAX_BODY, create_server
from local.vectors import Vectors

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
    ({**EMBED, "dimensions": 384}, "dimensions"),
    ({**EMBED, "dimensions": "256"}, "dimensions"),
]


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [("chat/completions", *case) for case in BAD_CHATS] + [("embeddings", *case) for case in BAD_EMBEDDINGS],
)
def test_a_bad_request_is_refused_by_name(http: httpx.Client, route: str, body: Any, param: str | None) -> None:
    """The error has OpenAI's format and names the field."""
    reply = http.post(route, content=json.dumps(body).encode())
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff{}", b'{"model": "\xed\xa0\x80"}', b"[" * 200_000, b"9" * 5000])
@pytest.mark.parametrize("route", ["chat/completions", "embeddings"])
def test_a_body_that_is_no_json_is_refused(http: httpx.Client, route: str, body: bytes) -> None:
    """Invalid JSON, invalid UTF-8 and JSON that is too deep get 400."""
    reply = http.post(route, content=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


def test_the_official_client_understands_the_errors(openai: OpenAI) -> None:
    """The official client raises the same exception as with OpenAI."""
    with pytest.raises(BadRequestError) as caught:
        openai.chat.completions.create(model="m", messages=PROMPT, n=2)
    assert (caught.value.param, caught.value.code) == ("n", "unsupported_value")


@pytest.mark.parametrize("route", ["chat/completions", "embeddings"])
def test_a_body_that_is_too_large_is_refused(http: httpx.Client, route: str) -> None:
    """A body of more than a mebibyte gets 413."""
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
    """404 and 405 have the same error format."""
    url = offline_model.url.removesuffix("/v1") + route if route.startswith("/") else route
    reply = http.request(method, url)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer another", "Basic {key}", "{key}"])
def test_without_the_key_there_is_no_answer(offline_model: Service, header: str | None) -> None:
    """Every request needs the key, since other users of the machine can reach the port."""
    headers = {} if header is None else {"Authorization": header.format(key=offline_model.secret)}
    reply = httpx.get(f"{offline_model.url}/models", headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


def test_the_official_client_understands_a_wrong_key(offline_model: Service) -> None:
    """The official client raises AuthenticationError."""
    with OpenAI(base_url=offline_model.url, api_key="another") as client, pytest.raises(AuthenticationError):
        client.models.list()


def test_the_key_is_on_no_command_line(offline_model: Service) -> None:
    """The key is in no process's arguments."""
    for process in family(offline_model._keeper.pid):
        assert offline_model.secret not in " ".join(process.cmdline())


def test_nothing_that_a_user_wrote_is_logged(http: httpx.Client, offline_model: Service) -> None:
    """The log has the server's start, and no text of any request."""
    canary = "canary-4711"
    http.post("chat/completions", json={"model": "m", "messages": [{"role": "user", "content": canary}]})
    http.post("chat/completions", json={"model": "m", "messages": canary})
    http.post("embeddings", content=canary.encode())
    http.get(f"models/{canary}")
    log = offline_model.log.read_text()
    assert "Application startup complete" in log
    assert canary not in log


def test_a_client_that_leaves_a_stream_costs_nothing(http: httpx.Client, offline_model: Service) -> None:
    """After a disconnect the next request is answered, and no error is logged."""
    with http.stream("POST", "chat/completions", json={**CHAT, "stream": True}) as reply:
        next(reply.iter_lines())
    assert http.post("chat/completions", json=CHAT).status_code == 200
    assert "Traceback" not in offline_model.log.read_text()


@pytest.fixture
async def broken(vectors: Vectors, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server whose embeddings fail."""

    def fail(*_: object) -> None:
        raise RuntimeError("canary-4711")

    monkeypatch.setattr(vectors, "of", fail)
    transport = httpx.ASGITransport(create_server(vectors, "key"))
    headers = {"Authorization": "Bearer key"}
    async with httpx.AsyncClient(transport=transport, base_url="http://model/v1", headers=headers) as client:
        yield client


async def test_a_failure_is_answered_and_logged_without_its_text(
    broken: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Only an exception's type is logged, since its text may hold a user's words."""
    reply = await broken.post("embeddings", json=EMBED)
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "server_error")
    assert "embeddings failed: RuntimeError" in caplog.text
    assert "canary" not in caplog.text + reply.text


def test_without_its_word_vectors_the_model_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The container image has none; one line says what to set."""
    monkeypatch.setattr(model, "WORDS", tmp_path / "words.npz")
    with pytest.raises(LocalServiceError) as caught:
        model.start_model()
    assert str(caught.value) == (
        "The offline model's word vectors (local/words.npz) are missing, as in the container image. Set "
        "OPENAI_API_KEY or OPENAI_BASE_URL."
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "it responds with status 401"),
        (b"-ERR unknown command\r\n", "it does not speak HTTP"),
    ],
)
def test_a_stranger_on_the_port_is_not_believed(answer: bytes, reason: str) -> None:
    """Another server on the port is not taken for ours."""
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
