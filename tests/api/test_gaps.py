"""What is kept of questions that were not answered."""

import json
from typing import Any, cast

import httpx
import pytest
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import MakeSettings, Serve
from graph.observe import KEPT_DAYS, gaps
from graph.observe.gaps import Gaps, KeptGap, shown
from graph.observe.redaction import Redactor
from graph.redis import open_redis
from graph.unanswered import MARK
from harness.scripted_model import ScriptedModel, status, tokens

NO = tokens([MARK, " The articles do not say."])


async def kept(redis: Redis) -> list[KeptGap]:
    return await Gaps(redis, Redactor()).kept()


async def raw(redis: Redis) -> list[bytes]:
    """Return all that is stored of gaps, with the keys' names."""
    names = cast("list[bytes]", await redis.keys("feedback:gap*"))
    values = [cast("bytes", await redis.get(name)) for name in names if name != b"feedback:gaps"]
    return [*names, *values, *cast("list[bytes]", await redis.zrange("feedback:gaps", 0, -1))]


async def test_a_question_without_an_answer_is_kept_masked(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """With its tenant, desk and sources; each asking counts, those that the cache answers too."""
    model.script("answer", NO)
    question = {"question": "Is order FW-2048 refunded? Tell ada@mail.example or +31 6 1234 5678"}
    async with serve(SUPPORT_CACHE_TTL=60) as url, httpx.AsyncClient(base_url=url) as client:
        answers = [await client.post("/ask", json=question) for _ in range(3)]
        await client.post("/chat", json={"message": question["question"].upper()})
    assert [answer.headers["X-Cache"] for answer in answers] == ["miss", "hit", "hit"]
    (one,) = await kept(redis)
    assert one.gap.question == "IS ORDER [number] REFUNDED? TELL [email] OR [phone]"
    assert (one.gap.tenant, one.gap.category) == ("anonymous", "billing")
    assert one.gap.sources[0] == "refund-policy"
    assert one.times(1) == 4


async def test_what_is_no_gap_is_not_kept(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Answers, small talk, a model that fails, and an answer that is withheld."""

    async def leaking(call: Any, send: Any) -> None:
        await tokens([MARK, call.system])(call, send)

    model.script("answer", tokens(["In 30 days."]), status(400), leaking)
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        sent = [await client.post("/ask", json={"question": text}) for text in ("A?", "Thanks!", "B?", "C?")]
    assert [answer.status_code for answer in sent] == [200, 200, 502, 422]
    assert await raw(redis) == []


async def test_nothing_leads_to_a_session_or_a_customer(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """So that nothing of a session or a customer is left to delete."""
    model.script("answer", NO)
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        message = {"message": "And why?", "session_id": "session-canary", "customer_id": "customer-canary"}
        run_id = (await client.post("/chat", json=message)).json()["run_id"]
        await client.delete("/sessions/session-canary")
    stored = b"\n".join(await raw(redis))
    assert b"And why?" in stored
    assert b"canary" not in stored
    assert run_id.encode() not in stored


async def test_tenants_are_kept_apart(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The same question of two tenants is two, each with its tenant."""
    model.script("answer", NO)
    keys = {name: new_key() for name in ("shop", "app")}
    configured = ",".join(f"{name}:{digest(key).hex()}" for name, key in keys.items())
    async with serve(SUPPORT_API_KEYS=configured) as url, httpx.AsyncClient(base_url=url) as client:
        for key in keys.values():
            await client.post("/ask", json={"question": "Why?"}, headers={"X-API-Key": key})
    assert {one.gap.tenant for one in await kept(redis)} == {"shop", "app"}


async def test_they_are_bounded_in_number_size_and_time(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were asked last are kept; each is short and expires, and so are the days on which it was asked."""
    monkeypatch.setattr(gaps, "MOST", 3)
    model.script("answer", NO)
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        for day in range(2 * KEPT_DAYS):
            monkeypatch.setattr(gaps, "_today", lambda day=day: 20_000 + day)
            if day % 60 == 0:
                for text in (f"Question {day} a?", f"Question {day} b?"):
                    await client.post("/ask", json={"question": text + "\U0001f600" * 3900})
            if day % 10 == 0:
                await client.post("/ask", json={"question": "Again?"})
                assert 86_400 * KEPT_DAYS - 60 < await redis.ttl("feedback:gaps") <= 86_400 * KEPT_DAYS
        found = await kept(redis)
    assert len(found) == 3
    assert await redis.zcard("feedback:gaps") == 3
    names = cast("list[bytes]", await redis.keys("feedback:gap:*"))
    assert len(names) == 3
    assert all([0 < await redis.ttl(name) <= 86_400 * KEPT_DAYS for name in names])
    assert max([len(json.dumps(one.gap.question)) for one in found]) < 4000
    assert max([len(cast("bytes", await redis.get(name))) for name in names]) < 2000
    again = found[-1]
    assert again.gap.question == "Again?"
    assert len(again.days) == 9
    assert (again.times(1), again.times(11), again.times(KEPT_DAYS)) == (0, 1, 9)


async def test_the_prefix_stands_before_all_of_it(
    serve: Serve, redis: Redis, model: ScriptedModel, make_settings: MakeSettings
) -> None:
    """Two services that share a Redis have their own."""
    model.script("answer", NO)
    async with serve(SUPPORT_REDIS_PREFIX="shop:") as url, httpx.AsyncClient(base_url=url) as client:
        await client.post("/ask", json={"question": "Why?"})
    assert await raw(redis) == []
    assert await kept(redis) == []
    async with open_redis(make_settings(SUPPORT_REDIS_PREFIX="shop:")) as own:
        assert [one.gap.question for one in await kept(own)] == ["Why?"]


@pytest.mark.parametrize(
    ("question", "masked"),
    [
        ("order 12", "order [number]"),
        ("Order no. FW-12, please", "Order no. [number], please"),
        ("my customer number: 4711", "my customer number: [number]"),
        ("ticket #A-1 and #77", "ticket #[number] and #[number]"),
        ("Kundennummer 4711", "Kundennummer [number]"),
        ("my order number is 77", "my order number is [number]"),
        ("my order (551) is late", "my order ([number]) is late"),
        ("meine Bestellnummer lautet 4711", "meine Bestellnummer lautet [number]"),
        ("orders 5512, 5513 and 5514", "orders [number]"),
        ("account 12, 20481973", "account [number]"),
        ("5512 is my ticket", "[number] is my ticket"),
        ("PO 5512, card ending in 4242", "PO [number], card ending in [number]"),
        ("my password is hunter2 and my pin: 4821", "my password is [key] and my pin: [key]"),
        ("my password is wrong since 2024", "my password is wrong since 2024"),
        ("my account is 30 days old", "my account is 30 days old"),
        ("it is 20481973, or FW-2024-00123", "it is [number], or [number]"),
        ("invoice 1234 5678 901", "invoice [number]"),
        ("error 1042 on port 8080 in 2026", "error 1042 on port 8080 in 2026"),
        ("E-1042, HTTP 502, version 2.14.3", "E-1042, HTTP 502, version 2.14.3"),
        ("30 days or 60 minutes", "30 days or 60 minutes"),
        ("[email] and [phone]", "[email] and [phone]"),
        ("x" * 3999 + "1", "x" * 1000),
        ("\u00e9" * 501, "\u00e9" * 500),
    ],
)
def test_numbers_are_masked(question: str, masked: str) -> None:
    """Those of orders and customers; years, ports and the codes of errors are what a question is about."""
    assert shown(question) == masked
    assert shown(masked) == masked
