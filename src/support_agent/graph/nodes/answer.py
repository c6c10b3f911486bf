"""Write the answer from the passages."""

from langchain_core.messages import AIMessage
from langgraph.runtime import Runtime

from support_agent.graph.events import Token
from support_agent.graph.knowledge import Knowledge
from support_agent.graph.models import Models, tokens
from support_agent.graph.prompts import answer_prompt
from support_agent.graph.state import AgentContext, AgentState, StateUpdate


async def answer(
    state: AgentState, runtime: Runtime[AgentContext], *, models: Models, knowledge: Knowledge
) -> StateUpdate:
    """Stream the answer model's reply."""
    contact = knowledge.contacts[state["category"]]
    prompt = answer_prompt(knowledge.company, contact, state["passages"], state["messages"])
    pieces: list[str] = []
    used = state["tokens_used"]
    async for chunk in models.answer(prompt):
        used += tokens(chunk)
        if text := chunk.text:
            pieces.append(text)
            runtime.stream_writer(Token(text))
    return {"messages": [AIMessage("".join(pieces))], "tokens_used": used}
