"""Runs: started, in a thread or without one, listed, read, joined, cancelled and deleted."""

import json
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Response
from pydantic import BeforeValidator

from api.deps import AgentDep, ConnectionDep, DrainDep, LimitedRoute, PrincipalDep
from api.drain import Drain
from api.errors import NoSuchEvent, OthersThread, documented
from api.langgraph.bodies import Modes, StatelessRun, ThreadRun
from api.langgraph.deps import FoundThreadDep, TenantDep, ThreadId
from api.langgraph.run_schemas import RunField, RunOut, RunStatus, status_of
from api.langgraph.starting import StarterDep
from api.langgraph.state import ThreadsDep
from api.langgraph.streams import BEFORE_THE_FIRST, EVERY, Reading, Result, cancelling, read_event_id
from api.sse import STREAMED, EventStream
from graph.agent import SupportAgent
from graph.errors import SessionBusy
from graph.runs.feed import Followed
from graph.runs.records import RunRecord
from graph.runs.thread import as_uuid
from graph.runs.threads import Threads
from graph.runs.turn import Turn

router = APIRouter(prefix="/langgraph", tags=["LangGraph API"])
starting = APIRouter(prefix="/langgraph", tags=["LangGraph API"], route_class=LimitedRoute)

_REFUSALS = documented(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503)
_READ = documented(401, 403, 404, 422, 500, 503)
_RESULT: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"schema": {"type": "object"}}}}}


class Runs:
    """The runs that the caller may read, and the way to their streams."""

    def __init__(self, agent: SupportAgent, threads: Threads, drain: Drain) -> None:
        self._sessions = agent.sessions
        self._threads = threads
        self._drain = drain

    def reading(self, record: RunRecord, run: Followed | None = None) -> Reading:
        """Return a reading of a run."""
        return Reading(record, run or self._sessions.known(record.run_id), self._threads, self._drain)

    def stream(self, turn: Turn, body: StatelessRun) -> EventStream:
        """Return the stream of a run that has just been started."""
        events = self.reading(turn.record, turn).stream(body.stream_mode, BEFORE_THE_FIRST)
        leaves = body.on_disconnect == "cancel"
        return EventStream(cancelling(events, turn, self._sessions) if leaves else events)

    def result(self, turn: Turn, body: StatelessRun) -> Result:
        """Return the result of a run that has just been started."""
        left = partial(self._sessions.stop, turn) if body.on_disconnect == "cancel" else None
        return Result(self.reading(turn.record, turn), _places(turn.record, "join"), left)

    async def described(self, records: list[RunRecord]) -> list[RunOut]:
        """Return runs as they are now."""
        states = await self._sessions.states([record.run_id for record in records])
        return [RunOut.of(record, status_of(*state)) for record, state in zip(records, states, strict=True)]


async def _runs(agent: AgentDep, threads: ThreadsDep, drain: DrainDep) -> Runs:
    return Runs(agent, threads, drain)


async def _found_run(
    thread_id: ThreadId,
    run_id: Annotated[
        str,
        Path(description="A UUID; no run has the example's (404).", examples=["0b6e2f1c-5d3a-4e8f-9a7b-1c2d3e4f5a6b"]),
    ],
    threads: ThreadsDep,
    tenant: TenantDep,
) -> RunRecord:
    name = as_uuid(run_id)
    found = await threads.records([name]) if name else []
    if not found or found[0].thread_id != as_uuid(thread_id) or tenant not in (None, found[0].tenant):
        raise HTTPException(404)
    return found[0]


FoundRecordDep = Annotated[RunRecord, Depends(_found_run)]


async def _own_run(record: FoundRecordDep, caller: PrincipalDep) -> RunRecord:
    if record.tenant != caller.tenant:
        raise OthersThread
    return record


RunsDep = Annotated[Runs, Depends(_runs)]
OwnRecordDep = Annotated[RunRecord, Depends(_own_run)]


def _places(record: RunRecord, what: Literal["stream", "join"] | None = None) -> dict[str, str]:
    """Return the headers that say where a run is, relative to the API's root, as its clients want them."""
    place = f"/threads/{record.thread_id}/runs/{record.run_id}"
    return {"Content-Location": place, **({"Location": f"{place}/{what}"} if what else {})}


@starting.post("/threads/{thread_id}/runs", responses=_REFUSALS)
async def create_run(thread_id: ThreadId, body: ThreadRun, starter: StarterDep, connection: ConnectionDep) -> RunOut:
    """Start a run in a thread; it goes on whether or not anybody reads it."""
    turn = await starter.in_thread(thread_id, body)
    connection.tell(_places(turn.record))
    return RunOut.of(turn.record, "pending")


@starting.post("/threads/{thread_id}/runs/stream", response_class=EventStream, responses=STREAMED | _REFUSALS)
async def stream_run(
    thread_id: ThreadId, body: ThreadRun, starter: StarterDep, connection: ConnectionDep, runs: RunsDep
) -> EventStream:
    """Start a run in a thread and stream it."""
    turn = await starter.in_thread(thread_id, body)
    connection.tell(_places(turn.record, "stream"))
    return runs.stream(turn, body)


@starting.post("/threads/{thread_id}/runs/wait", response_class=Response, responses=_RESULT | _REFUSALS)
async def wait_for_run(thread_id: ThreadId, body: ThreadRun, starter: StarterDep, runs: RunsDep) -> Result:
    """Start a run in a thread and return the state after it; `__error__` says how it has failed."""
    return runs.result(await starter.in_thread(thread_id, body), body)


