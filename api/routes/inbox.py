"""The inbox: the last conversations, for the team."""

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from fastapi import APIRouter, Cookie, HTTPException, Path, Response

from api.deps import CookiesDep, FeedbackDep, InboxSessionsDep, OwnDep, SettingsDep
from api.errors import documented
from api.inbox_schemas import InboxLogin, InboxResponse
from api.inbox_sessions import COOKIE, LIFETIME
from api.schemas import RunName
from graph.observe.cases import case_of
from graph.observe.inbox import Inbox

router = APIRouter(prefix="/inbox", tags=["operations"])


_Asset = Literal["inbox.css", "inbox.js"]
_TYPES: dict[str, str] = {"inbox.css": "text/css", "inbox.html": "text/html", "inbox.js": "text/javascript"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@router.head("", include_in_schema=False)
@router.get("", include_in_schema=False)
async def inbox() -> Response:
    """Return the page, which asks for a key where one is needed."""
    return _file("inbox.html")


@cache
def _content(name: str) -> bytes:
    return files("api").joinpath("static", name).read_bytes()


def _file(name: str) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(_content(name), media_type=_TYPES[name], headers=headers)


@router.post("/session", status_code=204, responses=documented(400, 401, 408, 413, 415, 422, 500, 503))
async def log_in(body: InboxLogin, sessions: InboxSessionsDep, settings: SettingsDep, cookies: CookiesDep) -> Response:
    """Exchange a key for a cookie, which the page /inbox works with for eight hours.

    Without keys in the service's settings there is none to exchange, and no cookie is needed.
    """
    response = Response(status_code=204)
    if settings.api_keys:
        token = await sessions.open(body.key)
        if token is None:
            raise HTTPException(401)
        cookies.put(response, COOKIE, token, LIFETIME)
    return response


@router.delete("/session", status_code=204, responses=documented(500, 503))
async def log_out(
    sessions: InboxSessionsDep,
    cookies: CookiesDep,
    support_inbox: Annotated[str, Cookie(include_in_schema=False)] = "",
) -> Response:
    """End the cookie's session."""
    if support_inbox:
        await sessions.end(support_inbox)
    response = Response(status_code=204)
    cookies.put(response, COOKIE, "", 0)
    return response


@router.get("/conversations", responses=documented(401, 500, 503))
async def conversations(feedback: FeedbackDep, own: OwnDep) -> InboxResponse:
    """Return the last conversations, masked: handed-over ones first, then what was rated badly or not answered.

    The key named `operator` reads every tenant's, any other its own.
    """
    return InboxResponse.of(await Inbox(feedback).latest(own, ()))


@router.get("/cases/{run_id}", response_class=Response, responses=documented(401, 404, 422, 500, 503))
async def evaluation_case(run_id: Annotated[RunName, Path()], feedback: FeedbackDep, own: OwnDep) -> Response:
    """Return an answer of the last day as a case for `support-agent eval`, in YAML; add what it must state."""
    record = await feedback.record(run_id)
    if record is None or own not in (None, record.tenant):
        raise HTTPException(404)
    return Response(case_of(record, f"inbox-{run_id}"), media_type="application/yaml")


@router.head("/{name}", include_in_schema=False)
@router.get("/{name}", include_in_schema=False)
async def asset(name: _Asset) -> Response:
    """Return a file of the page."""
    return _file(name)
