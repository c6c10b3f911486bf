"""The dependencies of the LangGraph API's routes: whose threads the caller may see, and the thread in the path."""

from typing import Annotated

from fastapi import Depends, HTTPException, Path

from api.deps import OfTenantDep, PrincipalDep, SettingsDep
from api.errors import OthersThread
from api.langgraph.state import ThreadsDep
from api.langgraph.thread_schemas import UUID
from graph.runs.thread import Thread, as_uuid


async def _tenant(tenant: OfTenantDep, settings: SettingsDep) -> str | None:
    return tenant if settings.api_keys else None


TenantDep = Annotated[str | None, Depends(_tenant)]
"""Whose threads the caller may see; None for everybody's: the operator may, and anyone where there are no keys."""

ThreadId = Annotated[str, Path(pattern=UUID, examples=["7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11"])]


async def _found_thread(thread_id: ThreadId, threads: ThreadsDep, tenant: TenantDep) -> Thread:
    name = as_uuid(thread_id)
    thread = await threads.find(name, tenant) if name else None
    if thread is None:
        raise HTTPException(404)
    return thread


FoundThreadDep = Annotated[Thread, Depends(_found_thread)]
"""The thread in the path; 404 where the caller can see none of this id."""


async def _own_thread(thread: FoundThreadDep, caller: PrincipalDep) -> Thread:
    if thread.tenant != caller.tenant:
        raise OthersThread
    return thread


OwnThreadDep = Annotated[Thread, Depends(_own_thread)]
"""As FoundThreadDep, but 403 where it is another tenant's, which the operator may only read."""
