"""`python -m bench.syncing`: how long a sync of a big help centre takes, and searches beside one.

The articles are invented, the model is the offline one, and Postgres the bundled one. A search is measured without the
request for the question's vector, which depends on the model's server alone.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any

import psutil
import psycopg
import typer

from bench.help_centre import questions, vocabulary, write_article, write_help_centre
from graph.models import open_models
from graph.retrieval.finding import StoredSearch
from graph.retrieval.postgres import open_pool
from graph.retrieval.stored import Content, Stored
from graph.settings import AgentSettings
from local.model import start_model
from local.postgres import start_postgres

_SEARCHES = 500
_CHANGED = 50  # of as many articles one is changed for the second sync

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@_app.command()
def syncing(articles: Annotated[int, typer.Argument(help="How many, of five passages each.")] = 20_000) -> None:
    """Print times of syncs, of a replica's loading, and of searches without and beside a sync."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model, postgres = stack.enter_context(start_model()), stack.enter_context(start_postgres())
        os.environ |= {"OPENAI_BASE_URL": model.wait(), "OPENAI_API_KEY": model.secret, "DATABASE_URL": postgres.wait()}
        os.environ["SUPPORT_KNOWLEDGE"] = str(folder / "help")
        write_help_centre(folder / "help", articles)
        _say("first sync", _sync())
        _say("the same again", _sync())
        asyncio.run(_measure(articles, folder / "help"))


def _sync() -> dict[str, Any]:
    return _ended(_begun())


def _begun() -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "cli.main", "knowledge", "sync", "--json")
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _ended(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    output, _ = process.communicate()
    if process.returncode:
        raise typer.Exit(process.returncode)  # it has said why
    return json.loads(output)


def _say(what: str, done: dict[str, Any]) -> None:
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in done["seconds"].items())
    print(
        f"{what}: {sum(done['seconds'].values()):.1f} s ({phases}); {done['embedded']:,} passages embedded", flush=True
    )


async def _measure(articles: int, folder: Path) -> None:
    settings = AgentSettings.load()
    url = os.environ["DATABASE_URL"]
    asked = list(questions(_SEARCHES, articles))
    async with open_models(settings) as models, open_pool(url) as pool:
        found = await models.embed(asked)
        vectors = dict(zip(asked, found, strict=True))

        async def embed(texts: Sequence[str]) -> list[list[float]]:
            return [vectors[text] for text in texts]

        stored = Stored(pool, settings.embedding)
        before, began = psutil.Process().memory_info().rss, time.perf_counter()
        content = await _load(stored, None)
        took = time.perf_counter() - began
        grown = (psutil.Process().memory_info().rss - before) / len(content.rows)
        print(
            f"a replica loads {len(content.rows):,} passages in {took:.1f} s; it grows by {grown:.0f} bytes a passage"
        )
        search = StoredSearch(stored, content, embed)
        _times("searches", await _searched(search, asked, lambda: False))
        exact = [await _exact(stored, vector) for vector in found[:100]]
        shares = [
            len({*content.rows.vectors[await search.nearest(vector, None)].tolist()} & right) / len(right)
            for vector, right in zip(found, exact, strict=False)
        ]
        print(f"recall of the 50 nearest against exact search: {sum(shares) / len(shares):.3f}")
        words = vocabulary()
        for number in range(0, articles, _CHANGED):
            write_article(folder, number, words, seed=2)
        process = _begun()
        _times("searches beside a sync", await _searched(search, asked, lambda: process.poll() is None))
        _say(f"a sync of {articles // _CHANGED:,} changed articles", _ended(process))
        began = time.perf_counter()
        await _load(stored, content)
        print(f"a replica follows in {time.perf_counter() - began:.1f} s")
        print(f"the database has {_size(url) / 1e6:,.0f} MB")


async def _load(stored: Stored, held: Content | None) -> Content:
    if not (newest := await stored.newest()):
        raise RuntimeError("a sync has ended, and there is no set")
    return await stored.load(*newest, held)


async def _searched(search: StoredSearch, asked: Sequence[str], goes_on: Callable[[], bool]) -> list[float]:
    """Search, as often as there are questions and for as long as something else goes on; return seconds."""
    times: list[float] = []
    while len(times) < len(asked) or goes_on():
        began = time.perf_counter()
        await search.find([asked[len(times) % len(asked)]])
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.02)
    return times


def _times(what: str, times: Sequence[float]) -> None:
    cuts = quantiles(times, n=100)
    print(f"{what}: median {cuts[49] * 1000:.1f} ms, p95 {cuts[94] * 1000:.1f} ms ({len(times):,})", flush=True)


async def _exact(stored: Stored, vector: Sequence[float]) -> set[int]:
    rows = await stored.ask(
        "SELECT id FROM knowledge_vectors ORDER BY embedding <#> %s::halfvec, id LIMIT 50", (str(list(vector)),)
    )
    return {row[0] for row in rows}


def _size(url: str) -> int:
    with psycopg.connect(url) as connection:
        (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchall()
    return size[0]


if __name__ == "__main__":
    _app()
