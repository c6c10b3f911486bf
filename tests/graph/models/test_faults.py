"""What an error of a model's server means, as servers in the field word it."""

from typing import Any

import openai
import pytest

from graph.errors import ContentFiltered, ContextTooLong, ModelError, ModelRefused, ModelUnavailable, QuotaExhausted
from graph.models.faults import kind_of
from graph.models.wire import open_wire
from harness.dialects import openai_refusal, refusal
from harness.scripted_model import Reply, ScriptedModel

FLAGGED = {
    "code": 403,
    "message": 'This request requires moderation on OpenAI. Your input was flagged for "violence".',
    "metadata": {"reasons": ["violence"], "flagged_input": "How do"},
}
GEMINI = {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details."}
A_MINUTE = [{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}]
A_DAY = [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}, {"retryDelay": "34s"}]
TPM = "Request too large for model `a` on tokens per minute (TPM): Limit 6000, Requested 8000"
RATE = "Rate limit reached on tokens per min (TPM): Limit 30000, Used 20000. Please try again in 2s."
INPUTS = "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens"
UPSTREAM = {
    "code": 400,
    "message": "Provider returned error",
    "metadata": {"raw": '{"error": "context length is 4096"}'},
}
ECHO = {"detail": [{"loc": ["body", "x"], "msg": "bad", "input": "Is the context length a content filter?"}]}
BUDGET = {"message": "Budget has been exceeded! Current cost: 0.1", "type": "budget_exceeded", "code": "400"}


def gemini(details: list[Any] | None = None) -> Reply:
    return refusal([{"error": GEMINI | {"status": "RESOURCE_EXHAUSTED", "details": details}}], 429)


FAULTS: dict[str, tuple[Reply, type[ModelError]]] = {
    "OpenRouter's moderation": (refusal({"error": FLAGGED}, 403), ContentFiltered),
    "OpenRouter's moderation, in a 200": (refusal({"error": FLAGGED}, 200), ContentFiltered),
    "OpenAI's reasoning models": (
        openai_refusal("Your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"),
        ContentFiltered,
    ),
    "the same without a code": (
        openai_refusal("Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
        ContentFiltered,
    ),
    "DeepSeek": (openai_refusal("Content Exists Risk", code="invalid_request_error"), ContentFiltered),
    "Zhipu": (refusal({"error": {"code": "1301", "message": "系统检测到输入"}}), ContentFiltered),
    "Qwen without a code": (openai_refusal("Input data may contain inappropriate content."), ContentFiltered),
    "Anthropic": (openai_refusal("Output blocked by content filtering policy"), ContentFiltered),
    "Bedrock": (openai_refusal("{'error': 'Violated guardrail policy'}", code="400"), ContentFiltered),
    "xAI": (openai_refusal("Content violates usage guidelines. Failed check: X", status=403), ContentFiltered),
    "Cloudflare": (openai_refusal("Prompt blocked due to security configurations", status=424), ContentFiltered),
    "a firewall": (refusal({"error": "Your request was blocked."}, 403), ModelRefused),
    "a key without a right": (openai_refusal("Missing scopes: model.request.", status=403), ModelRefused),
    "LiteLLM's budget": (refusal({"error": BUDGET}), QuotaExhausted),
    "OpenRouter's key": (openai_refusal("Key limit exceeded (monthly limit).", status=403), QuotaExhausted),
    "Anthropic's credit": (
        openai_refusal("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
        QuotaExhausted,
    ),
    "SiliconFlow": (openai_refusal("Sorry, your account balance is insufficient", status=403), QuotaExhausted),
    "Fireworks": (openai_refusal("suspended, possibly due to reaching the spending limit", status=412), QuotaExhausted),
    "Gemini": (gemini(), QuotaExhausted),
    "Gemini, for a day": (gemini(A_DAY), QuotaExhausted),
    "Gemini, for a minute": (gemini(A_MINUTE), ModelUnavailable),
    "DashScope, for a second": (
        openai_refusal("Allocated quota exceeded, please increase it.", code="insufficient_quota", status=429),
        ModelUnavailable,
    ),
    "OpenAI, for a minute": (openai_refusal(RATE, code="rate_limit_exceeded", status=429), ModelUnavailable),
    "one request above the limit of a minute": (
        openai_refusal(TPM, code="rate_limit_exceeded", status=413),
        ContextTooLong,
    ),
    "the same as 429": (openai_refusal(TPM, code="rate_limit_exceeded", status=429), ContextTooLong),
    "TGI": (refusal({"error": INPUTS, "error_type": "validation"}, 422), ContextTooLong),
    "TEI": (refusal({"error": "`inputs` must have less than 512 tokens. Given: 700"}, 422), ContextTooLong),
    "Qwen": (openai_refusal("Range of input length should be [1, 30720]"), ContextTooLong),
    "OpenRouter's upstream": (refusal({"error": UPSTREAM}), ContextTooLong),
    "a limit of the reply": (
        openai_refusal("max_tokens is too large: 1000. This model supports at most 512 completion tokens"),
        ModelRefused,
    ),
    "words of the customer": (refusal(ECHO, 422), ModelRefused),
}


@pytest.mark.parametrize(("reply", "kind"), FAULTS.values(), ids=list(FAULTS))
async def test_an_error_is_what_it_says(model: ScriptedModel, reply: Reply, kind: type[ModelError]) -> None:
    """By the code if there is one that is known, else by the words, wherever in the body they are."""
    model.script("answer", reply)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "?"}]}'
    async with open_wire(model.url, "sk-test", connect=5, patience=5) as wire:
        with pytest.raises(openai.APIError) as caught:
            await wire.post("/chat/completions", body)
    assert kind_of(caught.value) is kind
