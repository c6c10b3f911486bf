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


ACCEPTED: dict[str, Accepted] = {}


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
