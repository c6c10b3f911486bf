"""What an error of the model's server means, whichever server it is.

Servers agree on few codes, so some meanings are read from the text of the error. Neither that text nor a code that is
more than a plain word goes any further.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import openai

from graph.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelError,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    QuotaExhausted,
)
from graph.observe.metrics import model_errors

_PASSING = frozenset({408, 409, 425, 429})  # and every status from 500 on
_FILTERS = frozenset(
    {
        "1301",  # Zhipu
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "inputtextsensitivecontentdetected",
        "invalid_prompt",
        "outputtextsensitivecontentdetected",
        "responsibleaipolicyviolation",
        "sensitivecontentdetected",
    }
)
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_QUOTAS = frozenset(
    {
        "1113",  # Zhipu
        "accountoverdueerror",
        "arrearage",
        "billing_hard_limit_reached",
        "billing_not_active",
        "budget_exceeded",
        "credit_balance_too_low",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_quota",
        "insufficient_user_quota",
        "payment_required",
        "pre_consume_token_quota_failed",
    }
)
_OTHERS = frozenset({"invalid_api_key", "model_not_found", "rate_limit_exceeded", "server_error"})
_COUNTED = _FILTERS | _TOO_LONG | _QUOTAS | _OTHERS


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_TEXT = r"\b(?:prompts?|inputs?|outputs?|messages?|contents?|response|request|completion)\b"
_FILTER_TEXT = _any(
    r"content management policy|content.?filter|contentpolicyviolation|safety system|requires moderation",
    rf"{_TEXT}[^.]{{0,40}}\bflagged\b|{_TEXT}[^.]{{0,60}}\bviolat\w+ [^.]{{0,40}}(?:polic|guideline)",
    r"\b(?:prompt|input|output|response|content)\b[^.]{0,40}\bblocked\b",  # not "your request": firewalls say that
    r"violated guardrail|guardrail_intervened|blocked by [^.]{0,40}\bguardrail",
    r"content exists risk|considered high risk|(?:inappropriate|prohibited|sensitive|unsafe)[_ ]content|敏感内容",
)
_FILTER_STATUSES = frozenset({None, 400, 403, 422, 424, 446, 451})  # Cloudflare's gateway has 424, Portkey's 446
_TOO_LONG_TEXT = _any(
    r"context (?:length|window|size)|contextwindowexceeded|maximum (?:allowed )?(?:prompt|input|sequence) length",
    r"(?:prompt|input|request|text)\b[^.]{0,60}\btoo (?:long|large)|too many (?:input )?tokens",
    r"input tokens exceed|reduce (?:the length|your prompt)|exceeds? (?:the )?max(?:imum)? [^.]{0,40}tokens",
    r"\binputs\b[^.]{0,40}\bmust (?:be|have)\b|range of input length|exceeded (?:the )?model token limit",
)
_TOO_LARGE = _any(r"\brequest too large\b")  # for the tokens of a minute; it would be refused in the next one as well
_QUOTA_TEXT = _any(
    r"exceeded your current quota|budget (?:has been |was )?exceeded|exceeded [^.]{0,30}\b(?:budget|credits)\b",
    r"\b(?:key|credit|spend(?:ing)?|billing) limit [^.]{0,20}\b(?:exceeded|reached)\b",
    r"\breach(?:ed|ing) [^.]{0,40}\b(?:spend(?:ing)? limit|api usage limits)|used all (?:available|your) credits",
    r"\bbalance (?:is )?(?:too low|insufficient|not enough)|credits (?:are )?(?:depleted|exhausted)",
    r"\b(?:insufficient|not enough) (?:account )?(?:balance|credits?|funds|quota)|欠费|余额不足",
)
_QUOTA_STATUSES = frozenset({None, 400, 401, 403, 412, 429})
# What passes soon is no quota, whatever it is called: Gemini and DashScope have one word for both.
_PASSING_TEXT = _any(r"per.?sec|per.?min|per.?hour|\b(?:re)?try (?:again )?in\b|allocated quota exceeded|throttl")
_DAILY = _any(r"per.?day")
_ECHOES = frozenset({"ctx", "flagged_input", "input"})  # where servers quote the request
_ECHO = re.compile(r"\binput_value=.*?(?=, input_type=|$)", re.DOTALL)  # Pydantic's, in a text
_CODE = re.compile(r"[a-zA-Z_]{3,48}|\d{3,6}")  # neither a key nor a sentence


def status_of(error: openai.APIError) -> int | None:
    """Return the HTTP status, or the status that an error in the body of a 200 names."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code
    code = str(_body(error).get("code"))
    return int(code) if re.fullmatch("[45][0-9]{2}", code) else None


