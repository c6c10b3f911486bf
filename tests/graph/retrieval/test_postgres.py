import asyncio
import os
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from api.settings import ServiceSettings
from conftest import MakeSettings
from graph.errors import KnowledgeError, KnowledgeUnavailable
from graph.models import open_models
from graph.retrieval import postgres as in_postgres
from graph.retrieval.index import open_knowledge
from graph.retrieval.postgres import open_pool
from graph.retrieval.served import Knowledge
from graph.retrieval.syncing import sync_to_postgres
from harness.scripted_model import ScriptedModel, embedded
from local.postgres import start_postgres


def embedded_articles(model: ScriptedModel) -> int:
    """Count the articles that the model was asked to embed."""
    return sum(len(call.body["input"]) for call in model.of("embeddings") if "\n" in call.body["input"][0])


async def test_postgres_ranks_as_memory_does(make_settings: MakeSettings, database_url: str) -> None:
    """Search ranks the same with Postgres as in memory."""
    found: list[list[str]] = []
    for settings in (make_settings(), make_settings(DATABASE_URL=database_url)):
        async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
            passages = await knowledge.search("was my card charged twice, or refunded within days")
            found.append([passage["id"] for passage in passages])
    assert found[0] == found[1]
    assert found[0][0] == "duplicate-charge"


async def test_replicas_that_start_at_once_index_once(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """The first replica builds the index; the others wait for it and find the same articles."""
    settings = make_settings(DATABASE_URL=database_url)
    async with AsyncExitStack() as stack:

        async def replica() -> Knowledge:
            models = await stack.enter_async_context(open_models(settings))
            return await stack.enter_async_context(open_knowledge(settings, models))

        replicas = await asyncio.gather(replica(), replica(), replica())
        found = [(await knowledge.search("support is open on monday"))[0]["id"] for knowledge in replicas]
    assert found == ["opening-hours"] * 3
    assert embedded_articles(model) == 6


async def test_a_restart_does_not_index_again(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """The index is reused after a restart."""
    settings = make_settings(DATABASE_URL=database_url)
    for _ in range(2):
        async with open_models(settings) as models, open_knowledge(settings, models):
            pass
    assert embedded_articles(model) == 6


async def test_what_another_version_has_is_not_embedded_again(
    make_settings: MakeSettings, articles: Path, model: ScriptedModel, database_url: str
) -> None:
    """One changed article is one text for the model, and one removed article none."""
    await start(make_settings, database_url)
    path = articles / "careers.md"
    path.write_text(path.read_text() + "\nAnd more.\n")
    (articles / "clear-cache.md").unlink()
    model.forget()
    await sync(settings := make_settings(DATABASE_URL=database_url))
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        found = await knowledge.search("open positions careers")
    assert embedded_articles(model) == 1
    assert len(found) == 5
    assert found[0]["text"].endswith("And more.")


async def test_a_start_waits_for_the_replica_that_indexes(
    make_settings: MakeSettings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that another replica never finishes stops the start after a deadline, and says so."""
    monkeypatch.setattr(in_postgres, "_LOCK_DEADLINE", 0.3)
    settings = make_settings(DATABASE_URL=database_url)
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (in_postgres._LOCK,))
        async with open_models(settings) as models:
            with pytest.raises(KnowledgeError, match="another replica has been indexing"):
                async with open_knowledge(settings, models):
                    pass


async def sync(settings: ServiceSettings) -> None:
    async with open_models(settings) as models:
        await sync_to_postgres(settings, models, force=False)


async def start(make_settings: MakeSettings, url: str) -> None:
    settings = make_settings(DATABASE_URL=url)
    async with open_models(settings) as models, open_knowledge(settings, models):
        pass


async def test_vectors_of_another_length_are_explained(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """A database with vectors of another embedding model is named in the error."""
    await start(make_settings, database_url)
    model.script("embeddings", embedded(32))
    with pytest.raises(KnowledgeError, match="DATABASE_URL: it holds vectors of another length"):
        await start(make_settings, database_url)


@pytest.mark.parametrize(
    ("url", "trouble"),
    [
        ("postgresql://me:secret@127.0.0.1:1/db", "Postgres can't be reached"),
        ("postgresql://me:secret@[::1", "is not an address"),
        ("postgresql://me:secret@127.0.0.1/db?nothing=1", "is not an address"),
    ],
)
async def test_an_unreachable_postgres_is_explained(make_settings: MakeSettings, url: str, trouble: str) -> None:
    """The error names the variable and never its password."""
    with pytest.raises(KnowledgeError, match=f"DATABASE_URL: {trouble}") as caught:
        await start(make_settings, url)
    assert "secret" not in str(caught.value)


async def test_a_refused_connection_is_explained(make_settings: MakeSettings, database_url: str) -> None:
    """A database that the server has not, and a login that it refuses, are told apart."""
    with pytest.raises(KnowledgeError, match="DATABASE_URL: that server has no database of this name"):
        await start(make_settings, re.sub(r"/[^/?]+(?=$|\?)", "/nowhere", database_url))
    with pytest.raises(KnowledgeError, match="DATABASE_URL: Postgres refused the login"):
        await start(make_settings, re.sub("agent:[0-9a-f]+@", "agent:secret@", database_url))


async def test_a_user_without_rights_is_explained(make_settings: MakeSettings, database_url: str) -> None:
    """A role that may not create tables is named in the error."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS nobody_here")
        connection.execute("CREATE ROLE nobody_here LOGIN PASSWORD 'none'")
    with pytest.raises(KnowledgeError, match="DATABASE_URL: its user may not create tables"):
        await start(make_settings, re.sub("agent:[0-9a-f]+@", "nobody_here:none@", database_url))


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE EXTENSION no_such_extension", "pgvector"),
        ("SELECT 1/0", "DivisionByZero"),
        ("SELEC", "SyntaxError"),
    ],
)
def test_other_refusals_are_explained(postgres: str, statement: LiteralString, named: str) -> None:
    """The error names a missing extension; for anything else, only the error's type."""
    with psycopg.connect(postgres) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(statement)
    assert named in in_postgres.postgres_trouble(caught.value)


