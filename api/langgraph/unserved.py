"""What the LangGraph API has and this service does not: each route says why with status 501."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter

from api.errors import NotServed

router = APIRouter(prefix="/langgraph", include_in_schema=False)

_ASSISTANTS = "There is one assistant, `agent`; settings and articles make it what it is, and it can't be changed here."
_SEARCH = "POST /threads/search lists what there is, page by page."
_ONE_STATE = "A conversation belongs to one customer, and the service keeps its newest state alone."
_CRONS = "Runs answer customers as they ask; nothing is run by the clock."
_STORE = "There is no store: the articles are what the agent knows, and a thread is what it remembers."
_PROTOCOL = "Threads have no event stream of their own; stream each run with /threads/{thread_id}/runs/stream."
_ELSEWHERE = "This service is a REST API alone; it speaks neither MCP nor A2A."
_MANY = "Runs are created and cancelled one by one."

UNSERVED: dict[str, dict[str, str]] = {
    "/assistants": {"POST": _ASSISTANTS},
    "/assistants/count": {"POST": _ASSISTANTS},
    "/assistants/{assistant_id}": {"PATCH": _ASSISTANTS, "DELETE": _ASSISTANTS},
    "/assistants/{assistant_id}/versions": {"POST": _ASSISTANTS},
    "/assistants/{assistant_id}/latest": {"POST": _ASSISTANTS},
    "/threads/count": {"POST": _SEARCH},
    "/threads/prune": {"POST": "Threads expire by themselves; delete one with DELETE /threads/{thread_id}."},
    "/threads/{thread_id}/copy": {"POST": _ONE_STATE},
    "/threads/{thread_id}/storage": {"GET": _ONE_STATE},
    "/threads/{thread_id}/state": {"PATCH": "PATCH /threads/{thread_id} adds to a thread's metadata."},
    "/threads/{thread_id}/stream": {"GET": _PROTOCOL},
    "/threads/{thread_id}/stream/events": {"GET": _PROTOCOL, "POST": _PROTOCOL},
    "/threads/{thread_id}/commands": {"POST": _PROTOCOL},
    "/threads/{thread_id}/runs/crons": {"POST": _CRONS},
    "/runs/crons": {"POST": _CRONS},
    "/runs/crons/search": {"POST": _CRONS},
    "/runs/crons/count": {"POST": _CRONS},
    "/runs/crons/{cron_id}": {"GET": _CRONS, "PATCH": _CRONS, "DELETE": _CRONS},
    "/runs/batch": {"POST": _MANY},
    "/runs/cancel": {"POST": _MANY},
    "/store/items": {"GET": _STORE, "PUT": _STORE, "DELETE": _STORE},
    "/store/items/search": {"POST": _STORE},
    "/store/namespaces": {"POST": _STORE},
    "/mcp": {"GET": _ELSEWHERE, "POST": _ELSEWHERE, "DELETE": _ELSEWHERE},
    "/mcp/": {"GET": _ELSEWHERE, "POST": _ELSEWHERE, "DELETE": _ELSEWHERE},
    "/a2a/{assistant_id}": {"GET": _ELSEWHERE, "POST": _ELSEWHERE, "DELETE": _ELSEWHERE},
    "/a2a/{assistant_id}/.well-known/agent-card.json": {"GET": _ELSEWHERE},
    "/a2a/{assistant_id}/.well-known/agent.json": {"GET": _ELSEWHERE},
    "/.well-known/agent-card.json": {"GET": _ELSEWHERE},
    "/ui/{graph_id}": {"POST": "The graph has no components of its own for pages."},
}
"""By path and method, why it is not served."""


def _refusing(why: str) -> Callable[[], Coroutine[Any, Any, None]]:
    async def refuse() -> None:
        raise NotServed(why)

    return refuse


for path, methods in UNSERVED.items():
    for method, why in methods.items():
        router.add_api_route(path, _refusing(why), methods=[method])
