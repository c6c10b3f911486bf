"""GET /articles/{article_id}: an article as customers may read it."""

from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve


def write(folder: Path, path: str, text: str, **fields: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    matter = "".join(f"{name}: {value}\n" for name, value in fields.items())
    file.write_text(f"---\n{matter}---\n\n{text}\n")


async def test_an_article_is_read_by_its_id(serve: Serve, redis: Redis, articles: Path) -> None:
    """With what a page needs to show it; an id may have slashes, and what is unknown is absent."""
    write(articles, "de/plans/team.md", "Zwölf Euro im Monat.", title="Pläne")
    async with serve() as url, httpx.AsyncClient(base_url=f"{url}/articles/") as client:
        one, other = await client.get("opening-hours"), await client.get("de/plans/team")
    assert one.json() == {
        "id": "opening-hours",
        "title": "Opening hours",
        "text": "Support is open Monday to Friday from 9:00 to 17:00.",
    }
    assert other.json()["text"] == "Zwölf Euro im Monat."
    assert one.headers["content-type"] == "application/json"


@pytest.mark.parametrize("fields", [{"draft": "true"}, {"visibility": "internal"}, {"hidden": "true"}])
async def test_what_is_withheld_does_not_exist(
    serve: Serve, redis: Redis, articles: Path, fields: dict[str, str]
) -> None:
    """As what never existed, a problem that says no more."""
    write(articles, "secret.md", "The discount is 40 %.", title="Discounts", **fields)
    async with serve() as url, httpx.AsyncClient(base_url=f"{url}/articles/") as client:
        withheld, unknown = await client.get("secret"), await client.get("nowhere")
        others = [await client.get(name) for name in ("", "secret.md", "..%2Fsecret", "opening-hours/", "a%00b")]
    assert {answer.status_code for answer in (withheld, unknown, *others)} == {404}
    assert withheld.headers["content-type"] == "application/problem+json"
    assert withheld.json() | {"instance": "", "request_id": ""} == unknown.json() | {"instance": "", "request_id": ""}


async def test_who_has_an_article_gets_no_second_copy(serve: Serve, redis: Redis, articles: Path) -> None:
    """304 as long as it is the same, after a restart too; then the new one, with another tag."""
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        tag = (await client.get("/articles/careers")).headers["ETag"]
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        for header in (tag, f'"other", W/{tag}', "*"):
            same = await client.get("/articles/careers", headers={"If-None-Match": header})
            assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
            assert same.headers["Cache-Control"] == "private, no-cache"
        other = await client.get("/articles/opening-hours", headers={"If-None-Match": tag})
        assert other.status_code == 200
    write(articles, "careers.md", "Nobody is wanted.", id="careers", title="Careers")
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        new = await client.get("/articles/careers", headers={"If-None-Match": tag})
        assert (new.status_code, new.json()["text"]) == (200, "Nobody is wanted.")
        assert new.headers["ETag"] != tag


async def test_articles_count_against_the_rate_limit(serve: Serve, redis: Redis) -> None:
    """As questions do."""
    async with serve(SUPPORT_RATE_LIMIT="2/minute") as url, httpx.AsyncClient(base_url=url) as client:
        statuses = [(await client.get("/articles/careers")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await client.post("/ask", json={"question": "Why?"})).status_code == 429


async def test_a_page_of_an_allowed_origin_may_read_articles(serve: Serve, redis: Redis) -> None:
    """And ask with the tag that it has."""
    origin = "https://shop.example"
    async with serve(SUPPORT_ALLOWED_ORIGINS=origin) as url, httpx.AsyncClient(base_url=url) as client:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "if-none-match",
        }
        assert (await client.options("/articles/careers", headers=asked)).status_code == 200
        read = await client.get("/articles/careers", headers={"Origin": origin})
    assert read.headers["access-control-allow-origin"] == origin
    assert "ETag" in read.headers["access-control-expose-headers"]
