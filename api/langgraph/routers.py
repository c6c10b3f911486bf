"""The routers of the LangGraph API."""

from api.langgraph import system

ROUTERS = (system.router,)
