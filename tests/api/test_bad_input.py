import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from api.logs import OURS
from harness.scripted_model import ScriptedModel

JSON = {"content-type": "application/json"}
CANARY = "canary-7f3a"

REFUSED: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "empty": (b'{"question": ""}', JSON, 422, "question: must not be blank"),
    "blank": (b'{"question": " \\n\\t "}', JSON, 422, "question: must not be blank"),
    "invisible": ('{"question": "\u200b\u2060"}'.encode(), JSON, 422, "question: must not be blank"),
    "4,001 characters": (
        json.dumps({"question": "é" * 4001}).encode(),
        JSON,
        422,
        "question: must have at most 4000 characters",
    ),
    "number": (b'{"question": 42}', JSON, 422, "question: must be a string"),
    "null": (b'{"question": null}', JSON, 422, "question: must be a string"),
    "list": (b'["question"]', JSON, 422, "body: must be a JSON object"),
    "missing": (b"{}", JSON, 422, "question: is missing"),
    "no body": (b"", JSON, 422, "body: is missing"),
    "unknown field": (
        b'{"question": "Why?", "canary-7f3a": 1}',
        JSON,
        422,
        f"{CANARY}: is an unknown field; remove it",
    ),
    "unknown field with a surrogate": (b'{"question": "Why?", "\\ud800": 1}', JSON, 422, "body: must be valid Unicode"),
    "bad customer": (
        b'{"question": "Why?", "customer_id": "a b"}',
        JSON,
        422,
        "customer_id: must match ^[A-Za-z0-9_.-]{1,128}$",
    ),
    "customer with a newline": (
        b'{"question": "Why?", "customer_id": "a\\n"}',
        JSON,
        422,
        "customer_id: must match ^[A-Za-z0-9_.-]{1,128}$",
    ),
    "fillers": ('{"question": "\u3164\u115f"}'.encode(), JSON, 422, "question: must not be blank"),
    "NUL": (b'{"question": "a\\u0000b"}', JSON, 422, "question: must not contain NUL characters"),
    "lone surrogate": (b'{"question": "canary-7f3a \\ud83d"}', JSON, 422, "question: must be valid Unicode"),
    "not JSON": (b'{"question": "canary-7f3a', JSON, 400, "body"),
    "invalid UTF-8": (b'{"question": "canary-7f3a \xff"}', JSON, 400, "body"),
    "deep": (b'{"question": ' + b"[" * 30_000, JSON, 400, "body"),
    "no content type": (b'{"question": "canary-7f3a"}', {}, 415, "Content-Type"),
    "wrong content type": (
        b'{"question": "canary-7f3a"}',
        {"content-type": "text/plain"},
        415,
        "Content-Type",
    ),
    "1 MB": (json.dumps({"question": "a" * 1_000_000}).encode(), JSON, 413, "body"),
}


def check_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["instance"] == response.request.url.path
    assert problem["type"]
    assert problem["title"]
    return problem


@pytest.mark.parametrize(("content", "headers", "status", "named"), REFUSED.values(), ids=list(REFUSED))
async def test_ask_refuses_bad_bodies(
    client: httpx.AsyncClient,
    model: ScriptedModel,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
    headers: dict[str, str],
    status: int,
    named: str,
) -> None:
    """A bad body gets a problem that names the field, costs no model call, and leaves no text of it in the log."""
    for ours in OURS:
        caplog.set_level(logging.DEBUG, logger=ours)
    response = await client.post("/ask", content=content, headers=headers)
    problem = check_problem(response, status)
    assert named in problem["detail"]
    if CANARY not in named:
        assert CANARY not in response.text
    assert CANARY not in caplog.text
    assert model.calls == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "question: is missing"),
        ("question=", "question: must not be blank"),
        ("question=%20", "question: must not be blank"),
        ("question=%00", "question: must not contain NUL characters"),
        ("question=" + "a" * 4001, "question: must have at most 4000 characters"),
        ("question=Why&other=1", "other: is an unknown field; remove it"),
        ("question=%ff", "question: must be percent-encoded UTF-8"),
    ],
)
async def test_stream_refuses_bad_questions(
    client: httpx.AsyncClient, model: ScriptedModel, query: str, named: str
) -> None:
    """A bad query gets a problem that names the field, before the stream begins."""
    problem = check_problem(await client.get(f"/stream?{query}"), 422)
    assert named in problem["detail"]
    assert model.calls == []


async def test_each_refused_field_is_listed(client: httpx.AsyncClient) -> None:
    """A body with two faults names both fields."""
    response = await client.post("/ask", json={"question": "", "customer_id": "a b"})
    assert [error["field"] for error in check_problem(response, 422)["errors"]] == ["question", "customer_id"]


async def test_4000_characters_are_enough_and_trimmed(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """White space is trimmed and does not count towards the 4,000 characters."""
    response = await client.post("/ask", json={"question": "  " + "é" * 4000 + "\n"})
    assert response.status_code == 200
    assert model.of("answer")[0].prompt[-1] == ("user", "é" * 4000)


async def test_a_body_of_unknown_length_is_cut_at_the_limit(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """A chunked body is refused as soon as it exceeds the limit."""

    async def endless() -> AsyncGenerator[bytes]:
        for _ in range(200):
            yield b"a" * 1000

    response = await client.post("/ask", content=endless(), headers=JSON)
    check_problem(response, 413)
    assert model.calls == []


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    """404 and 405 have the same problem format as other errors."""
    assert check_problem(await client.get("/nothing"), 404)["type"] == "not-found"
    assert check_problem(await client.get("/ask"), 405)["type"] == "method-not-allowed"


@pytest.mark.parametrize("offered", ["mine-1", "a.b_c-D9"])
async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient, offered: str) -> None:
    """A valid request id of the client is returned."""
    response = await client.get("/health", headers={"X-Request-ID": offered})
    assert response.headers["x-request-id"] == offered


@pytest.mark.parametrize("offered", ["", "a b", "x" * 129, "é", "<script>"])
async def test_other_request_ids_are_replaced(client: httpx.AsyncClient, offered: str) -> None:
    """An id that could break a log line is replaced."""
    response = await client.get("/health", headers={b"X-Request-ID": offered.encode()})
    assert len(response.headers["x-request-id"]) == 32


async def test_no_redirect_follows_the_host_header(client: httpx.AsyncClient) -> None:
    """A trailing slash is a different path, never a redirect to the Host header's server."""
    check_problem(await client.post("/ask/", json={"question": "Why?"}, headers={"host": "evil.example"}), 404)


async def test_the_instance_is_a_uri_reference(client: httpx.AsyncClient) -> None:
    """Odd characters in the path are percent-encoded."""
    assert (await client.get("/x%20y")).json()["instance"] == "/x%20y"


async def test_health_answers_head(client: httpx.AsyncClient) -> None:
    """Load balancers may send HEAD."""
    assert (await client.head("/health")).status_code == 200


async def test_what_is_wrong_is_said_once(client: httpx.AsyncClient) -> None:
    """An invalid run id is reported once, although several parts of the service validate it."""
    problem = check_problem(await client.get("/runs/nonexistent/stream"), 422)
    assert [error["field"] for error in problem["errors"]] == ["run_id"]
