"""GET /health: whether the process lives."""

from fastapi import APIRouter

from support_agent import __version__
from support_agent.api.schemas import HealthResponse

router = APIRouter(tags=["operations"])


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> HealthResponse:
    """Say that the process runs; it asks none of what the service depends on."""
    return HealthResponse(status="healthy", version=__version__)
