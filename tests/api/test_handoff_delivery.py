"""How the team gets hand-overs, and how its answers reach the customer."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from api.auth import digest
from conftest import REPOSITORY, Serve
from graph.actions.handoffs import Entry, Line, Record
from graph.actions.outbox import NotReceived
from graph.actions.receivers import Mail, signed
from graph.actions.tools import Caller, NotCalled, OutcomeUnknown, ToolResult
from graph.unanswered import MARK
from harness.conversations import several
from harness.handing import SECRET, say, team
from harness.langsmith import PROJECT, traced
from harness.measured import measured
from harness.replica import replica
from harness.scripted_model import ScriptedModel, tokens
from local.process import Service, free_port

ASKED = "I want to talk to a human"
KEYS = {name: f"sa_{name:x<43}" for name in ("operator", "shop", "bank")}
GUARDED = {"SUPPORT_API_KEYS": ",".join(f"{name}:{digest(key).hex()}" for name, key in KEYS.items())}


def of(name: str) -> dict[str, str]:
    return {"X-API-Key": KEYS[name]}


def documented_check() -> Any:
    """The example of docs/handover.md."""
    (example,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/handover.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own document
    return names["is_ours"]


async def test_a_receiver_that_was_down_gets_each_once_and_in_order(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """What waits is sent when the receiver is back, signed as the documentation checks it."""
    async with team() as receiver:
        receiver.status = 500
        receives = {"SUPPORT_HANDOFF_WEBHOOK": receiver.url, "SUPPORT_HANDOFF_SECRET": SECRET}
        async with several(serve, 2, **receives) as (one, other):
            for client, message in ((one, ASKED), (other, "First"), (one, "Second")):
                await say(client, message)
            while not receiver.refused:
                await asyncio.sleep(0.02)
            assert await measured(one, "support_agent_outbox_sent_total", outcome="failed") >= 1
            receiver.status = 204
            told = await receiver.until(3)
            async with asyncio.timeout(10):
                while await redis.exists("handoffs:outbox"):
                    await asyncio.sleep(0.05)
            assert await redis.zcard("handoffs") == 1
            assert await measured(one, "support_agent_handoffs_total", reason="asked") >= 1
    assert [entry["data"]["transcript"][0]["content"] for entry in told] == [ASKED, "First", "Second"]
    is_ours = documented_check()
    for headers, body in receiver.posts:
        assert is_ours(SECRET, headers, body)
        assert not is_ours(SECRET, headers, body + b" ")
        assert not is_ours(SECRET, headers | {"webhook-timestamp": "1600000000"}, body)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's libraries comes out."""
    headers = signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_person_reaches_the_customer_on_any_replica(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Over server-sent events and WebSockets; a reader that comes back gets the rest, another tenant nothing."""
    async with several(serve, 2, **GUARDED) as (one, other):
        model.forget()
        opened = (await say(one, ASKED, **of("shop")))["handoff"]
        path = f"/handoffs/{opened['id']}"
        address = str(one.base_url.copy_with(scheme="ws")).rstrip("/") + "/chat?session_id=s-1"
        async with (
            aconnect_sse(one, "GET", "/sessions/s-1/events", headers=of("shop")) as source,
            connect(address, subprotocols=[Subprotocol("support.v1")], additional_headers=of("shop")) as socket,
        ):
            for number in (1, 2):
                body = {"message": f"Hello {number}"}
                sent = await other.post(f"{path}/messages", json=body, headers=of("operator"))
                assert sent.status_code == 201
            assert (await other.post(f"{path}/release", headers=of("operator"))).status_code == 200
            events = await first(4, source)
            frames = [json.loads(await socket.recv()) for _ in range(4)]
        seen = [(event.event, event.json()) for event in events]
        assert [(name, data.get("content", data.get("status"))) for name, data in seen] == [
            ("handoff", "open"),
            ("message", "Hello 1"),
            ("message", "Hello 2"),
            ("handoff", "released"),
        ]
        assert {name: seen[1][1][name] for name in ("id", "role", "at")}.keys() == {"id", "role", "at"}
        assert [(frame["event"], frame["data"]) for frame in frames] == seen
        assert [frame["id"] for frame in frames] == [event.id for event in events]
        resumed = {**of("shop"), "Last-Event-ID": events[1].id}
        async with aconnect_sse(other, "GET", "/sessions/s-1/events", headers=resumed) as source:
            assert (await first(1, source))[0].json()["content"] == "Hello 2"

        await say(one, ASKED, **of("shop"))
        lists = {name: (await one.get("/handoffs", headers=of(name))).json()["handoffs"] for name in KEYS}
        assert {name: len(found) for name, found in lists.items()} == {"operator": 1, "shop": 1, "bank": 0}
        path = f"/handoffs/{lists['shop'][0]['id']}"
        statuses = [
            (await one.get(path, headers=of("bank"))).status_code,
            (await one.get("/sessions/s-1/events", headers=of("bank"))).status_code,
            (await one.post(f"{path}/messages", json={"message": "x"}, headers=of("bank"))).status_code,
            (await one.post(f"{path}/release", headers=of("shop"))).status_code,
            (await one.get(path, headers=of("operator"))).status_code,
            (await one.delete("/sessions/s-1", headers=of("shop"))).status_code,
            (await one.get(path, headers=of("shop"))).json()["status"],
        ]
        assert statuses == [404, 404, 401, 401, 200, 204, "released"]
        assert model.calls == []


async def first(count: int, source: EventSource) -> list[ServerSentEvent]:
    events = source.aiter_sse()
    return [await anext(events) for _ in range(count)]


async def test_it_times_out_and_needs_a_new_reason(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The reader is told; the agent answers again, and two further unanswered questions hand over once more."""
    model.script("answer", tokens([MARK, "No."]))
    async with several(serve, 1, SUPPORT_HANDOFF_TIMEOUT=1) as (client,):
        reasons: list[str | None] = []
        for message in ("One?", "Two?"):
            reasons.append((await say(client, message)).get("handoff", {}).get("reason"))
        async with aconnect_sse(client, "GET", "/sessions/s-1/events") as source:
            told = [event.json()["status"] for event in await first(2, source)]
        for message in ("Three?", "Four?"):
            reasons.append((await say(client, message)).get("handoff", {}).get("reason"))
    assert told == ["open", "timed-out"]
    assert reasons == [None, "unanswered", None, "unanswered"]


async def test_offline_and_outside_conversations(serve: Serve, redis: Redis, offline_model: Service) -> None:
    """The offline model hands over too; /ask and /stream never do."""
    model: dict[str, Any] = {"OPENAI_BASE_URL": offline_model.url, "OPENAI_API_KEY": offline_model.secret}
    async with several(serve, 1, **model) as (client,):
        asked = (await client.post("/ask", json={"question": ASKED})).json()
        assert "handoff" not in asked
        assert "colleague will take this" not in asked["answer"]
        unknown = ("What is the capital of Mongolia?", "Who won the world cup in 1954?")
        said = [await say(client, message) for message in unknown]
        assert [turn.get("handoff", {}).get("reason") for turn in said] == [None, "unanswered"]
        assert (await say(client, "Ich möchte mit einem Menschen sprechen", "s-2"))["answer"] == (
            "Ein Kollege übernimmt das. Sie hören hier so bald wie möglich von uns."
        )
        assert (await client.get("/handoffs")).json()["handoffs"][1]["category"] == "general"


async def test_a_turn_that_hands_over_costs_no_more(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Neither the one that opens a hand-over nor one that is passed on sends Redis more than eight commands."""
    costs: list[int] = []
    async with several(serve, 1, SUPPORT_LANGGRAPH_API="off") as (client,), redis.monitor() as monitor:
        for number in range(4):  # the first ones open connections, and load scripts
            for message in (ASKED, "And?"):
                await say(client, message, f"s-{number}")
        await redis.get("the end")
        async with asyncio.timeout(10):
            while (sent := (command := await monitor.next_command())["command"]) != "GET the end":
                if sent.startswith("SET session:"):  # the lock: a turn begins
                    costs.append(0)
                is_heartbeat = sent.startswith("MGET run:") or " handoffs handoffs:outbox " in sent
                if costs and command["client_type"] != "lua" and not is_heartbeat:
                    costs[-1] += 1
    assert len(costs) == 8
    assert max(min(costs[::2]), min(costs[1::2])) <= 8, costs


async def test_the_team_gets_a_link_to_the_trace(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """It names the project and the run."""
    async with team() as receiver:
        receives: dict[str, Any] = {"SUPPORT_HANDOFF_WEBHOOK": receiver.url, "SUPPORT_HANDOFF_SECRET": SECRET}
        async with traced(serve, **receives) as (client, langsmith):
            done = await say(client, ASKED)
            (told,) = await receiver.until(1)
            (root,) = await langsmith.until(1)
    assert told["data"]["run_id"] == done["run_id"]
    assert told["data"]["trace_url"].endswith(f"/o/{PROJECT}/projects/p/{PROJECT}/r/{done['run_id']}?poll=true")
    assert root["extra"]["metadata"]["handoff"] == "asked"


async def test_in_production_it_needs_keys(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Without keys anybody could read what customers write, and answer them."""
    open_to_all = {"SUPPORT_ENV": "production", "SUPPORT_ALLOW_ANONYMOUS": True}
    async with several(serve, 1, **open_to_all) as (client,):
        path = f"/handoffs/{(await say(client, ASKED))['handoff']['id']}"
        asked = [client.get("/handoffs"), client.get(path), client.post(f"{path}/release")]
        asked.append(client.post(f"{path}/messages", json={"message": "x"}))
        assert [(await each).status_code for each in asked] == [401] * 4


class Tools:
    """Tools that record calls, and fail as often as they are told."""

    def __init__(self, *failures: Exception | ToolResult) -> None:
        self.failures = list(failures)
        self.calls: list[tuple[str, Mapping[str, Any], Caller, str | None]] = []

    async def call(
        self, tool_name: str, arguments: Mapping[str, Any], caller: Caller, key: str | None = None
    ) -> ToolResult:
        """Record a call, and fail if it is told to."""
        self.calls.append((tool_name, arguments, caller, key))
        failure = self.failures.pop(0) if self.failures else ToolResult("sent", is_error=False)
        if isinstance(failure, Exception):
            raise failure
        return failure


@pytest.mark.parametrize("failure", [NotCalled(), OutcomeUnknown(), ToolResult("no", is_error=True)])
async def test_by_e_mail_it_is_one_thread(failure: Exception | ToolResult) -> None:
    """A call that failed is repeated with the same key; a further message is a reply."""
    record = Record(
        "a" * 32, "asked", "The customer asks for a person: \u201cHi\u201d", "2026-11-29T10:00:00Z", None,
        "shop", "s-1", "t", "c-7", "billing", "en", "run-1",
    )  # fmt: skip
    first = Entry(
        "e-1", record.opened_at, record, "run-1", (Line("user", "Hi"), Line("assistant", "A colleague \u2026"))
    )
    second = Entry("e-2", record.opened_at, record, "run-2", (Line("user", "Still there?"),), "handoff.message")
    tools = Tools(failure)
    with pytest.raises(NotReceived):
        await Mail(tools).send(first, None)
    await Mail(tools).send(first, "https://smith.example/r/1")
    await Mail(tools).send(second, None)
    assert [(name, key) for name, _, _, key in tools.calls] == [
        ("send_email", "e-1"),
        ("send_email", "e-1"),
        ("send_email", "e-2"),
    ]
    sent = [arguments for _, arguments, _, _ in tools.calls[1:]]
    assert [(each["thread"], each["is_reply"]) for each in sent] == [("a" * 32, False), ("a" * 32, True)]
    assert "Trace: https://smith.example/r/1" in sent[0]["body"]
    assert "Customer: c-7" in sent[0]["body"]
    assert sent[1]["body"] == "Customer: Still there?"
    assert tools.calls[0][2] == Caller("shop", "t", "run-1", "c-7")


async def test_an_e_mail_that_nobody_confirmed_is_sent_again() -> None:
    """The e-mail server sends a key once, so what its mail server has not confirmed needs another one."""
    record = Record(
        "a" * 32, "asked", "x", "2026-11-29T10:00:00Z", None, "shop", "s-1", "t", None, "billing", "en", "r"
    )
    entry = Entry("e-1", record.opened_at, record, "r", (Line("user", "Hi"),))
    tools = Tools(OutcomeUnknown(is_said=True), OutcomeUnknown(), OutcomeUnknown(is_said=True))
    by_mail = Mail(tools)
    for _ in range(3):
        with pytest.raises(NotReceived):
            await by_mail.send(entry, None)
    await by_mail.send(entry, None)
    assert [key for *_, key in tools.calls] == ["e-1", "e-1-1", "e-1-1", "e-1-2"]


@pytest.mark.soak
async def test_what_waits_survives_its_replica(
    redis: Redis, redis_url: str, model: ScriptedModel, articles: Path
) -> None:
    """After a kill with a full outbox the other replica sends it, each entry once and in order."""
    async with team() as receiver:
        receiver.status = 503
        variables = {"SUPPORT_HANDOFF_WEBHOOK": receiver.url, "SUPPORT_HANDOFF_SECRET": SECRET}
        async with replica(model, redis_url, articles, **variables) as (process, url):
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                for number in range(5):
                    for message in (ASKED, "First", "Second"):
                        await say(client, message, f"s-{number}")
            process.kill()
            process.wait()
        receiver.status = 204
        async with replica(model, redis_url, articles, **variables):
            async with asyncio.timeout(60):
                while len(receiver.posts) < 15:
                    await asyncio.sleep(0.1)
                while await redis.exists("handoffs:outbox"):
                    await asyncio.sleep(0.1)
    said = [entry["data"]["transcript"][0]["content"] for entry in receiver.told]
    sessions = [entry["data"]["session_id"] for entry in receiver.told]
    for number in range(5):
        own = [text for text, session in zip(said, sessions, strict=True) if session == f"s-{number}"]
        assert own == [ASKED, "First", "Second"]
    assert len({headers["webhook-id"] for headers, _ in receiver.posts}) == 15


@contextmanager
def receiving(port: int, kept: Path) -> Generator[None]:
    """Run a help desk's webhook until it is killed."""
    environment = {"PYTHONPATH": str(REPOSITORY / "tests")}
    process = subprocess.Popen([sys.executable, "-m", "harness.receiver", str(port), str(kept)], env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "seconds", [pytest.param(15, marks=pytest.mark.soak), pytest.param(60, marks=pytest.mark.nightly)]
)
async def test_a_receiver_that_is_down_gets_each_once(
    serve: Serve, redis: Redis, model: ScriptedModel, tmp_path: Path, seconds: int
) -> None:
    """Its process is killed and started again on its port; what came before, meanwhile and after is there in order."""
    port, kept = free_port(), tmp_path / "kept"
    kept.touch()

    async def until(count: int) -> list[list[str]]:
        async with asyncio.timeout(150):
            while len(lines := kept.read_text("utf-8").splitlines()) < count or await redis.exists("handoffs:outbox"):
                await asyncio.sleep(0.1)
        return [json.loads(line) for line in lines]

    receives = {"SUPPORT_HANDOFF_WEBHOOK": f"http://127.0.0.1:{port}/", "SUPPORT_HANDOFF_SECRET": SECRET}
    async with several(serve, 2, SUPPORT_RATE_LIMIT="", **receives) as clients:
        with receiving(port, kept):
            for number in range(3):
                await say(clients[number % 2], ASKED, f"s-{number}")
            assert len(await until(3)) == 3
        for number in range(6):
            message = ASKED if number >= 3 else "While you were away"
            await say(clients[number % 2], message, f"s-{number}")
        await asyncio.sleep(seconds)
        assert len(kept.read_text("utf-8").splitlines()) == 3
        with receiving(port, kept):
            await until(9)
            await say(clients[0], "Back again", "s-0")
            told = await until(10)
            await asyncio.sleep(2)
        assert len(told) == len(kept.read_text("utf-8").splitlines()) == len({name for name, _, _ in told}) == 10
    assert [kind for _, kind, _ in told].count("handoff.opened") == 6
    assert told[-1][2] == "Back again"
    own = [said for name, _, said in told if name.startswith(told[-1][0][:32])]
    assert own == [ASKED, "While you were away", "Back again"]


async def test_a_persons_message_is_written_once_for_its_key(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A repeated request, also at once, on the other replica or after the end, gets the response of the first."""
    async with several(serve, 2) as (one, other):
        path = f"/handoffs/{(await say(one, ASKED))['handoff']['id']}"
        again = {"Idempotency-Key": "reply-1"}
        asked = [
            client.post(f"{path}/messages", json={"message": "Hello"}, headers=again) for client in (one, other) * 4
        ]
        responses = await asyncio.gather(*asked)
        assert {response.status_code for response in responses} == {201}
        assert len({response.text for response in responses}) == 1
        misused = await other.post(f"{path}/messages", json={"message": "Other"}, headers=again)
        assert (misused.status_code, misused.json()["type"]) == (422, "idempotency-mismatch")
        assert (await one.post(f"{path}/messages", json={"message": "Hello"})).status_code == 201
        await one.post(f"{path}/release")
        late = await other.post(f"{path}/messages", json={"message": "Hello"}, headers=again)
        assert (late.status_code, late.text) == (201, responses[0].text)
        fresh = await other.post(f"{path}/messages", json={"message": "Hello"}, headers={"Idempotency-Key": "2"})
        assert (fresh.status_code, fresh.json()["type"]) == (409, "handoff-over")
        history = (await one.get("/sessions/s-1")).json()["messages"]
        assert [each["content"] for each in history if each["role"] == "agent"] == ["Hello", "Hello"]
        empty = await one.post(f"{path}/messages", json={"message": "x"}, headers={"Idempotency-Key": ""})
        assert empty.status_code == 422


async def test_a_deleted_conversation_is_sent_to_nobody(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Not what still waits of any of its hand-overs; nothing in Redis quotes it any more, another session's stays."""
    async with team() as receiver:
        receiver.status = 503
        receives = {"SUPPORT_HANDOFF_WEBHOOK": receiver.url, "SUPPORT_HANDOFF_SECRET": SECRET}
        async with several(serve, 1, **receives) as (client,):
            earlier = (await say(client, "I want to talk to a human about fish"))["handoff"]["id"]
            await client.post(f"/handoffs/{earlier}/release")
            lasting = (await say(client, "I want to talk to a human about birds"))["handoff"]["id"]
            await say(client, "They are fish or birds")
            await say(client, ASKED, "s-2")
            assert (await client.delete("/sessions/s-1")).status_code == 204
            receiver.status = 204
            (told,) = await receiver.until(1)
            async with asyncio.timeout(20):
                while await redis.exists("handoffs:outbox"):
                    await asyncio.sleep(0.05)
            assert told["data"]["session_id"] == "s-2"
            assert len(receiver.posts) == 1
            assert (await client.get(f"/handoffs/{earlier}")).status_code == 404
            ended = (await client.get(f"/handoffs/{lasting}")).json()
            assert (ended["status"], ended["summary"]) == ("released", "The customer asks for a person")
            keys = [key async for key in redis.scan_iter("*handoff*")]
            keys += [key async for key in redis.scan_iter("session:*")]
            for key in keys:
                if await redis.type(key) in (b"string", b"stream"):
                    kept = await (redis.get(key) if await redis.type(key) == b"string" else redis.xrange(key))
                    assert "birds" not in str(kept), key
            assert (await client.delete("/sessions/s-1")).status_code == 404
