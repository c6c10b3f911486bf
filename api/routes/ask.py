"""POST /ask: one question, one JSON answer."""

from fastapi import APIRouter

from api.deps import AnswerCacheDep, ConnectionDep, FreshDep, LimitedRoute, PrincipalDep
from api.errors import documented
from api.schemas import AskRequest, AskResponse
from graph.state import AgentContext

router = APIRouter(tags=["questions"], route_class=LimitedRoute)


@router.post("/ask", responses=documented(400, 401, 408, 413, 415, 422, 429, 500, 503, 504))
async def ask(
    body: AskRequest, cache: AnswerCacheDep, caller: PrincipalDep, connection: ConnectionDep, fresh: FreshDep
) -> AskResponse:
    """Answer a single question from the help articles, outside any conversation.

    The answer may come from the cache, or be shared with identical requests at the same time; `X-Cache` is `hit`,
    `coalesced` or `miss`. `Cache-Control: no-cache` requests a fresh answer.
    """
    context = AgentContext(tenant=caller.tenant, customer_id=body.customer_id)
    async with cache.request(body.question, context, fresh=fresh) as request:
        whole = request.whole()
        done = await (whole if request.cache_status == "hit" else connection.while_open(whole))
        connection.tell({"X-Cache": request.cache_status})
        connection.ran(done.run_id)
        return AskResponse.of(done, cached=request.cache_status == "hit")
