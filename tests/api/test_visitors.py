"""Visitors' tokens: who gets one, what it opens, and what it does not."""

import asyncio
import base64
import hmac
import json
import logging
import re
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from starlette.routing import Route, WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from api.app import _ROUTES
from api.auth import Principal, VisitorTokens
from api.langgraph.routers import ROUTERS
from api.logs import OURS
from conftest import Serve
from harness.langsmith import traced
from harness.scripted_model import ScriptedModel
from harness.visitors import BEFORE, CLAIMS, KEYS, SECRET, SETTINGS, bearer, forged, minted, visitor

RUN = "7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11"


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.fixture
async def site(serve: Serve, redis: Redis, model: ScriptedModel) -> AsyncGenerator[httpx.AsyncClient]:
    """A client without a key, for a service with three keys and a secret."""
    async with serve(**SETTINGS) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


async def test_a_token_opens_the_visitors_own_conversation(site: httpx.AsyncClient) -> None:
    """Its visitor chats, reads, resumes, rates and deletes; to all others, the company too, nothing of it exists."""
    own, other, foreign = await visitor(site), await visitor(site), await minted(site, "partner")
    body = {"message": "Hello there, is anybody in?", "session_id": "s-1"}
    done = (await site.post("/chat", json=body, headers=own)).json()
    run, rating = f"/runs/{done['run_id']}", {"run_id": done["run_id"], "score": 1}
    for headers in (other, bearer(foreign["token"]), bearer(KEYS["web"]), bearer(KEYS["operator"])):
        for method, path, sent in (
            ("GET", "/sessions/s-1", None),
            ("DELETE", "/sessions/s-1", None),
            ("GET", f"{run}/stream", None),
            ("DELETE", run, None),
            ("POST", "/feedback", rating),
        ):
            response = await site.request(method, path, json=sent, headers=headers)
            assert (response.status_code, response.json()["type"]) == (404, "not-found"), (method, path)
    assert len((await site.get("/sessions/s-1", headers=own)).json()["messages"]) == 2
    assert (await site.get(f"{run}/stream", headers=own)).status_code == 200
    assert (await site.post("/feedback", json=rating, headers=own)).status_code == 202
    assert (await site.delete("/sessions/s-1", headers=own)).status_code == 204


async def test_visitors_with_the_same_names_do_not_meet(site: httpx.AsyncClient) -> None:
    """The same session id and idempotency key of two visitors, or of their company, are three conversations."""
    callers = (await visitor(site), await visitor(site), bearer(KEYS["web"]))
    body = {"message": "Hello there, is anybody in?", "session_id": "shared"}
    turns = [
        (await site.post("/chat", json=body, headers={**caller, "Idempotency-Key": "one"})).json() for caller in callers
    ]
    assert len({turn["run_id"] for turn in turns}) == 3
    assert [turn["messages_in_history"] for turn in turns] == [2, 2, 2]


async def test_a_customer_stays_the_same_visitor(site: httpx.AsyncClient) -> None:
    """Another token with the same customer or visitor opens the same conversations; another customer's does not."""
    for same, different in (
        ({"customer_id": "c-1"}, {"customer_id": "c-2"}),
        ({"visitor_id": (await minted(site))["visitor_id"]}, {"visitor_id": "somebody-else"}),
    ):
        first, second, third = [await visitor(site, **body) for body in (same, same, different)]
        body = {"message": "Hello there, is anybody in?", "session_id": f"of-{next(iter(same))}"}
        assert (await site.post("/chat", json=body, headers=first)).status_code == 200
        assert (await site.get(f"/sessions/{body['session_id']}", headers=second)).status_code == 200
        assert (await site.get(f"/sessions/{body['session_id']}", headers=third)).status_code == 404


async def test_a_visitor_does_not_say_who_they_are(site: httpx.AsyncClient) -> None:
    """`customer_id` is the token's; in a body it is refused, with and without one in the token."""
    for headers in (await visitor(site), await visitor(site, customer_id="c-1")):
        for path, body in (("/chat", {"message": "Hi!"}), ("/ask", {"question": "Hi!"})):
            refused = await site.post(path, json={**body, "customer_id": "c-2"}, headers=headers)
            assert refused.status_code == 422
            assert refused.json()["errors"][0]["field"] == "customer_id"
            assert "token" in refused.json()["detail"]


