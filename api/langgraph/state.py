"""What the LangGraph API's routes find in the lifespan's state."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from graph.runs.threads import Threads


async def _threads(connection: HTTPConnection) -> Threads:
    return connection.state.threads


ThreadsDep = Annotated[Threads, Depends(_threads)]
"""The index of threads."""
