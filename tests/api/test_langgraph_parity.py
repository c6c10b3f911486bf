"""The LangGraph API, call by call, beside LangGraph's own development server on the same graph."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from langgraph_sdk import get_client
from redis.asyncio import Redis

from conftest import Report, Serve
from harness.langgraph_script import Recording, play
from harness.langgraph_shapes import differences
from harness.scripted_model import ScriptedModel
from harness.studio import development_server, studio_environment, studio_project


class Accepted(NamedTuple):
    """A difference that clients can live with."""

    reason: str
    lines: str
    """The pattern of the lines that tell it."""


_FORGOTTEN = (
    r"(threads.get after (FAIL|it|both|a cancel)|threads.get while it runs|runs.join( the second| after leaving .*)?|"
    r"runs.wait interrupt|join_stream from .*|join_stream live.*|stream (FAIL|resumable))"
)
"""The steps after a turn in the same thread that failed or was cancelled."""

ACCEPTED = {
    "the server's own": Accepted(
        "LangGraph's server says of itself and of its plan, host, users and tracing what this service has not.",
        r"(lacks \S*(host|created_by|langsmith_\w+|langgraph_(api_url|api_version|auth_user_id|host|plan|request_id|"
        r"version)|user_id|run_attempt|services)$)|^info: .* \.flags\.(crons|langsmith_\w+)",
    ),
    "the assistant by its name": Accepted(
        "There is one assistant, and its name is as good as its id in every route.",
        r"^assistants.get by name: |^stream of no assistant: answer: (adds .status = 422|lacks .status = 404)",
    ),
    "the caller is no setting": Accepted(
        "The key decides the tenant, and no client can say who a visitor is; in Studio there is no key.",
        r"^assistants.get_schemas: answer: lacks \S*_schema.properties.(tenant|visitor)$",
    ),
    "the state of sessions": Accepted(
        "The graph of sessions describes the same fields; in Studio's all of them are in the checkpoints.",
        r"^assistants.get_schemas: answer: (lacks .state_schema\.properties\.\w+\.default|"
        r"adds .(output|state)_schema.(description|required))$",
    ),
    "more of a thread": Accepted(
        "A thread says from the first what it is: graph, session, tenant, and after a turn its category and sources.",
        r"^(threads|runs)\..*: answer: adds \S*(metadata\.(assistant_id|graph_id|session_id|tenant|category|sources)|"
        r"\.error|\.interrupts)( = None)?$|^threads.get\S* .*: answer: lacks .error.(error|message)$",
    ),
    "passages without their text": Accepted(
        "A run's log has the sources as clients may see them, and not the text of articles, which may be long.",
        r"lacks \S*passages\[\]\.text$",
    ),
    "what a turn has cost": Accepted(
        "It is known when the turn ends, for all its model calls together.",
        r"lacks (\.classify|\.values)?\.tokens_used$",
    ),
    "the next turn begins anew": Accepted(
        "A session stores its messages alone, so a turn's first state has nothing of the turn before.",
        r"values: lacks \.(answered|category|complete|passages)$",
    ),
    "nothing is left of a turn without an answer": Accepted(
        "A turn that fails or is cancelled leaves nothing: not its message, and no state of a thread.",
        rf"^{_FORGOTTEN}: (answer|values): (lacks|adds) (\.values)?(\.messages\[|\.category|\.passages|\.messages|"
        r" = None|\.status = (idle|interrupted))",
    ),
    "the run's request": Accepted(
        "A run tells what of its request has an effect, with its message as LangChain writes it.",
        r": answer: (lacks|adds) \S*\.kwargs\.",
    ),
    "a stream from its beginning": Accepted(
        "A run that is joined is replayed from its first event, whether or not it was begun as resumable.",
        r"^join_stream (live|after the end|of a cancelled): order: (values)? \| metadata values",
    ),
    "there is no such run": Accepted(
        "It is an error of HTTP, not the result of a run.",
        r"^(runs.join|join_stream) of none: ",
    ),
    "there is no such state": Accepted(
        "One state is kept; where another one is asked for, there is none, and no empty one.",
        r"^threads.get_state at none: ",
    ),
    "no older state": Accepted(
        "One state is kept, so none has a parent.",
        r"^threads\.get_(state|history).*: answer: (lacks|adds) \S*(parent_checkpoint\S*|\.checkpoint\.checkpoint_ns|"
        r"metadata\.run_id)( = \S+)?$",
    ),
    "bad input is refused at once": Accepted(
        "The request is refused, and no run begins that can only fail.",
        r"^(input (with a role that is none|with a number|as a text only)|threads.update_state unknown node): answer: ",
    ),
    "what is not served": Accepted(
        "The service refuses it by name; docs/langgraph-api.md says why.",
        r"^more: ",
    ),
    "text alone": Accepted(
        "The models read text, so a message is stored as its text.",
        r"^input as blocks: answer: (lacks|adds) \.messages\[0\]\.content",
    ),
    "an answer that comes back": Accepted(
        "A message that the thread has already is not taken again; LangGraph's server takes it with its empty fields.",
        r"^input with what is known: answer: (lacks|adds) \.messages\[1\]\.additional_kwargs",
    ),
}


async def _recorded(url: str, model: ScriptedModel) -> Recording:
    async with get_client(url=url, api_key=None) as client, httpx.AsyncClient(base_url=url, timeout=60) as http:
        return await play(client, http, model)


def _ids(recording: Recording, name: str) -> set[str]:
    """Return the ids of the answer in a stream of all modes: in its pieces, and in the state at the end."""
    events: list[tuple[str, Any]] = next(step.result for step in recording.steps if step.name == name)
    pieces = {data[0]["id"] for event, data in events if event == "messages"}
    return {*pieces, *(data["messages"][-1]["id"] for event, data in events[-1:] if event == "values")}


@pytest.mark.soak
async def test_clients_get_what_they_get_from_langgraphs_server(
    model: ScriptedModel, articles: Path, tmp_path: Path, serve: Serve, redis: Redis, report: Report
) -> None:
    """Events, their order and the shapes of all answers are the same, but for what is listed with its reason."""
    project = studio_project(tmp_path / "project")
    with studio_environment() as environment:
        variables = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "sk-test", "SUPPORT_KNOWLEDGE": str(articles)}
        with development_server(project, environment, **variables) as (_, url):
            theirs = await _recorded(url, model)
    async with serve(SUPPORT_LANGGRAPH_API="on") as url:
        ours = await _recorded(f"{url}/langgraph", model)
    found = differences(theirs, ours)
    known = {name: [line for line in found if re.search(accepted.lines, line)] for name, accepted in ACCEPTED.items()}
    assert [line for line in found if not any(line in lines for lines in known.values())] == []
    assert [name for name, lines in known.items() if not lines] == []
    for recording in (theirs, ours):
        assert len(_ids(recording, "stream all")) == 1, "one message, one id"
    report(f"LangGraph API: {len(ours.steps)} calls, {len(ACCEPTED)} accepted differences in {len(found)} places")
