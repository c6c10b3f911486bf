"""A recorded conversation with a server of LangGraph's API: what each call gets, with ids and times replaced."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from starlette.types import Send

from harness.scripted_model import Call, ScriptedModel, status, tokens, until

NOBODY = "00000000-0000-4000-8000-000000000000"
"""A well-formed id of nothing."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")
_EVENT_ID = re.compile(r"\d+-\d+")

_PLACES = ("content-type", "content-location", "location")
_PAGES = ("x-pagination-total", "x-pagination-next")

Names = dict[str, str]


@dataclass
class Step:
    """What one call got."""

    name: str
    result: Any
    """JSON; of a stream its events, each a name and JSON; of an error its status."""


@dataclass
class Recording:
    """Calls, in their order."""

    steps: list[Step] = field(default_factory=list[Step])
    names: Names = field(default_factory=Names)
    """What stands for an id that was seen."""

    def name(self, kind: str, value: str) -> str:
        """Let a name stand for an id; return the id."""
        self.names[value] = f"<{kind}>"
        return value

    async def call(self, name: str, answer: Awaitable[Any]) -> Any:
        """Record a call; return its answer, or the error."""
        try:
            result = await asyncio.wait_for(answer, 30)
        except (APIStatusError, httpx.HTTPStatusError) as error:
            self.steps.append(Step(name, {"status": error.response.status_code}))
            return error
        except Exception as error:
            if type(error) is not Exception:
                raise
            self.steps.append(Step(name, {"raises": True}))
            return error
        self.steps.append(Step(name, result))
        return result

    async def stream(self, name: str, parts: AsyncIterator[Any], *, most: int | None = None) -> list[Any]:
        """Record a stream, or the first `most` of its events."""
        seen: list[Any] = []
        step = Step(name, seen)
        self.steps.append(step)
        try:
            async with asyncio.timeout(30):
                async for part in parts:
                    seen.append([part.event, part.data])
                    if len(seen) == most:
                        break
        except (APIStatusError, httpx.HTTPStatusError) as error:
            step.result = {"status": error.response.status_code}
        return seen

    def normal(self) -> dict[str, Any]:
        """Return what each call got, with ids, times and the like replaced by what they are."""
        return {step.name: _normal(step.result, self.names) for step in self.steps}


def _normal(value: Any, names: Names) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return {_normal_text(key, names): _normal(item, names) for key, item in items.items()}
    if isinstance(value, list):
        return [_normal(item, names) for item in cast("list[Any]", value)]
    return _normal_text(value, names) if isinstance(value, str) else value


def _normal_text(text: str, names: Names) -> str:
    if _TIME.fullmatch(text):
        return "<time>"
    if _EVENT_ID.fullmatch(text):
        return "<event>"
    return _UUID.sub(lambda found: names.get(found[0], "<uuid>"), text)


class Script:
    """The model's side: questions with a word in capitals get an answer of their own."""

    def __init__(self, model: ScriptedModel) -> None:
        self.release = asyncio.Event()
        """Lets the answers to SLOW questions end."""
        model.script("answer", self._answer)

    async def _answer(self, call: Call, send: Send) -> None:
        question = call.prompt[-1][1]
        if "FAIL" in question:
            await status(400)(call, send)
        elif "SLOW" in question:
            await tokens(["One ", "moment "], then=until(self.release, "please."))(call, send)
        else:
            await tokens(["Hello", ", ", "world", "."])(call, send)


def asked(text: str, message_id: str | None = None) -> dict[str, Any]:
    """Return a run's input."""
    message = {"role": "user", "content": text}
    return given([message if message_id is None else {**message, "id": message_id}])


def given(messages: Any) -> dict[str, Any]:
    """Return a run's input of these messages, in whatever form."""
    return {"messages": messages}


async def play(client: LangGraphClient, http: httpx.AsyncClient, model: ScriptedModel) -> Recording:
    """Play the script against a server: the SDK's client, and a plain one for what the SDK has no method for."""
    recording = Recording()
    script = Script(model)
    acts: list[Callable[[Recording, LangGraphClient, httpx.AsyncClient, Script], Awaitable[None]]] = [
        _assistants,
        _threads,
        _streams,
        _headers,
        _background,
        _at_once,
        _leaving,
        _state,
        _inputs,
        _more,
        _ends,
    ]
    for act in acts:
        script.release.clear()
        await act(recording, client, http, script)
    return recording