async def test_a_postgres_that_restarts_costs_no_request(
    make_settings: MakeSettings, database_url: str, postgres: str
) -> None:
    """Connections that Postgres has closed are replaced, also where it has not yet said so when one is used."""
    settings = make_settings(DATABASE_URL=database_url)
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        for _ in range(6):
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (conninfo_to_dict(database_url)["dbname"],),
                )
            found = await asyncio.gather(*(knowledge.search("support is open on monday") for _ in range(3)))
            assert {passages[0]["id"] for passages in found} == {"opening-hours"}


async def test_a_postgres_that_is_gone_makes_the_articles_unavailable(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that can't be searched for ends with an error of its own."""
    monkeypatch.setattr(in_postgres, "_TIMEOUT", 1)
    with start_postgres() as server:
        settings = make_settings(DATABASE_URL=server.wait())
        async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(KnowledgeUnavailable):
                await knowledge.search("support is open on monday")


@pytest.mark.parametrize("dims", [384, 4096])
async def test_vectors_of_any_length_are_searched(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str, dims: int
) -> None:
    """4,096 numbers are more than an approximate index can have."""
    model.script("embeddings", embedded(dims))
    settings = make_settings(DATABASE_URL=database_url)
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        assert (await knowledge.search("support is open on monday"))[0]["id"] == "opening-hours"


async def test_replicas_may_make_the_tables_at_once(database_url: str) -> None:
    """None of them fails."""
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(open_pool(database_url)) for _ in range(5)))


async def test_an_interrupted_build_is_continued(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """What was embedded before is not embedded again."""
    settings = make_settings(DATABASE_URL=database_url)
    await start(make_settings, database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM knowledge_indexes")
        connection.execute(
            "DELETE FROM knowledge_vectors v USING knowledge_passages p, knowledge_articles a "
            "WHERE p.hash = v.hash AND a.key = p.article AND a.id LIKE 'c%'"
        )
    model.forget()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        assert len(await knowledge.search("open positions careers")) == 5
    assert embedded_articles(model) == 2


async def test_a_user_who_may_only_use_the_tables_is_enough(make_settings: MakeSettings, database_url: str) -> None:
    """Once they are there."""
    await start(make_settings, database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS only_rows")
        connection.execute("CREATE ROLE only_rows LOGIN PASSWORD 'none'")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO only_rows")
    await start(make_settings, re.sub("agent:[0-9a-f]+@", "only_rows:none@", database_url))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY only_rows")
        connection.execute("DROP ROLE only_rows")
