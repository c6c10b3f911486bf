"""GET /langgraph/ok and /langgraph/info: whether the server is there, and what it can do."""

from importlib.metadata import version

from fastapi import APIRouter
from typing_extensions import TypedDict  # before Python 3.12 Pydantic needs it

from api.errors import documented
from graph import __version__

router = APIRouter(prefix="/langgraph", tags=["LangGraph API"])

_LANGGRAPH = version("langgraph")


class InfoOut(TypedDict):
    """What clients find out before they do anything else."""

    version: str
    """This service's."""
    langgraph_py_version: str
    flags: dict[str, bool]
    """What clients need not try."""


@router.head("/ok", include_in_schema=False)
@router.get("/ok", responses=documented(401, 500))
async def ok() -> dict[str, bool]:
    """Say that the process runs, without checking any dependency."""
    return {"ok": True}


@router.head("/info", include_in_schema=False)
@router.get("/info", responses=documented(401, 500))
async def info() -> InfoOut:
    """Return the versions, and which parts of the API are served."""
    flags = {"assistants": True, "crons": False, "langsmith": False}
    return InfoOut(version=__version__, langgraph_py_version=_LANGGRAPH, flags=flags)