INVALID = {
    "expired": forged(exp=int(time.time()) - 1),
    "never expires": forged(exp=None),
    "audience": forged(aud="other"),
    "several audiences": forged(aud=["support-agent/visitors", "other"]),
    "no audience": forged(aud=None),
    "issuer": forged(iss="other"),
    "nobody": forged(sub=None),
    "no tenant": forged(tenant=None),
    "a tenant without a key": forged(tenant="gone"),
    "the tenant of no key": forged(tenant="anonymous"),
    "public mode is off": forged(tenant="public"),
    "another secret": forged("x" * 32),
    "a secret that has been removed": forged(BEFORE),
    "another algorithm's secret": forged(SECRET + SECRET, "HS512"),
    "another algorithm": forged(SECRET * 4, "HS384"),
    "signature": forged()[:-2] + "AA",
    "four parts": forged() + ".x",
    "unsigned": ".".join((encoded({"alg": "none"}), encoded({**CLAIMS, "exp": 2**40}), "")),
    "unsigned, in capitals": ".".join((encoded({"alg": "None"}), encoded({**CLAIMS, "exp": 2**40}), "AA")),
    "a list of algorithms": ".".join((encoded({"alg": ["HS256"]}), encoded(CLAIMS), "AA")),
    "no header": ".".join((encoded([[[[]]]] * 3), encoded(CLAIMS), "AA")),
    "long": "eyJ" + "W" * 3_000 + ".e.e",
}
"""Tokens by what is wrong with them."""


async def test_a_token_that_is_not_valid_gets_one_and_the_same_problem(site: httpx.AsyncClient) -> None:
    """401, and not a word on what was wrong with it."""
    nothing = await site.post("/chat", json={"message": "Hello?"})
    for why, token in INVALID.items():
        response = await site.post("/chat", json={"message": "Hello?"}, headers=bearer(token))
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer"), why
        assert without_id(response) == without_id(nothing), why
        with pytest.raises(InvalidStatus) as refused:
            await websocket(site, token)
        assert refused.value.response.status_code == 401, why


def without_id(response: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in response.json().items() if name != "request_id"}


async def test_another_algorithm_with_the_right_secret_is_refused(site: httpx.AsyncClient) -> None:
    """Only HS256 is accepted, also where the signature itself is right."""
    header, payload, _ = forged().split(".")
    for algorithm, hashed in (("HS384", "sha384"), ("HS512", "sha512"), ("HS256", "sha256")):
        header = encoded({"alg": algorithm, "typ": "JWT"})
        signature = hmac.new(SECRET.encode(), f"{header}.{payload}".encode(), hashed).digest()
        token = f"{header}.{payload}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        response = await site.get("/sessions/s-1", headers=bearer(token))
        assert response.status_code == (404 if algorithm == "HS256" else 401), algorithm


async def test_a_secret_is_changed_in_two_steps(serve: Serve, redis: Redis) -> None:
    """With both, tokens of either are valid and the first one signs; without the old one its tokens are not."""
    old = forged(BEFORE)
    async with (
        serve(**{**SETTINGS, "SUPPORT_VISITOR_SECRET": f"{SECRET}, {BEFORE}"}) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        assert (await client.get("/sessions/s-1", headers=bearer(old))).status_code == 404
        new = (await minted(client))["token"]
    tokens = VisitorTokens([SECRET.encode()], {"web"})
    assert tokens.read(old) is None
    assert tokens.read(new) is not None
    assert VisitorTokens([SECRET.encode()], {"partner"}).read(new) is None  # web's key was removed


async def test_a_token_in_a_url_is_refused(site: httpx.AsyncClient) -> None:
    """URLs end up in logs and histories; the problem does not repeat it."""
    token = (await minted(site))["token"]
    for headers in ({}, bearer(token)):
        for method, path in (("GET", "/stream?question=Hi&token="), ("POST", "/chat/stream?token=")):
            response = await site.request(method, f"{path}{token}", json={"message": "Hi"}, headers=headers)
            assert response.status_code == 401
            assert token not in response.text


async def websocket(client: httpx.AsyncClient, token: str, *others: str) -> ClientConnection:
    address = str(client.base_url.copy_with(scheme="ws")).rstrip("/") + "/chat"
    offered = [Subprotocol(name) for name in (*others, f"support.token.{token}")]
    return await connect(address, subprotocols=offered)


async def test_a_websocket_takes_a_token_as_a_subprotocol(site: httpx.AsyncClient) -> None:
    """The token is not echoed, and the conversation is the visitor's."""
    token = (await minted(site))["token"]
    async with await websocket(site, token, "support.v1") as socket:
        assert socket.subprotocol == "support.v1"
        assert token not in str(socket.response.headers if socket.response else "")
        await socket.send(json.dumps({"message": "Hello there, is anybody in?"}))
        events = [json.loads(await asyncio.wait_for(socket.recv(), 60))]
        while events[-1]["event"] != "done":
            events.append(json.loads(await asyncio.wait_for(socket.recv(), 60)))
    session = f"/sessions/{events[0]['data']['session_id']}"
    assert (await site.get(session, headers=bearer(token))).status_code == 200
    assert (await site.get(session, headers=bearer(KEYS["web"]))).status_code == 404


async def test_a_websocket_ends_with_its_token(site: httpx.AsyncClient) -> None:
    """It closes with 1008 between two turns."""
    async with await websocket(site, forged(exp=int(time.time()) + 2), "support.v1") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 60)
    assert closed.value.rcvd
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "token expired")


