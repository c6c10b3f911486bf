import json
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.logs import OURS
from conftest import MakeSettings, Serve
from graph.agent import SupportAgent
from harness.scripted_model import ScriptedModel
from harness.serving import serving

CANARY = "canary-7f3a"


@pytest.fixture
async def broken(make_settings: MakeSettings) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a service with a route that raises an exception."""
    app: FastAPI = create_app(make_settings())

    @app.get("/broken")
    async def raises() -> None:
        raise RuntimeError(CANARY)

    @app.get("/group")
    async def raises_a_group() -> None:
        raise ExceptionGroup(CANARY, [RuntimeError(CANARY)])

    async with serving(app) as url, httpx.AsyncClient(base_url=url) as http:
        yield http


@pytest.mark.parametrize("path", ["/broken", "/group"])
async def test_a_defect_is_a_problem_without_its_text(
    broken: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """An unexpected exception gives 500; the log has its type and place, and its text appears nowhere."""
    response = await broken.get(path)
    assert (response.status_code, response.json()["type"]) == (500, "internal")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == response.json()["request_id"]
    assert CANARY not in response.text + caplog.text
    assert "RuntimeError at " in caplog.text


async def test_a_defect_in_a_node_is_a_problem_without_its_text(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fails unexpectedly ends with one problem, like any other failure."""

    def raises(*_: object, **__: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("graph.nodes.answer.answer_prompt", raises)
    response = await client.post("/ask", json={"question": "Why?"})
    assert (response.status_code, response.json()["type"]) == (500, "internal")
    assert CANARY not in response.text + caplog.text
    assert "RuntimeError at " in caplog.text


async def test_requests_are_logged_by_their_shape(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """The log has method, route, status and request id of each request, and none of its content."""
    caplog.set_level(logging.DEBUG)
    await client.get("/stream", params={"question": CANARY}, headers={"X-Request-ID": "mine"})
    await client.post("/ask", json={"question": CANARY})
    await client.get(f"/{CANARY}")
    ours = [record for record in caplog.records if record.name.partition(".")[0] in {*OURS, "uvicorn"}]
    lines = [record.getMessage() for record in ours]
    assert {"GET /stream 200", "POST /ask 200", "GET (no route) 404"} <= set(lines)
    assert [record.__dict__["request_id"] for record in ours if "/stream" in record.getMessage()] == ["mine"]
    assert CANARY not in "\n".join(lines)


async def test_a_failed_start_says_why_in_one_line(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed start logs one line: what to change, or the type and place of an exception."""
    with pytest.raises(RuntimeError, match="did not start"):
        async with serve(SUPPORT_KNOWLEDGE="nowhere"):
            pass
    assert "SUPPORT_KNOWLEDGE: there is no file or folder 'nowhere'" in caplog.text

    @asynccontextmanager
    async def raises(*_: object, **__: object) -> AsyncGenerator[SupportAgent]:
        raise RuntimeError(CANARY)
        yield

    monkeypatch.setattr("api.lifespan.open_agent", raises)
    with pytest.raises(RuntimeError, match="did not start"):
        async with serve():
            pass
    assert "RuntimeError at " in caplog.text
    assert CANARY not in caplog.text
    assert "Traceback" not in caplog.text


async def test_the_documentation_describes_every_route_with_examples(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """/docs is served, and OpenAPI has examples and problems for each operation."""
    assert (await client.get("/docs")).status_code == 200
    document = (await client.get("/openapi.json")).json()
    assert {path for path in document["paths"] if not path.startswith("/langgraph/")} == {
        "/ask",
        "/stream",
        "/chat",
        "/chat/stream",
        "/runs/{run_id}",
        "/runs/{run_id}/stream",
        "/sessions/{session_id}",
        "/sessions/{session_id}/events",
        "/actions/{action_id}",
        "/handoffs",
        "/handoffs/{handoff_id}",
        "/handoffs/{handoff_id}/messages",
        "/handoffs/{handoff_id}/release",
        "/visitors",
        "/inbox/session",
        "/inbox/conversations",
        "/inbox/cases/{run_id}",
        "/articles/{article_id}",
        "/feedback",
        "/metrics",
        "/health",
        "/ready",
    }
    request = document["components"]["schemas"]["AskRequest"]["properties"]["question"]
    assert request["examples"] == ["I was charged twice, can I have my money back?"]
    assert "4,000 characters" in request["description"]
    for status in ("400", "413", "415", "422", "500", "503", "504"):
        (content,) = document["paths"]["/ask"]["post"]["responses"][status]["content"].items()
        assert content == ("application/problem+json", {"schema": {"$ref": "#/components/schemas/Problem"}})
    named = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(document)))
    assert named <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert model.calls == []


async def test_health_asks_nobody(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """GET /health returns the version and makes no call to a dependency."""
    response = await client.get("/health")
    assert response.json() == {"status": "healthy", "version": "0.1.0"}
    assert model.calls == []
