"""Sets of articles in Postgres: what they cost, who sees which, and what is forgotten."""

from dataclasses import replace
from typing import LiteralString

import numpy as np
import psycopg
import pytest

from conftest import MakeSettings
from graph.errors import KnowledgeError, KnowledgeUnavailable, ModelError
from graph.retrieval import finding
from graph.retrieval.articles import Article
from graph.retrieval.rows import Rows
from graph.retrieval.search import ARTICLES
from graph.retrieval.sources import LeftOut
from graph.retrieval.sources.parsers import NEEDS_EXTRA
from graph.retrieval.synced import Difference
from harness.dialects import unless
from harness.scripted_model import ScriptedModel, embedded, status
from harness.stored import store

SIX = [
    Article(f"article-{number}", f"Title {word}", f"Text about the {word}.", language="en")
    for number, word in enumerate(("zebra", "lion", "tiger", "otter", "heron", "raven"))
]
LONG = Article("long", "Long", "\n\n".join(f"## Part {number}\n\n{'word ' * 250}" for number in range(5)))


def texts(model: ScriptedModel) -> list[str]:
    """Return the passages that the model was asked to embed."""
    return [text for call in model.of("embeddings") for text in call.body["input"] if "\n" in text]


def count(url: str, table: LiteralString) -> int:
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a name of ours
    assert rows
    return rows[0]


async def test_a_sync_costs_what_has_changed(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """One changed article is one row more and one text to embed; the same again is nothing at all."""
    async with store(make_settings(), database_url) as at:
        assert (await at.sync([*SIX, LONG])).embedded == 6 + 5
        model.forget()
        changed = [replace(SIX[0], text="Text about the walrus."), *SIX[2:], LONG, Article("new", "New", "Brand new.")]
        done = await at.sync(changed)
        assert (done.embedded, len(texts(model))) == (2, 2)
        assert done.difference.added == ("new",)
        assert done.difference.changed == ("article-0",)
        assert done.difference.removed == ("article-1",)
        model.forget()
        again = await at.sync(changed)
        assert (again.embedded, again.number, model.of("embeddings")) == (0, 2, [])
        assert (await at.find(await at.load(), "walrus"))[0] == "article-0"
    assert count(database_url, "knowledge_articles") == 7 + 2
    assert count(database_url, "knowledge_vectors") == 11 + 2


async def test_what_was_embedded_once_is_known_in_any_later_set(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """An article that becomes a draft, and is published again; another desk; another article with its text."""
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX)
        await at.sync(SIX[1:])
        model.forget()
        await at.sync([replace(SIX[0], desk="general"), *SIX[1:], replace(SIX[0], id="copy")])
        assert texts(model) == []
        assert len((await at.load()).rows) == 7


async def test_a_reader_sees_the_old_set_or_the_new_one(make_settings: MakeSettings, database_url: str) -> None:
    """While a set is written nobody sees it; who has opened one reads it to the end."""
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX)
        old = await at.load()
        written = await at.write([*SIX[1:], LONG])
        await at.sets.cut(written)
        newest = await at.stored.newest()
        assert newest
        assert newest[0].number == 1
        await at.sync([*SIX[1:], LONG])
        new = await at.load(old)
        assert (await at.find(old, "zebra"))[0] == "article-0"
        assert "article-0" not in await at.find(new, "zebra")
        assert "long" in await at.find(new, "word part")


async def test_a_sync_that_ended_early_goes_on(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with other articles: what was embedded is found by its text."""
    for name in ("_BATCH", "_MOST"):
        monkeypatch.setattr(f"graph.retrieval.indexing.{name}", 2)
    left = [4]

    def is_refused(request: dict[str, object]) -> bool:
        left[0] -= 1
        return left[0] < 0

    async with store(make_settings(), database_url) as at:
        model.script("embeddings", unless(is_refused, status(401), embedded(64)))
        with pytest.raises(ModelError):
            await at.sync([*SIX, LONG])
        assert await at.stored.newest() is None
        model.script("embeddings", embedded(64))
        model.forget()
        assert (await at.sync([*SIX[1:], LONG])).embedded == 11 - 6


async def test_a_set_that_nobody_has_read_yet_is_no_measure(make_settings: MakeSettings, database_url: str) -> None:
    """A sync that was killed has written one: the next compares with what is served, and says what customers get."""
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX)
        await at.write(SIX[:1])
        with pytest.raises(KnowledgeError, match="5 of 6 articles are gone, which is more than half"):
            await at.sync(SIX[:1])
        await at.write([*SIX[1:], LONG])
        done = await at.sync([*SIX[1:], LONG])
        assert (done.difference.added, done.difference.removed) == (("long",), ("article-0",))
        assert (await at.sync([*SIX[1:], LONG])).difference == Difference()


async def test_a_small_library_finds_as_much_beside_a_big_one(
    make_settings: MakeSettings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another embedding model, in the same tables."""
    monkeypatch.setattr(finding, "CANDIDATES", 10)
    big = [replace(SIX[0], id=f"big-{number}", text=f"A zebra, {number} of many.") for number in range(200)]
    async with store(make_settings(), database_url, embedding_model="another") as other:
        await other.sync(big)
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX, force=True)
        found = await at.find(await at.load(), "zebra")
    assert found[0] == "article-0"
    assert len(found) == ARTICLES
    assert {*found} <= {article.id for article in SIX}


