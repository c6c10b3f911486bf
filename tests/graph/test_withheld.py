"""What is not for customers stays out of every prompt, source and answer."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.types import Send

from graph.agent import open_agent
from graph.retrieval.articles import read_library
from graph.settings import AgentSettings
from harness.scripted_model import Call, ScriptedModel, label, tokens
from harness.scripted_model import vectors as embedded
from harness.withheld import HelpCentre, write_help_centre
from local.answering import answer
from local.protocol import Turn
from local.vectors import Vectors

QUESTIONS = 200


@pytest.fixture
def centre(tmp_path: Path) -> HelpCentre:
    """A help centre with articles and parts of articles that are not for customers."""
    return write_help_centre(tmp_path / "centre")


def answering(model: ScriptedModel) -> None:
    """Let the scripted model, which keeps all that it is asked, answer as the offline model does."""
    words = Vectors()

    async def reply(call: Call, send: Send) -> None:
        said = answer([Turn(role, text) for role, text in call.prompt], words)
        await (tokens([said]) if call.body.get("stream") else label(said))(call, send)

    model.script("classify", reply)
    model.script("answer", reply)
    model.script("embeddings", embedded(lambda text: words.of([text])[0].tolist()))


def test_every_way_to_withhold_is_tried(centre: HelpCentre) -> None:
    """The help centre has as many public articles as are read, and each other one is left out on purpose."""
    library = read_library(AgentSettings(SUPPORT_KNOWLEDGE=centre.sources))
    assert [fault.reason for fault in library.faults] == []
    assert (len(library.articles), library.withheld) == (centre.public, centre.left_out)


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.soak)])
async def test_no_question_gets_a_word_of_what_is_withheld(
    centre: HelpCentre, model: ScriptedModel, every: int
) -> None:
    """Neither in an answer or a source, nor in what any model is sent."""
    answering(model)
    questions = centre.questions
    assert len(questions) == QUESTIONS
    settings = AgentSettings(
        OPENAI_BASE_URL=model.url,
        OPENAI_API_KEY=SecretStr("sk-test"),
        SUPPORT_KNOWLEDGE=centre.sources,
        SUPPORT_CACHE_DIR="",
    )
    async with open_agent(settings) as agent:
        await agent.knowledge.indexed()
        told = len(model.calls)
        answers = [await agent.ask(question) for question in questions[::every]]
    seen = [str(call.body) for call in model.calls[:told]]
    seen += [str(call.prompt[:-1]) for call in model.calls[told:] if call.kind != "embeddings"]
    seen += [f"{done.answer} {done.sources}" for done in answers]
    text = "\n".join(seen).lower()
    assert [word for word in centre.words if word in text] == []
    assert sum(done.answered for done in answers) >= len(answers) / 4  # they are tempted, and not only refused
    assert {call.kind for call in model.calls} == {"embeddings", "classify", "answer"}
