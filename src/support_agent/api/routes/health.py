"""GET /health and GET /ready: whether the process lives, and whether it takes new work."""

from fastapi import APIRouter, Response

from support_agent import __version__
from support_agent.api.deps import AgentDep, DrainDep
from support_agent.api.schemas import HealthResponse, ReadyResponse
from support_agent.graph.errors import MemoryUnavailable

router = APIRouter(tags=["operations"])


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> HealthResponse:
    """Say that the process runs; it asks none of what the service depends on."""
    return HealthResponse(status="healthy", version=__version__)


@router.get("/ready", responses={503: {"model": ReadyResponse, "description": "No new work, please."}})
async def ready(agent: AgentDep, drain: DrainDep, response: Response) -> ReadyResponse:
    """Say whether the service takes new work: not while it drains, nor without its Redis."""
    if drain.begun.is_set():
        response.status_code = 503
        return ReadyResponse(status="draining")
    try:
        await agent.sessions.ping()
    except MemoryUnavailable:
        response.status_code = 503
        return ReadyResponse(status="memory-unavailable")
    return ReadyResponse(status="ready")
