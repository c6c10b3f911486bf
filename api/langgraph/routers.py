"""The routers of the LangGraph API."""

from api.langgraph import assistants, states, system, threads, unserved

ROUTERS = (system.router, assistants.router, threads.router, states.router, unserved.router)