async def test_what_no_replica_can_read_is_forgotten(make_settings: MakeSettings, database_url: str) -> None:
    """The last four sets stay; of older ones nothing does, vectors included."""
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX)
        first = await at.load()
        for number in range(1, 7):
            await at.sync([*SIX[:5], replace(SIX[5], text=f"Version {number}.")])
            if number == 3:
                assert (await at.find(first, "raven"))[0] == "article-5"
        await at.stored.check(first)  # it has articles that are still there
        with pytest.raises(KnowledgeUnavailable):
            async with store(make_settings(), database_url) as other:
                await other.find(first, "raven")
    assert count(database_url, "knowledge_articles") == 5 + 4
    assert count(database_url, "knowledge_passages") == 5 + 4
    assert count(database_url, "knowledge_vectors") == 5 + 4


async def test_two_embedding_models_do_not_disturb_one_another(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """As while a release with another is deployed; the old one's set stays until it has not been used for a week."""
    async with (
        store(make_settings(), database_url) as old,
        store(make_settings(), database_url, embedding_model="another") as new,
    ):
        await old.sync(SIX)
        model.script("embeddings", embedded(32))
        assert await new.stored.newest() is None
        assert (await new.sync(SIX)).embedded == 6
        for number in range(6):
            await new.sync([*SIX[1:], replace(SIX[0], text=f"Version {number}.")])
        model.script("embeddings", embedded(64))
        assert (await old.find(await old.load(), "zebra"))[0] == "article-0"
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE knowledge_indexes SET used = now() - interval '8 days' WHERE dims = 64")
        await old.stored.use()  # which a replica does while it serves
        model.script("embeddings", embedded(32))
        await new.sync(SIX)
        assert await old.stored.newest()
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE knowledge_indexes SET used = now() - interval '8 days' WHERE dims = 64")
        await new.sync(SIX[1:])
        assert await old.stored.newest() is None
    assert count(database_url, "knowledge_vectors WHERE model = 'text-embedding-3-small'") == 0


async def test_another_way_to_cut_makes_passages_beside_the_old_ones(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts that come out the same are not embedded again."""
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX)
        model.forget()
        for module in ("sets", "stored"):
            monkeypatch.setattr(f"graph.retrieval.{module}.CUT_NOW", "9.9")
        assert await at.stored.newest() is None
        assert (await at.sync(SIX)).embedded == 0
        assert (await at.find(await at.load(), "zebra"))[0] == "article-0"
    assert count(database_url, "knowledge_passages") == 12


async def test_what_is_loaded_step_by_step_is_what_is_loaded_at_once(
    make_settings: MakeSettings, database_url: str
) -> None:
    """Whatever came and went, in several languages, also where a replica has missed sets that are forgotten since."""
    random = np.random.default_rng(1)
    languages = ("en", "de", None)
    async with store(make_settings(), database_url) as at:
        held = first = None
        for _ in range(8):
            chosen = [int(each) for each in random.choice(20, 12, replace=False)]
            await at.sync(
                [
                    Article(
                        f"a{each}",
                        f"Title {each}",
                        f"word{each} " * (300 if each % 5 == 0 else 3),
                        language=languages[each % 3],
                    )
                    for each in chosen
                ],
                force=True,
            )
            held, anew = await at.load(held), await at.load()
            first = first or anew
            assert sorted_rows(held.rows) == sorted_rows(anew.rows)
            assert sorted_rows((await at.load(first)).rows) == sorted_rows(anew.rows)
            for each in (
                one for one in chosen if one % 3 != 1
            ):  # a name tells no language, so those in English are found
                for content in (held, anew):
                    assert f"a{each}" in await at.find(content, f"word{each}")


def sorted_rows(rows: Rows) -> list[tuple[int, int, int, int]]:
    return sorted(
        zip(
            rows.articles.tolist(),
            rows.sizes.tolist(),
            rows.vectors.tolist(),
            rows.postings.lengths.tolist(),
            strict=True,
        )
    )


async def test_a_bad_set_does_not_take_the_place_of_a_good_one(make_settings: MakeSettings, database_url: str) -> None:
    """Nothing left, more than half gone, a source that can't be read, files whose parsers are missing here."""
    pdf = Article("guides/manual", "Manual", "How to.")
    async with store(make_settings(), database_url) as at:
        await at.sync([*SIX, pdf])
        with pytest.raises(KnowledgeError, match="no article is left"):
            await at.sync([])
        with pytest.raises(KnowledgeError, match="4 of 7 articles are gone"):
            await at.sync(SIX[:3])
        with pytest.raises(KnowledgeError, match=r"1 articles would be removed because 'https://help\.example' can't"):
            await at.sync(SIX, unread=["https://help.example"])
        needs = LeftOut("help/guides/manual.pdf", f"a .pdf file {NEEDS_EXTRA}", is_fault=True)
        with pytest.raises(KnowledgeError, match="such as 'guides/manual', each of which needs the extra"):
            await at.sync(SIX, left_out=[needs])
        assert (await at.load()).set.number == 1
        assert (await at.sync(SIX[:3], force=True)).number == 2
        assert len((await at.load()).rows) == 3
        await at.sync([], force=True)
        assert await at.find(await at.load(), "zebra") == []


async def test_texts_that_postgres_can_not_hold_are_mended(make_settings: MakeSettings, database_url: str) -> None:
    """NUL is the one character that it refuses."""
    async with store(make_settings(), database_url) as at:
        await at.sync([*SIX, Article("odd", "Odd\0", "A text with \0 in it, and 😀.")])
        assert (await at.find(await at.load(), "odd"))[0] == "odd"


async def test_a_passage_without_a_vector_is_found_by_its_words(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """The model refuses its text, and none of the others."""
    model.script(
        "embeddings",
        unless(lambda request: any("blob\n" in text for text in request["input"]), status(400), embedded(64)),
    )
    async with store(make_settings(), database_url) as at:
        done = await at.sync([*SIX, Article("odd", "blob", "A blob.", language="en")])
        assert done.refused == 1
        model.script("embeddings", embedded(64))
        assert "odd" in await at.find(await at.load(), "blob")


async def test_a_database_of_an_earlier_release_is_taken_over(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """Its vectors serve; its tables go a week after its last replica has started."""
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE TABLE article_indexes (version text PRIMARY KEY, dims integer NOT NULL, "
            "used timestamptz NOT NULL DEFAULT now())"
        )
        connection.execute("INSERT INTO article_indexes (version, dims) VALUES ('old', 64)")
        connection.execute(
            "CREATE TABLE article_passages AS SELECT version, hash AS article, 0 AS number, '' AS language, model, "
            "hash, embedding FROM knowledge_vectors, (VALUES ('old'), ('older')) AS versions (version)"
        )
        connection.execute(
            "DROP TABLE knowledge_sets, knowledge_members, knowledge_passages, knowledge_articles, knowledge_vectors, "
            "knowledge_indexes"
        )
    model.forget()
    async with store(make_settings(), database_url) as at:
        assert (await at.sync(SIX)).embedded == 0
        assert count(database_url, "article_passages") == 12
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE article_indexes SET used = now() - interval '8 days'")
        await at.sync(SIX[1:])
    with pytest.raises(psycopg.errors.UndefinedTable):
        count(database_url, "article_passages")


async def test_an_article_is_read_by_its_id(make_settings: MakeSettings, database_url: str) -> None:
    """As the set that is served has it."""
    async with store(make_settings(), database_url) as at:
        await at.sync(SIX)
        await at.sync([replace(SIX[0], text="Another."), *SIX[2:]])
        assert await at.stored.article("article-0", 1) == SIX[0]
        assert (await at.stored.article("article-0", 2)) == replace(SIX[0], text="Another.")
        assert await at.stored.article("article-1", 2) is None
