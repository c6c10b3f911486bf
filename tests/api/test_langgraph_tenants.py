"""The LangGraph API: whose threads a caller sees, and what holds for it as for every route."""

import itertools
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import AuthenticationError, NotFoundError, PermissionDeniedError, RateLimitError
from redis.asyncio import Redis

from api.errors import MEDIA_TYPE
from api.langgraph.unserved import UNSERVED
from conftest import MakeSettings, Serve
from graph.errors import SettingsError
from harness.scripted_model import ScriptedModel
from harness.visitors import KEYS, SETTINGS, bearer, visitor

SHARED = "7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11"
ASSISTANT = "agent"


@pytest.fixture
async def site(serve: Serve, redis: Redis, model: ScriptedModel) -> AsyncGenerator[httpx.AsyncClient]:
    """A client without a key, for a service with three keys."""
    async with (
        serve(**SETTINGS, SUPPORT_RATE_LIMIT="") as url,
        httpx.AsyncClient(base_url=f"{url}/langgraph", timeout=20) as client,
    ):
        yield client


def asked(question: str) -> dict[str, Any]:
    return {"assistant_id": ASSISTANT, "input": {"messages": [{"role": "user", "content": question}]}}


@dataclass
class Tenant:
    """A tenant with threads of its own, in each of which a word was said that nobody else may read."""

    name: str
    threads: list[str] = field(default_factory=list[str])
    runs: list[str] = field(default_factory=list[str])

    @property
    def canary(self) -> str:
        """What only this tenant says."""
        return f"canary{self.name}"

    async def fill(self, client: httpx.AsyncClient) -> None:
        """Have three conversations."""
        key = bearer(KEYS[self.name])
        for thread in (SHARED, None):
            made = await client.post(
                "/threads", json={"thread_id": thread, "metadata": {"of": self.canary}}, headers=key
            )
            self.threads.append(made.json()["thread_id"])
            body = asked(f"What is {self.canary}?")
            ran = await client.post(f"/threads/{self.threads[-1]}/runs/wait", json=body, headers=key)
            assert self.canary in ran.text
            self.runs.append(ran.headers["content-location"].rpartition("/")[2])
        said = {"message": f"What is {self.canary}?", "session_id": "shared"}
        self.runs.append((await client.post("/../chat", json=said, headers=key)).json()["run_id"])
        listed = (await client.post("/threads/search", json={"metadata": {"tenant": self.name}}, headers=key)).json()
        self.threads += [thread["thread_id"] for thread in listed if thread["thread_id"] not in self.threads]
        assert len(self.threads) == 3

    async def seen(self, client: httpx.AsyncClient) -> Any:
        """Return what the tenant's own key sees."""
        found = await client.post("/threads/search", json={"sort_by": "thread_id"}, headers=bearer(KEYS[self.name]))
        return found.json()


def bodies(path: str, thread: str, run: str) -> Iterator[dict[str, Any] | None]:
    """Yield what to send, an empty body and one that does something."""
    yield {}
    if path.endswith(("/runs", "/runs/stream", "/runs/wait")):
        yield asked("And now?")
    elif path.endswith("/state"):
        yield {"values": {"messages": [{"role": "ai", "content": "Overwritten."}]}}
    elif path.endswith("/state/checkpoint"):
        yield {"checkpoint": {"thread_id": thread}}
    elif path.endswith("/threads/{thread_id}"):
        yield {"metadata": {"run": run}}


@pytest.mark.soak
async def test_no_tenant_meets_anothers_threads(site: httpx.AsyncClient) -> None:
    """None of 1,000 requests over every route reads, changes or deletes what is another's, or tells that it exists."""
    tenants = [Tenant(name) for name in ("web", "partner", "operator")]
    for tenant in tenants:
        await tenant.fill(site)
    before = [await tenant.seen(site) for tenant in tenants[:2]]
    described = (await site.get("/../openapi.json")).json()["paths"]
    routes = [
        (method.upper(), path.removeprefix("/langgraph"))
        for path, methods in described.items()
        for method in (*methods, *(["head"] if "get" in methods else []))
        if path.startswith("/langgraph/threads/{thread_id}") or ("{run_id}" in path and path.startswith("/langgraph"))
    ]
    assert len(routes) >= 15
    sent = 0
    for thief, victim in itertools.permutations(tenants, 2):
        if thief.name == "operator":
            continue  # its key reads what all tenants say
        places = [*itertools.product(victim.threads[1:], victim.runs), *itertools.product(thief.threads, victim.runs)]
        for (method, path), (thread, run) in itertools.product(routes, places):
            if thread in thief.threads and "{run_id}" not in path:
                continue
            where = path.format(thread_id=thread, run_id=run, checkpoint_id="x")
            for body in bodies(path, thread, run) if method in ("POST", "PATCH") else (None,):
                answer = await site.request(method, where, json=body, headers=bearer(KEYS[thief.name]))
                sent += 1
                assert answer.status_code in (401, 404, 422), (method, where, answer.text)
                assert victim.canary not in answer.text, (method, where)
        listed = (await site.post("/threads/search", json={"limit": 1000}, headers=bearer(KEYS[thief.name]))).text
        assert victim.canary not in listed
        for query in (
            {"ids": victim.threads},
            {"metadata": {"of": victim.canary}},
            {"metadata": {"tenant": victim.name}},
        ):
            found = await site.post("/threads/search", json=query, headers=bearer(KEYS[thief.name]))
            assert victim.canary not in found.text
    assert sent >= 1000
    assert [await tenant.seen(site) for tenant in tenants[:2]] == before


