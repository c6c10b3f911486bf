"""Maps errors to HTTP statuses, and renders them as problem+json (RFC 9457)."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic import ValidationError
from starlette._utils import get_route_path  # what routes see of a path
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from api.rate_limit import RateLimited
from api.request_id import request_id
from api.schemas import FieldError, Problem
from graph import errors
from graph.errors import RUN_ERRORS, InternalError, RunError, StateRefused

MEDIA_TYPE = "application/problem+json"
_SCHEMAS = "#/components/schemas/{model}"

_RETRY_AFTER = {"Retry-After": "5"}  # seconds; the outage may be over by then
_CLIENT_GONE = 499  # nginx's status for a client that disconnected; it appears only in the log

# The statuses and titles of a run's errors, then those of HTTP errors.
_RUN_ERRORS: Mapping[type[RunError], tuple[int, str]] = {
    errors.ModelUnavailable: (503, "The model is not available"),
    errors.ModelTimeout: (504, "The model took too long"),
    errors.ModelRefused: (502, "The model refuses the request"),
    errors.QuotaExhausted: (502, "The model's quota is used up"),
    errors.ContentFiltered: (422, "The message was stopped by a content filter"),
    errors.ContextTooLong: (502, "The message is too long for the model"),
    errors.AnswerWithheld: (422, "The answer was withheld"),
    errors.KnowledgeUnavailable: (503, "The articles can't be searched"),
    errors.MemoryUnavailable: (503, "Conversations are not available"),
    errors.SessionBusy: (409, "The conversation is busy"),
    errors.HandoffOver: (409, "The hand-over has ended"),
    errors.IdempotencyMismatch: (422, "The idempotency key was already used"),
    errors.ActionExpired: (410, "The action has expired"),
    errors.ActionSettled: (409, "The action is settled"),
    errors.Cancelled: (409, "The run was cancelled"),
    errors.Interrupted: (503, "The run was interrupted"),
    errors.ShuttingDown: (503, "The service is shutting down"),
    errors.InternalError: (500, "Something went wrong on our side"),
}
_HTTP_ERRORS: Mapping[int, tuple[str, str, str]] = {
    401: (
        "unauthorized",
        "No valid API key",
        "Send a valid key as `Authorization: Bearer KEY` or `X-API-Key: KEY`, or a visitor's token as the former.",
    ),
    403: ("origin-refused", "Origin not allowed", "Pages from this origin may not send this request."),
    400: ("malformed-request", "The request can't be read", "body: must be JSON, in UTF-8."),
    404: ("not-found", "Not found", "This resource does not exist; /docs lists all routes."),
    405: (
        "method-not-allowed",
        "Method not allowed",
        "The resource does not support this method; see the Allow header.",
    ),
    408: ("request-timeout", "The request took too long", "The body did not arrive in time."),
    413: ("too-large", "The request is too large", "The body is larger than this service accepts."),
    415: (
        "unsupported-media-type",
        "The body must be JSON",
        "Send the header Content-Type: application/json.",
    ),
    431: (
        "headers-too-large",
        "The headers are too large",
        "The URL and headers are larger than this service accepts.",
    ),
}

_UNREAD: Mapping[int, str] = {400: "This is not HTTP/1.1.", 408: "The headers did not arrive in time."}
"""Details to use instead when the headers could not be read completely."""

# Messages for invalid fields, by the pydantic error types that our schemas can raise.
_FAULTS: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "dict_type": "must be a JSON object",
    "extra_forbidden": "is an unknown field; remove it",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge:g}",
    "int_type": "must be an integer",
    "less_than_equal": "must be at most {le:g}",
    "list_type": "must be a JSON array",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_attributes_type": "must be a JSON object",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be blank",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "too_long": "must have at most {max_length} items",
}


class ClientGone(Exception):
    """The client disconnected before the response."""


class NoSuchEvent(Exception):
    """The run has no event with the requested id."""


class VisitorsOff(Exception):
    """The service has no secret to sign visitors' tokens with."""


class NotServed(Exception):
    """A route or a parameter of the LangGraph API that is not served; its text says why, and what to do instead."""


