"""The dependencies of the LangGraph API's routes: whose threads the caller may see, and the thread in the path."""

from typing import Annotated

from fastapi import Depends, HTTPException, Path

from api.deps import OfTenantDep, SettingsDep
from api.langgraph.state import ThreadsDep
from graph.runs.thread import Thread, as_uuid


async def _tenant(tenant: OfTenantDep, settings: SettingsDep) -> str | None:
    return tenant if settings.api_keys else None


TenantDep = Annotated[str | None, Depends(_tenant)]
"""Whose threads the caller may see; None for everybody's: the operator may, and anyone where there are no keys."""

ThreadId = Annotated[str, Path(description="A UUID.")]


async def _found_thread(thread_id: ThreadId, threads: ThreadsDep, tenant: TenantDep) -> Thread:
    name = as_uuid(thread_id)
    thread = await threads.find(name, tenant) if name else None
    if thread is None:
        raise HTTPException(404)
    return thread


FoundThreadDep = Annotated[Thread, Depends(_found_thread)]
"""The thread in the path; 404 where the caller can see none of this id."""
