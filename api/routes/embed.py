"""GET /embed.js and GET /embed.json: the chat page as a bubble on the pages of a website."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

from api.deps import SettingsDep
from api.visitor_schemas import EmbedResponse

router = APIRouter(include_in_schema=False)

_SCRIPT = Path(__file__).parent.parent / "static" / "embed.js"


@router.head("/embed.js")
@router.get("/embed.js")
async def script() -> Response:
    """Return the script that puts the bubble on a page."""
    return Response(_read(), media_type="text/javascript", headers={"Cache-Control": "public, max-age=3600"})


@router.head("/embed.json")
@router.get("/embed.json")
async def embedding(settings: SettingsDep) -> EmbedResponse:
    """Return which origins may show the chat page in a frame."""
    return EmbedResponse(origins=list(settings.framing_origins), public=bool(settings.public_origins))


@cache
def _read() -> bytes:
    return _SCRIPT.read_bytes()