class ThreadExists(Exception):
    """A thread of the LangGraph API exists already."""


class OthersThread(Exception):
    """The operator may read the thread and change its state, and nothing else."""


class NothingMore(Exception):
    """The client has received all events of a run: 204, so that an EventSource does not reconnect."""


_REFUSALS: Mapping[type[Exception], tuple[int, str, str, str]] = {
    NoSuchEvent: (404, "no-such-event", "There is no such event", "Last-Event-ID: this run has no such event."),
    VisitorsOff: (
        404,
        "visitors-off",
        "No visitors' tokens",
        "This service mints no visitors' tokens: its operator has not set SUPPORT_VISITOR_SECRET.",
    ),
    ThreadExists: (
        409,
        "thread-exists",
        "The thread exists",
        "thread_id: there is such a thread; send `if_exists: do_nothing` to get it.",
    ),
    OthersThread: (
        403,
        "others-thread",
        "Another tenant's thread",
        "The operator's key reads this thread and changes its state; all else takes a key of its tenant.",
    ),
}
"""The status, type, title and detail of errors that always say the same."""


def install(app: FastAPI) -> None:
    """Make `app` render its errors as problems; DefectMiddleware renders unexpected exceptions."""
    _install_ours(app)
    _install_langgraph(app)
    _install_frameworks(app)


def _install_ours(app: FastAPI) -> None:
    @app.exception_handler(RunError)
    async def _(request: Request, error: RunError) -> Response:
        problem = problem_of(error.code, request.url.path)
        return _response(problem, _RETRY_AFTER if problem.status in (503, 504) else None)

    @app.exception_handler(RateLimited)
    async def _(request: Request, error: RateLimited) -> Response:
        problem = rate_limit_problem(error, request.url.path)
        return _response(problem, {"Retry-After": str(error.allowance.reset)})

    async def refuse(request: Request, error: Exception) -> Response:
        return _response(_problem(*_REFUSALS[type(error)], request.url.path))

    for kind in _REFUSALS:
        app.add_exception_handler(kind, refuse)

    @app.exception_handler(NothingMore)
    async def _(request: Request, error: NothingMore) -> Response:  # noqa: ARG001 - a handler's signature
        return Response(status_code=204)

    @app.exception_handler(ClientGone)
    async def _(request: Request, error: ClientGone) -> Response:  # noqa: ARG001 - a handler's signature
        return Response(status_code=_CLIENT_GONE)


def _install_langgraph(app: FastAPI) -> None:
    @app.exception_handler(NotServed)
    async def _(request: Request, error: NotServed) -> Response:
        return _response(_problem(501, "not-served", "Not served", str(error), request.url.path))

    @app.exception_handler(StateRefused)
    async def _(request: Request, error: StateRefused) -> Response:
        return _response(_problem(409, "state-refused", "The state can't be changed so", str(error), request.url.path))


