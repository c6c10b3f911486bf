"""Many articles in Postgres: a sync that is killed, the next ones, and how much of an exact search is found."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from bench.help_centre import SECTIONS, questions, vocabulary, write_article, write_help_centre
from conftest import Report
from graph.models import open_models
from graph.retrieval.finding import StoredSearch
from graph.retrieval.postgres import open_pool
from graph.retrieval.stored import Stored
from graph.settings import AgentSettings
from harness.commands import COMMAND
from local.process import Service

EXACT = """\
SELECT v.id FROM knowledge_vectors v ORDER BY v.embedding <#> %s::halfvec, v.id LIMIT %s"""


@pytest.fixture
def environment(offline_model: Service, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "OPENAI_BASE_URL": offline_model.url,
        "OPENAI_API_KEY": offline_model.secret,
        "DATABASE_URL": database_url,
        "SUPPORT_KNOWLEDGE": str(tmp_path / "help"),
    }


def sync(environment: dict[str, str]) -> dict[str, int]:
    """Run the command to its end and return what it says."""
    done = subprocess.run([COMMAND, "knowledge", "sync", "--json"], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kill_a_sync(environment: dict[str, str], passages: int) -> int:
    """Kill a sync that has stored so many vectors; return how many there are."""
    url = environment["DATABASE_URL"]
    process = subprocess.Popen([COMMAND, "knowledge", "sync"], env=environment, stdout=subprocess.DEVNULL)
    while stored(url) < passages:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while is_writing(url):
        time.sleep(0.1)
    return stored(url)


def stored(url: str) -> int:
    """Count the vectors that are stored."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('knowledge_vectors')").fetchone() == (None,):
            return 0
        row = connection.execute("SELECT count(*) FROM knowledge_vectors").fetchone()
    assert row
    return row[0]


@pytest.mark.parametrize(
    "articles", [pytest.param(2_000, marks=pytest.mark.soak), pytest.param(20_000, marks=pytest.mark.nightly)]
)
async def test_a_killed_sync_goes_on_and_later_ones_embed_what_has_changed(
    environment: dict[str, str], database_url: str, tmp_path: Path, report: Report, articles: int
) -> None:
    """The next sync embeds the rest, the one after it nothing, and a changed article its own passages."""
    folder = tmp_path / "help"
    write_help_centre(folder, articles)
    had = kill_a_sync(environment, articles * SECTIONS // 4)

    began = time.monotonic()
    first = sync(environment)
    report(f"{articles} articles: the rest of a sync took {time.monotonic() - began:.0f} s: {first['seconds']}")
    assert first["embedded"] == first["passages"] - had
    again = sync(environment)
    assert (again["embedded"], again["set"]) == (0, first["set"])
    write_article(folder, 7, vocabulary(), seed=2)
    began = time.monotonic()
    changed = sync(environment)
    report(f"{articles} articles: a sync of one took {time.monotonic() - began:.1f} s: {changed['seconds']}")
    assert (changed["embedded"], changed["changed"]) == (SECTIONS, ["000/article-00007"])

    found = await recall(environment, articles)
    report(f"{articles} articles: recall of the first 50 against exact search: {found:.3f}")
    assert found >= 0.95


def is_writing(url: str) -> bool:
    """Whether a connection of the killed process is still at work in Postgres."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        ).fetchone()
    return row != (0,)


async def recall(environment: dict[str, str], articles: int) -> float:
    """Return how many of the 50 passages that are nearest to a question are found, in the mean of a hundred."""
    names = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "DATABASE_URL")
    settings = AgentSettings.model_validate({name: environment[name] for name in names})
    asked = list(questions(100, articles))
    shares: list[float] = []
    async with open_models(settings) as models, open_pool(environment["DATABASE_URL"]) as pool:
        reader = Stored(pool, settings.embedding)
        newest = await reader.newest()
        assert newest
        content = await reader.load(*newest, None)
        search = StoredSearch(reader, content, models.embed)
        for vector in await models.embed(asked):
            rows = await search.nearest(vector, None)
            exact = await reader.ask(EXACT, (str(vector), 50))
            near = set(content.rows.vectors[rows].tolist())
            shares.append(len(near & {row[0] for row in exact}) / 50)
    return sum(shares) / len(shares)