async def test_the_same_id_is_another_thread_for_another_tenant(site: httpx.AsyncClient) -> None:
    """Whoever makes or runs one of an id that another tenant has gets a thread of their own."""
    web, partner = (bearer(KEYS[name]) for name in ("web", "partner"))
    await site.post(f"/threads/{SHARED}/runs/wait", json={**asked("Hello?"), "if_not_exists": "create"}, headers=web)
    made = await site.post("/threads", json={"thread_id": SHARED}, headers=partner)
    assert (made.status_code, made.json()["values"]) == (200, None)
    assert (await site.get(f"/threads/{SHARED}/state", headers=partner)).json()["values"] == {}
    assert (await site.delete(f"/threads/{SHARED}", headers=partner)).status_code == 204
    assert len((await site.get(f"/threads/{SHARED}/state", headers=web)).json()["values"]["messages"]) == 2


def client_of(site: httpx.AsyncClient, name: str) -> LangGraphClient:
    return get_client(url=str(site.base_url), api_key=KEYS[name])


async def test_the_operator_reads_every_tenants_threads(site: httpx.AsyncClient) -> None:
    """And changes their states, which their tenants can't; it starts no run in them, and deletes none."""
    async with httpx.AsyncClient(base_url=str(site.base_url).removesuffix("/langgraph/")) as root:
        own = await visitor(root)
    await site.post("/../chat", json={"message": "Hello?", "session_id": "s-1"}, headers=own)
    async with client_of(site, "web") as web, client_of(site, "operator") as operator:
        thread = (await web.threads.create())["thread_id"]
        await web.runs.wait(thread, ASSISTANT, input=asked("Hello?")["input"])
        found: Any = await operator.threads.search(metadata={"tenant": "web"}, sort_by="created_at", sort_order="asc")
        assert [each["metadata"]["session_id"] for each in found] == ["s-1", thread]
        changed: Any = {"messages": [{"role": "user", "content": "Hm."}, {"role": "ai", "content": "Ada here."}]}
        with pytest.raises(AuthenticationError):
            await web.threads.update_state(thread, changed)
        await operator.threads.update_state(thread, changed)
        state: Any = await web.threads.get_state(thread)
        assert state["values"]["messages"][-1]["content"] == "Ada here."
        for refused in (operator.threads.delete(thread), operator.threads.update(thread, metadata={"a": 1})):
            with pytest.raises(PermissionDeniedError):
                await refused
        with pytest.raises(NotFoundError):
            await operator.threads.get(SHARED)


async def test_no_route_works_without_a_key(site: httpx.AsyncClient) -> None:
    """Those that are not served are no exception; the SDK says what is missing."""
    for path, methods in UNSERVED.items():
        for method in methods:
            assert (await site.request(method, path)).status_code == 401, path
    async with get_client(url=str(site.base_url), api_key=None) as client:
        with pytest.raises(AuthenticationError, match="Send a valid key"):
            await client.threads.search()


async def test_only_runs_count_against_the_rate_limit(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A client may look as often as it likes; over the limit, the SDK gets 429 with the seconds to wait."""
    async with (
        serve(**SETTINGS, SUPPORT_RATE_LIMIT="2/minute") as url,
        get_client(url=f"{url}/langgraph", api_key=KEYS["web"]) as client,
    ):
        thread = (await client.threads.create())["thread_id"]
        for _ in range(2):
            await client.runs.wait(thread, ASSISTANT, input=asked("Hello?")["input"])
        for _ in range(5):
            await client.threads.get_state(thread)
        with pytest.raises(httpx.HTTPStatusError, match="429") as limited:  # the SDK gives this call no type of its own
            await client.runs.wait(thread, ASSISTANT, input=asked("Hello?")["input"])
        assert int(limited.value.response.headers["Retry-After"]) > 0
        with pytest.raises(RateLimitError):
            async for _ in client.runs.stream(None, ASSISTANT, input=asked("Hello?")["input"]):
                pass


async def test_a_large_body_is_refused(site: httpx.AsyncClient) -> None:
    """As everywhere, with 413."""
    answer = await site.post("/threads", json={"metadata": {"a": "x" * 70_000}}, headers=bearer(KEYS["web"]))
    assert (answer.status_code, answer.headers["content-type"]) == (413, MEDIA_TYPE)


def test_in_production_it_requires_keys(make_settings: MakeSettings) -> None:
    """Otherwise anybody could read what customers wrote."""
    with pytest.raises(SettingsError, match="SUPPORT_LANGGRAPH_API=on requires"):
        make_settings(
            SUPPORT_ENV="production", SUPPORT_LANGGRAPH_API="on", SUPPORT_ALLOW_ANONYMOUS="true"
        ).require_service()
    assert not make_settings(SUPPORT_ENV="production", SUPPORT_ALLOW_ANONYMOUS="true").serves_langgraph
