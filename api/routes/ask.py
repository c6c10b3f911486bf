"""POST /ask: one question, one whole answer."""

from fastapi import APIRouter

from api.deps import AnswersDep, ConnectionDep, FreshDep, LimitedRoute, PrincipalDep
from api.errors import documented
from api.schemas import AskRequest, AskResponse
from graph.state import AgentContext

router = APIRouter(tags=["questions"], route_class=LimitedRoute)


@router.post("/ask", responses=documented(400, 401, 408, 413, 415, 422, 429, 500, 503, 504))
async def ask(
    body: AskRequest, answers: AnswersDep, caller: PrincipalDep, connection: ConnectionDep, fresh: FreshDep
) -> AskResponse:
    """Answer one question from the help articles; it belongs to no conversation.

    An answer may be kept from an earlier request, or shared with those who ask the same at once: `X-Cache` says so.
    `Cache-Control: no-cache` asks for a fresh one.
    """
    context = AgentContext(tenant=caller.tenant, customer_id=body.customer_id)
    async with answers.answering(body.question, context, fresh=fresh) as answering:
        done = await connection.while_open(answering.whole())
        connection.tell({"X-Cache": answering.outcome})
        connection.ran(done.run_id)
        return AskResponse.of(done, cached=answering.outcome == "hit")
