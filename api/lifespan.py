"""Opens what lives as long as the service, and closes it in reverse, also after a failed start."""

import gc
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TypedDict

from fastapi import FastAPI

from api.answer_cache.cache import AnswerCache
from api.drain import Drain, draining
from api.idle import IdleConnections
from api.inbox_sessions import InboxSessions
from api.logs import log_run, masked_logs
from api.rate_limit import RateLimiter
from api.readiness import Readiness
from api.settings import ServiceSettings
from api.telemetry import flush_spans
from graph.actions.outbox import Outbox, sending
from graph.actions.receivers import UNRECEIVED, open_receiver
from graph.agent import SupportAgent, open_agent
from graph.environment import old_names
from graph.models.watch import watching
from graph.observe.feedback import Feedback
from graph.observe.forwarding import forwarding
from graph.observe.gaps import Gaps
from graph.observe.metrics import RunMetrics
from graph.observe.prices import OPENAI
from graph.observe.redaction import Redactor
from graph.observe.report import Observe, RunReport
from graph.observe.spans import trace_run
from graph.observe.tracing import open_tracing
from graph.redis import open_redis
from graph.redis_memory import watching_memory
from graph.runs.threads import Threads

_log = logging.getLogger(__name__)
_TURN = 0.001  # seconds
_OLDEST = 100  # collections of the middle generation between two of the oldest; 10 by default


class State(TypedDict):
    """What requests find in `request.state`, and the protocols in `app_state`."""

    agent: SupportAgent
    answers: AnswerCache
    drain: Drain
    feedback: Feedback
    idle: IdleConnections
    inbox_sessions: InboxSessions
    limiter: RateLimiter
    readiness: Readiness
    settings: ServiceSettings
    threads: Threads
    trace_link: Callable[[str], str | None] | None
    """Returns the address of a run's trace; None where there are none."""


def lifespan_for(settings: ServiceSettings) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """Return the lifespan of a service with these settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[State]:
        for line in old_names():
            _log.warning(line)
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(open_redis(settings))
            stack.callback(flush_spans)
            observers: list[Observe] = []
            stack.callback(observers.clear)
            threads = Threads(redis, settings.session_ttl, settings.answer_timeout)
            agent = await stack.enter_async_context(
                open_agent(
                    settings, redis, partial(_tell, observers), threads=threads if settings.serves_langgraph else None
                )
            )
            app.state.desks = agent.knowledge.company.names  # FastAPI describes the API outside any request
            redactor = Redactor(agent.contacts)
            stack.enter_context(masked_logs(redactor, as_json=settings.env == "production"))
            tracing = stack.enter_context(open_tracing(settings, redactor))
            feedback = Feedback(
                redis,
                redactor,
                cached=settings.cache_ttl,
                ratable=settings.ratable_answers,
                lasting=max(settings.session_ttl, settings.handoff_timeout),
                server=settings.openai_base_url or OPENAI,
            )
            stack.push_async_callback(feedback.flush)
            if tracing:
                await stack.enter_async_context(forwarding(redis, tracing))
            gaps = Gaps(redis, redactor)
            stack.push_async_callback(gaps.flush)
            metrics = RunMetrics(settings, agent.knowledge.company.names)
            observers += [log_run, trace_run, metrics.observe, feedback.observe, gaps.observe]
            await stack.enter_async_context(watching_memory(redis))
            watch = await stack.enter_async_context(watching(agent.models, settings, agent.knowledge))
            observers.append(watch.observe)
            observers += [tracing.observe] if tracing else []
            drain = await stack.enter_async_context(draining(agent, settings.shutdown_notice))
            answers = AnswerCache(agent, redis, settings, drain)
            stack.push_async_callback(answers.write_counts)
            receiver = await stack.enter_async_context(open_receiver(settings, agent.tools))
            if receiver is None and settings.env == "production":
                _log.warning(UNRECEIVED)
            colleagues = agent.colleagues
            link = tracing.link if tracing else None
            outbox = Outbox(redis, colleagues.waiting, receiver, colleagues.time_out, link)
            await stack.enter_async_context(sending(outbox))
            stack.enter_context(_short_collections())
            stack.enter_context(_short_turns())
            yield State(
                agent=agent,
                answers=answers,
                drain=drain,
                feedback=feedback,
                idle=IdleConnections(),
                inbox_sessions=InboxSessions(redis, settings.api_keys),
                limiter=RateLimiter(redis),
                readiness=Readiness(agent, redis, watch),
                settings=settings,
                threads=threads,
                trace_link=link,
            )

    return lifespan


@contextmanager
def _short_collections() -> Generator[None]:
    """Spare the garbage collector what lives as long as the service.

    A full collection would look through all of it, and stop every request for 0.2 s; what lives for a while, such as
    traces that wait, is looked through ten times less often than by default.
    """
    youngest, middle, oldest = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(youngest, middle, _OLDEST)
    try:
        yield
    finally:
        gc.set_threshold(youngest, middle, oldest)
        gc.unfreeze()


@contextmanager
def _short_turns() -> Generator[None]:
    """Let threads that compute take turns with the event loop each millisecond; by default it waits for five.

    A request needs several turns, and articles that change are read and counted in threads for seconds.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _tell(observers: Sequence[Observe], report: RunReport) -> None:
    for observe in observers:
        observe(report)
