"""GET /langgraph/ok and /langgraph/info: whether the server is there, and what it can do."""

from fastapi import APIRouter

router = APIRouter(prefix="/langgraph", tags=["LangGraph API"])


@router.get("/ok")
async def ok() -> dict[str, bool]:
    """Return that the server is there."""
    return {"ok": True}
