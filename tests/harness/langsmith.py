"""A fake LangSmith server with the API for traces, feedback and experiments, which records what it gets."""

import asyncio
import email
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harness.serving import serving

PROJECT = "6f1f2a4e-3c55-4a53-9f0e-0f6f0e9f6a11"
"""The id of every project."""

_TIME = "2026-01-01T00:00:00Z"
_DATASET = {"created_at": _TIME, "modified_at": _TIME, "tenant_id": PROJECT, "example_count": 0, "session_count": 0}


class LangSmith:
    """The recorded runs by id; `fault` is a status for all further responses, and `frozen` never responds."""

    def __init__(self, *, multipart: bool) -> None:
        self.url = ""
        self.runs: dict[str, dict[str, Any]] = {}
        self.feedback: dict[str, dict[str, Any]] = {}
        self.datasets: dict[str, dict[str, Any]] = {}
        """By name."""
        self.examples: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.received = ""
        """All request bodies, concatenated."""
        self.keys: set[str] = set()
        self.posts = 0
        self.fault: int | None = None
        self.run_fault: int | None = None
        """As `fault`, for runs alone."""
        self.limits: dict[str, Any] = {
            "use_multipart_endpoint": multipart,
            "size_limit": 100,
            "size_limit_bytes": 20_000_000,
            "scale_up_nthreads_limit": 16,
            "scale_up_qsize_trigger": 1000,
            "scale_down_nempty_trigger": 4,
        }
        self.thawed = asyncio.Event()
        self.thawed.set()

    @property
    def roots(self) -> list[dict[str, Any]]:
        """Return the runs without a parent, by start time."""
        found = [run for run in self.runs.values() if not run.get("parent_run_id")]
        return sorted(found, key=lambda run: run["dotted_order"])

    def children(self, run: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return the children of a run, by start time."""
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for child in sorted(self.runs.values(), key=lambda one: one["dotted_order"]):
            if child.get("parent_run_id") == run["id"]:
                found[child["name"]].append(child)
        return found

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Wait until there are this many traces."""
        async with asyncio.timeout(10):
            while len(self.roots) < count:
                await asyncio.sleep(0.02)
        return self.roots

    def app(self) -> Starlette:
        """The server."""
        return Starlette(
            routes=[
                Route("/info", self._info),
                Route("/runs/multipart", self._parts, methods=["POST"]),
                Route("/runs/batch", self._batch, methods=["POST"]),
                Route("/feedback", self._judge, methods=["POST"]),
                Route("/sessions", self._projects),
                Route("/sessions", self._experiment, methods=["POST"]),
                Route("/sessions/{id}", self._experiment, methods=["GET", "PATCH"]),
                Route("/datasets", self._datasets, methods=["GET", "POST"]),
                Route("/examples", self._examples),
                Route("/v1/platform/datasets/{id}/examples", self._add_examples, methods=["POST"]),
            ]
        )

    async def _info(self, _: Request) -> Response:
        await self.thawed.wait()
        flags = {"dataset_examples_multipart_enabled": True}
        return JSONResponse({"version": "0.15.0", "batch_ingest_config": self.limits, "instance_flags": flags})

    async def _projects(self, request: Request) -> Response:
        if self.fault:
            return Response("fault", self.fault)
        project = {"id": PROJECT, "tenant_id": PROJECT, "reference_dataset_id": None}
        named = {"name": request.query_params.get("name", "any"), "start_time": "2026-01-01T00:00:00Z"}
        return JSONResponse([project | named])

    async def _experiment(self, request: Request) -> Response:
        if self.fault:
            return Response("fault", self.fault)
        told = json.loads(await request.body() or "{}")
        known = self.experiments.setdefault(request.path_params.get("id") or told["id"], {"tenant_id": PROJECT})
        known |= {name: value for name, value in told.items() if value is not None}
        return JSONResponse(known)

    async def _datasets(self, request: Request) -> Response:
        if self.fault:
            return Response("fault", self.fault)
        if request.method == "GET":
            name = request.query_params["name"]
            return JSONResponse([self.datasets[name]] if name in self.datasets else [])
        told = json.loads(await request.body())
        self.datasets[told["name"]] = {**told, "id": str(uuid.uuid4()), **_DATASET}
        return JSONResponse(self.datasets[told["name"]])

    async def _examples(self, request: Request) -> Response:
        found = [one for one in self.examples.values() if one["dataset_id"] == request.query_params["dataset"]]
        start = int(request.query_params["offset"])
        return JSONResponse(found[start : start + int(request.query_params["limit"])])

    async def _add_examples(self, request: Request) -> Response:
        body = await request.body()
        made = {"dataset_id": request.path_params["id"], "created_at": _TIME, "modified_at": _TIME}
        added: dict[str, dict[str, Any]] = {}
        for name, content in _parts(request.headers["content-type"], body):
            example_id, *field = name.split(".")
            example = added.setdefault(example_id, {"id": example_id, **made})
            example.update({field[0]: json.loads(content)} if field else json.loads(content))
        self.examples |= added
        return JSONResponse({"count": len(added), "example_ids": list(added)})

    async def _body(self, request: Request) -> bytes:
        self.posts += 1
        self.keys.add(request.headers.get("x-api-key", ""))
        body = await request.body()
        await self.thawed.wait()
        self.received += body.decode()
        return body

    async def _batch(self, request: Request) -> Response:
        body = await self._body(request)
        if fault := self.fault or self.run_fault:
            return Response("fault", fault)
        told = json.loads(body)
        for run in told["post"] + told.get("patch", []):
            self.runs.setdefault(run["id"], {}).update(run)
        return JSONResponse({}, 202)

    async def _parts(self, request: Request) -> Response:
        body = await self._body(request)
        if fault := self.fault or self.run_fault:
            return Response("fault", fault)
        for name, content in _parts(request.headers["content-type"], body):
            operation, told_id, *field = name.split(".")
            assert operation in ("post", "patch", "feedback")
            known = (self.feedback if operation == "feedback" else self.runs).setdefault(told_id, {})
            known.update({field[0]: json.loads(content)} if field else json.loads(content))
        return JSONResponse({}, 202)

    async def _judge(self, request: Request) -> Response:
        body = await self._body(request)
        if self.fault:
            return Response("fault", self.fault)
        feedback = json.loads(body)
        self.feedback[feedback["id"]] = feedback
        return JSONResponse(feedback, 200)


def _parts(kind: str, body: bytes) -> Iterator[tuple[str, bytes]]:
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    for part in message.walk():
        if name := part.get_param("name", header="content-disposition"):
            yield str(name), cast("bytes", part.get_payload(decode=True))


@asynccontextmanager
async def langsmith_server(*, multipart: bool = True) -> AsyncGenerator[LangSmith]:
    """Serve a fake LangSmith."""
    server = LangSmith(multipart=multipart)
    async with serving(server.app(), lifespan=False) as url:
        server.url = url
        try:
            yield server
        finally:
            server.thawed.set()


@asynccontextmanager
async def traced(
    serve: Callable[..., AbstractAsyncContextManager[str]], *, multipart: bool = True, **variables: Any
) -> AsyncGenerator[tuple[httpx.AsyncClient, LangSmith]]:
    """Yield a client of a service with tracing, and the server that gets its traces."""
    async with langsmith_server(multipart=multipart) as langsmith:
        settings = {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_API_KEY": "lsv2_pt_0123456789abcdef0123456789abcdef",
            "LANGSMITH_ENDPOINT": langsmith.url,
        }
        async with serve(**(settings | variables)) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
            yield client, langsmith