@starting.post("/runs", responses=_REFUSALS)
async def create_stateless_run(body: StatelessRun, starter: StarterDep, connection: ConnectionDep) -> RunOut:
    """Start a run without a thread; it goes on whether or not anybody reads it."""
    turn = await starter.alone(body)
    connection.tell(_places(turn.record))
    return RunOut.of(turn.record, "pending")


@starting.post("/runs/stream", response_class=EventStream, responses=STREAMED | _REFUSALS)
async def stream_stateless_run(
    body: StatelessRun, starter: StarterDep, connection: ConnectionDep, runs: RunsDep
) -> EventStream:
    """Start a run without a thread and stream it."""
    turn = await starter.alone(body)
    connection.tell(_places(turn.record, "stream"))
    return runs.stream(turn, body)


@starting.post("/runs/wait", response_class=Response, responses=_RESULT | _REFUSALS)
async def wait_for_stateless_run(body: StatelessRun, starter: StarterDep, runs: RunsDep) -> Result:
    """Start a run without a thread and return the state after it; `__error__` says how it has failed."""
    return runs.result(await starter.alone(body), body)


@router.head("/threads/{thread_id}/runs", include_in_schema=False)
@router.get("/threads/{thread_id}/runs", responses=_READ)
async def list_runs(
    thread: FoundThreadDep,
    threads: ThreadsDep,
    runs: RunsDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    offset: Annotated[int, Query(ge=0)] = 0,
    status: Annotated[RunStatus | None, Query()] = None,
    select: Annotated[list[RunField] | None, Query()] = None,
) -> list[dict[str, Any]]:
    """Return a thread's last runs, the latest first; 20 are kept."""
    found = await runs.described(await threads.records(await threads.runs(thread)))
    matching = [run for run in found if status in (None, run.status)][offset : offset + limit]
    return [run.model_dump(include=set(select) if select else None) for run in matching]


@router.head("/threads/{thread_id}/runs/{run_id}", include_in_schema=False)
@router.get("/threads/{thread_id}/runs/{run_id}", responses=_READ)
async def read_run(record: FoundRecordDep, runs: RunsDep) -> RunOut:
    """Return a run as it is now."""
    return (await runs.described([record]))[0]


@router.delete(
    "/threads/{thread_id}/runs/{run_id}", status_code=204, responses=documented(401, 403, 404, 409, 422, 500, 503)
)
async def delete_run(record: OwnRecordDep, threads: ThreadsDep, runs: RunsDep) -> None:
    """Delete what is known of a run that has ended; the thread keeps its messages."""
    if (await runs.described([record]))[0].is_going_on:
        raise SessionBusy
    await threads.forget_run(record)


@router.head("/threads/{thread_id}/runs/{run_id}/join", include_in_schema=False)
@router.get("/threads/{thread_id}/runs/{run_id}/join", response_class=Response, responses=_RESULT | _READ)
async def join_run(record: FoundRecordDep, runs: RunsDep) -> Result:
    """Wait for a run's end and return the state after it; `__error__` says how it has failed."""
    return Result(runs.reading(record), _places(record, "join"))


def _listed(value: object) -> object:
    """Read a list as the SDKs send it: JavaScript's as JSON in one parameter, Python's as an empty text for none."""
    if value == [""]:
        return None
    match value:
        case [str(only)] if only.startswith("["):
            with suppress(ValueError):
                return json.loads(only)
        case _:
            pass
    return cast("object", value)


@router.head("/threads/{thread_id}/runs/{run_id}/stream", include_in_schema=False)
@router.get("/threads/{thread_id}/runs/{run_id}/stream", response_class=EventStream, responses=STREAMED | _READ)
async def join_stream(
    record: FoundRecordDep,
    runs: RunsDep,
    agent: AgentDep,
    connection: ConnectionDep,
    stream_mode: Annotated[Modes | None, BeforeValidator(_listed), Query()] = None,
    cancel_on_disconnect: Annotated[bool, Query()] = False,
    last_event_id: Annotated[str, Header(alias="Last-Event-ID")] = "",
) -> EventStream:
    """Stream a run after `Last-Event-ID`, or from its first event, from any replica.

    Without `stream_mode`, in the modes that it was started with; one that began with another route, in every mode.
    """
    after = read_event_id(last_event_id)
    if after is None:
        raise NoSuchEvent
    connection.tell(_places(record, "stream"))
    modes = stream_mode or record.request.get("kwargs", {}).get("stream_mode") or EVERY
    events = runs.reading(record).stream(modes, after, with_run=stream_mode is None)
    if cancel_on_disconnect:
        events = cancelling(events, agent.sessions.known(record.run_id), agent.sessions)
    return EventStream(events)


@router.post(
    "/threads/{thread_id}/runs/{run_id}/cancel", responses=documented(401, 403, 404, 422, 500, 503), status_code=202
)
async def cancel_run(
    record: OwnRecordDep,
    runs: RunsDep,
    agent: AgentDep,
    connection: ConnectionDep,
    response: Response,
    wait: Annotated[bool, Query()] = False,
    action: Annotated[Literal["interrupt"], Query()] = "interrupt",  # noqa: ARG001 - there is no other
) -> dict[str, Any]:
    """Cancel a run, on any replica, and with `wait`, wait until it has ended; the thread forgets its message."""
    if not (await runs.described([record]))[0].is_going_on:
        raise HTTPException(404)
    run = agent.sessions.known(record.run_id)
    await agent.sessions.stop(run)
    if wait:
        response.status_code = 200
        connection.tell(_places(record, "join"))
        await connection.while_open(runs.reading(record, run).result())
    return {}
