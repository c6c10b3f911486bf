"""Indexing on servers that are slow, busy, or refuse a text."""

import asyncio
import logging
import re
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Send

from conftest import MakeSettings, Serve
from graph.errors import KnowledgeError
from graph.models import open_models
from graph.retrieval import index, indexing, progress
from graph.retrieval.index import open_knowledge
from graph.retrieval.progress import IndexingProgress
from graph.retrieval.syncing import sync_to_postgres
from harness import dialects
from harness.dialects import openai_refusal
from harness.replica import replica
from harness.scripted_model import Call, Reply, ScriptedModel, after, body, cut, embedded, status
from harness.scripted_model import vectors as replied

VECTORS = embedded(64)
TOO_LONG = openai_refusal("This model's maximum context length is 512 tokens. However, you requested 70000 tokens.")


def for_articles(reply: Reply, otherwise: Reply = VECTORS) -> Reply:
    """Reply in this way to articles, which have lines, and not to questions or probes."""
    return dialects.unless(lambda request: any("\n" in text for text in request["input"]), reply, otherwise)


def in_turn(*replies: Reply) -> Reply:
    """One reply after the other; the last one repeats."""
    rest = list(replies)

    async def reply(call: Call, send: Send) -> None:
        await (rest.pop(0) if len(rest) > 1 else rest[0])(call, send)

    return reply


def inputs(model: ScriptedModel) -> list[str]:
    """Return the articles that the model was asked to embed."""
    return [text for call in model.of("embeddings") for text in call.body["input"] if "\n" in text]


def few_at_once(monkeypatch: pytest.MonkeyPatch, passages: int) -> None:
    """Let each request have so many passages."""
    for name in ("_BATCH", "_MOST"):
        monkeypatch.setattr(indexing, name, passages)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def indexed(settings: Any, question: str = "support is open on monday") -> list[str]:
    """Start, wait for the index, and return the ids that a question finds."""
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        await asyncio.wait_for(knowledge.indexed(), 20)
        return [passage["id"] for passage in await knowledge.search(question)]


@pytest.mark.parametrize(("told", "cap"), [("1", 120.0), ("900", 1.0), ("Tue, 01 Jan 2047 00:00:00 GMT", 1.0)])
async def test_indexing_waits_as_it_is_told(
    make_settings: MakeSettings,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    told: str,
    cap: float,
) -> None:
    """A 429 with Retry-After, at the first request and later, ends no start; the log says what it waits for."""
    monkeypatch.setattr(indexing, "_LONGEST_TOLD", cap)
    busy = status(429, {"retry-after": told})
    model.script("embeddings", busy, VECTORS, busy, VECTORS)
    assert (await indexed(make_settings()))[0] == "opening-hours"
    calls = model.of("embeddings")[:4]
    assert [len(call.body["input"]) for call in calls] == [1, 1, 6, 6]
    assert calls[1].began - calls[0].began >= 1
    assert calls[3].began - calls[2].began >= 1
    said = "embedding model text-embedding-3-small: HTTP 429; trying again in 1 s"
    assert warnings(caplog).count(said) == 2


@pytest.mark.parametrize("failing", [status(500), status(503), body("", "application/json"), cut])
async def test_a_server_that_fails_for_a_while_costs_no_start(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, failing: Reply
) -> None:
    """It is asked again, more often than for a customer, and the breaker of their questions counts none of it."""
    monkeypatch.setattr(indexing, "_SHORTEST_PAUSE", 0.001)
    model.script("embeddings", VECTORS, *[failing] * 7, VECTORS)
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        await asyncio.wait_for(knowledge.indexed(), 20)
        assert len(model.of("embeddings")) >= 9
        assert models.embeddings.breaker._failed == 0


async def test_an_open_breaker_does_not_stop_indexing(make_settings: MakeSettings) -> None:
    """It is that of customers' questions."""
    settings = make_settings()
    async with open_models(settings) as models:
        models.embeddings.breaker._failed = 5
        models.embeddings.breaker._next_trial = float("inf")
        async with open_knowledge(settings, models) as knowledge:
            await knowledge.indexed()


