"""Traces in LangSmith, and what happens while it is down."""

import asyncio
import time
from datetime import datetime
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from conftest import Serve
from graph import __version__
from graph.observe import prices
from harness.langsmith import langsmith_server, traced
from harness.scripted_model import Call, ScriptedModel, cut, stall, status, tokens
from harness.socks import socks_proxy

QUESTION = {"question": "Why was I charged twice?"}
SECRETS = {
    "ada.lovelace@mail.example": "[email]",
    "4929 1234 5678 9012 3": "4929 1234 5678 9012 3",
    "4111 1111 1111 1111": "[card]",
    "NL91 ABNA 0417 1643 00": "[iban]",
    "+31 20 624 1111": "[phone]",
    "sk-live-0123456789abcdef": "[key]",
}


def whole(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def seconds(run: dict[str, Any]) -> float:
    return (datetime.fromisoformat(run["end_time"]) - datetime.fromisoformat(run["start_time"])).total_seconds()


@pytest.mark.parametrize("multipart", [True, False])
async def test_a_trace_says_all_that_an_engineer_asks(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, multipart: bool
) -> None:
    """A trace has question, category, passages, prompts, tokens, cost and times, under the run's id."""
    monkeypatch.setattr(prices, "_rates", lambda *_: (0.001, 0.002))
    model.script("answer", tokens(["Within ", "30 days."], pause=0.1))
    async with traced(serve, multipart=multipart) as (client, langsmith):
        answer = (await client.post("/ask", json=QUESTION | {"customer_id": "c-17"})).json()
        (root,) = await langsmith.until(1)
    assert root["id"] == root["trace_id"] == answer["run_id"]
    assert (root["name"], root["run_type"], root["session_name"]) == ("support-agent", "chain", "support-agent")
    assert root["inputs"] == {"messages": [{"role": "user", "content": QUESTION["question"]}]}
    assert root["outputs"]["messages"] == [{"role": "assistant", "content": "Within 30 days."}]
    assert root["outputs"]["tokens_used"] == answer["tokens_used"]
    metadata = root["extra"]["metadata"]
    assert len(metadata.pop("customer")) == 16
    assert metadata.pop("knowledge_version")
    assert len(metadata.pop("prompt_version")) == 12
    assert metadata == {
        "tenant": "anonymous",
        "category": "billing",
        "cache": "miss",
        "release": __version__,
        "environment": "development",
        "answered": True,
    }
    children = langsmith.children(root)
    assert sorted(children) == ["answer", "classify", "retrieve"]
    (classify,), (retrieve,), (wrote,) = children["classify"], children["retrieve"], children["answer"]
    assert (classify["run_type"], classify["outputs"]["category"]) == ("chain", "billing")
    assert retrieve["run_type"] == "retriever"
    documents = retrieve["outputs"]["documents"]
    assert [document["metadata"]["id"] for document in documents] == [source["id"] for source in answer["sources"]]
    assert documents[0]["page_content"]
    ((small,),) = langsmith.children(classify).values()
    ((large,),) = langsmith.children(wrote).values()
    assert (small["name"], large["name"]) == ("gpt-4o-mini", "gpt-4o")
    for run, call in ((small, model.of("classify")[-1]), (large, model.of("answer")[-1])):
        assert run["run_type"] == "llm"
        sent = [(message["role"], whole(message["content"])) for message in run["inputs"]["messages"]]
        assert sent == call.prompt
        usage = run["outputs"]["usage_metadata"]
        assert usage["total_cost"] == pytest.approx(usage["input_tokens"] * 0.001 + usage["output_tokens"] * 0.002)
        assert run["extra"]["metadata"]["ls_model_name"] == run["name"]
    used = [run["outputs"]["usage_metadata"]["total_tokens"] for run in (small, large)]
    assert sum(used) == answer["tokens_used"]
    assert large["outputs"]["messages"][0]["content"] == "Within 30 days."
    assert 0.2 <= seconds(large) <= seconds(wrote) <= seconds(root) <= 60
    (first,) = large["events"]
    assert first["name"] == "new_token"
    for run in langsmith.runs.values():
        assert run["dotted_order"].startswith(root["dotted_order"])
        assert run["trace_id"] == root["id"]


async def test_every_way_to_ask_is_traced(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Streams, conversations, WebSockets and cache hits are traced once each; a session by its hash."""
    async with traced(serve, SUPPORT_CACHE_TTL=60) as (client, langsmith):
        asked = (await client.post("/ask", json=QUESTION)).json()["run_id"]
        kept = (await client.post("/ask", json=QUESTION)).json()["run_id"]
        await client.get("/stream", params=QUESTION)
        await client.get("/stream", params={"question": "Another?"})
        chatted = (await client.post("/chat", json={"message": "Hello?", "session_id": "s-secret"})).json()["run_id"]
        await client.post("/chat/stream", json={"message": "Hello?", "session_id": "s-secret"})
        address = str(client.base_url).replace("http", "ws") + "/chat?session_id=s-secret"
        async with connect(address, subprotocols=[Subprotocol("support.v1")]) as socket:
            await socket.send('{"message": "Hello?"}')
            while '"done"' not in str(await socket.recv()):
                pass
        roots = await langsmith.until(7)
    assert [root["id"] for root in roots[:2]] == [asked, kept]
    assert chatted in {root["id"] for root in roots}
    assert [root["extra"]["metadata"]["cache"] for root in roots] == ["miss", "hit", "hit", "miss", *["none"] * 3]
    assert [len(langsmith.children(root)) for root in roots] == [3, 0, 0, 3, 3, 3, 3]
    assert roots[1]["outputs"] == roots[0]["outputs"] | {"tokens_used": 0}
    assert len({root["extra"]["metadata"]["session"] for root in roots[4:]}) == 1
    assert "s-secret" not in langsmith.received


async def test_runs_that_end_badly_are_traced(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Failed, cut, cancelled and fallback runs are traced with the error's type and each model attempt."""
    model.script("answer", *[status(500)] * 3, tokens(["Plan B."]), tokens(["Half"], then=cut), status(400), stall)
    async with traced(serve, SUPPORT_FALLBACK_MODEL="plan-b") as (client, langsmith):
        await client.post("/ask", json=QUESTION)
        (fallback,) = await langsmith.until(1)
        calls = langsmith.children(langsmith.children(fallback)["answer"][0])
        assert [call["error"] for call in calls["gpt-4o"]] == ["HTTP 500"] * 3
        assert [call.get("error") for call in calls["plan-b"]] == [None]
        assert fallback.get("error") is None

        await client.post("/ask", json=QUESTION)
        broken = (await langsmith.until(2))[1]
        assert broken["error"] == "model-unavailable"
        ((call,),) = langsmith.children(langsmith.children(broken)["answer"][0]).values()
        assert (call["error"], call["outputs"]["messages"][0]["content"]) == ("OpenAIConnectionError", "Half")
        assert broken["extra"]["metadata"]["category"] == "billing"

        asked = len(model.of("answer"))
        asking = asyncio.create_task(client.post("/ask", json=QUESTION))
        while len(model.of("answer")) == asked:
            await asyncio.sleep(0.01)
        asking.cancel()
        cancelled = (await langsmith.until(3))[2]
        assert cancelled["error"] == "cancelled"
        assert langsmith.children(cancelled)["answer"][0]["error"] == "CancelledError"


async def test_what_customers_must_not_lose_is_masked(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Personal data is masked in all parts of a trace on every route; the company's own addresses are not."""

    async def echo(call: Call, send: Any) -> None:
        await tokens([call.prompt[-1][1], " billing@company.example"])(call, send)

    model.script("answer", echo)
    async with traced(serve, SUPPORT_CACHE_TTL=60) as (client, langsmith):
        for number, secret in enumerate(SECRETS):
            text = f"Is {secret} mine?"
            await client.post("/ask", json={"question": text})
            await client.get("/stream", params={"question": text})
            for _ in range(2):
                await client.post("/chat", json={"message": text, "session_id": f"s-{number}"})
            await client.post("/chat/stream", json={"message": text})
        await langsmith.until(5 * len(SECRETS))
    for secret, mask in SECRETS.items():
        assert mask in langsmith.received
        assert (secret in langsmith.received) == (secret == mask)
    assert "billing@company.example" in langsmith.received
    assert "sk-test-canary" not in langsmith.received
    assert langsmith.keys == {"lsv2_pt_0123456789abcdef0123456789abcdef"}


async def test_what_can_not_be_masked_is_dropped(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If masking fails the text is dropped, never sent."""

    def fails(*_: object) -> None:
        raise RuntimeError

    async with traced(serve) as (client, langsmith):
        monkeypatch.setattr("graph.observe.redaction.Redactor._walk", fails)
        answer = await client.post("/ask", json={"question": "Canary?"})
        assert answer.status_code == 200
        await langsmith.until(1)
    assert "Canary" not in langsmith.received
    assert "[dropped]" in langsmith.received


async def test_nothing_is_sent_unless_it_is_asked_for(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent by default, not even by LangChain with its own variables set."""
    async with langsmith_server() as langsmith:
        for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
            monkeypatch.setenv(name, "true")
        monkeypatch.setenv("LANGSMITH_ENDPOINT", langsmith.url)
        monkeypatch.setenv("LANGSMITH_API_KEY", "lsv2_pt_0123456789abcdef0123456789abcdef")
        async with serve(LANGSMITH_TRACING="false") as url, httpx.AsyncClient(base_url=url) as client:
            assert (await client.post("/ask", json=QUESTION)).status_code == 200
            assert (await client.post("/chat", json={"message": "Hello?"})).status_code == 200
            await asyncio.sleep(0.5)
        assert langsmith.posts == 0


async def test_a_share_of_runs_can_be_traced(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """LangSmith's own variable sets a sampling rate; a trace is complete or absent."""
    async with traced(serve, LANGSMITH_TRACING_SAMPLING_RATE="0.5") as (client, langsmith):
        for number in range(40):
            await client.post("/ask", json={"question": f"Number {number}?"})
        await asyncio.sleep(0.5)
        roots = langsmith.roots
    assert 5 < len(roots) < 35
    assert all(len(langsmith.children(root)) == 3 for root in roots)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (503, "fails with HTTP 503; "),
        (429, "fails with HTTP 429; "),
        (401, "refused the key "),
        (403, "refused the key "),
    ],
)
async def test_langsmith_may_be_away_for_a_while(
    serve: Serve, redis: Redis, model: ScriptedModel, caplog: pytest.LogCaptureFixture, fault: int, cause: str
) -> None:
    """Traces are queued during an outage and delay nobody; its start, its cause and its end are logged once."""
    async with traced(serve) as (client, langsmith):
        langsmith.fault = fault
        answers = [await client.post("/ask", json=QUESTION) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {200}
        while "circuit breaker open" not in caplog.text:
            await asyncio.sleep(0.02)
        langsmith.fault = None
        roots = await langsmith.until(3)
    assert [root["id"] for root in roots] == [answer.json()["run_id"] for answer in answers]
    lines = [record.getMessage() for record in caplog.records if "LangSmith" in record.getMessage()]
    assert len(lines) == 3
    assert lines[1].startswith(f"LangSmith {cause}")
    assert lines[::2] == ["circuit breaker open: LangSmith", "circuit breaker closed: LangSmith"]


async def test_traces_go_through_a_socks_proxy(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ALL_PROXY says, while the model's server, which NO_PROXY names, is asked directly."""
    async with langsmith_server() as langsmith, socks_proxy(("me", "p@ss")) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://me:p%40ss@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        settings = {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_API_KEY": "lsv2_key",
            "LANGSMITH_ENDPOINT": langsmith.url.replace("127.0.0.1", "langsmith.invalid"),
        }
        async with serve(**settings) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.post("/ask", json=QUESTION)).status_code == 200
            await langsmith.until(1)
    assert set(proxy.asked) == {"langsmith.invalid"}


async def test_a_trace_that_langsmith_refuses_costs_itself_alone(
    serve: Serve, redis: Redis, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused trace is dropped and logged, and the next one is sent."""
    async with traced(serve) as (client, langsmith):
        langsmith.fault = 422
        await client.post("/ask", json=QUESTION)
        while "failed to send a trace" not in caplog.text:
            await asyncio.sleep(0.02)
        langsmith.fault = None
        again = await client.post("/ask", json=QUESTION)
        (root,) = await langsmith.until(1)
    assert root["id"] == again.json()["run_id"]


async def test_a_frozen_langsmith_delays_the_end_by_three_seconds_at_most(
    serve: Serve, redis: Redis, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Traces that are not sent within three seconds of the shutdown are dropped and counted."""
    async with langsmith_server() as langsmith:
        langsmith.thawed.clear()
        settings = {"LANGSMITH_TRACING": "true", "LANGSMITH_API_KEY": "lsv2_key", "LANGSMITH_ENDPOINT": langsmith.url}
        async with serve(**settings) as url, httpx.AsyncClient(base_url=url) as client:
            for number in range(5):
                assert (await client.post("/ask", json={"question": f"{number}?"})).status_code == 200
            await asyncio.sleep(0.3)
            began = time.monotonic()
        assert time.monotonic() - began < 30  # it is frozen for good
    assert "5 traces were not sent to LangSmith" in caplog.text
