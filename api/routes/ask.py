"""POST /ask: one question, one JSON answer."""

from fastapi import APIRouter

from api.asking import AskingDep
from api.deps import LimitedRoute
from api.errors import documented
from api.schemas import AskRequest, AskResponse

router = APIRouter(tags=["questions"], route_class=LimitedRoute)


@router.post("/ask", responses=documented(400, 401, 408, 413, 415, 422, 429, 500, 502, 503, 504))
async def ask(body: AskRequest, asking: AskingDep) -> AskResponse:
    """Answer a single question from the help articles, outside any conversation.

    The answer may come from the cache, or be shared with identical requests at the same time; `X-Cache` is `hit`,
    `coalesced` or `miss`. `Cache-Control: no-cache` requests a fresh answer.
    """
    connection = asking.connection
    async with asking.request(body.question, body.customer_id) as request:
        whole = request.whole()
        done = await (whole if request.cache_status == "hit" else connection.while_open(whole))
        connection.tell({"X-Cache": request.cache_status})
        connection.ran(done.run_id)
        return AskResponse.of(done, cached=request.cache_status == "hit")
