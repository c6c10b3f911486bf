"""What an error of the model's server means, whichever server it is.

Servers agree on few codes, so some meanings are read from the text of the error. Neither that text nor a code that is
more than a plain word goes any further.
"""

import re
from collections.abc import Mapping
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
    {"content_filter", "content_policy_violation", "data_inspection_failed", "responsibleaipolicyviolation"}
)
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_QUOTAS = frozenset(
    {
        "arrearage",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_too_low",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_quota",
        "insufficient_user_quota",
        "payment_required",
    }
)
_OTHERS = frozenset({"invalid_api_key", "model_not_found", "rate_limit_exceeded", "server_error"})
_COUNTED = _FILTERS | _TOO_LONG | _QUOTAS | _OTHERS

_FILTER_TEXT = re.compile(
    r"content management policy|content.?filter|contentpolicyviolation|input flagged", re.IGNORECASE
)
_FILTER_STATUSES = frozenset({None, 400, 403, 422, 451})
_TOO_LONG_TEXT = re.compile(
    r"context (?:length|window|size)|contextwindowexceeded|maximum (?:allowed )?(?:prompt|input|sequence) length"
    r"|(?:prompt|input|request|text)\b[^.]{0,60}\btoo (?:long|large)|too many (?:input )?tokens"
    r"|input tokens exceed|reduce (?:the length|your prompt)|exceeds? (?:the )?max(?:imum)? [^.]{0,40}tokens",
    re.IGNORECASE,
)
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
    status, codes, text = status_of(error), _codes(error), _text(error)
    if codes & _FILTERS or (status in _FILTER_STATUSES and _FILTER_TEXT.search(text)):
        return ContentFiltered
    if status == 413 or codes & _TOO_LONG or (status != 429 and _TOO_LONG_TEXT.search(text)):
        return ContextTooLong
    if status == 402 or codes & _QUOTAS:
        return QuotaExhausted
    if status is not None and status < 500 and status not in _PASSING:
        return ModelRefused
    return ModelUnavailable


def is_about_the_text(error: openai.APIError) -> bool:
    """Whether what was asked is at fault: its length, or what it says."""
    return kind_of(error) in (ContentFiltered, ContextTooLong)


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


def _text(error: openai.APIError) -> str:
    return str(_body(error).get("message") or error.body or "")


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error
