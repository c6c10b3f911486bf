import time

import httpx
import pytest

from api.logs import OURS
from conftest import Serve
from harness.measured import measured
from harness.scripted_model import (
    Kind,
    Reply,
    ScriptedModel,
    body,
    broken_chunk,
    cut,
    html,
    label,
    stall,
    status,
    tokens,
)

QUESTION = {"question": "Why was I charged twice?"}
NOTHING = tokens([], end=True)
NO_CHOICES = body('{"id": "x", "choices": null}', "application/json")
QUOTA = body('{"error": {"code": "insufficient_quota", "message": "pay"}}', "application/json", 429)


def fault(kind: Kind, *replies: Reply, calls: int, problem: str = "model-unavailable") -> object:
    return kind, replies, calls, problem


FAULTS = {
    "classify 401": fault("classify", status(401), calls=1, problem="model-refused"),
    "classify 404": fault("classify", status(404), calls=1, problem="model-refused"),
    "classify 500": fault("classify", status(500), calls=3),
    "classify cut": fault("classify", cut, calls=3),
    "classify HTML": fault("classify", html, calls=3),
    "classify no choices": fault("classify", NO_CHOICES, calls=3),
    "answer 400": fault("answer", status(400), calls=1, problem="model-refused"),
    "answer 401": fault("answer", status(401), calls=1, problem="model-refused"),
    "answer 404": fault("answer", status(404), calls=1, problem="model-refused"),
    "answer 429": fault("answer", status(429, {"retry-after": "0"}), calls=3),
    "answer 429 for long": fault("answer", status(429, {"retry-after": "60"}), calls=1),
    "answer out of quota": fault("answer", QUOTA, calls=1, problem="model-quota"),
    "answer 500": fault("answer", status(500), calls=3),
    "answer HTML": fault("answer", html, calls=3),
    "answer empty": fault("answer", NOTHING, calls=3),
    "answer blank": fault("answer", tokens([" ", "\n"]), calls=3),
    "answer cut before the first token": fault("answer", tokens([], then=cut), calls=3),
    "answer broken before the first token": fault("answer", tokens([], then=broken_chunk), calls=3),
    "answer cut after the first token": fault("answer", tokens(["Hello"], then=cut), calls=1),
    "answer ends without an end": fault("answer", tokens(["Hello"], end=False), calls=1),
    "answer broken after the first token": fault("answer", tokens(["Hello"], then=broken_chunk), calls=1),
    "question's embedding HTML": fault("embeddings", html, calls=3),
    "question's embedding 401": fault("embeddings", status(401), calls=1, problem="model-refused"),
}


@pytest.mark.parametrize(("kind", "replies", "calls", "problem"), FAULTS.values(), ids=list(FAULTS))
async def test_a_model_that_fails_gives_one_clear_problem(
    client: httpx.AsyncClient,
    model: ScriptedModel,
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
    replies: tuple[Reply, ...],
    calls: int,
    problem: str,
) -> None:
    """Transient faults are retried at most twice; neither the problem nor the log quotes them.

    Only what may pass is a 503 that asks for another attempt.
    """
    model.script(kind, *replies)
    response = await client.post("/ask", json=QUESTION)
    passes = problem == "model-unavailable"
    assert (response.status_code, response.json()["type"]) == (503 if passes else 502, problem)
    assert response.headers.get("retry-after") == ("5" if passes else None)
    assert len(model.of(kind)) == calls
    for secret in ("sk-", "127.0.0.1", "Traceback", "scripted", "charged"):
        assert secret not in response.text
        assert secret not in "\n".join(r.getMessage() for r in caplog.records if r.name.partition(".")[0] in OURS)


