import asyncio
import time

import httpx
import pytest
from starlette.types import Send

from harness.scripted_model import Call, ScriptedModel, after, embedded, label, stall, tokens


async def test_ask_answers_with_category_sources_and_usage(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """POST /ask returns answer, category, sources, the tokens of both calls and the run id."""
    model.script("classify", label("Billing.", used=40))
    model.script("answer", tokens(["You were ", "charged twice."], used=260))
    response = await client.post("/ask", json={"question": "Why was I charged twice?", "customer_id": "c-1"})
    answer = response.json()
    assert response.status_code == 200
    assert answer.pop("run_id")
    assert answer.pop("sources")[0] == {"id": "duplicate-charge", "title": "Charged twice"}
    assert answer == {
        "answer": "You were charged twice.",
        "answered": True,
        "category": "billing",
        "tokens_used": 300,
        "cached": False,
    }


async def test_ask_makes_two_model_calls_with_their_prompts(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """One question costs a classify call with examples, an embedding, and an answer call with the passages."""
    await client.post("/ask", json={"question": "Why was I charged twice?"})
    (classify,), (answer,) = model.of("classify"), model.of("answer")
    assert classify.body["model"] == "gpt-4o-mini"
    assert "Classify" in classify.system
    assert {text for role, text in classify.prompt if role == "assistant"} == {
        "billing",
        "technical",
        "general",
    }
    assert classify.prompt[-1] == ("user", "Why was I charged twice?")
    assert answer.body["model"] == "gpt-4o"
    assert answer.body["stream"] is True
    assert '<passage id="duplicate-charge" title="Charged twice">' in answer.system
    assert "returned within 5 days" in answer.system
    assert "<contact>billing@company.example</contact>" in answer.system
    assert "Acme & Sons" in answer.system
    assert answer.prompt[1:] == [("user", "Why was I charged twice?")]
    assert len(model.of("embeddings")) == 1
    assert {call.authorization for call in model.calls} == {"Bearer sk-test-canary"}


async def test_classify_and_retrieve_overlap(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """Classification and the question's embedding run concurrently."""
    model.script("classify", after(0.3, label("billing")))
    model.script("embeddings", after(0.3, embedded(64)))
    await client.post("/ask", json={"question": "Why was I charged twice?"})
    (classify,), (embed,), (answer,) = model.of("classify"), model.of("embeddings"), model.of("answer")
    assert classify.ended is not None
    assert embed.ended is not None
    assert max(classify.began, embed.began) < min(classify.ended, embed.ended)
    assert answer.began >= max(classify.ended, embed.ended)


@pytest.mark.parametrize("kind", ["classify", "answer"])
async def test_ask_lets_go_of_the_model_when_the_client_hangs_up(
    client: httpx.AsyncClient, model: ScriptedModel, kind: str
) -> None:
    """The model call is cancelled within half a second after the client disconnects."""
    model.script("answer", tokens(["Hello"], then=stall))
    if kind == "classify":
        model.script("classify", stall)
    request = asyncio.create_task(client.post("/ask", json={"question": "Why?"}))
    while not any(call.kind == kind for call in model.calls):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    request.cancel()
    hung_up = time.monotonic()
    call = next(call for call in model.calls if call.kind == kind)
    while call.cut is None and time.monotonic() < hung_up + 2:
        await asyncio.sleep(0.01)
    assert call.cut is not None
    assert call.cut - hung_up < 0.5


async def test_parallel_questions_get_their_own_answers(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """Concurrent questions do not mix."""

    async def echo(call: Call, send: Send) -> None:
        await tokens([call.prompt[-1][1]])(call, send)

    model.script("answer", echo)
    questions = [f"Question number {number}?" for number in range(20)]
    responses = await asyncio.gather(*(client.post("/ask", json={"question": text}) for text in questions))
    assert [response.json()["answer"] for response in responses] == questions
