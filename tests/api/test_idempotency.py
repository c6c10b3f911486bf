"""Idempotency keys: one key and one message make one run, on all replicas."""

import asyncio
import json
import uuid

import httpx
from redis.asyncio import Redis

from harness.conversations import events_of
from harness.scripted_model import ScriptedModel, tokens, until


async def test_an_idempotency_key_makes_one_run(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """20 concurrent requests with one key and body make one run and get equal answers; another body is refused."""
    model.script("answer", tokens(["Hello", " you"], pause=0.2))
    headers = {"Idempotency-Key": "key-1"}
    posts = [replicas[number % 2].post("/chat", json={"message": "Hello?"}, headers=headers) for number in range(20)]
    responses = await asyncio.gather(*posts)
    assert {response.status_code for response in responses} == {200}
    assert len({response.text for response in responses}) == 1
    assert len(model.of("answer")) == 1
    events = await events_of(replicas[1], "POST", "/chat/stream", json={"message": "Hello?"}, headers=headers)
    assert events[-1].json() == responses[0].json()
    other = await replicas[0].post("/chat", json={"message": "Hello!"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-mismatch")
    assert len(model.of("answer")) == 1


async def test_a_refused_turn_does_not_use_up_its_key(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """A message that was refused by a busy session can be retried with the same key."""
    model.script("answer", tokens(["Hello"], pause=0.6))
    body = {"message": "Hello?", "session_id": "s-1"}
    headers = {"Idempotency-Key": "key-1"}
    first = asyncio.create_task(replicas[0].post("/chat", json=body))
    while not model.of("answer"):
        await asyncio.sleep(0.01)
    assert (await replicas[1].post("/chat", json=body, headers=headers)).status_code == 409
    await first
    assert (await replicas[1].post("/chat", json=body, headers=headers)).status_code == 200


async def test_turns_that_are_refused_at_once_get_their_reasons(
    neighbours: list[httpx.AsyncClient], model: ScriptedModel
) -> None:
    """Concurrent requests with a used key, or in a busy session, each get the reason."""
    model.script("answer", tokens(["Hello"], pause=0.2))

    async def post(key: str, message: str, **more: str) -> tuple[int, str]:
        body = {"message": message, **more}
        response = await neighbours[0].post("/chat", json=body, headers={"Idempotency-Key": key})
        return response.status_code, response.json().get("type", "")

    await asyncio.gather(*(post("k-1", "Hello?") for _ in range(4)))
    others = await asyncio.gather(*(post("k-1", f"Hello {number}?") for number in range(8)))
    assert set(others) == {(422, "idempotency-mismatch")}
    busy = await asyncio.gather(*(post(f"k-2-{number}", "Hello?", session_id="s-1") for number in range(8)))
    assert sorted(busy) == [(200, ""), *[(409, "session-busy")] * 7]


async def test_a_mismatch_leaves_the_key_with_its_run(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """After a mismatch the key still belongs to its first message."""
    headers = {"Idempotency-Key": "k-1"}
    answers = [
        await client.post("/chat", json={"message": message}, headers=headers)
        for client in replicas
        for message in ("One?", "Two?", "One?")
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 200] * 2
    assert len({answer.json()["run_id"] for answer in answers if answer.status_code == 200}) == 1
    assert len(model.of("answer")) == 1


async def test_a_key_whose_turn_was_refused_is_refused_alike(
    replicas: list[httpx.AsyncClient], model: ScriptedModel
) -> None:
    """All requests with the key get session-busy at once, on every replica; later the key works."""
    message = {"message": "Hello?", "session_id": "s-1"}
    over = asyncio.Event()
    model.script("answer", tokens(["Hello"], then=until(over)), tokens(["Hello"]))
    busy = asyncio.create_task(replicas[0].post("/chat", json={"message": "First?", "session_id": "s-1"}))
    while not model.of("answer"):
        await asyncio.sleep(0.01)
    headers = {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(
        *(replicas[number % 2].post("/chat", json=message, headers=headers) for number in range(20))
    )
    assert [answer.json()["type"] for answer in answers] == ["session-busy"] * 20
    assert not busy.done()
    over.set()
    assert (await busy).status_code == 200
    assert (await replicas[1].post("/chat", json=message, headers=headers)).status_code == 200


async def test_a_key_whose_replica_died_before_the_turn_began_is_free(
    replicas: list[httpx.AsyncClient], redis: Redis, model: ScriptedModel
) -> None:
    """A key of a run that never started can be used again."""
    headers = {"Idempotency-Key": "k-1"}
    await replicas[0].post("/chat", json={"message": "Hello?"}, headers=headers)
    (claim,) = await redis.keys("idempotency:*")
    held = json.loads(await redis.get(claim) or "")
    await redis.set(claim, json.dumps([str(uuid.uuid4()), held[1]]))
    answers = await asyncio.gather(
        *(client.post("/chat", json={"message": "Hello?"}, headers=headers) for client in replicas)
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(model.of("answer")) == 2
