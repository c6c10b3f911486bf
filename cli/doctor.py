"""`support-agent doctor`: whether what is configured can be used, how to mend it, and how well answers are kept."""

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, cast

import typer

from api.settings import ServiceSettings
from graph.environment import old_names
from graph.errors import StartError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from graph.retrieval.company import Company


def doctor() -> None:
    """Check the settings and all that they name, say how to mend it, and show what the answer cache saved."""
    settings = ServiceSettings.load()
    if settings.env == "production":
        settings.require_service()
    print("settings  read; none is unknown or bad")
    for line in old_names():
        print(f"settings  {line}")
    if not asyncio.run(_examine(settings)):
        raise typer.Exit(1)


async def _examine(settings: ServiceSettings) -> bool:
    """Print how each is; return whether all that is configured is well."""
    logging.disable()  # it says the same
    return all(
        [
            await _examine_redis(settings),
            await _examine_model(settings),
            await _examine_articles(settings),
            await _examine_tools(settings),
            await _examine_langsmith(settings),
            _examine_handoffs(settings),
        ]
    )


async def _examine_redis(settings: ServiceSettings) -> bool:
    from graph.redis import open_redis
    from graph.redis_check import find_trouble

    if settings.redis_url is None:
        print("Redis     not configured: set REDIS_URL; without it `support-agent serve` starts one of its own")
        return True
    try:
        async with open_redis(settings) as redis:
            began = time.monotonic()
            trouble = await find_trouble(redis, redis.faults)
            latency = (time.monotonic() - began) * 1000
            if trouble:
                return _complain("Redis", f"{trouble.reason}; {trouble.remedy}")
            print(f"Redis     answers in {latency:.1f} ms, and takes what the service needs")
            await _count_answers(redis)
            return True
    except StartError as error:
        return _complain("Redis", str(error))


async def _count_answers(redis: "Redis") -> None:
    from api.answer_cache.store import STATISTICS

    found = cast("dict[bytes, bytes]", await redis.hgetall(STATISTICS))
    hits, coalesced, misses = (int(found.get(name, 0)) for name in (b"hit", b"coalesced", b"miss"))
    asked = hits + coalesced + misses
    saved = f"{(hits + coalesced) / asked:.0%}" if asked else "none yet"
    print(f"answers   {saved} of {asked} came without asking the model: {hits} kept, {coalesced} shared")


async def _examine_model(settings: ServiceSettings) -> bool:
    from graph.desk_prompt import DeskPrompt
    from graph.models import open_models
    from graph.models.checks import check_models, in_words, names

    if not settings.has_model:
        print("model     not configured: set OPENAI_API_KEY; without it `support-agent serve` starts the offline one")
        return True
    async with open_models(settings) as models:
        prompt = DeskPrompt(_company(settings))
        asked = names(models, settings, prompt)
        began = time.monotonic()
        troubles = await check_models(models, settings, prompt)
        latency = (time.monotonic() - began) * 1000
    for reason, remedy in in_words(troubles, len(asked)):
        _complain("model", f"{reason}; {remedy}")
    if not troubles:
        print(f"model     answers in {latency:.1f} ms, and gives what a turn needs: {', '.join(dict.fromkeys(asked))}")
    return not troubles


def _company(settings: ServiceSettings) -> "Company":
    """Return the company whose desks the classifier is to name; what is wrong with it is said of the articles."""
    from graph.retrieval.articles import read_company
    from graph.retrieval.company import UNNAMED

    try:
        return read_company(settings)
    except StartError:
        return UNNAMED


async def _examine_articles(settings: ServiceSettings) -> bool:
    from graph.retrieval.articles import named, printable, read_library
    from graph.retrieval.kept import kept_vectors
    from graph.retrieval.passages import passages_of
    from graph.retrieval.postgres import check_postgres

    try:
        library = await asyncio.to_thread(read_library, settings)
        for fault in library.faults:
            _complain("articles", named(fault))
        library.require(strict=False)
        if settings.database_url:
            await check_postgres(settings.database_url.get_secret_value())
    except StartError as error:
        return _complain("articles", str(error))
    passages = passages_of(library.articles)
    known = await kept_vectors(settings).get([passage.hash for passage in passages])
    refused = [each.article.id for each in passages if each.hash in known and not known[each.hash]]
    for article in dict.fromkeys(refused):
        _complain("articles", f"{printable(article)}: the embedding model refused a passage at the last start")
    sources = f"{len(settings.sources)} source{'s'[: len(settings.sources) - 1]} ({settings.sources_named})"
    left_out = f"{library.withheld} not for customers, {len(library.faults)} with faults"
    where = "Postgres can hold them" if settings.database_url else "kept in memory"
    print(f"articles  {len(library.articles)} in {sources}, {len(passages)} passages; left out: {left_out}; {where}")
    return not (library.faults or refused)


async def _examine_tools(settings: ServiceSettings) -> bool:
    from graph.actions.mcp import open_tools

    if not settings.mcp_servers:
        print("tools     none: set SUPPORT_MCP_SERVERS to give the agent those of MCP servers")
        return True
    async with open_tools(settings, patience=settings.answer_timeout) as tools:
        checks = tools.checks()
        for name, check in checks.items():
            if check.up:
                print(
                    f"tools     {name} answers in {check.latency_ms:.1f} ms: {', '.join(tools.names(name)) or 'none'}"
                )
            else:
                _complain("tools", f"{name} {check.reason}; {check.remedy}")
    return all(check.up for check in checks.values())


async def _examine_langsmith(settings: ServiceSettings) -> bool:
    from graph.observe.langsmith import check_langsmith

    if settings.langsmith_api_key is None:
        print("LangSmith off: set LANGSMITH_TRACING=true and LANGSMITH_API_KEY to trace runs")
        return True
    if trouble := await asyncio.to_thread(check_langsmith, settings):
        return _complain("LangSmith", "; ".join(trouble))
    traced = "gets traces" if settings.langsmith_tracing else "gets experiments, but no traces"
    print(f"LangSmith takes the key, and {traced}")
    return True


def _examine_handoffs(settings: ServiceSettings) -> bool:
    from graph.actions.receivers import UNRECEIVED

    if not settings.has_handoff_receiver:
        print(f"handoffs  {UNRECEIVED}")
        return True
    where = "a webhook" if settings.handoff_webhook else f"e-mail, by the MCP server {settings.handoff_email}"
    print(f"handoffs  go to the team over {where}")
    return True


def _complain(name: str, trouble: str) -> bool:
    print(f"{name:<9} {trouble}", file=sys.stderr)
    return False