@pytest.mark.parametrize(
    ("kind", "reply", "seconds"),
    [
        ("classify", stall, 3.9),
        ("answer", stall, 3.9),
        ("answer", tokens([], then=stall), 3.9),
        ("answer", tokens(["Hello"], then=stall), 1.9),  # another attempt would take until 2
    ],
    ids=["classify", "answer", "answer's first token", "mid-answer"],
)
async def test_a_model_that_stalls_is_left_within_its_budget(
    serve: Serve, model: ScriptedModel, kind: Kind, reply: Reply, seconds: float
) -> None:
    """Each attempt may take a third of the turn's time; then the answer is 504."""
    model.script(kind, reply)
    async with serve(SUPPORT_ANSWER_TIMEOUT=3) as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        began = time.monotonic()
        response = await client.post("/ask", json=QUESTION)
        assert (response.status_code, response.json()["type"]) == (504, "model-timeout")
        assert time.monotonic() - began < seconds


async def test_an_answer_that_outlives_the_turn_ends_with_a_timeout(serve: Serve, model: ScriptedModel) -> None:
    """The time-out of a turn also ends an answer that is still streaming."""
    model.script("answer", tokens(["word "] * 100, pause=0.1))
    async with serve(SUPPORT_ANSWER_TIMEOUT=1) as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.post("/ask", json=QUESTION)
    assert response.status_code == 504


@pytest.mark.parametrize("faults", [[status(500)], [html, status(429, {"retry-after": "0"})]])
async def test_a_fault_that_passes_is_not_noticed(
    client: httpx.AsyncClient, model: ScriptedModel, faults: list[Reply]
) -> None:
    """A model that recovers within two retries answers, and its cost is counted once."""
    model.script("classify", *faults, label("billing", used=50))
    model.script("answer", *faults, tokens(["Hello"], used=100))
    answer = (await client.post("/ask", json=QUESTION)).json()
    assert (answer["answer"], answer["tokens_used"]) == ("Hello", 150)


async def test_the_fallback_answers_when_the_answer_model_fails_before_its_first_token(
    serve: Serve, model: ScriptedModel
) -> None:
    """The fallback model is asked after all attempts of the answer model."""
    model.script("answer", status(500), status(500), status(500), tokens(["From the fallback"]))
    async with serve(SUPPORT_FALLBACK_MODEL="plan-b") as url, httpx.AsyncClient(base_url=url) as client:
        answer = (await client.post("/ask", json=QUESTION)).json()
    assert answer["answer"] == "From the fallback"
    assert [call.body["model"] for call in model.of("answer")] == ["gpt-4o"] * 3 + ["plan-b"]


async def test_the_fallback_is_not_asked_after_the_first_token(serve: Serve, model: ScriptedModel) -> None:
    """After the first token there is no fallback, so nothing is repeated."""
    model.script("answer", tokens(["Hello"], then=cut))
    async with serve(SUPPORT_FALLBACK_MODEL="plan-b") as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.post("/ask", json=QUESTION)).status_code == 503
    assert len(model.of("answer")) == 1


@pytest.mark.parametrize("reply", ["refunds", "", "I can't tell.", "Non-technical"])
async def test_an_unknown_category_becomes_general_and_is_counted(
    client: httpx.AsyncClient, model: ScriptedModel, reply: str
) -> None:
    """A reply outside the categories counts as general, gets its contact, and is counted."""
    before = await measured(client, "support_agent_unknown_categories_total")
    model.script("classify", label(reply))
    answer = (await client.post("/ask", json=QUESTION)).json()
    assert answer["category"] == "general"
    assert "help@company.example" in model.of("answer")[0].system
    assert await measured(client, "support_agent_unknown_categories_total") == before + 1


@pytest.mark.parametrize(
    "reply",
    [
        *("technical", "Technical", " technical.\n", '"technical"', "**Technical**", "_technical_"),
        *("The category is technical.", "technical, not billing", '{"category": "technical"}', "<b>technical</b>"),
    ],
)
async def test_a_category_is_recognised_in_its_usual_dress(
    client: httpx.AsyncClient, model: ScriptedModel, reply: str
) -> None:
    """The first word that is a category counts, whatever stands around it."""
    model.script("classify", label(reply))
    assert (await client.post("/ask", json=QUESTION)).json()["category"] == "technical"
