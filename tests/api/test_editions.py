"""Answers while the articles change: none is kept for articles that it does not rest on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis

from api.answer_cache.cache import AnswerCache
from api.drain import draining
from conftest import MakeSettings
from graph.agent import SupportAgent, open_agent
from graph.redis import open_redis
from graph.state import AgentContext
from harness.scripted_model import ScriptedModel, tokens, until

QUESTION = "Why was I charged twice?"


@asynccontextmanager
async def caches(make_settings: MakeSettings, count: int) -> AsyncGenerator[list[tuple[SupportAgent, AnswerCache]]]:
    """Yield the agents and answer caches of replicas."""
    settings = make_settings(SUPPORT_CACHE_TTL=60)
    async with AsyncExitStack() as stack:
        replicas: list[tuple[SupportAgent, AnswerCache]] = []
        for _ in range(count):
            redis = await stack.enter_async_context(open_redis(settings))
            agent = await stack.enter_async_context(open_agent(settings, redis))
            drain = await stack.enter_async_context(draining(agent, 0))
            replicas.append((agent, AnswerCache(agent, redis, settings, drain)))
        yield replicas


async def ask(cache: AnswerCache) -> tuple[str, str]:
    """Return the answer, and whether it was kept."""
    async with cache.request(QUESTION, AgentContext()) as request:
        return (await request.whole()).answer, request.cache_status


def change(agent: SupportAgent, version: str) -> None:
    """Serve another edition."""
    served = agent.knowledge.served
    assert served
    agent.knowledge.serve(replace(served, version=version))


async def test_an_answer_that_the_articles_overtake_is_not_kept(
    make_settings: MakeSettings, redis: Redis, model: ScriptedModel
) -> None:
    """Neither for the old articles nor for the new ones, nor if the old ones are back before its end."""
    for back in (False, True):
        async with caches(make_settings, 1) as [(agent, cache)]:
            seen = asyncio.Event()
            model.script("answer", tokens(["Old"], then=until(seen)), tokens(["New"]))
            before, version = agent.version, agent.knowledge.version
            asking = asyncio.create_task(ask(cache))
            while not model.of("answer"):
                await asyncio.sleep(0.01)
            change(agent, "another")
            assert agent.version != before
            assert agent.versions["knowledge_version"] == "another"
            if back:
                change(agent, version)
            seen.set()
            assert await asking == ("Old", "miss")
            assert await ask(cache) == ("New", "miss")
            assert await ask(cache) == ("New", "hit")
        await redis.flushdb()
        model.forget()


async def test_the_followers_of_an_overtaken_answer_get_it(
    make_settings: MakeSettings, redis: Redis, model: ScriptedModel
) -> None:
    """On another replica too, where nothing has changed yet; whoever asks for the new articles' follows nobody."""
    async with caches(make_settings, 2) as [(leading, led), (_, followed)]:
        seen = asyncio.Event()
        model.script("answer", tokens([], then=until(seen, "Old")), tokens(["New"]))
        leader = asyncio.create_task(ask(led))
        while not model.of("answer"):
            await asyncio.sleep(0.01)
        follower = asyncio.create_task(ask(followed))
        await asyncio.sleep(0.2)
        change(leading, "another")
        assert await ask(led) == ("New", "miss")
        seen.set()
        assert await asyncio.gather(leader, follower) == [("Old", "miss"), ("Old", "coalesced")]
    assert len(model.of("answer")) == 2
