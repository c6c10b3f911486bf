"""GET /health and GET /ready: whether the process lives, and whether it takes new work."""

from fastapi import APIRouter, Response

from api.deps import DrainDep, ReadinessDep
from api.schemas import CheckOut, HealthResponse, ReadyResponse
from graph import __version__

router = APIRouter(tags=["operations"])


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> HealthResponse:
    """Say that the process runs; it asks none of what the service depends on."""
    return HealthResponse(status="healthy", version=__version__)


@router.get(
    "/ready",
    response_model_exclude_none=True,
    responses={503: {"model": ReadyResponse, "description": "No new work, please."}},
)
async def ready(readiness: ReadinessDep, drain: DrainDep, response: Response) -> ReadyResponse:
    """Say whether the service takes new work, and how what it depends on is.

    503 while it drains, and without its Redis or its articles.
    """
    if drain.announced.is_set():
        response.status_code = 503
        return ReadyResponse(status="draining")
    is_ready, checks = await readiness.ask()
    if not is_ready:
        response.status_code = 503
    shown = {name: CheckOut(up=one.up, latency_ms=one.latency_ms, reason=one.reason) for name, one in checks.items()}
    return ReadyResponse(status="ready" if is_ready else "unavailable", checks=shown)
