"""POST /ask: one question, one whole answer."""

from fastapi import APIRouter

from support_agent.api.deps import LIMITED, AgentDep, ConnectionDep, PrincipalDep
from support_agent.api.errors import documented
from support_agent.api.schemas import AskRequest, AskResponse
from support_agent.graph.state import AgentContext

router = APIRouter(tags=["questions"], dependencies=[LIMITED])


@router.post("/ask", responses=documented(400, 401, 408, 413, 415, 422, 429, 500, 503, 504))
async def ask(body: AskRequest, agent: AgentDep, caller: PrincipalDep, connection: ConnectionDep) -> AskResponse:
    """Answer one question from the help articles; it belongs to no conversation."""
    context = AgentContext(tenant=caller.tenant, customer_id=body.customer_id)
    return AskResponse.of(await connection.while_open(agent.ask(body.question, context)))
