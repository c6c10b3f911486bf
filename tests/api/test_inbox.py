"""The inbox: what went wrong, for the team."""

from typing import Any

import httpx
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import Serve
from graph.unanswered import MARK
from harness.scripted_model import ScriptedModel, tokens

KEYS = {name: new_key() for name in ("operator", "shop", "bank")}
CONFIGURED = ",".join(f"{name}:{digest(key).hex()}" for name, key in KEYS.items())


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


async def chat(client: httpx.AsyncClient, name: str, message: str, session: str | None = None) -> dict[str, Any]:
    body = {"message": message} | ({"session_id": session} if session else {})
    answer = await client.post("/chat", json=body, headers=bearer(name))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def read(client: httpx.AsyncClient, headers: dict[str, str]) -> list[dict[str, Any]]:
    answer = await client.get("/inbox/conversations", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["conversations"]


async def test_what_went_wrong_comes_first(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Badly rated answers, then the latest; with category, sources, tokens and the rating; masked."""
    async with (
        serve(SUPPORT_API_KEYS=CONFIGURED, SUPPORT_RATE_LIMIT="") as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        first = await chat(client, "shop", "Why was ada@mail.example charged twice?")
        await chat(client, "shop", "And where is it?", first["session_id"])
        await chat(client, "bank", "May I have a refund?")
        rating = {"run_id": first["run_id"], "score": 0, "comment": "Write to ada@mail.example"}
        await client.post("/feedback", json=rating, headers=bearer("shop"))
        bad, good = await read(client, bearer("operator"))
    assert [bad["tenant"], bad["needs_attention"], good["tenant"], good["needs_attention"]] == [
        "shop",
        True,
        "bank",
        False,
    ]
    turn, after = bad["turns"]
    assert turn["question"] == "Why was [email] charged twice?"
    assert turn["rating"] == {"score": 0, "comment": "Write to [email]"}
    assert (turn["category"], turn["answer"], turn["answered"]) == ("billing", first["answer"], True)
    assert turn["sources"] == list(dict.fromkeys(source["id"] for source in first["sources"]))
    assert turn["tokens_used"] == first["tokens_used"] > 0
    assert after["question"] == "And where is it?"
    assert after["at"] >= turn["at"]
    assert first["session_id"] not in str(bad)


async def test_unanswered_questions_come_before_answered_ones(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """So do those that failed; a cache hit's rating counts for the answer that it got."""
    async with serve(SUPPORT_CACHE_TTL="60") as url, httpx.AsyncClient(base_url=url) as client:

        async def ask(question: str) -> str:
            return (await client.post("/ask", json={"question": question})).json().get("run_id", "")

        model.script("answer", tokens([f"{MARK} I do not know."]), tokens(["No."]), tokens(["Yes."]))
        names = ["unanswered", "rated", "answered"]
        runs = {await ask(f"Is this {name}?"): name for name in names}
        hit = await ask("Is this rated?")
        assert hit not in runs
        await client.post("/feedback", json={"run_id": hit, "score": 0.2})
        found = await read(client, {})
    assert [runs[one["turns"][0]["run_id"]] for one in found] == ["rated", "unanswered", "answered"]
    assert [one["turns"][0]["answered"] for one in found] == [True, False, True]


async def test_a_key_reads_its_own_conversations(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The operator's key reads all, any other its own, also when it makes a case; without a key it is 401."""
    async with serve(SUPPORT_API_KEYS=CONFIGURED) as url, httpx.AsyncClient(base_url=url) as client:
        run_id = (await chat(client, "shop", "Why was I charged twice?"))["run_id"]
        assert [one["tenant"] for one in await read(client, bearer("shop"))] == ["shop"]
        assert await read(client, bearer("bank")) == []
        assert (await client.get("/inbox/conversations")).status_code == 401
        statuses = [
            (await client.get(f"/inbox/cases/{run_id}", headers=bearer(name))).status_code for name in ("shop", "bank")
        ]
        assert statuses == [200, 404]
        made = await client.get(f"/inbox/cases/{run_id}", headers=bearer("operator"))
        assert made.headers["content-type"] == "application/yaml"
        assert "question: Why was I charged twice?" in made.text
        assert f"id: inbox-{run_id}" in made.text


async def test_a_key_is_exchanged_for_a_cookie(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The cookie is for no script and no other site, opens the inbox alone, and ends."""
    async with serve(SUPPORT_API_KEYS=CONFIGURED) as url, httpx.AsyncClient(base_url=url) as client:
        await chat(client, "shop", "Why was I charged twice?")
        assert (await client.post("/inbox/session", json={"key": "sa_wrong"})).status_code == 401
        opened = await client.post("/inbox/session", json={"key": KEYS["operator"]})
        assert opened.status_code == 204
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/;" in cookie
        assert "Secure" not in cookie  # over HTTP a browser would not keep it
        assert KEYS["operator"] not in cookie
        assert len(await read(client, {})) == 1
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.post("/chat", json={"message": "Hi"})).status_code == 401
        taken = dict(client.cookies)
        assert (await client.delete("/inbox/session")).status_code == 204
        client.cookies.update(taken)
        assert (await client.get("/inbox/conversations")).status_code == 401


async def test_a_cookie_ends_with_its_key(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A key that is no longer configured takes its sessions with it."""
    async with serve(SUPPORT_API_KEYS=CONFIGURED) as url, httpx.AsyncClient(base_url=url) as client:
        await client.post("/inbox/session", json={"key": KEYS["operator"]})
        taken = dict(client.cookies)
    renewed = f"operator:{digest(new_key()).hex()}"
    async with serve(SUPPORT_API_KEYS=renewed) as url, httpx.AsyncClient(base_url=url, cookies=taken) as client:
        assert (await client.get("/inbox/conversations")).status_code == 401


async def test_behind_https_the_cookie_is_secure(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """What a trusted proxy says of the scheme and the prefix counts."""
    trusted = {"SUPPORT_API_KEYS": CONFIGURED, "SUPPORT_TRUSTED_PROXIES": "127.0.0.0/8"}
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/support"}
    async with serve(**trusted) as url, httpx.AsyncClient(base_url=url) as client:
        opened = await client.post("/inbox/session", json={"key": KEYS["operator"]}, headers=told)
    assert "; Secure" in opened.headers["set-cookie"]
    assert "Path=/support/;" in opened.headers["set-cookie"]


async def test_without_keys_none_is_needed(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """In development everything is open."""
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        asked = (await client.post("/ask", json={"question": "Why was I charged twice?"})).json()
        opened = await client.post("/inbox/session", json={"key": ""})
        assert (opened.status_code, opened.headers.get("set-cookie")) == (204, None)
        (found,) = await read(client, {})
        assert found["turns"][0]["run_id"] == asked["run_id"]


async def test_the_cookie_is_worth_nothing_on_other_hosts_of_the_domain(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """Such a page is of the same site, so the browser sends the cookie; it can give no conversation back."""
    async with serve(SUPPORT_API_KEYS=CONFIGURED) as url, httpx.AsyncClient(base_url=url) as client:
        await chat(client, "shop", "I want to talk to a human.", "s-1")
        await client.post("/inbox/session", json={"key": KEYS["operator"]})
        (handoff,) = (await client.get("/handoffs")).json()["handoffs"]
        release = f"/handoffs/{handoff['id']}/release"
        foreign = [
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://www.shop.example"},
        ]
        assert [(await client.post(release, headers=each)).status_code for each in foreign] == [401, 401, 401]
        own = {"Origin": "https://behind.a.proxy.example", "Sec-Fetch-Site": "same-origin"}
        assert (await client.get("/handoffs", headers=own)).status_code == 200
        assert (await client.post(release, headers={"Origin": url})).status_code == 200


async def test_a_customer_who_waits_is_shown_although_nothing_is_kept(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """Records last for a day and are limited in number; a hand-over may last longer."""
    async with serve(SUPPORT_API_KEYS=CONFIGURED) as url, httpx.AsyncClient(base_url=url) as client:
        await chat(client, "bank", "May I have a refund?")
        await chat(client, "shop", "I want to talk to a human, ada@mail.example!", "s-1")
        assert len(await read(client, bearer("operator"))) == 2
        await redis.delete("feedback:records")
        (waiting,) = await read(client, bearer("operator"))
        assert (waiting["tenant"], waiting["handoff"]) == ("shop", waiting["id"])
        assert "[email]" in waiting["turns"][0]["question"]
        assert await read(client, bearer("bank")) == []


async def test_a_deleted_conversation_is_gone_from_the_inbox(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The page promises so; a conversation of the same name of somebody else stays."""
    async with serve(SUPPORT_API_KEYS=CONFIGURED) as url, httpx.AsyncClient(base_url=url) as client:
        for name in ("shop", "bank"):
            done = await chat(client, name, "May I have a refund?", "s-1")
        assert (await client.delete("/sessions/s-1", headers=bearer("shop"))).status_code == 204
        (kept,) = await read(client, bearer("operator"))
        assert (kept["tenant"], kept["turns"][0]["run_id"]) == ("bank", done["run_id"])
