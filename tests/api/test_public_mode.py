"""The public mode: anybody asks on the pages of some origins, and who may show the chat page."""

import gzip

import httpx
from redis.asyncio import Redis

from conftest import Serve
from harness.visitors import BEFORE, SETTINGS, bearer, forged


def own_page(url: str, **others: str) -> dict[str, str]:
    return {"Origin": url, "Sec-Fetch-Site": "same-origin", **others}


PUBLIC = {**SETTINGS, "SUPPORT_PUBLIC_ORIGINS": "https://www.shop.example,https://shop.example"}


async def test_the_public_page_gets_a_token_of_its_own(serve: Serve, redis: Redis) -> None:
    """Its visitor chats without a company behind them, and stays the same when the token is renewed."""
    async with serve(**PUBLIC) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        given = (await client.post("/visitors/anonymous", headers=own_page(url))).json()
        own = bearer(given["token"])
        body = {"message": "Hello there, is anybody in?", "session_id": "s-1"}
        assert (await client.post("/chat", json=body, headers=own)).status_code == 200
        renewed = (await client.post("/visitors/anonymous", headers={**own_page(url), **own})).json()
        assert renewed["visitor_id"] == given["visitor_id"]
        assert (await client.get("/sessions/s-1", headers=bearer(renewed["token"]))).status_code == 200
        for before in ({}, bearer(forged()), bearer(forged(BEFORE, tenant="public", sub=given["visitor_id"]))):
            other = (await client.post("/visitors/anonymous", headers={**own_page(url), **before})).json()
            assert other["visitor_id"] not in (given["visitor_id"], "v-1")
            assert (await client.get("/sessions/s-1", headers=bearer(other["token"]))).status_code == 404
        assert (await client.post("/visitors", json={}, headers=own)).status_code == 403


async def test_only_our_own_page_gets_one(serve: Serve, redis: Redis) -> None:
    """Another site's page is refused, also one that may show ours in a frame, and so is whoever sends no origin."""
    async with serve(**PUBLIC) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        for headers in (
            {},
            {"Origin": "https://www.shop.example"},
            {"Origin": "null"},
            own_page(url, **{"Sec-Fetch-Site": "cross-site"}),
            own_page(url, **{"Sec-Fetch-Site": "none"}),
            own_page("https://evil.example", **{"X-Forwarded-Host": "evil.example"}),
        ):
            response = await client.post("/visitors/anonymous", headers=headers)
            assert (response.status_code, response.json()["type"]) == (403, "origin-refused"), headers
        older_browser = await client.post("/visitors/anonymous", headers={"Origin": url})
        assert older_browser.status_code == 200


async def test_anonymous_tokens_are_limited_by_address(serve: Serve, redis: Redis) -> None:
    """Nor does a second token give one address more questions; behind a trusted proxy the client's address counts."""
    limits = {"SUPPORT_RATE_LIMIT": "3/minute", "SUPPORT_VISITOR_RATE_LIMIT": "2/minute"}
    async with (
        serve(**PUBLIC, **limits, SUPPORT_TRUSTED_PROXIES="127.0.0.1") as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):

        async def mint(address: str) -> httpx.Response:
            return await client.post("/visitors/anonymous", headers=own_page(url, **{"X-Forwarded-For": address}))

        async def ask(answer: httpx.Response, address: str) -> int:
            headers = {**bearer(answer.json()["token"]), "X-Forwarded-For": address}
            return (await client.get("/articles/careers", headers=headers)).status_code

        first, second, third = [await mint("192.0.2.1") for _ in range(3)]
        assert third.status_code == 429
        assert int(third.headers["Retry-After"]) > 0
        assert (await mint("192.0.2.2")).status_code == 200
        asked = [await ask(one, "192.0.2.1") for one in (first, first, second, second)]
    assert asked == [200, 200, 200, 429]


async def test_who_may_frame_the_page_is_named_exactly(serve: Serve, redis: Redis) -> None:
    """Origins of the public mode, and those that may call the service where visitors have tokens; nobody otherwise."""
    allowed = {"SUPPORT_ALLOWED_ORIGINS": "https://app.example"}
    for settings, origins in (
        (allowed, []),
        ({**SETTINGS, **allowed}, ["https://app.example"]),
        ({**PUBLIC, **allowed}, ["https://www.shop.example", "https://shop.example", "https://app.example"]),
    ):
        async with serve(**settings) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
            page, other = await client.get("/?embed=1"), await client.get("/ready")
            told = (await client.get("/embed.json")).json()
        assert told == {"origins": origins, "public": settings is not allowed and "SUPPORT_PUBLIC_ORIGINS" in settings}
        ancestors = page.headers["Content-Security-Policy"].partition("frame-ancestors ")[2].partition(";")[0]
        assert ancestors == (" ".join(origins) or "'none'")
        assert ("X-Frame-Options" in page.headers) is not bool(origins)
        assert "frame-ancestors 'none'" in other.headers["Content-Security-Policy"]
        assert other.headers["X-Frame-Options"] == "DENY"


async def test_with_keys_and_no_public_mode_nothing_is_open(serve: Serve, redis: Redis) -> None:
    """The script and the page are files; nobody gets a token from them."""
    async with serve(**SETTINGS) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        script = await client.get("/embed.js")
        assert script.headers["Content-Type"].startswith("text/javascript")
        assert script.headers["Cache-Control"] == "public, max-age=3600"
        assert len(gzip.compress(script.content)) < 5_000
        assert (await client.get("/embed.json")).json() == {"origins": [], "public": False}
        for path in ("/visitors/anonymous", "/visitors", "/chat"):
            response = await client.post(path, json={"message": "Hi"}, headers=own_page(url))
            assert response.status_code == (404 if path == "/visitors/anonymous" else 401)