async def test_a_request_may_take_longer_than_a_customers(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow processor gets half as many passages from then on."""
    monkeypatch.setattr(indexing, "_SLOW", 0.5)
    few_at_once(monkeypatch, 4)
    model.script("embeddings", for_articles(after(0.6, VECTORS)))
    settings = make_settings(SUPPORT_ANSWER_TIMEOUT=1)  # a third of it for a request
    assert await indexed(settings)
    assert [len(call.body["input"]) for call in model.of("embeddings") if "\n" in call.body["input"][0]] == [4, 2]


async def test_a_server_that_is_quick_gets_more_at_once(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, articles: Path
) -> None:
    """Twice as many each time, up to a bound; one that is not gets as many as first."""
    for number in range(30):
        (articles / f"more-{number}.md").write_text(f"---\ntitle: More {number}\n---\n\nText {number}.\n")
    few_at_once(monkeypatch, 4)
    monkeypatch.setattr(indexing, "_MOST", 12)
    model.script("embeddings", VECTORS)
    settings = make_settings()
    for quick, sizes in ((60.0, [4, 8, 12, 12]), (0.0, [4] * 9)):
        monkeypatch.setattr(indexing, "_QUICK", quick)
        model.forget()
        assert await indexed(settings.model_copy(update={"embedding_model": f"model-{quick}"}))
        assert [len(call.body["input"]) for call in model.of("embeddings") if "\n" in call.body["input"][0]] == sizes


@pytest.mark.parametrize(
    "refused",
    [status(503), status(413), status(500), cut, body('{"object": "list", "data": []}', "application/json")],
    ids=["503", "413", "500", "closed", "too few"],
)
async def test_a_server_that_has_trouble_with_many_gets_few_again(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, articles: Path, refused: Reply
) -> None:
    """Whatever it says of more than it takes, everything is embedded, and it is not asked for so many again."""
    for number in range(30):
        (articles / f"more-{number}.md").write_text(f"---\ntitle: More {number}\n---\n\nText {number}.\n")
    monkeypatch.setattr(indexing, "_BATCH", 4)
    monkeypatch.setattr(indexing, "_QUICK", 60.0)
    model.script("embeddings", dialects.unless(lambda request: len(request["input"]) > 8, refused, VECTORS))
    assert await indexed(make_settings())
    sizes = [len(call.body["input"]) for call in model.of("embeddings") if "\n" in call.body["input"][0]]
    assert sizes.count(16) <= 2  # once more where it may have passed
    assert sizes[-1] <= 4
    assert len(set(inputs(model))) == 36


async def test_a_batch_that_takes_too_long_is_halved(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server can't embed in time at once, it can in parts."""
    monkeypatch.setattr("graph.models._INDEXING_PATIENCE", 0.5)
    slow = dialects.unless(lambda request: len(request["input"]) > 2, after(3, VECTORS), VECTORS)
    model.script("embeddings", slow)
    assert (await indexed(make_settings(SUPPORT_ANSWER_TIMEOUT=1)))[0] == "opening-hours"
    assert sorted(len(call.body["input"]) for call in model.of("embeddings"))[-3:] == [3, 3, 6]


async def test_a_refused_size_stays_small(make_settings: MakeSettings, model: ScriptedModel, articles: Path) -> None:
    """A server for ten texts refuses one request, and not one in two."""
    for number in range(30):
        (articles / f"more-{number}.md").write_text(f"---\ntitle: More {number}\n---\n\nText {number}.\n")
    refused = openai_refusal("batch size is invalid, it should not be larger than 10.: input.contents")
    model.script("embeddings", dialects.batches_of(10, refused, VECTORS))
    assert await indexed(make_settings())
    assert [len(call.body["input"]) for call in model.of("embeddings")].count(16) == 1


@pytest.mark.parametrize("refused", [status(400), status(422), status(500)], ids=["400", "422", "500"])
async def test_a_text_that_the_model_refuses_is_left_out(
    make_settings: MakeSettings,
    model: ScriptedModel,
    articles: Path,
    caplog: pytest.LogCaptureFixture,
    refused: Reply,
) -> None:
    """Its article is named once, the others are found, and it is asked for again at the next start."""
    (articles / "badge.md").write_text(f"---\ntitle: blob\n---\n\ndata:image/png;base64,{'A' * 300}\n")
    model.script("embeddings", dialects.unless(lambda request: "blob" in str(request["input"]), refused, VECTORS))
    for _ in range(2):
        caplog.clear()
        found = await indexed(make_settings())
        assert found[0] == "opening-hours"
        assert "badge" not in found
        (said,) = [line for line in warnings(caplog) if "badge" in line]
        assert "refuses a passage of the article 'badge'" in said
        assert "HTTP" in said


async def test_a_text_that_is_too_long_is_found_by_its_beginning(
    make_settings: MakeSettings,
    model: ScriptedModel,
    articles: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And its article is named, at each start."""
    (articles / "badge.md").write_text(f"---\ntitle: Zebra crossing\n---\n\nzebra {'A' * 3000}\n")
    model.script("embeddings", dialects.texts_up_to(500, TOO_LONG, VECTORS))
    told = "takes only the beginning of a passage of the article 'badge'"
    for _ in range(2):  # the second start has the other vectors
        settings = make_settings(SUPPORT_CACHE_DIR=str(tmp_path / "vectors"))
        assert (await indexed(settings, "zebra"))[0] == "badge"
        assert [line for line in warnings(caplog) if told in line]
        caplog.clear()


@pytest.mark.parametrize("odd", [[float("nan"), *[1.0] * 63], [0.0] * 64, [float("inf"), *[1.0] * 63]])
async def test_an_article_whose_vector_is_unusable_is_left_out(
    make_settings: MakeSettings,
    model: ScriptedModel,
    articles: Path,
    caplog: pytest.LogCaptureFixture,
    odd: list[float],
) -> None:
    """NaN, zeros and infinity have no direction."""
    (articles / "badge.md").write_text("---\ntitle: blob\n---\n\nText.\n")

    async def reply(call: Call, send: Send) -> None:
        texts = call.body["input"]
        good = {text: [1.0 + len(text) % 7, *[0.5] * 63] for text in texts}
        await replied(lambda text: odd if "blob" in text else good[text])(call, send)

    model.script("embeddings", reply)
    found = await indexed(make_settings())
    assert len(found) == 5
    assert "badge" not in found
    assert [
        line for line in warnings(caplog) if "refuses a passage of the article 'badge'" in line and "vector" in line
    ]


async def test_one_odd_vector_is_asked_for_again(
    make_settings: MakeSettings, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """What passes leaves nothing out."""
    model.script("embeddings", VECTORS, replied(lambda _: [0.0] * 64), VECTORS)
    assert len(await indexed(make_settings())) == 5
    assert not [line for line in warnings(caplog) if "refuses" in line]


async def test_a_model_that_refuses_everything_is_at_fault(make_settings: MakeSettings, model: ScriptedModel) -> None:
    """It is the model that is named, as where it is down."""
    model.script("embeddings", for_articles(status(400)))
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        with pytest.raises(
            KnowledgeError, match=r"'text-embedding-3-small' gave no vectors \(it refuses every passage"
        ):
            await knowledge.indexed()


async def test_vectors_of_another_length_are_no_article_s_fault(
    make_settings: MakeSettings, model: ScriptedModel
) -> None:
    """The message names the model and both lengths."""
    model.script("embeddings", for_articles(embedded(32)))
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        with pytest.raises(KnowledgeError, match="vectors of 32 numbers, the index has 64"):
            await asyncio.wait_for(knowledge.indexed(), 20)


async def test_a_strict_start_leaves_no_passage_out(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path
) -> None:
    """The article is named."""
    (articles / "badge.md").write_text("---\ntitle: blob\n---\n\nText.\n")
    model.script("embeddings", dialects.unless(lambda request: "blob" in str(request["input"]), status(400), VECTORS))
    settings = make_settings(SUPPORT_STRICT=True)
    async with open_models(settings) as models:
        with pytest.raises(KnowledgeError, match=r"refuses 1 passages, .*SUPPORT_STRICT.*'badge'"):
            async with open_knowledge(settings, models):
                pass


async def test_a_restart_embeds_only_what_has_changed(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path, tmp_path: Path
) -> None:
    """Vectors are kept on disk, by the hash of the text, the model and its server."""
    settings = make_settings(SUPPORT_CACHE_DIR=str(tmp_path / "vectors"))
    before = await indexed(settings)
    assert len(inputs(model)) == 6
    model.forget()
    assert await indexed(settings) == before
    assert inputs(model) == []
    (articles / "careers.md").write_text("---\ntitle: Careers\n---\n\nNobody is wanted.\n")
    assert (await indexed(settings, "nobody is wanted"))[0] == "careers"
    assert len(inputs(model)) == 1
    model.forget()
    await indexed(settings.model_copy(update={"embedding_model": "another"}))
    assert len(inputs(model)) == 6


async def test_what_was_embedded_before_a_failure_is_not_embedded_again(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a folder for it: the next attempt goes on where the last one ended."""
    few_at_once(monkeypatch, 2)
    monkeypatch.setattr(index, "_RETRY", 0.1)
    model.script("embeddings", for_articles(in_turn(VECTORS, status(401), VECTORS)))
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        async with asyncio.timeout(10):
            while not knowledge.is_indexed:
                await asyncio.sleep(0.02)
    assert len(inputs(model)) == 8  # two of them were refused with the key
    assert len(set(inputs(model))) == 6


async def test_postgres_keeps_what_was_embedded_before_a_failure(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """A start that ended in the middle leaves the rest to the next one, of any replica."""
    few_at_once(monkeypatch, 2)
    settings = make_settings(DATABASE_URL=database_url)
    model.script("embeddings", for_articles(in_turn(VECTORS, status(401))))
    with pytest.raises(KnowledgeError, match="refused the key"):
        await indexed(settings)
    model.script("embeddings", VECTORS)
    model.forget()
    assert (await indexed(settings))[0] == "opening-hours"
    assert len(inputs(model)) == 4


async def test_an_article_that_is_refused_stops_no_later_version(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path, database_url: str
) -> None:
    """Also where Postgres has all others already, so that nothing is left but what is refused."""
    (articles / "badge.md").write_text("---\ntitle: blob\n---\n\nText.\n")
    model.script("embeddings", dialects.unless(lambda request: "blob" in str(request["input"]), status(400), VECTORS))
    settings = make_settings(DATABASE_URL=database_url)
    assert (await indexed(settings))[0] == "opening-hours"
    (articles / "careers.md").unlink()
    model.forget()
    async with open_models(settings) as models:
        await sync_to_postgres(settings, models, force=False)
    assert (await indexed(settings))[0] == "opening-hours"
    assert {text.partition("\n")[0] for text in inputs(model)} == {"blob"}


@pytest.mark.soak
async def test_a_kill_in_the_middle_costs_only_what_was_under_way(
    model: ScriptedModel, redis_url: str, articles: Path, tmp_path: Path
) -> None:
    """The next start embeds the rest."""
    for number in range(42):
        (articles / f"more-{number}.md").write_text(f"---\ntitle: More {number}\n---\n\nText {number}.\n")
    going_on = asyncio.Event()

    async def slow(call: Call, send: Send) -> None:
        if len(inputs(model)) > 32:
            await going_on.wait()
        await VECTORS(call, send)

    model.script("embeddings", for_articles(slow))
    variables = {"SUPPORT_CACHE_DIR": str(tmp_path / "vectors"), "OPENAI_API_KEY": "sk-test"}
    async with replica(model, redis_url, articles, **variables) as (process, _):
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait, 10)
    assert len(inputs(model)) == 16 + 32
    model.forget()
    going_on.set()
    async with replica(model, redis_url, articles, **variables) as (_, url), httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/ready")).status_code == 200
    assert len(inputs(model)) == 32


async def test_the_log_says_how_far_indexing_is(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every few seconds: done, of how many, and how fast."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    few_at_once(monkeypatch, 2)
    await indexed(make_settings())
    said = [record.getMessage() for record in caplog.records if re.match(r"\d+ of|indexed", record.getMessage())]
    assert [line.split(";")[0] for line in said[:-1]] == [f"{done} of 6 passages are indexed" for done in (2, 4)]
    assert re.search(r"; \d+\.\d a second$", said[0])
    assert re.fullmatch(r"indexed 6 passages in \d+\.\d s", said[-1])


async def test_health_answers_while_articles_are_indexed(
    serve: Serve, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/ready says `starting`, and how far it is."""
    monkeypatch.setattr(index, "_PATIENCE", 0.2)
    few_at_once(monkeypatch, 4)
    going_on = asyncio.Event()

    async def slow(call: Call, send: Send) -> None:
        if len(inputs(model)) > 4:
            await going_on.wait()
        await VECTORS(call, send)

    model.script("embeddings", for_articles(slow))
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/health")).status_code == 200
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "starting")
        assert ready.json()["checks"]["articles"]["reason"] == "4 of 6 passages are indexed"
        going_on.set()
        async with asyncio.timeout(10):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.1)


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Instead of lines in the log, and it is gone at the end."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with IndexingProgress(4) as shown:
        shown.advance(2, new=2)
        assert shown._bar
        shown._bar.refresh()
    assert "indexing" in terminal.getvalue()
    assert "2/4" in terminal.getvalue()
    assert caplog.records == []


class Terminal(StringIO):
    """What somebody looks at."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True
