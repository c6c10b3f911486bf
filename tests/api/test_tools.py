"""Tools of MCP servers, seen from outside the service."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from cli import doctor
from conftest import MakeSettings, Serve
from graph.actions import mcp_server
from graph.observe import spans
from graph.observe.report import RunReport, ToolRun
from graph.state import AgentContext
from harness.calling import calls, function_call
from harness.fault_proxy import fault_proxy
from harness.langsmith import traced
from harness.measured import measured
from harness.scripted_model import ScriptedModel, tokens
from harness.tool_server import tool_server

ZONE = {"time_zone": "Europe/Berlin"}
MESSAGE = {"message": "When can you call me?", "customer_id": "c-1"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at servers often."""
    monkeypatch.setattr(mcp_server, "RETRY", 0.05)
    monkeypatch.setattr(mcp_server, "FRESH", 0.2)


async def test_a_server_dies_and_comes_back(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Its tools go and come, /ready says so and stays 200, and every question is answered."""
    used = [calls(function_call("free_slots", ZONE)), tokens(["Tuesday."])]
    async with tool_server() as server, fault_proxy("127.0.0.1", urlsplit(server.url).port or 0) as proxy:
        proxy.refuse()
        async with serve(SUPPORT_MCP_SERVERS=f"calendar=http://127.0.0.1:{proxy.port}/mcp") as url:
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:

                async def is_up() -> bool:
                    ready = await client.get("/ready")
                    assert ready.status_code == 200
                    return ready.json()["checks"]["mcp:calendar"]["up"]

                async def answered(*, with_tools: bool) -> None:
                    model.forget()
                    model.script("answer", *(used if with_tools else [tokens(["Hello."])]))
                    response = await client.post("/chat", json=MESSAGE)
                    assert response.json()["answer"] == ("Tuesday." if with_tools else "Hello.")
                    assert ("tools" in model.of("answer")[0].body) is with_tools

                assert not await is_up()
                check = (await client.get("/ready")).json()["checks"]["mcp:calendar"]
                assert check["reason"] == "can't be reached"
                await answered(with_tools=False)
                for _ in range(2):
                    proxy.restore()
                    async with asyncio.timeout(20):
                        while not await is_up():
                            await asyncio.sleep(0.02)
                    await answered(with_tools=True)
                    proxy.refuse()
                    await proxy.cut()
                    async with asyncio.timeout(20):
                        while await is_up():
                            await asyncio.sleep(0.02)
                    await answered(with_tools=False)
                model.script("answer", tokens(["Hello."]))
                assert (await client.post("/ask", json={"question": "Why?"})).status_code == 200
                assert len(server.calls) == 2


async def test_calls_are_counted_and_traced(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """By server and outcome; a trace has each under the answer, with its arguments and result masked."""
    asked = {"time_zone": "for ada.lovelace@mail.example"}
    model.script(
        "answer", calls(function_call("free_slots", asked)), calls(function_call("failing", {})), tokens(["No."])
    )
    text = "call +31 20 624 1111"
    async with tool_server(text=text) as server:
        async with traced(serve, SUPPORT_MCP_SERVERS=f"counted={server.url}") as (client, langsmith):
            assert (await client.post("/chat", json=MESSAGE)).json()["answer"] == "No."
            for outcome in ("done", "error"):
                name = "support_agent_tool_calls_total"
                assert await measured(client, name, server="counted", outcome=outcome) == 1
            assert await measured(client, "support_agent_breaker_open", name="MCP server counted") == 0
            await langsmith.until(1)
    runs = sorted(langsmith.runs.values(), key=lambda one: one["dotted_order"])
    done, failed = [each for each in runs if each["run_type"] == "tool"]
    (answer,) = [each for each in runs if each["name"] == "answer"]
    assert (done["parent_run_id"], failed["parent_run_id"]) == (answer["id"], answer["id"])
    assert (done["name"], done["inputs"]) == ("free_slots", {"time_zone": "for [email]"})
    assert done["outputs"] == {"output": "call [phone]"}
    assert (failed["name"], failed["error"]) == ("failing", "error")


def test_a_tool_is_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments and results."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(spans, "_tracer", tracer)
    with tracer.start_as_current_span("request"):
        report = RunReport("r-1", "Why?", AgentContext())
    tool = ToolRun("free_slots", "calendar", {"topic": "secret"})
    tool.end("secret", "unknown")
    report.tools.append(tool)
    spans.trace_run(report)
    (span,) = [one for one in exporter.get_finished_spans() if one.name == "execute_tool free_slots"]
    assert not span.status.is_ok
    assert "secret" not in str(span.to_json())


async def test_doctor_has_a_line_for_each_server(
    make_settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tools, or what is wrong and how to mend it, without a token."""
    async with tool_server() as one, tool_server(token="right") as other:
        settings = make_settings(
            SUPPORT_MCP_SERVERS=f"mail={one.url},calendar={other.url},gone=http://127.0.0.1:1/mcp",
            SUPPORT_MCP_TOKENS="calendar=sk-wrong",
        )
        assert not await doctor._examine_tools(settings)
    said, complaints = capsys.readouterr()
    assert said.startswith("tools     mail answers in ")
    assert "free_slots, poisoned" in said
    assert complaints.splitlines() == [
        "tools     calendar refuses the token (HTTP 401); correct its token in SUPPORT_MCP_TOKENS",
        "tools     gone can't be reached; start the server, or correct its address in SUPPORT_MCP_SERVERS",
    ]
    assert "sk-wrong" not in said
