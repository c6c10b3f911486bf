import asyncio
import json
import uuid
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from conftest import REPOSITORY
from graph.errors import KnowledgeError
from graph.message_ids import answer_id
from graph.small_talk import NO_TEXT
from graph.state import AgentContext, AgentState
from graph.studio import graph
from harness.scripted_model import ScriptedModel, tokens


@pytest.fixture(autouse=True)
def environment(model: ScriptedModel, articles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", model.url)
    monkeypatch.setenv("SUPPORT_KNOWLEDGE", str(articles))


async def test_the_graph_answers_and_is_opened_once(model: ScriptedModel) -> None:
    """Concurrent requests for the graph index the articles once; the server provides the memory."""
    opened, again = await asyncio.gather(graph(), graph())
    assert opened is again is await graph()
    assert opened.checkpointer is None
    embedded = len(model.of("embeddings"))
    state = await opened.ainvoke({"messages": [HumanMessage("Refund?")]}, context=AgentContext())
    assert [message.text for message in state["messages"]] == ["Refund?", "Hello, world."]
    assert len(model.of("embeddings")) == embedded + 1


async def test_what_the_graph_needs_is_closed_with_the_event_loop(model: ScriptedModel) -> None:
    """Connections close with the event loop that opened them, and another loop opens its own."""
    port = int(model.url.split(":")[2].split("/")[0])

    def connections() -> int:
        found = psutil.Process().net_connections("tcp")
        return sum(bool(connection.raddr) and connection.raddr.port == port for connection in found)

    async def use() -> tuple[object, int]:
        return await graph(), connections()

    opened, during = await asyncio.to_thread(asyncio.run, use())
    assert during == 1
    assert connections() == 0
    assert opened is not await graph()


async def test_a_failure_to_open_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while reading the articles is raised, and the next attempt tries again."""
    with monkeypatch.context() as patch:
        patch.setenv("SUPPORT_KNOWLEDGE", "nowhere")
        with pytest.raises(KnowledgeError, match="nowhere"):
            await graph()
    assert await graph()


async def test_settings_of_the_service_are_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` that also configures the service serves Studio."""
    monkeypatch.setenv("SUPPORT_RATE_LIMIT", "5/minute")
    assert await graph()


async def test_a_run_can_be_stopped_changed_and_gone_on_with(model: ScriptedModel) -> None:
    """Checkpoints have all shared state, so a run can be interrupted before any node."""
    stepped = (await graph()).copy(update={"checkpointer": InMemorySaver()})
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    context = AgentContext()
    await stepped.ainvoke({"messages": [HumanMessage("Refund?")]}, config, context=context, interrupt_before=["answer"])
    stopped = await stepped.aget_state(config)
    assert stopped.next == ("answer",)
    assert stopped.values["category"] == "billing"
    assert stopped.values["passages"]
    await stepped.aupdate_state(config, {"category": "technical"}, as_node="classify")
    await stepped.ainvoke(None, config, context=context)
    assert "support@company.example" in model.of("answer")[-1].system
    in_sessions_alone = {"action", "handoff"}
    assert set((await stepped.aget_state(config)).values) == set(AgentState.__annotations__) - in_sessions_alone


@pytest.mark.parametrize("question", ["Why was I charged twice?", "hi"])
async def test_the_answer_streams_with_the_id_that_it_is_stored_with(model: ScriptedModel, question: str) -> None:
    """LangGraph's stream `messages` has the answer once, piece by piece, also where no model writes it."""
    model.script("answer", tokens(["In ", "30 days."]))
    run = uuid.uuid4()
    pieces: list[Any] = []
    stored: list[Any] = []
    config: RunnableConfig = {"run_id": run}
    given: Any = {"messages": [HumanMessage(question)]}
    stream = (await graph()).astream(given, config, context=AgentContext(), stream_mode=["messages", "values"])
    async for mode, data in stream:
        if mode == "messages":
            pieces.append(cast("Any", data)[0])
        else:
            stored = cast("Any", data)["messages"]
    assert "".join(piece.text for piece in pieces) == stored[-1].text
    assert {piece.id for piece in pieces} == {stored[-1].id} == {answer_id(str(run))}


async def test_studio_is_told_what_goes_in() -> None:
    """The input and context schemas describe Studio's chat and forms."""
    opened = await graph()
    assert list(opened.get_input_jsonschema()["properties"]) == ["messages"]
    context = opened.get_context_jsonschema()
    assert context
    assert list(context["properties"]) == ["tenant", "customer_id", "visitor"]


@pytest.mark.parametrize("with_text", [False, True], ids=["an image", "an image and a question"])
async def test_an_image_does_not_break_its_thread(model: ScriptedModel, with_text: bool) -> None:
    """The models get text alone, in this turn and in later ones; a message without text gets an answer that says so."""
    thread = (await graph()).copy(update={"checkpointer": InMemorySaver()})
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    text = [{"type": "text", "text": "Why was I charged twice?"}] if with_text else []

    async def say(message: HumanMessage) -> str:
        state = await thread.ainvoke({"messages": [message]}, config, context=AgentContext())
        return state["messages"][-1].text

    answer = await say(HumanMessage([*text, image]))
    assert answer == ("Hello, world." if with_text else NO_TEXT)
    assert await say(HumanMessage("And how do I get a refund?")) == "Hello, world."
    asked = [request for kind in ("classify", "answer", "embeddings") for request in model.of(kind)]
    assert all("aGVsbG8" not in json.dumps(request.body) for request in asked)
    assert model.of("answer")[-1].prompt[1:] == [
        ("user", "Why was I charged twice?" if with_text else "(no text)"),
        ("assistant", answer),
        ("user", "And how do I get a refund?"),
    ]


def test_browsers_may_read_where_a_run_is() -> None:
    """LangGraph's client reconnects by the `Location` of a run, which CORS hides unless it is exposed."""
    cors = json.loads((REPOSITORY / "langgraph.json").read_text())["http"]["cors"]
    assert {"Content-Location", "Location"} <= set(cors["expose_headers"])
