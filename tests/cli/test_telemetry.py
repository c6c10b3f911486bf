"""Telemetry of a service in its own process."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from conftest import Report
from harness.langsmith import langsmith_server
from harness.replica import replica
from harness.scripted_model import ScriptedModel, tokens
from harness.serving import serving

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@asynccontextmanager
async def collector() -> AsyncGenerator[tuple[str, list[Any]]]:
    """Yield the URL of an OpenTelemetry collector, and the spans that it receives."""
    spans: list[Any] = []

    async def take(request: Request) -> Response:
        sent = ExportTraceServiceRequest.FromString(await request.body())
        spans.extend(span for part in sent.resource_spans for scope in part.scope_spans for span in scope.spans)
        return Response(b"", media_type="application/x-protobuf")

    app = Starlette(routes=[Route("/v1/{signal}", take, methods=["POST"])])
    async with serving(app, lifespan=False) as url:
        yield url, spans


async def test_runs_join_the_callers_trace(model: ScriptedModel, redis: Redis, redis_url: str, articles: Path) -> None:
    """Request, run, nodes and model calls are nested spans of the caller's trace, without anybody's words."""
    async with collector() as (endpoint, spans):
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        async with replica(model, redis_url, articles, OTEL_BSP_SCHEDULE_DELAY="100", **variables) as (process, url):
            async with httpx.AsyncClient(base_url=url) as client:
                headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
                await client.get("/stream", params={"question": "Canary?"}, headers=headers)
                await client.get("/health", headers=headers)
            process.terminate()
            await asyncio.to_thread(process.wait, 10)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    by_id = {span.span_id: span for span in spans}
    tree = {span.name: by_id[span.parent_span_id].name if span.parent_span_id in by_id else None for span in spans}
    assert tree == {
        "GET /stream": None,
        "run": "GET /stream",
        "classify": "run",
        "retrieve": "run",
        "answer": "run",
        "chat gpt-4o-mini": "classify",
        "chat gpt-4o": "answer",
    }
    (server,) = [span for span in spans if span.name == "GET /stream"]
    assert server.parent_span_id.hex() == CALLER
    assert "anary" not in str(spans)


@pytest.mark.soak
async def test_a_collector_that_is_away_does_not_delay_the_end(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """An unreachable collector hardly delays the shutdown; its spans are lost."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with replica(model, redis_url, articles, **variables) as (process, url):
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.post("/ask", json={"question": "Why?"})).status_code == 200
        process.terminate()
        began = time.monotonic()
        assert await asyncio.to_thread(process.wait, 15) == 0
    assert time.monotonic() - began < 6


@pytest.mark.soak
@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.nightly)])
async def test_a_frozen_langsmith_costs_nothing(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path, report: Report, rounds: int
) -> None:
    """At 50 requests a second no request fails, memory is stable, and the shutdown is in time."""
    model.script("answer", tokens(["Well", ", ", "yes", "."]))
    async with langsmith_server() as langsmith:
        langsmith.thawed.clear()
        traced = {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_API_KEY": "lsv2_key",
            "LANGSMITH_ENDPOINT": langsmith.url,
        }
        plain = replica(model, redis_url, articles, SUPPORT_CACHE_TTL="0")
        frozen = replica(model, redis_url, articles, SUPPORT_CACHE_TTL="0", **traced)
        async with plain as (_, one), frozen as (process, other), aiohttp.ClientSession() as session:
            taken: dict[str, list[float]] = {one: [], other: []}

            async def ask(url: str, number: int) -> None:
                began = time.monotonic()
                async with session.post(f"{url}/ask", json={"question": f"{number}?"}) as answer:
                    assert answer.status == 200
                taken[url].append(time.monotonic() - began)

            async def load(url: str, seconds: int) -> None:
                asking: list[asyncio.Task[None]] = []
                for number in range(seconds * 50):
                    asking.append(asyncio.create_task(ask(url, number)))
                    await asyncio.sleep(0.02)
                await asyncio.gather(*asking)

            for url in (one, other):
                await load(url, 3)
                taken[url].clear()
            memory = psutil.Process(process.pid).memory_info().rss
            for _ in range(rounds):
                await load(one, 5)
                await load(other, 5)
            grown = (psutil.Process(process.pid).memory_info().rss - memory) / 2**20
            process.terminate()
            began = time.monotonic()
            assert await asyncio.to_thread(process.wait, 15) == 0
            ended = time.monotonic() - began
        p99 = [statistics.quantiles(times, n=100)[98] * 1000 for times in taken.values()]
        p50 = [statistics.median(times) * 1000 for times in taken.values()]
    report(
        f"LangSmith frozen, 50 requests/s: p50 {p50[0]:.1f} -> {p50[1]:.1f} ms, p99 {p99[0]:.1f} -> {p99[1]:.1f} ms, "
        f"memory +{grown:.0f} MB, end after {ended:.1f} s"
    )
    assert grown < 50
    assert ended < 9