async def _fetched(http: httpx.AsyncClient, path: str) -> Any:
    answer = await http.get(path)
    answer.raise_for_status()
    return answer.json()


async def _assistants(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    call = recording.call
    await call("ok", _fetched(http, "/ok"))
    await call("info", _fetched(http, "/info"))
    (assistant,) = await call("assistants.search", client.assistants.search())
    agent = recording.name("assistant", assistant["assistant_id"])
    await call("assistants.search graph_id", client.assistants.search(graph_id="agent"))
    await call("assistants.search of none", client.assistants.search(graph_id="other"))
    await call("assistants.search object", client.assistants.search(response_format="object"))
    await call("assistants.get", client.assistants.get(agent))
    await call("assistants.get by name", client.assistants.get("agent"))
    await call("assistants.get of none", client.assistants.get(NOBODY))
    await call("assistants.get_schemas", client.assistants.get_schemas(agent))
    await call("assistants.get_graph", client.assistants.get_graph(agent))
    await call("assistants.get_graph xray", client.assistants.get_graph(agent, xray=True))
    await call("assistants.get_subgraphs", client.assistants.get_subgraphs(agent))


async def _threads(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    call, threads = recording.call, client.threads
    first = recording.name("own thread", str(uuid.uuid4()))
    mark = {"mark": first}
    await call("threads.create with id", threads.create(thread_id=first, metadata=mark))
    await call("threads.create again", threads.create(thread_id=first))
    await call("threads.create do_nothing", threads.create(thread_id=first, if_exists="do_nothing"))
    second = await call("threads.create", threads.create(metadata={**mark, "second": True}, graph_id="agent"))
    recording.name("second thread", second["thread_id"])
    await call("threads.create with a bad id", threads.create(thread_id="no-uuid"))
    await call("threads.get", threads.get(first))
    await call("threads.get of none", threads.get(NOBODY))
    await call("threads.get with a bad id", threads.get("no-uuid"))
    await call("threads.update", threads.update(first, metadata={"colour": "blue"}))
    await call("threads.update of none", threads.update(NOBODY, metadata={"colour": "blue"}))
    await call("threads.search", threads.search(metadata=mark))
    await call("threads.search more", threads.search(metadata={**mark, "colour": "blue"}))
    await call("threads.search ids", threads.search(ids=[first]))
    await call("threads.search of none", threads.search(metadata={"mark": NOBODY}))
    await call("threads.search idle", threads.search(metadata=mark, status="idle", sort_by="created_at"))
    await call("threads.search busy", threads.search(metadata=mark, status="busy"))
    await call("threads.search limit", threads.search(metadata=mark, limit=1, sort_by="created_at", sort_order="asc"))
    await call("threads.search offset", threads.search(metadata=mark, offset=1, sort_by="created_at", sort_order="asc"))
    await call("threads.search select", threads.search(metadata=mark, select=["thread_id", "status"]))
    await call("threads.get_state of a new one", threads.get_state(first))
    await call("threads.get_history of a new one", threads.get_history(first))
    await call("threads.get_state of none", threads.get_state(NOBODY))
    await call("threads.get_history of none", threads.get_history(NOBODY))


async def _streams(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    runs = client.runs
    modes: list[Any] = ["values", "updates", "messages", "messages-tuple", "custom"]
    for mode in modes:
        thread = await _thread(recording, client, f"{mode} thread")
        await recording.stream(f"stream {mode}", runs.stream(thread, "agent", input=asked("One?"), stream_mode=mode))
        await recording.stream(f"follow {mode}", runs.stream(thread, "agent", input=asked("Two?"), stream_mode=mode))
    thread = await _thread(recording, client, "thread of all modes")
    await recording.stream("stream all", runs.stream(thread, "agent", input=asked("Hello?"), stream_mode=modes))
    await recording.stream("stream by default", runs.stream(thread, "agent", input=asked("Hello?")))
    await recording.stream("stream FAIL", runs.stream(thread, "agent", input=asked("FAIL?"), stream_mode=modes))
    await recording.call("threads.get after FAIL", client.threads.get(thread))
    await recording.call("runs.list after FAIL", runs.list(thread))
    await recording.stream("stateless", runs.stream(None, "agent", input=asked("Hello?"), stream_mode="values"))
    nowhere = recording.name("new thread", str(uuid.uuid4()))
    await recording.stream("stream into none", runs.stream(nowhere, "agent", input=asked("Hello?")))
    made = runs.stream(nowhere, "agent", input=asked("Hello?"), if_not_exists="create")
    await recording.stream("stream if_not_exists", made)
    await recording.stream("stream of no assistant", runs.stream(thread, NOBODY, input=asked("Hello?")))
    await recording.stream("stream of an unknown graph", runs.stream(thread, "other", input=asked("Hello?")))


async def _thread(recording: Recording, client: LangGraphClient, name: str) -> str:
    return recording.name(name, (await client.threads.create())["thread_id"])


async def _headers(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    thread = await _thread(recording, client, "thread of headers")
    body = {"assistant_id": "agent", "input": asked("Hello?")}
    for way in ("stream", "wait", ""):
        path = f"/threads/{thread}/runs/{way}".rstrip("/")
        answer = await http.post(path, json=body)
        run_id = answer.headers["content-location"].split("/")[4]
        await client.runs.join(thread, recording.name(f"run to {way or 'create'}", run_id))
        recording.steps.append(Step(f"headers of {way or 'create'}", _said(answer, _PLACES)))
    search = await http.post("/threads/search", json={"ids": [thread]})
    recording.steps.append(Step("headers of search", _said(search, _PAGES)))


def _said(answer: httpx.Response, names: Sequence[str]) -> dict[str, Any]:
    return {name: answer.headers.get(name) for name in names}


async def _background(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, script: Script) -> None:
    call, runs = recording.call, client.runs
    thread = await _thread(recording, client, "thread")
    await call("runs.wait", runs.wait(thread, "agent", input=asked("Hello?")))
    await call("runs.wait stateless", runs.wait(None, "agent", input=asked("Hello?")))
    await call("runs.wait FAIL", runs.wait(thread, "agent", input=asked("FAIL?")))
    await call("runs.wait FAIL as a value", runs.wait(thread, "agent", input=asked("FAIL?"), raise_error=False))
    run = await call("runs.create", runs.create(thread, "agent", input=asked("SLOW?"), metadata={"colour": "red"}))
    run_id = recording.name("slow run", run["run_id"])
    await _until_running(client, thread, run_id)
    await call("runs.get while it runs", runs.get(thread, run_id))
    await call("threads.get while it runs", client.threads.get(thread))
    joining = asyncio.create_task(recording.stream("join_stream live", runs.join_stream(thread, run_id)))
    await asyncio.sleep(0.5)
    script.release.set()
    await joining
    await call("runs.join", runs.join(thread, run_id))
    await call("runs.get after it", runs.get(thread, run_id))
    await call("threads.get after it", client.threads.get(thread))
    await call("runs.list", runs.list(thread))
    await call("runs.list limit", runs.list(thread, limit=1))
    await call("runs.list offset", runs.list(thread, offset=3))
    await call("runs.list success", runs.list(thread, status="success"))
    await call("runs.get of none", runs.get(thread, NOBODY))
    await call("runs.join of none", runs.join(thread, NOBODY))
    await recording.stream("join_stream after the end", runs.join_stream(thread, run_id))
    await recording.stream("join_stream of none", runs.join_stream(thread, NOBODY))
    script.release.clear()
    thread, run_id = await _slow(recording, client, "resumable and slow", stream_resumable=True)
    whole = runs.join_stream(thread, run_id, last_event_id="-1")
    joining = asyncio.create_task(recording.stream("join_stream live and resumable", whole))
    await asyncio.sleep(0.5)
    script.release.set()
    await joining
    await _resumed(recording, client, thread)
    await call("threads.search graph_id", client.threads.search(metadata={"graph_id": "agent"}, ids=[thread]))


async def _resumed(recording: Recording, client: LangGraphClient, thread: str) -> None:
    """Read a resumable stream once whole, and once from each of two places."""
    made: list[Any] = []
    parts = client.runs.stream(
        thread,
        "agent",
        input=asked("Hello?"),
        stream_mode=["values", "messages-tuple"],
        stream_resumable=True,
        on_run_created=made.append,
    )
    seen = [part async for part in parts]
    recording.steps.append(Step("stream resumable", [[part.event, part.data] for part in seen]))
    run_id = recording.name("resumable run", made[0]["run_id"])
    for place in (0, 3, len(seen) - 1):
        again = client.runs.join_stream(thread, run_id, last_event_id=seen[place].id)
        events = await recording.stream(f"join_stream from {'the last' if place > 3 else place}", again)
        assert events == [[part.event, part.data] for part in seen[place + 1 :]], place
    whole = client.runs.join_stream(thread, run_id, last_event_id="-1")
    await recording.stream("join_stream from -1", whole)


async def _until_running(client: LangGraphClient, thread: str, run_id: str) -> None:
    async with asyncio.timeout(20):
        while (await client.runs.get(thread, run_id))["status"] == "pending":
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # for the first tokens


async def _slow(recording: Recording, client: LangGraphClient, name: str, **options: Any) -> tuple[str, str]:
    """Begin a run that ends when it is released; return the ids of its thread and its own."""
    thread = await _thread(recording, client, f"thread of {name}")
    run = await client.runs.create(thread, "agent", input=asked("SLOW?"), **options)
    run_id = recording.name(name, run["run_id"])
    await _until_running(client, thread, run_id)
    return thread, run_id


async def _at_once(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, script: Script) -> None:
    call, runs = recording.call, client.runs
    thread, first = await _slow(recording, client, "first")
    rejected = runs.create(thread, "agent", input=asked("Hello?"), multitask_strategy="reject")
    await call("runs.create reject", rejected)
    await recording.stream(
        "stream reject", runs.stream(thread, "agent", input=asked("Hello?"), multitask_strategy="reject")
    )
    waits = runs.create(thread, "agent", input=asked("And then?"), multitask_strategy="enqueue")
    second = await call("runs.create enqueue", waits)
    recording.name("second", second["run_id"])
    await call("runs.list while one waits", runs.list(thread))
    await call("threads.delete while it runs", client.threads.get(thread))
    await call("runs.cancel", runs.cancel(thread, first, wait=True))
    await call("runs.get of the cancelled", runs.get(thread, first))
    await call("runs.join the second", runs.join(thread, second["run_id"]))
    await call("runs.get of the second", runs.get(thread, second["run_id"]))
    await call("threads.get after both", client.threads.get(thread))
    await call("runs.cancel of an ended one", runs.cancel(thread, first))
    await call("runs.cancel of none", runs.cancel(thread, NOBODY))
    thread, first = await _slow(recording, client, "interrupted")
    interrupting = runs.wait(thread, "agent", input=asked("Stop!"), multitask_strategy="interrupt")
    await call("runs.wait interrupt", interrupting)
    await call("runs.get of the interrupted", runs.get(thread, first))
    thread, first = await _slow(recording, client, "watched")
    joining = asyncio.create_task(recording.stream("join_stream of a cancelled", runs.join_stream(thread, first)))
    await asyncio.sleep(0.5)
    await call("runs.cancel of the watched", runs.cancel(thread, first, wait=True))
    await joining
    await call("threads.get after a cancel", client.threads.get(thread))


async def _leaving(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, script: Script) -> None:
    call, runs = recording.call, client.runs
    for policy in ("cancel", "continue"):
        thread = await _thread(recording, client, f"thread left with {policy}")
        parts = runs.stream(
            thread, "agent", input=asked("SLOW?"), stream_mode="values", on_disconnect=cast("Any", policy)
        )
        await recording.stream(f"stream on_disconnect {policy}", parts, most=2)
        await cast("Any", parts).aclose()
        await asyncio.sleep(1)
        (left,) = await runs.list(thread)
        recording.name(f"run left with {policy}", left["run_id"])
        script.release.set()
        await call(f"runs.join after leaving with {policy}", runs.join(thread, left["run_id"]))
        await call(f"runs.get after leaving with {policy}", runs.get(thread, left["run_id"]))
        script.release.clear()
    thread, run_id = await _slow(recording, client, "joined", stream_resumable=True)
    parts = runs.join_stream(thread, run_id, cancel_on_disconnect=True, last_event_id="-1")
    await recording.stream("join_stream cancel_on_disconnect", parts, most=1)
    await cast("Any", parts).aclose()
    await asyncio.sleep(1)
    await call("runs.get after leaving a joined one", runs.get(thread, run_id))
    script.release.set()


async def _state(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    call, threads = recording.call, client.threads
    thread = await _thread(recording, client, "stateful thread")
    question = recording.name("question", str(uuid.uuid4()))
    await client.runs.wait(thread, "agent", input=asked("Hello?", question))
    state = await call("threads.get_state", threads.get_state(thread))
    answer = recording.name("answer", state["values"]["messages"][-1]["id"])
    await call("threads.get_state at the newest", threads.get_state(thread, checkpoint=state["checkpoint"]))
    await call("threads.get_state by id", threads.get_state(thread, checkpoint_id=state["checkpoint"]["checkpoint_id"]))
    await call("threads.get_state at none", threads.get_state(thread, checkpoint_id=NOBODY))
    await call("threads.get_history", threads.get_history(thread, limit=1))
    await call("threads.get_history before", threads.get_history(thread, before=state["checkpoint_id"]))
    correction = {"messages": [{"role": "assistant", "content": "Corrected.", "id": answer}]}
    await call("threads.update_state", threads.update_state(thread, correction))
    await call("threads.get_state corrected", threads.get_state(thread))
    await call("threads.update_state of none", threads.update_state(NOBODY, correction))
    await call("threads.update_state unknown node", threads.update_state(thread, correction, as_node="other"))


async def _inputs(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    call, runs = recording.call, client.runs
    forms: dict[str, Any] = {
        "a role": [{"role": "user", "content": "Hello?"}],
        "a type": [{"type": "human", "content": "Hello?"}],
        "blocks": [{"type": "human", "content": [{"type": "text", "text": "Hello?"}]}],
        "a pair": [["user", "Hello?"]],
        "a text": ["Hello?"],
        "a single message": {"role": "user", "content": "Hello?"},
        "a history": [
            {"role": "user", "content": "Hi?"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Hello?"},
        ],
    }
    for name, messages in forms.items():
        await call(f"input as {name}", runs.wait(None, "agent", input=given(messages)))
    thread = await _thread(recording, client, "thread of a client with the history")
    first: Any = await runs.wait(thread, "agent", input=asked("Hello?"))
    again = [*first["messages"], {"role": "user", "content": "And then?"}]
    await call("input with what is known", runs.wait(thread, "agent", input=given(again)))
    await call("input with a role that is none", runs.wait(None, "agent", input=given([{"role": "nobody"}])))
    await call("input with a number", runs.wait(None, "agent", input=given(7)))
    await call("input as a text only", runs.wait(None, "agent", input=cast("Any", "Hello?")))
    context: Any = {"customer_id": "c-1"}
    await call("context", runs.wait(None, "agent", input=asked("Hello?"), context=context))
    configured: Any = {"configurable": {"customer_id": "c-1"}}
    await call("configurable", runs.wait(None, "agent", input=asked("Hello?"), config=configured))


async def _more(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    """What only LangGraph's server does."""
    call, runs = recording.call, client.runs
    thread = await _thread(recording, client, "thread of more")
    await call("more: threads.count", client.threads.count())
    await call("more: threads.copy", client.threads.copy(thread))
    await call("more: assistants.count", client.assistants.count())
    await call("more: assistants.get_versions", client.assistants.get_versions(NOBODY))
    await call("more: crons.search", client.crons.search())
    await call("more: store.search_items", client.store.search_items(("nothing",)))
    batch: Any = [{"assistant_id": "agent", "input": asked("Hello?")}]
    await call("more: runs.create_batch", runs.create_batch(batch))
    stops = runs.wait(thread, "agent", input=asked("Hello?"), interrupt_before=["answer"])
    await call("more: runs.wait interrupt_before", stops)
    rolls_back = runs.wait(thread, "agent", input=asked("Hello?"), multitask_strategy="rollback")
    await call("more: runs.wait rollback", rolls_back)
    await call("more: runs.wait without input", runs.wait(thread, "agent"))


async def _ends(recording: Recording, client: LangGraphClient, http: httpx.AsyncClient, _: Script) -> None:
    call, runs = recording.call, client.runs
    thread = await _thread(recording, client, "thread to delete")
    made: list[Any] = []
    await runs.wait(thread, "agent", input=asked("Hello?"), on_run_created=made.append)
    run_id = recording.name("run to delete", made[0]["run_id"])
    await call("runs.delete", runs.delete(thread, run_id))
    await call("runs.get of a deleted one", runs.get(thread, run_id))
    await call("runs.delete of none", runs.delete(thread, NOBODY))
    await call("threads.delete", client.threads.delete(thread))
    await call("threads.get of a deleted one", client.threads.get(thread))
    await call("runs.list of a deleted one", runs.list(thread))
    await call("threads.delete of none", client.threads.delete(NOBODY))
