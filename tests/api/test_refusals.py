"""What callers get when the model's server says no: filters, prompts that are too long, and quotas."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from starlette.types import Message

from api.logs import OURS
from conftest import Serve
from harness.caching import caching
from harness.dialects import openai_refusal, refusal, unless
from harness.measured import measured
from harness.scripted_model import Kind, Reply, ScriptedModel, body, cut, embedded, label, stall, status, tokens

QUESTION = {"question": "Why was I charged twice?"}
AZURE_FILTER = refusal(
    {
        "error": {
            "message": "The response was filtered due to Azure OpenAI's content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        }
    }
)
FILTERS: dict[str, Reply] = {
    "Azure": AZURE_FILTER,
    "LiteLLM": openai_refusal("litellm.ContentPolicyViolationError: AzureException - flagged", code="400"),
    "DashScope": openai_refusal("Input text data may contain inappropriate content.", code="data_inspection_failed"),
    "OpenRouter": refusal({"error": {"code": 403, "message": "Input flagged", "metadata": {"reasons": ["x"]}}}, 403),
    "OpenRouter, in a sentence": openai_refusal('Your input was flagged for "violence".', status=403),
    "DeepSeek": openai_refusal("Content Exists Risk", code="invalid_request_error"),
    "before the first token": tokens([], finish="content_filter"),
}
QUOTAS: dict[str, Reply] = {
    "OpenAI": openai_refusal("You exceeded your current quota.", code="insufficient_quota", status=429),
    "DeepSeek": openai_refusal("Insufficient Balance", code="insufficient_balance", status=402),
    "LiteLLM": refusal({"error": {"message": "Budget has been exceeded!", "type": "budget_exceeded", "code": "400"}}),
    "Gemini": refusal([{"error": {"code": 429, "message": "You exceeded your current quota, please check."}}], 429),
    "OpenRouter, in a 200": refusal({"error": {"code": 402, "message": "Insufficient credits"}}, 200),
    "a gateway, in a 200": refusal({"error": {"code": "insufficient_quota", "message": "pay"}}, 200),
    "in a stream": body('data: {"error": {"code": "insufficient_quota", "message": "pay"}}\n\n', "text/event-stream"),
}


def events(text: str) -> list[tuple[str, Any]]:
    """Return the typed events of a stream, with their data."""
    fields = [dict(line.split(": ", 1) for line in block.split("\n") if ": " in line) for block in text.split("\n\n")]
    return [(found["event"], json.loads(found["data"])) for found in fields if "event" in found]


def ours(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.name.partition(".")[0] in OURS)


# Content filters


@pytest.mark.parametrize("filtered", FILTERS.values(), ids=list(FILTERS))
async def test_a_filtered_question_gets_a_polite_sentence(serve: Serve, model: ScriptedModel, filtered: Reply) -> None:
    """It is final: neither asked again, nor asked of the fallback."""
    model.script("answer", filtered)
    async with serve(SUPPORT_FALLBACK_MODEL="plan-b") as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (422, "content-filtered")
    assert response.json()["detail"].startswith("Sorry, we can't answer this message")
    assert "retry-after" not in response.headers
    assert len(model.of("answer")) == 1


@pytest.mark.parametrize("kind", ["classify", "embeddings"])
async def test_a_question_is_filtered_whichever_model_filters_it(
    client: httpx.AsyncClient, model: ScriptedModel, kind: Kind
) -> None:
    """The classifier and the embedding model may filter too."""
    model.script(kind, AZURE_FILTER)
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (422, "content-filtered")


@pytest.mark.parametrize("finish", ["content_filter", "SAFETY", "PROHIBITED_CONTENT"])
async def test_an_answer_that_is_filtered_half_way_ends_with_the_error(
    redis: Redis, client: httpx.AsyncClient, model: ScriptedModel, finish: str
) -> None:
    """After the first token there is one `error` event, and the conversation does not keep the turn."""
    model.script("answer", tokens(["Half an ", "answer"], finish=finish))
    message = {"message": "Why?", "session_id": "s-1"}
    found = events((await client.post("/chat/stream", json=message)).text)
    assert [kind for kind, _ in found if kind in ("token", "error", "done")] == ["token", "token", "error"]
    assert (found[-1][1]["type"], found[-1][1]["status"]) == ("content-filtered", 422)
    plain = await client.get("/stream", params=QUESTION)
    assert "event: error" in plain.text
    assert "content-filtered" in plain.text
    assert "[DONE]" not in plain.text
    assert (await client.get("/sessions/s-1")).status_code == 404
    assert len(model.of("answer")) == 2


async def test_a_filtered_answer_is_not_cached(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The next request for it asks again."""
    model.script("answer", tokens(["Half"], finish="content_filter"), tokens(["Whole"]))
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        assert (await client.post("/ask", json=QUESTION)).status_code == 422
        assert (await client.post("/ask", json=QUESTION)).json()["answer"] == "Whole"


