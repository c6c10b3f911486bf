"""GET /metrics: metrics for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.deps import OPERATOR
from api.errors import documented

router = APIRouter(tags=["operations"], dependencies=[OPERATOR])


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=Response, responses=documented(401, 500))
async def metrics() -> Response:
    """Return this process's metrics in Prometheus' text format.

    If API keys are configured, only the key named `operator` is accepted.
    """
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