def code_of(error: openai.APIError) -> str | None:
    """Return the code that the server gave, if it is a plain word or number."""
    body = _body(error)
    status = str(error.status_code) if isinstance(error, openai.APIStatusError) else ""
    for name in ("code", "type", "error_type"):
        code = str(body.get(name) or "")
        if _CODE.fullmatch(code) and code != status and (name == "code" or code.lower() in _COUNTED):
            return code
    return None


def kind_of(error: openai.APIError) -> type[ModelError]:
    """Return the kind of a server's error."""
    status, codes, text = status_of(error), _codes(error), words_of(error)
    if codes & _FILTERS or (status in _FILTER_STATUSES and _FILTER_TEXT.search(text)):
        return ContentFiltered
    if _is_quota(status, codes, text):
        return QuotaExhausted
    if status == 413 or codes & _TOO_LONG or (_TOO_LARGE if status == 429 else _TOO_LONG_TEXT).search(text):
        return ContextTooLong
    if status is not None and status < 500 and status not in _PASSING:
        return ModelRefused
    return ModelUnavailable


def is_about_the_text(error: openai.APIError) -> bool:
    """Whether what was asked is at fault: its length, or what it says."""
    return kind_of(error) in (ContentFiltered, ContextTooLong)


def words_of(error: openai.APIError) -> str:
    """Return all that the server said, but for what it quotes of the request."""
    return ". ".join(_ECHO.sub("", each) for each in _strings(error.body))


def server_error(error: BaseException) -> openai.APIError | None:
    """Return the error that the server sent, if it sent one."""
    is_sent = isinstance(error, openai.APIStatusError) or (isinstance(error, openai.APIError) and error.body)
    return cast("openai.APIError", error) if is_sent else None


def to_model_error(error: Exception) -> ModelError:
    """Return the error that callers get: a kind, without the text of `error`."""
    if isinstance(error, ModelError):
        return error
    if sent := server_error(error):
        where = f"HTTP {sent.status_code}" if isinstance(sent, openai.APIStatusError) else "an error in the reply"
        return kind_of(sent)(" ".join(filter(None, (where, code_of(sent)))))
    cause = _root_cause(error)
    if isinstance(cause, TimeoutError):
        return ModelTimeout(type(cause).__name__)
    return ModelUnavailable(type(cause if isinstance(cause, OSError) else error).__name__)


def count(model: str, error: Exception) -> None:
    """Count an error of a model, by its code if that is one of a few, else by its status or its kind."""
    sent = server_error(error)
    code = (code_of(sent) or "").lower() if sent else ""
    if code not in _COUNTED:
        status = status_of(sent) if sent else None
        code = str(status) if status else to_model_error(error).code
    model_errors.add(1, {"model": model, "code": code})


def _body(error: openai.APIError) -> Mapping[str, Any]:
    body = error.body
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _codes(error: openai.APIError) -> set[str]:
    body = _body(error)
    inner: Any = body.get("innererror")
    found: list[object] = [body.get("code"), body.get("type"), body.get("error_type")]
    if isinstance(inner, dict):
        found.append(cast("dict[str, object]", inner).get("code"))
    return {str(code).lower() for code in found if code}


def _is_quota(status: int | None, codes: set[str], text: str) -> bool:
    if status == 429 and _PASSING_TEXT.search(text) and not _DAILY.search(text):
        return False
    return status == 402 or bool(codes & _QUOTAS or (status in _QUOTA_STATUSES and _QUOTA_TEXT.search(text)))


def _strings(body: object) -> Iterator[str]:
    if isinstance(body, dict):
        for name, value in cast("dict[str, object]", body).items():
            if name not in _ECHOES:
                yield name
                yield from _strings(value)
    elif isinstance(body, list):
        for each in cast("list[object]", body):
            yield from _strings(each)
    elif isinstance(body, str):
        yield body


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error
