"""The routers of the LangGraph API."""

from api.langgraph import runs, system

ROUTERS = (system.router, runs.router, runs.starting)
