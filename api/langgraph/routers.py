"""The routers of the LangGraph API."""

from api.langgraph import assistants, runs, states, system, threads, unserved

ROUTERS = (
    *(system.router, assistants.router, threads.router, states.router),
    *(runs.router, runs.starting, unserved.router),
)
