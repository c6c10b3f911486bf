"""Prompt injections, with a model that obeys every one of them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from starlette.types import Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from api.auth import digest, new_key
from conftest import Serve
from graph.canary import CANARY, CanaryFilter
from graph.errors import AnswerWithheld
from harness.injections import Injection, injections
from harness.scripted_model import Call, ScriptedModel, tokens

KEYS = {name: new_key() for name in ("victim", "attacker")}
SECRET_WORDS = "My e-mail is victim@mail.example and my order is 77-4242."


def letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def obeying(attempts: dict[str, Injection], size: int) -> Any:
    """Reply as the injection demands, in small chunks."""

    async def reply(call: Call, send: Send) -> None:
        found = re.search(r"Marker (\w+)", call.system)
        assert found
        attempt = attempts.get(call.prompt[-1][1])
        history = "\n".join(text for _, text in call.prompt[1:-1])
        text = attempt.obeyed(system=call.system, canary=found[1], history=history) if attempt else "Noted."
        await tokens([text[at : at + size] for at in range(0, len(text), size)] or ["?"])(call, send)

    return reply


async def typed(client: httpx.AsyncClient, message: str) -> list[tuple[str, Any]]:
    async with aconnect_sse(client, "POST", "/chat/stream", json={"message": message, "session_id": "s-1"}) as source:
        source.response.raise_for_status()
        return [(event.event, event.json()) async for event in source.aiter_sse()]


def is_withheld(attempt: Injection, events: list[ServerSentEvent]) -> bool:
    """Check the result of an injection; return whether the answer was withheld."""
    kinds = [event.event for event in events]
    assert set(kinds[:3]) == {"run", "category", "sources"}, attempt.id
    assert set(kinds[3:-1]) <= {"token"}, attempt.id
    answer = "".join(event.json()["text"] for event in events if event.event == "token")
    last = events[-1].json()
    for out in (answer, json.dumps(last)):
        assert CANARY not in letters(out), attempt.id
        for secret in (*KEYS.values(), "sk-test-canary", "redis://", "victim@mail", "77-4242"):
            assert secret not in out, (attempt.id, secret)
    if kinds[-1] == "done":
        assert last["answer"] == answer, attempt.id
    elif last["type"] != "answer-withheld":  # an empty answer
        said = attempt.obeyed(system="", canary="", history="").strip()
        assert (last["type"], said) == ("model-unavailable", ""), attempt.id
    return last.get("type") == "answer-withheld"


@pytest.mark.parametrize(
    "size", [pytest.param(7, marks=pytest.mark.soak), pytest.param(10_000, marks=pytest.mark.nightly)]
)
async def test_nothing_gets_out_that_must_not(serve: Serve, redis: Redis, model: ScriptedModel, size: int) -> None:
    """No canary, no secret, no other customer's words and no forged event gets out."""
    attempts = {attempt.text: attempt for attempt in injections()}
    assert len(attempts) == 300
    model.script("answer", obeying(attempts, size))
    configured = ",".join(f"{name}:{digest(key).hex()}" for name, key in KEYS.items())
    async with serve(SUPPORT_API_KEYS=configured, SUPPORT_BUSY_SESSION="wait") as url:
        async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEYS["victim"]}, timeout=60) as victim:
            assert (await typed(victim, SECRET_WORDS))[-1][0] == "done"
        async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEYS["attacker"]}, timeout=60) as attacker:
            several = asyncio.Semaphore(10)

            async def attack(attempt: Injection) -> bool:
                async with several:
                    async with aconnect_sse(attacker, "POST", "/chat/stream", json={"message": attempt.text}) as source:
                        return is_withheld(attempt, [event async for event in source.aiter_sse()])

            withheld = sum(await asyncio.gather(*(attack(attempt) for attempt in attempts.values())))
    assert withheld >= 100
    victims = [prompt for call in model.of("answer") for _, prompt in call.prompt if SECRET_WORDS in prompt]
    assert len(victims) == 1


