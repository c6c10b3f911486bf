"""Opens what lives as long as the service, and closes it in reverse, also after a failed start."""

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TypedDict

from fastapi import FastAPI

from support_agent.api.cache import Answers
from support_agent.api.drain import Drain, draining
from support_agent.api.rate_limit import RateLimiter
from support_agent.api.settings import ServiceSettings
from support_agent.graph.agent import SupportAgent, open_agent
from support_agent.graph.feedback import Feedback, open_feedback
from support_agent.graph.metrics import RunMetrics
from support_agent.graph.redaction import RedactingFilter, Redactor
from support_agent.graph.redis import open_redis
from support_agent.graph.report import Observe, RunReport
from support_agent.graph.spans import trace_run
from support_agent.graph.tracing import open_tracing


class State(TypedDict):
    """What requests find in `request.state`."""

    agent: SupportAgent
    answers: Answers
    drain: Drain
    feedback: Feedback
    limiter: RateLimiter | None
    settings: ServiceSettings


def lifespan_for(settings: ServiceSettings) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """Return the lifespan of a service with these settings."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[State]:
        # uvicorn writes query strings, and so what customers ask; its other logger does for WebSockets.
        logging.getLogger("uvicorn.access").disabled = True
        logging.getLogger("uvicorn.error").addFilter(_without_clients_words)
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(open_redis(settings))
            observers: list[Observe] = []
            stack.callback(observers.clear)
            agent = await stack.enter_async_context(open_agent(settings, redis, partial(_tell, observers)))
            redactor = Redactor(agent.contacts)
            stack.enter_context(_redacted_logs(redactor))
            tracing = stack.enter_context(open_tracing(settings, agent.versions, redactor))
            feedback = await stack.enter_async_context(open_feedback(redis, redactor, tracing))
            observers += [trace_run, RunMetrics(settings).observe, feedback.observe]
            observers += [tracing.observe] if tracing else []
            drain = await stack.enter_async_context(draining(agent))
            limiter = RateLimiter(redis, settings.rate_limit) if settings.rate_limit else None
            answers = Answers(agent, redis, settings, drain)
            yield State(
                agent=agent, answers=answers, drain=drain, feedback=feedback, limiter=limiter, settings=settings
            )

    return lifespan


def _tell(observers: Sequence[Observe], report: RunReport) -> None:
    for observe in observers:
        observe(report)


@contextmanager
def _redacted_logs(redactor: Redactor) -> Generator[None]:
    """Mask what may be personal or secret in every log record."""
    redacting = RedactingFilter(redactor)
    loggers = [logging.getLogger(name) for name in (None, "support_agent", "uvicorn", "uvicorn.error")]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    for handler in handlers:
        handler.addFilter(redacting)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(redacting)


_UNWANTED = (
    '%s - "WebSocket %s"',  # an address with its query string
    "Invalid UTF-8",  # a traceback for each client that sends it
    "ASGI callable returned without completing handshake",  # which is how a WebSocket is refused
)


def _without_clients_words(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_UNWANTED)
