"""GET /health and GET /ready: liveness and readiness."""

from fastapi import APIRouter, Response

from api.deps import DrainDep, ReadinessDep
from api.schemas import CheckOut, HealthResponse, ReadyResponse
from graph import __version__

router = APIRouter(tags=["operations"])


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> HealthResponse:
    """Say that the process runs, without checking any dependency."""
    return HealthResponse(status="healthy", version=__version__)


@router.head("/ready", include_in_schema=False)
@router.get(
    "/ready",
    response_model_exclude_none=True,
    responses={503: {"model": ReadyResponse, "description": "The service takes no new work."}},
)
async def ready(readiness: ReadinessDep, drain: DrainDep, response: Response) -> ReadyResponse:
    """Say whether the service takes new work, and the state of each dependency.

    503 while it drains, while it has no index of the articles yet, and while Redis or the articles can't be reached.
    """
    if drain.announced.is_set():
        response.status_code = 503
        return ReadyResponse(status="draining")
    status, checks = await readiness.ask()
    if status != "ready":
        response.status_code = 503
    shown = {name: CheckOut(up=one.up, latency_ms=one.latency_ms, reason=one.reason) for name, one in checks.items()}
    return ReadyResponse(status=status, checks=shown)