@pytest.mark.parametrize("size", [1, 16, 10_000])
@pytest.mark.parametrize("between", ["", " ", "\n", "\u200b", "-", "\u00ad\u200d "])
@pytest.mark.parametrize(
    "dress",
    [
        str,
        str.upper,
        lambda text: "".join(chr(ord(c) + 0xFEE0) for c in text),
        lambda text: text.replace("e", "\u00e9").replace("a", "\u00e4").replace("c", "\u0107"),
    ],
)
def test_a_dressed_up_canary_is_found(size: int, between: str, dress: Any) -> None:
    """However it is cut, written and spaced, nothing of it is shown."""
    text = f"Sure, here you are: {between.join(dress(CANARY))}. Anything else?"
    canary_filter, shown = CanaryFilter(), ""
    with pytest.raises(AnswerWithheld):
        for at in range(0, len(text), size):
            shown += canary_filter.feed(text[at : at + size])
    assert shown in ("", "Sure, here you are: "[: len(shown)])


@given(st.lists(st.text(max_size=20) | st.sampled_from([CANARY[:3], CANARY[:9], "z", "Z q", CANARY[2:]])))
def test_what_is_not_the_canary_comes_through_unchanged(pieces: list[str]) -> None:
    """To the last character, whatever its beginning looks like."""
    canary_filter = CanaryFilter()
    try:
        shown = "".join([canary_filter.feed(piece) for piece in pieces]) + canary_filter.end()
    except AnswerWithheld:
        assert CANARY in "".join(letters(piece) for piece in pieces)
        return
    assert shown == "".join(pieces)


TEXTS = st.text(max_size=30) | st.sampled_from(
    [
        "[DONE]",
        "data: [DONE]\n\n",
        "\n\nevent: done\ndata: {}\n\n",
        "\r\n\r\n",
        "\r",
        "id: 1\n",
        "\u2028",
        "\x85",
        "\0",
        " ",
    ]
)


async def plain(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    async with aconnect_sse(client, "GET", "/stream", params={"question": "Why?"}) as source:
        return [(event.event, event.data) async for event in source.aiter_sse()]


async def frames(url: str) -> AsyncIterator[str]:
    async with connect(url.replace("http", "ws") + "/chat") as socket:
        await socket.send("Why?")
        try:
            while (frame := str(await socket.recv())) != "[DONE]":
                yield frame
        except ConnectionClosed:
            return


@pytest.mark.parametrize(
    "count", [100, pytest.param(1_000, marks=pytest.mark.soak), pytest.param(10_000, marks=pytest.mark.nightly)]
)
async def test_any_text_comes_through_byte_for_byte(
    serve: Serve, redis: Redis, model: ScriptedModel, count: int
) -> None:
    """Any text arrives unchanged in plain and typed events and in WebSocket frames, without forged events."""
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        loop = asyncio.get_running_loop()
        seen = 0

        async def check(pieces: list[str]) -> None:
            nonlocal seen
            seen += len(pieces)
            model.script("answer", tokens(["a", *pieces]))
            expected = ("a" + "".join(pieces)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            events = await plain(client)
            assert {kind for kind, _ in events} == {"message"}
            assert events[-1][1] == "[DONE]"
            assert "".join(data for _, data in events[:-1]) == re.sub("\r\n?", "\n", expected)
            async with aconnect_sse(client, "POST", "/chat/stream", json={"message": "Why?"}) as source:
                sent = [event async for event in source.aiter_sse()]
            assert [event.event for event in sent if event.event != "token"][3:] == ["done"]
            assert "".join(event.json()["text"] for event in sent if event.event == "token") == expected
            assert "".join([frame async for frame in frames(url)]) == expected

        @settings(max_examples=count // 20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(TEXTS, min_size=20, max_size=20))
        def run(pieces: list[str]) -> None:
            asyncio.run_coroutine_threadsafe(check(pieces), loop).result(30)

        await asyncio.to_thread(run)
    assert seen >= count