def _install_frameworks(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return _response(_refusal(request, error))

    @app.exception_handler(HTTPException)
    async def _(request: HTTPConnection, error: HTTPException) -> Response | None:
        headers = error.headers
        if error.status_code == 405:  # Starlette's Allow lists the methods of one route, not of the whole path
            headers = {"Allow": ", ".join(_methods(app, get_route_path(request.scope)))}
        response = _response(http_problem(error.status_code, request.url.path), headers)
        if not isinstance(request, WebSocket):
            return response
        await request.send_denial_response(response)
        return None

    @app.exception_handler(WebSocketRequestValidationError)
    async def _(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:
        await websocket.send_denial_response(_response(_invalid(_fields(error), websocket.url.path)))


def problem_of(code: str, instance: str) -> Problem:
    """Return the problem for the `code` of a RunError."""
    kind = RUN_ERRORS[code]
    status, title = _RUN_ERRORS[kind]
    return _problem(status, code, title, kind.message, instance)


def invalid_message(error: ValidationError, instance: str) -> Problem:
    """Return the problem for an invalid WebSocket message."""
    return _invalid(_fields(error), instance)


def rate_limit_problem(error: RateLimited, instance: str) -> Problem:
    """Return the problem for an exceeded rate limit."""
    return _problem(429, "rate-limited", "Too many requests", str(error), instance)


def unread_response(status: int) -> Response:
    """Return the response to a request that is refused before its URL is known."""
    problem = http_problem(status, "/")
    return _response(problem.model_copy(update={"detail": _UNREAD.get(status, problem.detail)}))


def problem_response(status: int, instance: str) -> Response:
    """Return the response to a request that a middleware refuses."""
    return _response(http_problem(status, instance))


def not_for_visitors(instance: str) -> Response:
    """Return the response to a visitor's token where a key is needed."""
    detail = "A visitor's token opens only that visitor's own conversations; this route needs an API key."
    return _response(_problem(403, "not-for-visitors", "Not for visitors", detail, instance))


def preflight_response(refused: str, instance: str) -> Response:
    """Return the response to a preflight from an allowed origin, for a method or headers that are `refused`."""
    return _response(_problem(403, "preflight-refused", "The request may not be sent by a page", refused, instance))


def defect_response(instance: str) -> Response:
    """Return the response to a request that failed because of a bug."""
    return _response(problem_of(InternalError.code, instance))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for these statuses, and for 408 and 431, which any request may get."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS.format(model=Problem.__name__)}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in (*statuses, 408, 431)}


def schemas() -> dict[str, Any]:
    """Return what `documented` refers to, as OpenAPI's components have it: FastAPI adds only those of JSON."""
    schema = Problem.model_json_schema(ref_template=_SCHEMAS)
    return {**schema.pop("$defs"), Problem.__name__: schema}


def _methods(app: FastAPI, path: str) -> list[str]:
    """Return the methods of a path, as OpenAPI lists them."""
    paths = app.openapi()["paths"]
    meant = [template for template in paths if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)]
    if not meant:
        return ["GET", "HEAD"]  # /openapi.json and /docs
    methods = [method.upper() for method in paths[min(meant, key=lambda template: template.count("{"))]]
    return sorted([*methods, "HEAD"] if "GET" in methods else methods)


def _refusal(request: Request, error: RequestValidationError) -> Problem:
    path = request.url.path
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        place = f"body: not valid JSON at character {first['loc'][-1]}."
        return _problem(400, *_HTTP_ERRORS[400][:2], place, path)
    if tuple(first["loc"]) == ("body",) and first["type"] != "missing" and not _is_json(request):
        return http_problem(415, path)
    return _invalid(_fields(error), path)


def _fields(error: RequestValidationError | WebSocketRequestValidationError | ValidationError) -> list[FieldError]:
    # Deduplicated: several dependencies of a route may take the same parameter.
    said = dict.fromkeys((_field(item["loc"]), _fault(item)) for item in error.errors())
    return [FieldError(field=field, message=message) for field, message in said]


def _invalid(fields: Sequence[FieldError], instance: str) -> Problem:
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
    return _problem(422, "invalid-request", "The request is not valid", detail, instance, fields)


def _field(location: Sequence[str | int]) -> str:
    where, *names = location or ("message",)
    # The client chooses the name of an unknown field, so it is shortened and escaped.
    name = ".".join(map(str, names)) or str(where)
    return name.encode("ascii", "backslashreplace").decode()[:64]


def _fault(item: Mapping[str, Any]) -> str:
    if item["type"] == "value_error":  # raised by our own validator
        return item["msg"].removeprefix("Value error, ")
    return _FAULTS.get(item["type"], "is not valid").format_map(item.get("ctx", {}))


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def http_problem(status: int, instance: str) -> Problem:
    """Return the problem of an HTTP status."""
    phrase = HTTPStatus(status).phrase
    kind, title, detail = _HTTP_ERRORS.get(status, ("http-error", phrase, phrase))
    return _problem(status, kind, title, detail, instance)


def _problem(
    status: int, kind: str, title: str, detail: str, instance: str, errors: Sequence[FieldError] = ()
) -> Problem:
    return Problem(
        type=kind,
        title=title,
        status=status,
        detail=detail,
        instance=quote(instance),
        request_id=request_id.get(),
        errors=list(errors),
    )


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)
