"""Assistants of the LangGraph API: there is one, the graph."""

from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import Field
from typing_extensions import TypedDict  # before Python 3.12 Pydantic needs it

from api.deps import AgentDep, ConnectionDep
from api.errors import documented
from api.langgraph.assistant import ASSISTANT_ID, DESCRIPTION, GRAPH_ID, drawing, is_assistant, schemas
from api.langgraph.fields import WHOLE, JsonObject, Request, contains

router = APIRouter(prefix="/langgraph/assistants", tags=["LangGraph API"])

_MADE = "2025-01-01T00:00:00+00:00"  # clients need a time, and it must be the same on every replica
_REFUSALS = documented(401, 404, 422, 500)


class AssistantOut(TypedDict, total=False):
    """The assistant; of a search, the fields that were selected."""

    assistant_id: str
    graph_id: str
    name: str
    description: str
    version: int
    created_at: str
    updated_at: str
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]


_Field = Literal[
    "assistant_id",
    "graph_id",
    "name",
    "description",
    "version",
    "created_at",
    "updated_at",
    "config",
    "context",
    "metadata",
]


class AssistantSearch(Request):
    """Which assistants to list."""

    metadata: JsonObject = Field(default_factory=dict[str, Any])
    graph_id: Annotated[str | None, Field(examples=[GRAPH_ID])] = None
    name: Annotated[str | None, Field(description="A part of the name, in any case.")] = None
    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 10
    offset: Annotated[int, Field(ge=0), WHOLE] = 0
    sort_by: Literal["assistant_id", "created_at", "updated_at", "name", "graph_id"] | None = None
    sort_order: Literal["asc", "desc"] | None = None
    select: list[_Field] | None = None


def _assistant() -> AssistantOut:
    return AssistantOut(
        assistant_id=ASSISTANT_ID,
        graph_id=GRAPH_ID,
        name=GRAPH_ID,
        description=DESCRIPTION,
        version=1,
        created_at=_MADE,
        updated_at=_MADE,
        config={},
        context={},
        metadata={"created_by": "system"},
    )


async def _known(assistant_id: Annotated[str, Path(description="`agent`, or its id.", examples=[GRAPH_ID])]) -> None:
    if not is_assistant(assistant_id):
        raise HTTPException(404)


KNOWN = Depends(_known)
"""For routes with an assistant in their path; 404 for any but ours."""


@router.post("/search", responses=documented(400, 401, 404, 413, 415, 422, 500))
async def search(body: AssistantSearch, connection: ConnectionDep) -> list[AssistantOut]:
    """List the assistants: one, or none if it is not what is searched for."""
    if body.graph_id not in (None, GRAPH_ID):
        raise HTTPException(404)
    ours = _assistant()
    is_meant = (body.name or "").lower() in GRAPH_ID and contains(ours.get("metadata"), body.metadata)
    connection.tell({"X-Pagination-Total": str(int(is_meant))})
    if not is_meant or body.offset:
        return []
    return [
        ours
        if body.select is None
        else cast("AssistantOut", {name: value for name, value in ours.items() if name in body.select})
    ]


@router.head("/{assistant_id}", include_in_schema=False, dependencies=[KNOWN])
@router.get("/{assistant_id}", responses=_REFUSALS, dependencies=[KNOWN])
async def get_assistant() -> AssistantOut:
    """Return the assistant."""
    return _assistant()


@router.head("/{assistant_id}/graph", include_in_schema=False, dependencies=[KNOWN])
@router.get("/{assistant_id}/graph", responses=_REFUSALS, dependencies=[KNOWN])
async def get_graph(
    agent: AgentDep,
    xray: Annotated[bool | int, Query(description="Whether to draw subgraphs; there are none.")] = False,  # noqa: ARG001 - it makes no difference
) -> dict[str, list[dict[str, Any]]]:
    """Return the graph's nodes and edges."""
    return drawing(agent.graph)


@router.head("/{assistant_id}/schemas", include_in_schema=False, dependencies=[KNOWN])
@router.get("/{assistant_id}/schemas", responses=_REFUSALS, dependencies=[KNOWN])
async def get_schemas(agent: AgentDep) -> dict[str, Any]:
    """Return the JSON schemas of the graph's input, output, state and context."""
    return dict(schemas(agent.graph, tuple(agent.knowledge.company.names)))


@router.head("/{assistant_id}/subgraphs/{namespace}", include_in_schema=False, dependencies=[KNOWN])
@router.get("/{assistant_id}/subgraphs/{namespace}", responses=_REFUSALS, dependencies=[KNOWN])
async def get_subgraph(namespace: Annotated[str, Path(examples=["answer"])], recurse: bool = False) -> dict[str, Any]:  # noqa: ARG001 - it makes no difference
    """Return the graph's subgraphs in a namespace: none."""
    return {}


@router.head("/{assistant_id}/subgraphs", include_in_schema=False, dependencies=[KNOWN])
@router.get("/{assistant_id}/subgraphs", responses=_REFUSALS, dependencies=[KNOWN])
async def get_subgraphs(recurse: bool = False) -> dict[str, Any]:  # noqa: ARG001 - it makes no difference
    """Return the graph's subgraphs: none."""
    return {}
