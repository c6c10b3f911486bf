"""The path prefix: which one is taken, and where paths are ambiguous."""

import httpx
import pytest
from redis.asyncio import Redis

from api.app import create_app
from api.prefix import prefix_of
from conftest import MakeSettings, Serve
from harness.serving import serving


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("/support", "/support"),
        ("/support/", "/support"),
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ("/a, /b/", "/a/b"),
        ("/", ""),
        ("", ""),
    ],
)
def test_a_prefix_is_a_path(text: str, prefix: str) -> None:
    """A slash at its end is dropped, and a chain of proxies names its parts."""
    assert prefix_of(text) == prefix


@pytest.mark.parametrize(
    "text", ["support", "//evil.example", "/a b", "/a?b", "/<script>", "https://a.example/b", "/é"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    """The error says what a prefix is."""
    with pytest.raises(ValueError, match="such as /support"):
        prefix_of(text)


@pytest.mark.parametrize("sent", ["//evil.example", "support", "/<script>"])
async def test_a_header_that_is_no_prefix_is_ignored(serve: Serve, sent: str) -> None:
    """The request is answered as if the proxy had sent none."""
    async with serve(SUPPORT_TRUSTED_PROXIES="127.0.0.1") as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.get("/nowhere", headers={"X-Forwarded-Prefix": sent})
        assert response.json()["instance"] == "/nowhere"


async def test_a_prefix_may_begin_like_a_route(make_settings: MakeSettings, redis: Redis) -> None:
    """Under /chat a proxy that removes the prefix still reaches /chat/stream, not /stream."""
    async with (
        serving(create_app(make_settings()), root_path="/chat") as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        for path, instance in (("/chat/stream", "/chat/chat/stream"), ("/chat", "/chat/chat")):
            wrong = await client.put(path)
            assert (wrong.status_code, wrong.headers["allow"], wrong.json()["instance"]) == (405, "POST", instance)


async def test_probes_need_no_prefix(make_settings: MakeSettings, caplog: pytest.LogCaptureFixture) -> None:
    """An orchestrator asks the replica itself; such requests are neither measured nor logged."""
    caplog.set_level("INFO", "api")
    async with serving(create_app(make_settings()), root_path="/support") as url:
        async with httpx.AsyncClient(base_url=url) as client:
            for path in ("/health", "/ready", "/metrics", "/support/health"):
                assert (await client.get(path)).status_code == 200
            assert 'http_route="/health"' not in (await client.get("/metrics")).text
    assert not [record for record in caplog.records if "GET" in record.getMessage()]