OPEN = {
    *("/health", "/ready", "/docs", "/docs/{name}", "/openapi.json"),
    *("/", "/static/{name:path}", "/embed.js", "/embed.json", "/visitors/anonymous", "/inbox", "/inbox/session"),
    *("/docs/", "/inbox/"),
}
"""What anybody may ask for."""
OWN = {
    *("/ask", "/stream", "/chat", "/chat/stream", "/feedback", "/articles/{article_id:path}"),
    *("/runs/{run_id}", "/runs/{run_id}/stream", "/sessions/{session_id}", "/sessions/{session_id}/events"),
    "/actions/{action_id}",
}
"""What a visitor may ask for, of their own."""
CLOSED = {
    *("/metrics", "/visitors", "/handoffs", "/handoffs/{handoff_id}", "/handoffs/{handoff_id}/messages"),
    *("/handoffs/{handoff_id}/release", "/inbox/conversations", "/inbox/cases/{run_id}"),
}
"""What needs a key."""


async def test_each_route_is_open_to_visitors_or_closed(site: httpx.AsyncClient) -> None:
    """Every route is in one of three lists, or the LangGraph API's; those with keys refuse a token before all else."""
    found = (route for module in _ROUTES for route in module.router.routes)
    routes = {"/openapi.json", *(route.path for route in found if isinstance(route, Route | WebSocketRoute))}
    assert routes == OPEN | OWN | CLOSED
    routes |= {route.path for router in ROUTERS for route in router.routes if isinstance(route, Route)}
    headers = await visitor(site)
    for path in sorted(routes | {"/nowhere", "/sessions", "/gaps"}):
        asked = re.sub(r"\{(\w+).*?\}", lambda name: {"run_id": RUN, "article_id": "careers"}.get(name[1], "x"), path)
        statuses = [(await site.request(method, asked, headers=headers)).status_code for method in ("GET", "POST")]
        assert (statuses == [403, 403]) is (path not in OPEN | OWN), (path, statuses)
    response = await site.post("/visitors", content="{", headers=headers)
    assert (response.status_code, response.json()["type"]) == (403, "not-for-visitors")
    assert not Principal("operator", "v-1").is_operator


