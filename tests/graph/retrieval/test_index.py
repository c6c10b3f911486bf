import re

import pytest

from conftest import MakeSettings
from graph.errors import KnowledgeError, ModelError
from graph.models import open_models
from graph.retrieval.index import open_knowledge
from harness.scripted_model import ScriptedModel, html, status


@pytest.mark.parametrize(("reply", "reason"), [(status(401), "HTTP 401"), (html, "gave no vectors")])
async def test_an_embedding_model_that_fails_is_named_with_its_reason(
    make_settings: MakeSettings, model: ScriptedModel, caplog: pytest.LogCaptureFixture, reply: object, reason: str
) -> None:
    """It fails who waits for the index and each question, and the log says why, once."""
    model.script("embeddings", reply)  # pyright: ignore[reportArgumentType] - a Reply
    settings = make_settings()
    said = rf"'text-embedding-3-small' .*{reason}"
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        with pytest.raises(KnowledgeError, match=said):
            await knowledge.indexed()
        with pytest.raises(ModelError) as caught:
            await knowledge.search("when is support open")
    assert re.search(said, caught.value.reason)
    assert [record.levelname for record in caplog.records if re.search(said, record.getMessage())] == ["ERROR"]


async def test_search_returns_whole_passages_best_first(make_settings: MakeSettings) -> None:
    """A passage has its article's id, title and text, and the best one comes first."""
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        passages = await knowledge.search("when is support open on monday")
    assert passages[0] == {
        "id": "opening-hours",
        "title": "Opening hours",
        "text": "Support is open Monday to Friday from 9:00 to 17:00.",
        "section": None,
        "url": None,
    }
    assert len(passages) == 5
