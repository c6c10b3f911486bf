"""What is known of the models while the service runs. Probes get that; they cause no request."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from contextvars import Context

from graph.errors import RUN_ERRORS, ContentFiltered, ContextTooLong, ModelError
from graph.events import Failed
from graph.health import Check
from graph.models import Models
from graph.models.checks import Trouble, check_models, in_words, names
from graph.observe.report import RunReport
from graph.retrieval.served import Knowledge
from graph.settings import AgentSettings

_PAUSE = 15.0  # seconds between two checks, since they cost money
_FIRST = 2.0  # seconds that a start waits for its check

_log = logging.getLogger(__name__)


class ModelWatch:
    """What is known of the models: by a check at the start, by turns, and by another check after one that failed."""

    def __init__(self, models: Models, settings: AgentSettings, knowledge: Knowledge) -> None:
        self._models = models
        self._settings = settings
        self._knowledge = knowledge
        self._count = len(names(models, settings, knowledge.prompt))
        self._troubles: list[Trouble] | None = None
        self._latency = 0.0
        self._next = 0.0
        self._checking: asyncio.Task[None] | None = None

    async def latest(self, patience: float) -> Check:
        """Return how the models are, as far as it is known; the first check may take `patience` seconds."""
        if self._troubles is None and self._checking:
            await asyncio.wait((self._checking,), timeout=patience)
        if self._troubles is None:
            return Check(up=False, latency_ms=round(patience * 1000, 1), reason="has not answered yet")
        said = in_words([*self._troubles, *self._refused()], self._count)
        reason = "; ".join(reason for reason, _ in said) or None
        remedy = "; ".join(remedy for _, remedy in said) or None
        return Check(not said, self._latency, reason, remedy)

    def _refused(self) -> list[Trouble]:
        """Return the models that are not asked, since they have failed, although no check has found out why."""
        known = {trouble.model for trouble in self._troubles or ()}
        open_ = [endpoint.model.model_name for endpoint in self._models.endpoints if endpoint.breaker.is_open]
        reason, remedy = "has failed several times in a row, and is not asked for a moment", "read its server's log"
        return [Trouble(name, reason, remedy) for name in open_ if name not in known]

    def observe(self, report: RunReport) -> None:
        """Learn from a run that has ended."""
        if isinstance(report.ending, Failed):
            kind = RUN_ERRORS[report.ending.error]
            if issubclass(kind, ModelError) and kind not in (ContentFiltered, ContextTooLong):
                self.check()
        elif self._troubles:
            worked = {call.model for call in report.calls if call.ended and not call.error}
            if report.category in (None, self._knowledge.prompt.first):  # also what a reply without a desk becomes
                worked.discard(self._settings.classify_model)
            if any(step.update and step.update.get("passages") for step in report.steps):
                worked.add(self._settings.embedding_model)
            self._troubles = [trouble for trouble in self._troubles if trouble.model not in worked]

    def check(self) -> None:
        """Check the models, unless that is under way or was done a moment ago."""
        if time.monotonic() >= self._next and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self._check(), context=Context())  # not part of the run that failed

    async def stop(self) -> None:
        """End a check that is under way."""
        if self._checking:
            self._checking.cancel()
            with suppress(asyncio.CancelledError):
                await self._checking

    async def first(self) -> None:
        """Check the models, and wait for it for a moment."""
        self.check()
        await self.latest(_FIRST)

    async def _check(self) -> None:
        began = time.monotonic()
        before = self._troubles or []
        troubles = await check_models(self._models, self._settings, self._knowledge.prompt)
        ended = time.monotonic()
        self._troubles, self._latency, self._next = troubles, round((ended - began) * 1000, 1), ended + _PAUSE
        for reason, remedy in in_words([trouble for trouble in troubles if trouble not in before], self._count):
            _log.warning("model check: %s; %s", reason, remedy)


@asynccontextmanager
async def watching(models: Models, settings: AgentSettings, knowledge: Knowledge) -> AsyncGenerator[ModelWatch]:
    """Check the models, and watch what turns show of them."""
    watch = ModelWatch(models, settings, knowledge)
    try:
        await watch.first()
        yield watch
    finally:
        await watch.stop()
