"""Greetings, thanks, "ok" and farewells, which need no model."""

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from redis.asyncio import Redis

from conftest import Serve
from graph.small_talk import questions
from harness.langsmith import traced
from harness.measured import measured
from harness.routes import ROUTES, ask
from harness.scripted_model import ScriptedModel, status, tokens
from local.process import Service

WELCOME = "You're welcome! Just ask if there is anything else."


@pytest.mark.parametrize("route", ROUTES)
async def test_a_greeting_gets_a_friendly_line(serve: Serve, redis: Redis, model: ScriptedModel, route: str) -> None:
    """Every route answers without a model and without sources, in the usual order of events."""
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        model.forget()
        answered = await ask(client, route, "Hello!")
    assert answered.text == "Hello! How can I help you?"
    assert answered.category in (None, "general")
    assert not answered.sources
    assert sorted(answered.order[1:3]) + list(answered.order[3:]) in (
        [],
        ["category", "sources", "token", "done"],
    )
    assert model.calls == []


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Thanks, that worked", WELCOME),
        ("ok", "Great! Just ask if there is anything else."),
        ("OK 👍", "Great! Just ask if there is anything else."),
        ("  hi   there :)", "Hello! How can I help you?"),
        ("Hi, thanks — bye!", "Goodbye, and have a nice day!"),
        ("Vielen Dank, hat geklappt!", "Gern geschehen! Fragen Sie jederzeit wieder."),
        ("GRÜSS GOTT", "Hallo! Wie kann ich Ihnen helfen?"),
        ("Merci beaucoup !", "Avec plaisir ! N'hésitez pas si vous avez une autre question."),
        ("¡Hola!", "¡Hola! ¿En qué puedo ayudarle?"),
        ("that\u2019s all, thank you", WELCOME),
        ("\u0130yi günler", "Merhaba! Nas\u0131l yard\u0131mc\u0131 olabilirim?"),
        ("谢谢\uff01", "不客气\uff01如果还有问题\uff0c请随时提问。"),
    ],
)
async def test_each_language_has_its_own(
    client: httpx.AsyncClient, model: ScriptedModel, message: str, answer: str
) -> None:
    """Case, punctuation and emoji do not matter; of several phrases the last kind is answered."""
    reply = (await client.post("/ask", json={"question": message})).json()
    assert (reply["answer"], reply["sources"], reply["tokens_used"]) == (answer, [], 0)
    assert model.calls == []


@pytest.mark.parametrize(
    "message",
    [
        "Hello?",
        "ok?",
        "Thanks, how do I cancel",
        "Hi, I was charged twice",
        "It worked yesterday",
        "thanks for nothing",
    ],
)
async def test_a_question_is_no_small_talk(client: httpx.AsyncClient, model: ScriptedModel, message: str) -> None:
    """A message with anything else in it, or with a question mark, is searched and answered as ever."""
    assert (await client.post("/ask", json={"question": message})).json()["answer"] == "Hello, world."
    assert len(model.of("answer")) == 1


async def test_it_needs_no_model(serve: Serve, model: ScriptedModel) -> None:
    """A greeting is answered while the model's server is down."""
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        for kind in ("classify", "answer", "embeddings"):
            model.script(kind, status(500))
        assert (await ask(client, "/chat", "Good morning")).text == "Hello! How can I help you?"


async def test_the_offline_model_is_as_friendly(serve: Serve, offline_model: Service) -> None:
    """So is a laptop without a key."""
    assert offline_model.secret
    variables = {"OPENAI_BASE_URL": offline_model.url, "OPENAI_API_KEY": offline_model.secret}
    async with serve(**variables) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        answered = await ask(client, "/ask", "Thanks, that worked")
    assert (answered.text, answered.sources) == (WELCOME, [])


async def test_thanks_do_not_hide_the_question_before_them(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Small talk is remembered, and a follow-up is still read with the last question."""
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        for message in ("Why was I charged twice?", "Thanks!", "When?"):
            reply = (await client.post("/chat", json={"message": message, "session_id": "s-1"})).json()
        history = (await client.get("/sessions/s-1")).json()["messages"]
    assert reply["messages_in_history"] == len(history) == 6
    assert model.of("classify")[-1].prompt[-1] == ("user", "Why was I charged twice?\nWhen?")
    assert model.of("embeddings")[-1].body["input"] == ["When?", "Why was I charged twice? When?"]
    assert ("assistant", WELCOME) in model.of("answer")[-1].prompt


@pytest.mark.parametrize(
    "question",
    [
        "Shall I explain the refund?",
        "Do you use the annual plan? \U0001f60a",
        "**Do you use the annual plan?**",
        "Would you like me to explain? (Just say so.)",
        "\u4f60\u7528\u5e74\u4ed8\u5417\uff1f\u8c22\u8c22",
        "Say OK to continue.",
    ],
)
async def test_ok_may_answer_a_question_of_ours(
    serve: Serve, redis: Redis, model: ScriptedModel, question: str
) -> None:
    """After a question of the model "ok" is a reply; after our own greeting it is not."""
    model.script("answer", tokens([question]), tokens(["Within 30 days."]))
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:

        async def said(message: str, session: str) -> str:
            body = {"message": message, "session_id": session}
            return (await client.post("/chat", json=body)).json()["answer"]

        assert (await said("Refund", "s-1"), await said("ok", "s-1")) == (
            question,
            "Within 30 days.",
        )
        assert await said("Hi", "s-2") == "Hello! How can I help you?"
        assert (await said("ok", "s-2")).startswith("Great!")


async def test_it_is_traced_and_measured_like_any_run(serve: Serve, model: ScriptedModel) -> None:
    """A trace has the three nodes and no call of a model; the run is counted under `general`."""
    async with traced(serve) as (client, langsmith):
        name, labels = "support_agent_run_duration_seconds_count", {"category": "general", "outcome": "done"}
        before = await measured(client, name, **labels)
        assert (await client.post("/ask", json={"question": "Cheers!"})).json()["answer"] == WELCOME
        (root,) = await langsmith.until(1)
        assert await measured(client, name, **labels) == before + 1
    children = langsmith.children(root)
    assert sorted(children) == ["answer", "classify", "retrieve"]
    assert not [call for (step,) in children.values() for call in langsmith.children(step).values()]
    assert root["outputs"]["messages"] == [{"role": "assistant", "content": WELCOME}]


def test_the_last_message_is_always_a_question() -> None:
    """Small talk that is not answered as such is what is searched for."""
    said = [HumanMessage("Hi"), AIMessage("Yes?"), HumanMessage("Refund"), AIMessage("Now?"), HumanMessage("ok")]
    assert questions(said) == ["Refund", "ok"]