async def test_filters_open_no_breaker(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """However many customers are filtered, others are answered."""
    model.script("answer", *[AZURE_FILTER] * 8, tokens(["Hello"]))
    for _ in range(8):
        assert (await client.post("/ask", json=QUESTION)).status_code == 422
    assert (await client.post("/ask", json=QUESTION)).json()["answer"] == "Hello"


# Prompts that are too long

TOO_LONG: dict[str, Reply] = {
    "OpenAI": openai_refusal(
        "This model's maximum context length is 8192 tokens.", param="messages", code="context_length_exceeded"
    ),
    "llama.cpp": refusal(
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
            }
        }
    ),
    "vLLM": openai_refusal(
        "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context length is 4096 tokens"
    ),
    "Anthropic behind a gateway": openai_refusal("prompt is too long: 210000 tokens > 200000 maximum"),
    "Groq": openai_refusal("Request too large for model", code="rate_limit_exceeded", status=413),
    "TGI": refusal({"error": "`inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "validation"}, 422),
}


def turns(request: dict[str, Any]) -> int:
    return sum(message["role"] == "user" for message in request["messages"])


@pytest.mark.parametrize("refused", TOO_LONG.values(), ids=list(TOO_LONG))
async def test_a_conversation_that_is_too_long_goes_on_without_its_older_half(
    redis: Redis, client: httpx.AsyncClient, model: ScriptedModel, refused: Reply
) -> None:
    """The question is asked again with fewer turns, and the session is never stuck."""
    for n in range(5):
        assert (await client.post("/chat", json={"message": f"Question {n}?", "session_id": "s-1"})).status_code == 200
    model.script("answer", unless(lambda request: turns(request) > 2, refused, tokens(["Hello"])))
    for n in (5, 6):
        model.forget()
        response = await client.post("/chat", json={"message": f"Question {n}?", "session_id": "s-1"})
        assert response.json()["answer"] == "Hello", response.text
        asked = model.of("answer")
        assert [turns(call.body) for call in asked] == [[6, 3, 2], [7, 4, 2]][n - 5]
        assert asked[-1].prompt[-1] == ("user", f"Question {n}?")
        assert asked[-1].prompt[0] == asked[0].prompt[0]


async def test_a_question_is_asked_again_three_times_at_most(
    redis: Redis, client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """The last time alone; if that is too long as well, the caller is told, and may go on."""
    for n in range(9):
        assert (await client.post("/chat", json={"message": f"Question {n}?", "session_id": "s-1"})).status_code == 200
    model.forget()
    model.script("answer", TOO_LONG["OpenAI"])
    response = await client.post("/chat", json={"message": "Question 9?", "session_id": "s-1"})
    assert (response.status_code, response.json()["type"]) == (502, "context-too-long")
    assert "retry-after" not in response.headers
    assert [turns(call.body) for call in model.of("answer")] == [10, 5, 3, 1]
    model.script("answer", tokens(["Hello"]))
    assert (await client.post("/chat", json={"message": "Question 9?", "session_id": "s-1"})).status_code == 200


async def test_long_prompts_open_no_breaker(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """Some servers answer 500 to them."""
    refused = refusal({"error": {"code": 500, "message": "context size exceeded", "type": "server_error"}}, 500)
    model.script("answer", *[refused] * 8, tokens(["Hello"]))
    for _ in range(8):
        assert (await client.post("/ask", json=QUESTION)).json()["type"] == "context-too-long"
    assert (await client.post("/ask", json=QUESTION)).json()["answer"] == "Hello"


# Errors that a text causes


CAUSED: dict[str, Reply] = {
    "500": status(500),
    "503": status(503),
    "a web page": body("<html>Bad gateway</html>", "text/html", 502),
    "a rate limit": status(429, error="Request too large for model, limit 6000 tokens per min"),
    "no JSON": body("{", "application/json"),
    "a worker that crashes": cut,
}
POISON = "poison"


def has_poison(request: dict[str, Any]) -> bool:
    return POISON in str(request.get("input") or request["messages"][-1]["content"])


@pytest.mark.parametrize("caused", CAUSED.values(), ids=list(CAUSED))
@pytest.mark.parametrize("kind", ["classify", "embeddings", "answer"])
async def test_an_error_that_one_text_causes_is_not_the_servers(
    client: httpx.AsyncClient, model: ScriptedModel, kind: Kind, caused: Reply
) -> None:
    """Such questions fail, one after the other and all at once, and others are answered."""
    taken = {"classify": label("billing"), "embeddings": embedded(64), "answer": tokens(["Hello"])}[kind]
    model.script(kind, unless(has_poison, caused, taken))

    async def code(question: str) -> int:
        return (await client.post("/ask", json={"question": question})).status_code

    assert {await code(POISON), await code(f"{POISON}!")} <= {502, 503}
    assert set(await asyncio.gather(*(code(f"{POISON} {n}") for n in range(3)))) <= {502, 503}
    assert await code("Why was I charged twice?") == 200


async def test_a_text_that_hangs_the_server_hangs_no_other(serve: Serve, model: ScriptedModel) -> None:
    """However many wait for an answer to it, the next question is answered."""
    model.script("answer", unless(has_poison, stall, tokens(["Hello"])))
    async with serve(SUPPORT_ANSWER_TIMEOUT=3) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        asked = (client.post("/ask", json={"question": f"{POISON} {n}"}) for n in range(6))
        assert {reply.status_code for reply in await asyncio.gather(*asked)} <= {503, 504}
        assert (await client.post("/ask", json=QUESTION)).status_code == 200


async def test_a_breaker_that_stays_open_is_said_by_ready(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """Even if the models were checked a moment before."""
    assert (await client.get("/ready")).json()["checks"]["model"]["up"]
    model.script("answer", status(503))
    for _ in range(2):
        assert (await client.post("/ask", json=QUESTION)).status_code == 503
    check = (await client.get("/ready")).json()["checks"]["model"]
    assert check["up"] is False
    assert check["reason"].endswith("has failed several times in a row, and is not asked for a moment")


# Quotas


@pytest.mark.parametrize("spent", QUOTAS.values(), ids=list(QUOTAS))
async def test_a_spent_quota_is_said_once_and_not_retried(
    client: httpx.AsyncClient, model: ScriptedModel, caplog: pytest.LogCaptureFixture, spent: Reply
) -> None:
    """No Retry-After, since it does not pass; the log and a metric have the code."""
    model.script("answer", spent)
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (502, "model-quota")
    assert "retry-after" not in response.headers
    assert len(model.of("answer")) == 1
    assert any(code in ours(caplog) for code in CODES)
    assert "pay" not in ours(caplog)
    said = (await client.get("/metrics")).text
    assert any(f'support_agent_model_errors_total{{code="{code}",model="gpt-4o"' in said for code in CODES)


CODES = ("insufficient_quota", "insufficient_balance", "budget_exceeded", "402", "429")


async def test_a_quota_that_is_spent_half_way_ends_the_answer(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """An error in the stream after the first token is the last event."""
    spent = body('data: {"error": {"code": 402, "message": "pay"}}\n\n', "text/event-stream")

    async def half(call: Any, send: Any) -> None:
        async def rest(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({**message, "more_body": True})

        await spent(call, rest)

    model.script("answer", tokens(["Half"], end=False, then=half))
    found = events((await client.post("/chat/stream", json={"message": "Why?"})).text)
    assert (found[-1][0], found[-1][1]["type"]) == ("error", "model-quota")
    assert len(model.of("answer")) == 1


async def test_the_classifier_has_no_quota_in_a_200(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """An error in the body of a whole reply is no category."""
    model.script("classify", QUOTAS["a gateway, in a 200"])
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (502, "model-quota")
    assert len(model.of("classify")) == 1


async def test_what_lasts_is_no_outage_once_the_breaker_is_open(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """Callers get the same error without the server being asked."""
    model.script("answer", QUOTAS["OpenAI"])
    for _ in range(7):
        response = await client.post("/ask", json=QUESTION)
        assert (response.status_code, response.json()["type"]) == (502, "model-quota")
    assert len(model.of("answer")) == 5


async def test_an_error_in_a_reply_that_may_pass_is_retried(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """An overloaded upstream in the body of a 200 is a 503, or an answer if it passes."""
    busy = refusal({"error": {"code": 502, "message": "upstream"}}, 200)
    model.script("answer", busy, tokens(["Hello"]))
    model.script("classify", busy, label("billing"))
    assert (await client.post("/ask", json=QUESTION)).json()["answer"] == "Hello"
    model.script("answer", busy)
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert await measured(client, "support_agent_model_errors_total") >= 5


@pytest.mark.parametrize("fallback", [QUOTAS["OpenAI"], AZURE_FILTER], ids=["quota", "filter"])
async def test_a_spent_quota_is_what_the_fallback_is_for(serve: Serve, model: ScriptedModel, fallback: Reply) -> None:
    """Another model may have one of its own; its error is then the answer's."""
    model.script("answer", QUOTAS["OpenAI"], fallback)
    async with serve(SUPPORT_FALLBACK_MODEL="plan-b") as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.post("/ask", json=QUESTION)
    assert response.status_code == (502 if fallback is QUOTAS["OpenAI"] else 422)
    assert [call.body["model"] for call in model.of("answer")] == ["gpt-4o", "plan-b"]