async def test_visitors_share_their_companys_cached_answers(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """An answer rests on the articles alone, so one visitor's may be another's; another company's never is."""
    async with serve(**SETTINGS, SUPPORT_CACHE_TTL=60) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        answers = [
            await client.post("/ask", json={"question": "Why was I charged twice?"}, headers=headers)
            for headers in (
                await visitor(client, customer_id="c-1"),
                await visitor(client, customer_id="c-2"),
                bearer(KEYS["web"]),
                bearer((await minted(client, "partner"))["token"]),
            )
        ]
    assert [answer.headers["X-Cache"] for answer in answers] == ["miss", "hit", "hit", "miss"]


async def test_a_visitors_limit_is_within_the_companys(serve: Serve, redis: Redis) -> None:
    """A visitor who has used up theirs does not use up the company's, which holds for all visitors together."""
    limits = {"SUPPORT_RATE_LIMIT": "5/minute", "SUPPORT_VISITOR_RATE_LIMIT": "2/minute"}
    async with serve(**SETTINGS, **limits) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        greedy, calm, late = [await visitor(client) for _ in range(3)]

        async def ask(headers: dict[str, str]) -> httpx.Response:
            return await client.get("/articles/careers", headers=headers)

        assert [(await ask(greedy)).status_code for _ in range(5)] == [200, 200, 429, 429, 429]
        assert [(await ask(calm)).status_code for _ in range(2)] == [200, 200]
        last, over = [await ask(late) for _ in range(2)]
    assert (last.status_code, last.headers["RateLimit-Policy"]) == (200, '"requests";q=2;w=60')
    assert last.headers["RateLimit"].startswith('"requests";r=1;')
    assert (over.status_code, over.headers["RateLimit-Policy"]) == (429, '"requests";q=5;w=60')


async def test_without_a_secret_there_are_no_tokens(serve: Serve, redis: Redis) -> None:
    """The route says what is missing; a token is then as good as no key."""
    async with (
        serve(SUPPORT_API_KEYS=SETTINGS["SUPPORT_API_KEYS"]) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        response = await client.post("/visitors", json={}, headers=bearer(KEYS["web"]))
        assert (response.status_code, response.json()["type"]) == (404, "visitors-off")
        assert "SUPPORT_VISITOR_SECRET" in response.json()["detail"]
        assert (await client.get("/sessions/s-1", headers=bearer(forged()))).status_code == 401
        assert (await client.post("/visitors/anonymous", headers={"Origin": url})).status_code == 404


async def test_without_keys_a_token_counts_all_the_same(serve: Serve, redis: Redis) -> None:
    """On a laptop anybody mints one; a bad one is refused, rather than taken for nobody's."""
    async with serve(SUPPORT_VISITOR_SECRET=SECRET) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        token = (await client.post("/visitors", json={"expires_in": 900})).json()["token"]
        body = {"message": "Hello there, is anybody in?", "session_id": "s-1"}
        assert (await client.post("/chat", json=body, headers=bearer(token))).status_code == 200
        assert (await client.get("/sessions/s-1")).status_code == 404
        assert (await client.get("/sessions/s-1", headers=bearer(forged()))).status_code == 401
        assert (await client.get("/sessions/s-1", headers=bearer("whatever"))).status_code == 404
        assert (await client.get("/metrics", headers=bearer(token))).status_code == 403


async def test_a_token_is_short_lived_and_for_a_plain_name(site: httpx.AsyncClient) -> None:
    """15 minutes to a day; no field names another tenant."""
    wrong = {"expires_in": 899, "customer_id": "a b", "visitor_id": "a/b", "tenant": "partner"}
    for name, value in wrong.items():
        response = await site.post("/visitors", json={name: value}, headers=bearer(KEYS["web"]))
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, name)
    assert (await site.post("/visitors", json={"expires_in": 86_401}, headers=bearer(KEYS["web"]))).status_code == 422


async def test_no_token_appears_in_a_log_or_a_trace(
    serve: Serve, redis: Redis, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a valid nor a refused one, from a header, a subprotocol, a URL or a customer's message."""
    for ours in OURS:
        caplog.set_level(logging.DEBUG, logger=ours)
    bad = forged(BEFORE)
    async with traced(serve, multipart=True, **SETTINGS) as (client, langsmith):
        good = (await minted(client))["token"]
        await client.post("/chat", json={"message": f"My token is {good}"}, headers=bearer(good))
        await client.post(f"/chat?token={good}", json={"message": "Hi"}, headers=bearer(bad))
        async with await websocket(client, good, "support.v1"):
            pass
        with pytest.raises(InvalidStatus):
            await websocket(client, bad)
        (root,) = await langsmith.until(1)
    assert "POST /chat 200" in caplog.text
    assert root["inputs"]["messages"][0]["content"] == "My token is [key]"
    for token in (good, bad):
        assert token.split(".")[2] not in caplog.text
        assert token.split(".")[2] not in json.dumps(langsmith.runs)


async def test_the_team_answers_a_visitor(site: httpx.AsyncClient) -> None:
    """The visitor alone reads what a person writes, until their token expires; the team finds the conversation."""
    own, other = bearer(forged()), await visitor(site)
    body = {"message": "I want to talk to a human", "session_id": "s-1"}
    handoff = (await site.post("/chat", json=body, headers=own)).json()["handoff"]["id"]
    listed = (await site.get("/handoffs", headers=bearer(KEYS["web"]))).json()["handoffs"]
    assert [each["id"] for each in listed] == [handoff]
    team = bearer(KEYS["operator"])
    said = await site.post(f"/handoffs/{handoff}/messages", json={"message": "Ada here."}, headers=team)
    assert said.status_code == 201
    for path in ("/handoffs", f"/handoffs/{handoff}"):
        assert (await site.get(path, headers=own)).status_code == 403
    for stranger in (other, bearer(KEYS["web"])):
        assert (await site.get("/sessions/s-1/events", headers=stranger)).status_code == 404
    brief = bearer(forged(exp=int(time.time()) + 2))
    events = await asyncio.wait_for(site.get("/sessions/s-1/events", headers=brief), 60)
    assert "Ada here." in events.text
    assert "event: error" not in events.text
    assert (await site.get("/sessions/s-1/events", headers=brief)).status_code == 401
